"""Pairing: whether a network and a loss belong together. What cannot work is refused, what works poorly is warned of.

Nothing is looked up by name: what the end of a network does to scores is measured (`train/response.py`) and compared
with what the loss makes of scores. Each check is one function, `(Pair) -> Remark or None`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fallline.autodiff.functions import grad
from fallline.core.errors import ConfigError
from fallline.core.numbers import number_text
from fallline.core.record import as_record, fields_of
from fallline.core.warn import warn_user
from fallline.graph.op import Op
from fallline.losses.loss import Loss
from fallline.nn.activations import Activation
from fallline.nn.layer import Layer
from fallline.ops.reduce import sum as asum
from fallline.train.pair import Pair, has_weights, squeezed, stage_text

SURE = 0.9  # a classifier whose probabilities cannot come beyond this cannot learn certain rows
SMALL_SLOPE = 0.25  # the sigmoid's largest; ten such layers leave 1e-6 of a gradient
WRONG_SCORE = 10.0  # a score that is far on the wrong side, to show what is left of the gradient there


class PairingWarning(RuntimeWarning):
    """A network and a loss that can be trained together, but poorly; `fit(strict=False)` silences it."""


class Remark(NamedTuple):
    """What one check found: a verdict, what to do, whether the pair is refused, and the numbers behind it."""

    verdict: str
    cure: str
    refused: bool = False
    facts: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.verdict}: {self.cure}"


Check = Callable[[Pair], "Remark | None"]


def remarks(pair: Pair) -> dict[str, Remark]:
    """What the checks have to say, by the name of the check; of refusals only the first, for they have one cause."""
    found: dict[str, Remark] = {}
    for name, check in CHECKS.items():
        remark = check(pair)
        if remark is not None and remark.refused:
            return {name: remark}
        if remark is not None:
            found[name] = remark
    return found


def check_pairing(
    network: Layer, loss: Loss, x: Any, y: np.ndarray, *, strict: bool = True, by_gradient: bool = True
) -> None:
    """Refuses a network and a loss that cannot work together; warns of those that work poorly.

    x       Specs of some rows of inputs;  y  the targets as the loss takes them
    strict  False silences the warnings
    by_gradient  False for a method that needs none, or no training: then a step function does no harm
    raises  ConfigError with the reason and the cure
    """
    for remark in remarks(Pair(network, loss, x, y, by_gradient)).values():
        if remark.refused:
            raise ConfigError(str(remark))
        if strict:
            warn_user(str(remark), PairingWarning)


def steps(pair: Pair) -> Remark | None:
    """A step function behind weights: its derivative is 0, so nothing in front of it learns."""
    weights = False
    for i, (path, stage) in enumerate(pair.stages if pair.by_gradient else ()):
        found = pair.responses[i] if weights else None
        if found is not None and found.is_step:
            shown = stage_text(stage)
            verdict = (
                f"{_at(path)}{shown} has derivative 0 everywhere, so the weights in front of it would never change"
            )
            return Remark(verdict, _stand_in(stage), refused=True)
        weights = weights or has_weights(stage)
    return None


def _stand_in(stage: Any) -> str:
    """What to write instead of a step: the stand-ins that the layer names."""
    for field in fields_of(stage) if isinstance(stage, Layer) else ():
        others = [c for c in field.metadata.get("choices", ()) if c != getattr(stage, field.name)]
        if others:
            listed = " or ".join(f"{type(stage).__name__}({field.name}={c!r})" for c in others)
            return f"name a stand-in that lends its derivative, {listed}"
    return 'use a layer that names a stand-in, such as Heaviside(surrogate="sigmoid")'


def _at(path: str) -> str:
    return f"{path} " if path else ""


def applied_twice(pair: Pair) -> Remark | None:
    """The network ends with the loss's own link: sigmoid of sigmoid, softmax of softmax."""
    found = pair.response
    if found is None or found.y.shape != found.z.shape:
        return None
    given, once = squeezed(found.z), pair.scores
    if not _alike(once, np.asarray(pair.loss.predict(given))) or _alike(np.asarray(pair.loss.predict(once)), once):
        return None
    name, low, high = type(pair.loss).__name__, *pair.reach
    verdict = (
        f"{pair.tail_name} is applied twice: the network ends with it and {name} applies it to the scores again, "
        f"which leaves predictions from {low:.3g} to {high:.3g}"
    )
    return Remark(verdict, f"leave {pair.tail_name} out, {name} takes the scores", True, _reach_facts(pair))


def one_value(pair: Pair) -> Remark | None:
    """A tail that gives the same number for every row, such as the softmax of a single score."""
    if pair.response is None or not pair.response.is_constant:
        return None
    verdict = f"{pair.tail_name} gives {pair.response.y.flat[0]:g} for every row, whatever the weights are"
    return Remark(verdict, "leave it out, or give it more scores a row", refused=True)


def classes_out_of_reach(pair: Pair) -> Remark | None:
    """A tail that keeps the scores where the loss cannot be sure of each class."""
    found, loss = pair.response, pair.loss
    if found is None or loss.task != "classification":
        return None
    (low, high), name = pair.reach, type(loss).__name__
    if loss.probabilistic and high >= SURE and (pair.scores.ndim == 2 or low <= 1 - SURE):
        return None
    if not loss.probabilistic and found.low < -1e-3 and found.high > 1e-3:
        return None
    left = f"leaves probabilities from {low:.3g} to {high:.3g}" if loss.probabilistic else "decides for one class only"
    verdict = f"the outputs of {pair.tail_name} lie between {_number(found.low)} and {_number(found.high)}"
    cure = f"leave {pair.tail_name} out, the scores may have any size"
    if pair.scores.ndim == 1 and found.is_bounded and abs(found.low + found.high) < 1e-3:
        ends = f"{_number(found.low)} and {_number(found.high)}"
        cure += f" (or keep it with loss='hinge', or for targets of {ends} with loss='mse')"
    return Remark(f"{verdict}, which for {name} {left}", cure, True, _reach_facts(pair))


def targets_out_of_reach(pair: Pair) -> Remark | None:
    """Targets of a regression beyond what the end of the network can give; refused when that is all of them."""
    if pair.response is None or pair.loss.task != "regression" or pair.y is None or not pair.y.size:
        return None
    if not pair.loss.allowed(np.array([-1.0])).all():  # of counts and such the prediction is only the mean
        return None
    low, high = pair.reach
    low, high = (-np.inf if pair.response.low == -np.inf else low), (np.inf if pair.response.high == np.inf else high)
    slack = 1e-3 * max([1.0, *(abs(v) for v in (low, high) if np.isfinite(v))])
    beyond = (pair.y < low - slack) | (pair.y > high + slack)
    if not beyond.any():
        return None
    verdict = (
        f"{pair.tail_name} leaves predictions from {_number(low)} to {_number(high)}, and {beyond.mean():.0%} of the "
        f"targets lie beyond, such as {pair.y[beyond][0]:g}"
    )
    cure = f"leave {pair.tail_name} out: a network for numbers ends with Dense"
    facts = *_reach_facts(pair), ("targets", f"{_number(float(pair.y.min()))} to {_number(float(pair.y.max()))}")
    return Remark(verdict, cure, bool(beyond.all()), facts)


def squared_error_of_a_probability(pair: Pair) -> Remark | None:
    """Squared error (or another loss for numbers) on outputs between 0 and 1: no gradient where it is most wrong."""
    found = pair.response
    if found is None or pair.loss.task != "regression" or not found.is_bounded or not pair.by_gradient:
        return None
    if pair.reach[0] < 0 or pair.reach[1] > 1 or found.is_constant or targets_out_of_reach(pair) is not None:
        return None
    width = found.z.shape[1]
    loss = "BinaryCrossEntropy" if found.slope is not None else "CategoricalCrossEntropy"
    left = wrong_slope(pair.loss, found.f, width)
    cross = wrong_slope(as_record(loss, Loss), lambda z: z, width)
    verdict = (
        f"{type(pair.loss).__name__} on {pair.tail_name} has next to no gradient where it is most wrong: at score "
        f"{_number(-WRONG_SCORE)} for target 1 its slope is {_number(left)}, that of cross-entropy {_number(cross)}"
    )
    facts = (
        ("at score", f"{_number(-WRONG_SCORE)}, target 1"),
        ("slope of this loss", number_text(left, 4)),
        ("slope of cross-entropy", number_text(cross, 7)),
    )
    return Remark(verdict, f"leave {pair.tail_name} out and train with {loss}", False, facts)


def wrong_slope(loss: Loss, tail: Callable[[Any], Any], width: int) -> float:
    """d loss(tail(score)) / d score of the first output, where its score is far below 0 and its target 1."""
    score = np.zeros((1, width))
    score[0, 0] = -WRONG_SCORE
    shape = loss.target_shape(squeezed(score).shape)
    target = np.zeros(shape)
    if shape == squeezed(score).shape:  # otherwise it is a code: the first output's is 0
        target.flat[0] = 1.0
    return float(grad(lambda z: asum(loss(squeezed(tail(z)), target)))(score)[0, 0])


def small_hidden_slopes(pair: Pair) -> Remark | None:
    """Hidden units that pass on at most a quarter of a gradient and give positive numbers only: sigmoids."""
    places = [i for i, (_, stage) in enumerate(pair.stages) if has_weights(stage)]
    hidden = range(places[0] + 1, places[-1]) if places and pair.by_gradient else ()
    shown = [pair.stages[i] for i in hidden if _shrinks(pair, i) and not _beside_norm(pair.stages, i)]
    if not shown:
        return None
    path, stage = shown[0]
    others = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
    verdict = (
        f"the hidden units of {_at(path)}{stage_text(stage)}{others} pass on at most a quarter of a gradient, and give "
        "positive numbers only"
    )
    return Remark(verdict, "use ReLU or Tanh there, or BatchNorm in front of each in a deep network")


def _shrinks(pair: Pair, i: int) -> bool:
    found = pair.responses[i]
    if not isinstance(pair.stages[i][1], (Activation, Op)) or found is None:
        return False
    if found.slope is None or not found.is_bounded or np.unique(found.y).size <= 3:  # a step chose its stand-in
        return False
    return found.low >= 0 and 0 < float(np.abs(found.slope).max()) <= SMALL_SLOPE * (1 + 1e-6)


def _beside_norm(stages: list[tuple[str, Any]], i: int) -> bool:
    """Whether a normalisation, a layer with weights that keeps the role of its input, stands next to the stage."""
    beside = [stage for _, stage in (stages[i - 1], stages[i + 1])]
    return any(has_weights(stage) and stage.passes_on for stage in beside)


def needless(pair: Pair) -> Remark | None:
    """A tail that the loss's own link would undo anyway: log-softmax in front of the softmax."""
    found = pair.response
    if found is None or found.y.shape != found.z.shape or pair.loss.task != "classification":
        return None
    if not _alike(np.asarray(pair.loss.predict(pair.scores)), np.asarray(pair.loss.predict(squeezed(found.z)))):
        return None
    verdict = f"{pair.tail_name} changes nothing in front of {type(pair.loss).__name__}"
    return Remark(verdict, f"leave {pair.tail_name} out")


def one_sided_scores(pair: Pair) -> Remark | None:
    """Scores of several classes that are cut off below: the classes can be told apart, on one side only."""
    found = pair.response
    if found is None or pair.loss.task != "classification" or pair.scores.ndim != 2 or needless(pair) is not None:
        return None
    if not np.isfinite(found.low) or np.isfinite(found.high):
        return None
    verdict = f"{pair.tail_name} keeps the scores of the classes above {_number(found.low)}"
    return Remark(verdict, f"leave {pair.tail_name} out: {type(pair.loss).__name__} takes any score")


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True))


def _reach_facts(pair: Pair) -> tuple[tuple[str, str], ...]:
    assert pair.response is not None
    low, high = pair.reach
    outputs = f"{_number(pair.response.low)} to {_number(pair.response.high)}"
    return ("outputs", outputs), ("predictions", f"{_number(low)} to {_number(high)}")


def _number(value: float) -> str:
    return f"{value:.3g}".replace("inf", "∞").replace("-", "−")


CHECKS: dict[str, Check] = {
    "step function": steps,
    "link applied twice": applied_twice,
    "constant output": one_value,
    "classes out of reach": classes_out_of_reach,
    "targets out of reach": targets_out_of_reach,
    "squared error of a probability": squared_error_of_a_probability,
    "hidden sigmoid": small_hidden_slopes,
    "needless output layer": needless,
    "one-sided scores": one_sided_scores,
}

__all__ = ["CHECKS", "PairingWarning", "Remark", "check_pairing", "remarks"]
