"""Ensembles: several networks that answer together."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import Array, buffer, record, setting
from fallline.core.tree import map_records
from fallline.nn.dense import Dense
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.composite import log_sigmoid, log_softmax, logsumexp
from fallline.ops.shape import concatenate
from fallline.ops.transcendental import log

LINKS = ("identity", "sigmoid", "softmax", "exp")


@record
class Mixture(Layer):
    """The score whose prediction is Σ_k share_k link(s_k).   scores x (batch, n, …) of n networks -> (batch, …)

    link    from scores to what the mean is taken of: with "sigmoid" and "softmax" probabilities, with "exp" counts,
            with "identity" the scores themselves. A softmax is over the last axis
    shares  (n,), they sum to 1 and are no weights that training changes
    """

    link: str = setting("identity", choices=LINKS)
    shares: Array = buffer()  # (n,)

    def build(self, x: Any, rng: np.random.Generator) -> Mixture:
        n = x.shape[1]
        return self.replace(shares=np.full(n, 1.0 / n, param_dtype(x)))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        shares = self.shares.reshape(self.shares.shape[0], *(1,) * (len(x.shape) - 2))
        if self.link == "identity":
            return (shares * x).sum(axis=1)
        parts = log(shares)  # of a share of 0 -inf, which adds nothing below
        if self.link == "sigmoid":
            return logsumexp(parts + log_sigmoid(x), axis=1) - logsumexp(parts + log_sigmoid(-x), axis=1)
        return logsumexp(parts + (log_softmax(x) if self.link == "softmax" else x), axis=1)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls("softmax"), rng.normal(size=(4, 3, 2))


@record
class Ensemble(Layer):
    """Several networks with one answer: y = link⁻¹(Σ_k share_k link(f_k(x))), at first with equal shares.

    Ensemble(a, b, c, link="softmax") takes the mean of probabilities; see `Mixture` for the links. The networks give
    scores of one shape.
    source  Hansen & Salamon 1990, "Neural network ensembles"
    """

    members: tuple[Any, ...] = ()
    mix: Mixture = Mixture()
    passes_on: ClassVar[bool] = False

    def __init__(self, *args: Any, members: tuple[Any, ...] = (), mix: Mixture | None = None, link: str = "identity"):
        object.__setattr__(self, "members", (*args, *members))
        object.__setattr__(self, "mix", Mixture(link) if mix is None else mix)
        self.__post_init__()

    def validate(self) -> None:
        if not self.members or not all(isinstance(member, Layer) for member in self.members):
            raise ConfigError(f"Ensemble({self.members!r}): give networks, such as Ensemble(a, b, link='softmax')")

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        scores = [member(x, run) for member in self.members]
        return self.mix(concatenate([s.reshape(s.shape[0], 1, *s.shape[1:]) for s in scores], axis=1), run)

    @classmethod
    def of(cls, network: Layer, n: int, link: str, dtype: Any) -> Ensemble:
        """n copies of a filled network with equal shares."""
        copies = [map_records(lambda _, part: part.replace(), network) for _ in range(n)]  # one object for each place
        return cls(*copies, mix=Mixture(link, shares=np.full(n, 1.0 / n, dtype)))

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(Dense(2), Dense(2), link="sigmoid"), rng.normal(size=(4, 3))


@record
class Together(Ensemble):
    """Networks that are trained in one program, each for itself; outside of training an `Ensemble` of them.

    In training it gives the scores of all members side by side, (batch, members · n_scores), for the loss `EachMember`,
    in which no member's gradient depends on the others.
    """

    members: tuple[Any, ...] = ()
    mix: Mixture = Mixture()
    __init__ = Ensemble.__init__

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        scores = [member(x, run) for member in self.members]
        if run.training:
            return concatenate([s.reshape(s.shape[0], -1) for s in scores], axis=1)
        return self.mix(concatenate([s.reshape(s.shape[0], 1, *s.shape[1:]) for s in scores], axis=1), run)


__all__ = ["Ensemble", "Mixture", "Together"]
