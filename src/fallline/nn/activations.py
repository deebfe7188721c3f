"""Activations: functions of each number by itself.

Each docstring holds the facts that `activations()` lists, and that tests compare with what the layer computes:

    formula, derivative  of z; parameters by the names of their fields
    special, slopes      values of the function and of its derivative, at kinks and far out
    stable               what is computed instead, where the formula would overflow or lose digits
    source               where it comes from
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from fallline.core.errors import ConfigError
from fallline.core.facts import FactRows, facts_of
from fallline.core.record import record, records_of, setting
from fallline.nn.layer import Layer
from fallline.nn.run import EVAL, Run
from fallline.ops import composite as f
from fallline.ops.arithmetic import absolute, sign
from fallline.ops.compare import less, where
from fallline.ops.structure import stop_gradient
from fallline.ops.transcendental import sigmoid, tanh


class Activation(Layer):
    """A layer that bends its input; its shape stays. `suits`: the initializer for weights in front of it."""

    suits: ClassVar[str | None] = "glorot"


class ActivationRow(NamedTuple):
    """What the docstring of an activation says.

    special, slopes  values of the function and of its derivative as "z -> value, …"; `special_values` reads them
    """

    name: str
    formula: str
    derivative: str
    special: str
    slopes: str
    stable: str
    source: str


def activations() -> FactRows[ActivationRow]:
    """All activations by name, a list of rows that prints as a table; `.frame()` is a data frame of all columns."""
    told = {name: facts_of(cls) for name, cls in records_of(Activation).items()}
    rows = [
        ActivationRow(name, *(facts.get(word, "") for word in ActivationRow._fields[1:]))
        for name, facts in told.items()
    ]
    note = "fl.plot_function(name) draws one with its derivative, fl.plot_functions() all of them."
    return FactRows("Activations", rows, ("name", "formula", "derivative"), note)


class _Step(Activation):
    """A function whose derivative is 0, with a stand-in for training."""

    surrogate: str

    def _with_surrogate(self, step: Any, smooth: dict[str, Any], x: Any) -> Any:
        """The value of the step with the derivative of the stand-in: the stand-in minus itself is exactly 0."""
        if self.surrogate == "none":
            return step
        stand_in = smooth[self.surrogate](x)
        return step + (stand_in - stop_gradient(stand_in))


@record
class Heaviside(_Step):
    """0 (z < 0), 1/2 (z = 0), 1 (z > 0)

    derivative  0; so nothing in front of it learns, unless `surrogate` names a function that lends its own
    special     -1 -> 0, 0 -> 1/2, 1 -> 1; 1/2 is halfway between the two sides
    slopes      -1 -> 0, 0 -> 0, 1 -> 0
    stable      (sign(z) + 1) / 2
    source      Rosenblatt 1958, "The perceptron"
    """

    surrogate: str = setting("none", choices=("none", "sigmoid", "piecewise_linear"))
    aliases = ("unit_step",)

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return self._with_surrogate(f.heaviside(x), {"sigmoid": sigmoid, "piecewise_linear": piecewise_linear}, x)


@record
class Sign(_Step):
    """-1 (z < 0), 0 (z = 0), 1 (z > 0)

    derivative  0; so nothing in front of it learns, unless `surrogate` names a function that lends its own
    special     -1 -> -1, 0 -> 0, 1 -> 1
    slopes      -1 -> 0, 0 -> 0, 1 -> 0
    stable      the formula itself
    source      Rosenblatt 1958, "The perceptron", in the form for targets -1 and 1
    """

    surrogate: str = setting("none", choices=("none", "tanh", "hard_tanh"))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return self._with_surrogate(sign(x), {"tanh": tanh, "hard_tanh": hard_tanh}, x)


@record
class Linear(Activation):
    """z

    derivative  1
    special     -1000 -> -1000, 0 -> 0, 1000 -> 1000
    slopes      0 -> 1
    stable      the formula itself
    source      Widrow & Hoff 1960, "Adaptive switching circuits" (Adaline)
    """

    aliases = ("identity",)

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return x


@record
class PiecewiseLinear(Activation):
    """1 (z >= 1/2), z + 1/2 (-1/2 < z < 1/2), 0 (z <= -1/2)

    derivative  1 (-1/2 < z < 1/2), 0 (|z| >= 1/2)
    special     -1/2 -> 0, 0 -> 1/2, 1/4 -> 3/4, 1/2 -> 1
    slopes      -1/2 -> 0, 0 -> 1, 1/2 -> 0
    stable      the formula itself
    source      Haykin 1999, "Neural Networks", section 1.3
    """

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return piecewise_linear(x)


@record
class Sigmoid(Activation):
    """σ(z) = 1 / (1 + e^-z)

    derivative  σ(z) (1 - σ(z)); at most 1/4, at z = 0
    special     0 -> 1/2, -1000 -> 0, 1000 -> 1
    slopes      0 -> 1/4, -1000 -> 0, 1000 -> 0
    stable      1 / (1 + e^-z); e^1000 is ∞, and 1/∞ the right 0: the derivative never divides by (1 + e^-z)²
    source      Verhulst 1845; Rumelhart, Hinton & Williams 1986
    """

    aliases = ("logistic",)

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return sigmoid(x)


@record
class Tanh(Activation):
    """tanh(z) = (e^z - e^-z) / (e^z + e^-z) = 2σ(2z) - 1

    derivative  1 - tanh(z)²; at most 1, at z = 0
    special     0 -> 0, -1000 -> -1, 1000 -> 1
    slopes      0 -> 1, -1000 -> 0, 1000 -> 0
    stable      tanh(z); as the C library computes it, where the formula is ∞/∞ from z = 710 on
    source      LeCun et al. 1998, "Efficient BackProp", section 4.4
    """

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return tanh(x)


@record
class ReLU(Activation):
    """max(0, z)

    derivative  1 (z > 0), 0 (z <= 0); at the kink 0 is taken
    special     -1 -> 0, 0 -> 0, 1000 -> 1000
    slopes      -1 -> 0, 0 -> 0, 1 -> 1
    stable      the formula itself
    source      Nair & Hinton 2010; Glorot, Bordes & Bengio 2011
    """

    suits: ClassVar[str | None] = "he"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.relu(x)


@record
class Softplus(Activation):
    """ln(1 + e^z)

    derivative  σ(z)
    special     0 -> 0.6931471806, -1000 -> 0, 1000 -> 1000
    slopes      0 -> 1/2, -1000 -> 0, 1000 -> 1
    stable      max(z, 0) + ln(1 + e^-|z|); e^1000 would be ∞
    source      Dugas et al. 2001
    """

    suits: ClassVar[str | None] = "he"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.softplus(x)


@record
class LeakyReLU(Activation):
    """max(slope · z, z)

    derivative  1 (z > 0), slope (z <= 0)
    special     -2 -> -0.02, 0 -> 0, 2 -> 2; with slope 0.1 it is -0.2 at -2
    slopes      -1 -> 0.01, 0 -> 0.01, 1 -> 1
    stable      the formula itself
    source      Maas, Hannun & Ng 2013; taught with slope 0.01 (the default) and 0.1, at most 1
    """

    slope: float = 0.01
    suits: ClassVar[str | None] = "he"

    def validate(self) -> None:
        if not self.slope <= 1:
            raise ConfigError(
                f"LeakyReLU(slope={self.slope}): slope must be at most 1, or max(slope·z, z) bends the positive side"
            )

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.leaky_relu(x, self.slope)


@record
class ELU(Activation):
    """z (z > 0), alpha (e^z - 1) (z <= 0)

    derivative  1 (z > 0), alpha e^z (z <= 0)
    special     -1 -> -0.6321205588, 0 -> 0, -1000 -> -1, 1000 -> 1000
    slopes      0 -> 1, -1000 -> 0, 1000 -> 1
    stable      z (z > 0), alpha expm1(min(z, 0)) (z <= 0); e^z is never taken of a large z
    source      Clevert, Unterthiner & Hochreiter 2016 (arXiv:1511.07289), eq. 15
    """

    alpha: float = setting(1.0, above=0)
    suits: ClassVar[str | None] = "he"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.elu(x, self.alpha)


@record
class HardTanh(Activation):
    """-1 (z <= -1), z (-1 < z < 1), 1 (z >= 1)

    derivative  1 (-1 < z < 1), 0 (|z| >= 1)
    special     -1 -> -1, 0 -> 0, 1/2 -> 1/2, 1 -> 1
    slopes      -1 -> 0, 0 -> 1, 1 -> 0
    stable      the formula itself
    source      Collobert 2004, "Large scale machine learning"
    """

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return hard_tanh(x)


@record
class HardSigmoid(Activation):
    """min(max(z + 3, 0), 6) / 6

    derivative  1/6 (-3 < z < 3), 0 (|z| >= 3)
    special     -3 -> 0, 0 -> 1/2, 3 -> 1
    slopes      -3 -> 0, 0 -> 1/6, 3 -> 0
    stable      the formula itself
    source      Howard et al. 2019 (arXiv:1905.02244), section 5.2; older libraries have min(max(z/5 + 1/2, 0), 1)
    """

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return hard_sigmoid(x)


@record
class Softsign(Activation):
    """z / (1 + |z|)

    derivative  1 / (1 + |z|)²
    special     0 -> 0, 1 -> 1/2, -1 -> -1/2
    slopes      0 -> 1, 1 -> 1/4
    stable      the formula itself
    source      Bergstra et al. 2009; Glorot & Bengio 2010
    """

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return x / (1.0 + absolute(x))


def piecewise_linear(x: Any) -> Any:
    """min(max(x + 1/2, 0), 1), with derivative 0 at the corners."""
    return where(less(absolute(x), 0.5), x + 0.5, f.heaviside(x))


def hard_tanh(x: Any) -> Any:
    """min(max(x, -1), 1), with derivative 0 at the corners."""
    return where(less(absolute(x), 1.0), x, sign(x))


def hard_sigmoid(x: Any) -> Any:
    """min(max(x + 3, 0), 6) / 6, with derivative 0 at the corners."""
    return where(less(absolute(x), 3.0), (x + 3.0) / 6.0, f.heaviside(x))


__all__ = [
    "Activation",
    "ActivationRow",
    "ELU",
    "HardSigmoid",
    "HardTanh",
    "Heaviside",
    "LeakyReLU",
    "Linear",
    "PiecewiseLinear",
    "ReLU",
    "Sigmoid",
    "Sign",
    "Softplus",
    "Softsign",
    "Tanh",
    "activations",
    "hard_sigmoid",
    "hard_tanh",
    "piecewise_linear",
]
