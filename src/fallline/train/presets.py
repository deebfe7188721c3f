"""Presets: the classical neurons, each a choice of activation, loss and optimizer for one and the same network."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.listing import Listing
from fallline.core.record import Record, record, setting
from fallline.core.registry import nearest, plain_name
from fallline.core.warn import warn_user
from fallline.nn.containers import Sequential
from fallline.nn.mlp import mlp
from fallline.train.events import EpochEnded, Event, Stop
from fallline.train.trainer import Fit
from fallline.train.variants import DESIGN, as_pair, fit_choices, several


@record
class Preset(Record):
    """A classical model as (activation, loss, optimizer); `preset.fit((X, y))` trains it.

    activation   of the output, as the lectures name it;  decision  how a score becomes an answer
    loss         what training makes small, by name; "" chooses what suits the targets
    many         the loss where there are more than two classes, if it has one
    what         what it is and where it comes from
    choices      what else differs from `mlp` and `fit`: hidden layers, learning rate, batch size …
    penalty      λ of the penalty λ/(2m) Σw², m the number of rows: 1 is the C = 1 of support vector machines
    separates    training ends once every row is right; if none is left to do so, it is said
    """

    name: str
    activation: str
    loss: str
    optimizer: str
    decision: str
    what: str
    choices: Mapping[str, Any]
    many: str = ""
    penalty: float = setting(0.0, at_least=0)
    separates: bool = False

    def validate(self) -> None:
        object.__setattr__(self, "choices", MappingProxyType(dict(self.choices)))  # nobody may change the presets

    def network(self, n_outputs: int = 1, **design: Any) -> Sequential:
        """The recipe; any keyword of `mlp` changes it."""
        wrong = next((name for name in design if name not in DESIGN), None)
        if wrong is not None:
            raise ConfigError(f"mlp has no keyword {wrong!r}: {nearest(wrong, DESIGN)}")
        return mlp(n_outputs=n_outputs, **{k: v for k, v in self.choices.items() if k in DESIGN} | design)

    def fit(self, data: tuple[Any, Any], **choices: Any) -> Fit:
        """Trains it on (X, y); any keyword of `mlp` and `fit`, and learning_rate, replaces the preset's own choice."""
        _, y = as_pair(data)
        given = {"loss": self._loss_for(y), "optimizer": self.optimizer, **self.choices, **choices}
        if self.penalty and "l2" not in choices:
            given["l2"] = self.penalty / len(y)
        if not self.separates:
            return fit_choices(data, given)
        given["callbacks"] = (*several(given.get("callbacks", ())), _stop_when_right)
        made = fit_choices(data, given)
        _tell_wrong_rows(made, data[0], y)
        return made

    def _loss_for(self, y: np.ndarray) -> str | None:
        if self.many and y.ndim == 1 and len(set(y.tolist())) > 2:
            return self.many
        return self.loss or None


def _stop_when_right(event: Event) -> Stop | None:
    """After an epoch in which no row changed the weights, none ever will."""
    done = isinstance(event, EpochEnded) and event.row["epoch"] > 0 and event.row["gradient_norm"] == 0.0
    return Stop("every row is on its side of the line") if done else None


def _tell_wrong_rows(made: Fit, X: Any, y: np.ndarray) -> None:
    """Warns of rows that the end of training left wrong, and makes that the reason of its end."""
    wrong = int((made.model.predict(X) != y).sum())
    if not wrong:
        return
    epochs = made.history[-1]["epoch"]
    are, epochs = "row is" if wrong == 1 else "rows are", f"{epochs} epoch{'s' * (epochs != 1)}"
    made.reason = (
        f"{wrong} of {len(y)} {are} still wrong after {epochs}: no straight line separates the classes, or it "
        "takes more epochs; a hidden layer bends the line: fl.preset('mlp')"
    )
    warn_user(made.reason)


ABOVE = "class 1 where the score is above 0"
PRESETS = (
    Preset(
        name="perceptron",
        activation="unit step",
        loss="perceptron_loss",
        optimizer="sgd",
        decision=ABOVE,
        what="w changes by ±x at each row that is wrong, until none is (Rosenblatt 1958)",
        choices={"hidden": (), "init": "zeros", "learning_rate": 1.0, "batch_size": 1},
        separates=True,
    ),
    Preset(
        name="adaline",
        activation="linear",
        loss="adaline_loss",
        optimizer="sgd",
        decision=ABOVE,
        what="least squares on targets ±1, one row at a time (Widrow & Hoff 1960)",
        choices={"hidden": (), "learning_rate": 0.01, "batch_size": 1},
    ),
    Preset(
        name="linear_regression",
        activation="linear",
        loss="squared_error",
        optimizer="exact",
        decision="the score is the number",
        what="the weights of the least squared error, in closed form (Legendre 1805)",
        choices={"hidden": (), "batch_size": "full", "precision": "float64"},
    ),
    Preset(
        name="linear_svm",
        activation="linear",
        loss="hinge",
        optimizer="adam",
        decision=ABOVE,
        what="the widest margin, with C = 1: l2 = 1/m of m rows (Cortes & Vapnik 1995)",
        choices={"hidden": (), "learning_rate": "cosine(0.1)", "batch_size": "full", "epochs": 1000},
        penalty=1.0,
    ),
    Preset(
        name="logistic_regression",
        activation="sigmoid; softmax of more classes",
        loss="binary_cross_entropy",
        many="categorical_cross_entropy",
        optimizer="newton",
        decision="the class of the largest probability",
        what="the weights of the largest likelihood, without a penalty (Cox 1958)",
        choices={"hidden": (), "batch_size": "full", "precision": "float64"},
    ),
    Preset(
        name="mlp",
        activation="relu, then as the target needs",
        loss="",
        optimizer="adam",
        decision="that of the loss",
        what="hidden layers learn the features of a linear model (Rumelhart, Hinton & Williams 1986)",
        choices={"hidden": (64,)},
    ),
)
ALIASES = {"svm": "linear_svm", "logistic": "logistic_regression", "least_squares": "linear_regression"}


def preset(name: str) -> Preset:
    """A classical model by its name; "did you mean" otherwise.   fl.preset("perceptron").fit((X, y))"""
    known = {plain_name(p.name): p for p in PRESETS}
    plain = plain_name(name)
    plain = plain_name(ALIASES.get(plain, plain))
    if plain not in known:
        raise UnknownNameError(f"no preset is called {name!r}: {nearest(name, [p.name for p in PRESETS])}")
    return known[plain]


def presets() -> Listing:
    """All presets as (activation, loss, optimizer, decision), what each is, and its source."""
    fields = ("name", "activation", "loss", "optimizer", "decision", "what")
    columns = {field: [getattr(p, field) or "what suits the target" for p in PRESETS] for field in fields}
    title, groups = "Classical neurons as (activation, loss, optimizer)", [""] * len(PRESETS)
    short = Listing(title, {field: columns[field] for field in fields[:4]}, groups)
    return Listing(title, columns, groups, "fl.preset(name).fit((X, y)) trains one.", narrow=short)


__all__ = ["Preset", "preset", "presets"]
