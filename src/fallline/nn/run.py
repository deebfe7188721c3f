"""Run: how a model is called (training or not, with which random key), and what the call leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fallline.core.errors import ConfigError
from fallline.core.record import Record
from fallline.core.tree import join, records_in
from fallline.ops.random import uniform

if TYPE_CHECKING:
    from fallline.nn.building import Building


class Run:
    """The one argument that a layer's call takes besides its input.

    training  dropout drops and batch norm uses the batch's own statistics
    key       random key, uint32 (2,), an array or a Value; needed where a layer draws random numbers
    updates   new values of buffers by leaf path ("layers.1.mean"), filled by the call
    calls     with `record=True` the (path, layer, result) of every layer call, in the order in which they end
    building  set while the shapes of a recipe are found out (see nn/building.py)
    """

    def __init__(
        self,
        training: bool = False,
        key: Any = None,
        *,
        model: Any = None,
        record: bool = False,
        building: Building | None = None,
    ):
        self.training, self.key, self.model, self.building = training, key, model, building
        self.updates: dict[str, Any] = {}
        self.calls: list[tuple[str, Any, Any]] | None = [] if record else None
        self._sites = 0
        self._paths: dict[int, str] | None = None

    @classmethod
    def of(cls, model: Any, training: bool = False, key: Any = None, *, record: bool = False) -> Run:
        """A run of this model, whose layers it knows by path."""
        return cls(training, key, model=model, record=record)

    @property
    def paths(self) -> dict[int, str]:
        """The path of each record inside the model, by the record's id."""
        if self.model is None:
            return {}
        if self._paths is None:
            self._paths = {}
            for path, found in records_in(self.model):
                self._paths.setdefault(id(found), path)
        return self._paths

    def bind(self, model: Any) -> None:
        """Takes the paths from this model from now on; a call at the top with an unknown model does so by itself."""
        self.model, self._paths = model, None

    def path_of(self, layer: Record) -> str:
        """Where the layer stands in the model ("layers.0"); "" for the model itself and for what is not part of it."""
        return self.paths.get(id(layer), "")

    def update(self, layer: Record, name: str, value: Any) -> None:
        """Leaves the new value of the layer's buffer behind; the training step stores it."""
        self.updates[join(self.path_of(layer), name)] = value

    def site(self) -> int:
        """A number that no other use of this run's key has: 0, 1, 2 … in the order of the calls."""
        self._sites += 1
        return self._sites - 1

    def uniform(self, shape: tuple[int, ...], dtype: Any = "float32") -> Any:
        """Uniform numbers in [0, 1), other ones at each call, the same ones for the same key."""
        if self.key is None:
            raise ConfigError("a layer that draws random numbers needs a key: Run(training=True, key=new_key(seed))")
        return uniform(self.key, shape, self.site(), dtype)


EVAL = Run(training=False)
