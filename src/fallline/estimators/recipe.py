"""Recipe: how one network of a bag is made and trained, as a record; and the networks that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fallline.core.record import Record, as_record, record, setting
from fallline.core.tree import map_records
from fallline.data.columns import Columns
from fallline.estimators.mixing import link_of
from fallline.losses.loss import Loss
from fallline.losses.members import EachMember
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.dropout import Dropout
from fallline.nn.embed import ColumnEmbedding
from fallline.nn.ensemble import Together
from fallline.nn.initializers import Normal, Values
from fallline.nn.layer import Layer
from fallline.nn.periodic import PeriodicEncoding
from fallline.nn.piecewise import FEWEST, PiecewiseEncoding
from fallline.optim.adam import AdamW
from fallline.optim.curves import OneCycle
from fallline.optim.optimizer import Optimizer

LEAST_STEPS = 8  # in an epoch, where the rows suffice
MOST_STEPS = 2000  # of one member: with many rows fewer epochs
FEWEST_EPOCHS = 8
OUTPUT_INIT = Normal(scale=0.01)  # untrained it says nearly the same of every row
LOOKED_AT = 5000  # rows that tell how many values a column has


@record
class Recipe(Record):
    """A network of a bag and its training.

    hidden         units of each hidden layer; () is a linear model of the (encoded) inputs
    activation     after each hidden layer
    waves          learned waves beside every number, with frequencies of about `wave_scale`; 0: none
    bins           pieces of the piecewise linear encoding of every number, beside the number itself; 0: none
    dropout        share of the hidden units that is switched off at each step
    learning_rate  the highest one of a rate that rises and then falls to 0 over the epochs
    weight_decay   decoupled: weights of Dense layers shrink by learning_rate · weight_decay in each step
    beta2          of Adam: a shorter memory than usual, for short trainings
    epochs         passes over the rows, fewer where there are many; after which of them the weights are taken, the
                   left-out rows of all folds together decide
    ensemble       networks that are trained in one program on the same batches, each for itself, in place of every one
    patience       epochs without a better loss of its own left-out rows after which a member stops; 0: it never does
    batch_size     rows in a step; 0: by the number of rows
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "selu"
    waves: int = setting(0, at_least=0)
    wave_scale: float = setting(0.1, above=0)
    bins: int = setting(0, at_least=0)
    dropout: float = setting(0.1, at_least=0, below=1)
    learning_rate: float = setting(0.005, above=0)
    weight_decay: float = setting(0.05, at_least=0)
    beta2: float = setting(0.95, at_least=0, below=1)
    epochs: int = setting(40, at_least=1)
    ensemble: int = setting(1, at_least=1)
    patience: int = setting(0, at_least=0)
    batch_size: int = setting(0, at_least=0)

    def rows_of_batch(self, n: int) -> int:
        """Rows in a step: 16 to 256, such that an epoch of few rows still has some steps."""
        return self.batch_size or int(np.clip(2 ** round(np.log2(max(1.0, n / LEAST_STEPS))), 16, 256))

    def epochs_of(self, n: int) -> int:
        """Passes over n rows."""
        steps = -(-n // self.rows_of_batch(n))
        return int(np.clip(MOST_STEPS // steps, min(FEWEST_EPOCHS, self.epochs), self.epochs))

    def optimizer(self) -> Optimizer:
        rate = OneCycle(self.learning_rate)
        return AdamW(rate, weight_decay=self.weight_decay, beta2=self.beta2, where="*.W")

    def network(
        self, columns: Columns | None, x: Any, n_scores: int, output: Layer | None = None, start: Sequence[float] = ()
    ) -> Sequential:
        """The network for these inputs; what is learned from them without the target (edges of bins) is filled.

        x  numbers (n, d), or a pair of numbers and codes (n, k);  start  what it says of every row before training
        """
        numbers, codes = x if isinstance(x, tuple) else (x, None)
        layers: list[Any] = [first_layer(columns, codes, self.hidden)] if codes is not None else []
        if self.bins and numbers.shape[1]:
            width = 0 if codes is None else sum(layers[0].units)
            layers.append(
                PiecewiseEncoding.of_rows(numbers[:: max(1, len(numbers) // LOOKED_AT)], self.bins, further=width)
            )
        if self.waves and (measured := amounts(numbers)):
            layers.append(PeriodicEncoding(self.waves, self.wave_scale, measured))
        for units in self.hidden:
            layers += [Dense(units), as_record(self.activation, Layer), *[Dropout(self.dropout)] * bool(self.dropout)]
        last = Dense(n_scores, init=OUTPUT_INIT, bias_init=Values(tuple(start)) if start else "zeros")
        return Sequential(*layers, last, *([output] if output is not None else []))

    def together(self, network: Layer, loss: Loss, n_scores: int) -> tuple[Layer, Loss]:
        """`ensemble` networks like this one in one, and the loss with which each is trained for itself."""
        if self.ensemble == 1:
            return network, loss
        copies = [map_records(lambda _, part: part.replace(), network) for _ in range(self.ensemble)]
        return Together(*copies, link=link_of(loss)), EachMember(loss, self.ensemble, n_scores)

    def summary(self) -> str:
        """In a few words, for a listing."""
        encoded = f"waves {self.waves}" if self.waves else f"bins {self.bins}" if self.bins else "numbers"
        times = f"{self.ensemble} x " if self.ensemble > 1 else ""
        return f"{encoded}, {times}{'-'.join(map(str, self.hidden)) or 'linear'} {self.activation}"


def amounts(numbers: np.ndarray) -> tuple[int, ...]:
    """The columns with more than two values."""
    some = numbers[:: max(1, len(numbers) // LOOKED_AT)]
    return tuple(j for j in range(some.shape[1]) if len(np.unique(some[:, j])) >= FEWEST)


def first_layer(columns: Columns | None, codes: np.ndarray, hidden: tuple[int, ...]) -> ColumnEmbedding:
    """Vectors for the codes beside the numbers; a linear model has one number for a category, as one-hot would."""
    sizes = tuple(int(n) + 1 for n in codes.max(axis=0)) if columns is None else columns.cardinalities
    units = tuple(min(16, max(2, round(1.6 * n**0.56))) if hidden else 1 for n in sizes)
    return ColumnEmbedding(sizes, units)


RECIPES = (  # in the order in which they are tried
    Recipe(waves=8, dropout=0.2, weight_decay=0.3),
    Recipe(activation="mish", bins=8),
    Recipe(dropout=0.3, weight_decay=0.5, learning_rate=0.003),
    Recipe(activation="mish", waves=8, wave_scale=0.3),
    Recipe(hidden=(128, 128), activation="mish", waves=16, dropout=0.2),
)
SMALL, LARGE = 1000, 10_000  # rows; with few, half the units are as good and twice as fast
BINS = 16, 64  # of more rows than SMALL, and than LARGE
SLOWER = {"dropout": 0.3, "learning_rate": 0.002, "weight_decay": 1.0}  # for many bins


def recipes_for(n: int, tried: int) -> tuple[Recipe, ...]:
    """The first so many recipes, sized for n rows."""
    return tuple(_sized(recipe, n) for recipe in RECIPES[:tried])


def _sized(recipe: Recipe, n: int) -> Recipe:
    if n <= SMALL:
        return recipe.replace(hidden=tuple(units // 2 for units in recipe.hidden))
    if not recipe.bins:
        return recipe
    return recipe.replace(bins=BINS[0]) if n <= LARGE else recipe.replace(bins=BINS[1], **SLOWER)


__all__ = ["RECIPES", "Recipe", "recipes_for"]
