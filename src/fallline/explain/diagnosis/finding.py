"""Finding: one thing that is wrong with a model, and the check that found it. A new check is one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fallline.core.listing import Listing
from fallline.explain.diagnosis.case import Case
from fallline.explain.reports.report import Facts, Part


@dataclass(frozen=True, eq=False)
class Finding:
    """What is wrong, where, by which numbers, why most likely, and what to do.

    name      of the finding;  verdict  one sentence without its full stop
    where     the layer, the column or the part of the training that it is about
    evidence  sentences, Facts and Listings
    cause     the likely cause, a sentence;  cure  what to do, a sentence
    change    arguments of `fl.fit` to change, by name, as they are written
    explains  findings that follow from this one, each as "name (where)"
    """

    name: str
    verdict: str
    where: str
    evidence: tuple[Part, ...]
    cause: str
    cure: str
    change: Mapping[str, str] = field(default_factory=dict)
    explains: tuple[str, ...] = ()

    @property
    def call(self) -> str:
        """The change as Python: fl.fit(…, learning_rate=0.001)."""
        return f"fl.fit(…, {', '.join(f'{k}={v}' for k, v in self.change.items())})" if self.change else ""

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data, ready for JSON."""
        return {
            "name": self.name,
            "what": self.verdict,
            "where": self.where,
            "evidence": [_data(part) for part in self.evidence],
            "cause": self.cause,
            "cure": self.cure,
            "change": dict(self.change),
            "explains": list(self.explains),
        }


class Check(NamedTuple):
    """One check.

    needs  what it looks at: the names in `Case.has`
    after  the checks whose findings explain this one: where one of them has found something, this is its consequence
    brief  whether it is cheap enough to end every training with
    """

    name: str
    needs: tuple[str, ...]
    look: Callable[[Case], Finding | None]
    after: tuple[str, ...] = ()
    brief: bool = True


def _data(part: Part) -> Any:
    if isinstance(part, Facts):
        return dict(part)
    if isinstance(part, Listing):
        return {"title": part.title, "columns": {name: list(map(_cell, col)) for name, col in part.columns.items()}}
    return str(part)


def _cell(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


__all__ = ["Check", "Finding"]
