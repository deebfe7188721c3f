"""diagnose: what is wrong with a model or its training, each finding with its numbers and a cure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fallline.core.errors import ConfigError
from fallline.core.registry import nearest
from fallline.explain.diagnosis.finding import Case, Check, Finding
from fallline.explain.diagnosis.network import NETWORK
from fallline.explain.diagnosis.subject import subject_of
from fallline.explain.diagnosis.training import TRAINING, losses_of
from fallline.explain.reports.report import Facts, Report, Section

CHECKS: tuple[Check, ...] = (*TRAINING, *NETWORK)  # in the order in which findings are told: causes before effects
NEEDS = {  # what to pass so that a check can look
    "history": "what fl.fit returns",
    "validation": "a fit with validation rows",
    "rows": "rows: diagnose(fit, X)",
    "loss": "rows, and a loss or targets: diagnose(fit, X)",
    "targets": "rows with targets: diagnose(fit, X, y)",
}


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Report):
    """The findings, as text and as a page; true when there are any, with their number as its length.

    diagnosis[0], diagnosis["overfit"]  a finding;  names  of all of them
    about    the losses and their gap;  unseen  the checks that had nothing to look at, with what they need
    """

    findings: tuple[Finding, ...]
    about: Facts
    unseen: dict[str, str]
    checked: int

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, key: int | str) -> Finding:
        if isinstance(key, int):
            return self.findings[key]
        found = next((finding for finding in self.findings if finding.name == key), None)
        if found is None:
            raise ConfigError(f"there is no finding {key!r}: {nearest(key, self.names)}")
        return found

    @property
    def names(self) -> list[str]:
        return [finding.name for finding in self.findings]

    @property
    def title(self) -> str:
        n = len(self)
        told = f"{n} finding{'s' * (n != 1)}" if n else "nothing is wrong, as far as could be seen"
        return f"Diagnosis: {told}"

    def sections(self) -> Iterable[Section]:
        for i, finding in enumerate(self.findings, 1):
            yield Section(f"{i}. {finding.name}", (f"{finding.verdict}.", *finding.evidence, f"Cure: {finding.cure}"))
        parts: list[Any] = [self.about] if self.about else []
        by_need: dict[str, list[str]] = {}
        for name, need in self.unseen.items():
            by_need.setdefault(need, []).append(name)
        parts.append(f"{self.checked} check{'s were' if self.checked != 1 else ' was'} made.")
        parts += [f"Not looked for: {', '.join(names)}. That needs {need}." for need, names in by_need.items()]
        yield Section("What was looked at", parts)

    def __repr__(self) -> str:
        return str(self)


def diagnose(model: Any, X: Any = None, y: Any = None, loss: Any = None) -> Diagnosis:
    """Looks for what is wrong with a model and says it with the numbers behind it and a cure.

    model   what fl.fit returns (then its history is looked at too), a model, or a filled network
    X, y    rows with their targets, best those of training: what each layer does is measured on them
    loss    of a network that is no model yet; None: what suits y
    Whatever a check needs and is not given is listed as not looked for.
    """
    case = Case(subject_of(model, X, y, loss))
    lacking = {check.name: [need for need in check.needs if need not in case.has] for check in CHECKS}
    made = [check for check in CHECKS if not lacking[check.name]]
    findings = [found for check in made if (found := check.look(case)) is not None]
    unseen = {name: NEEDS[needs[-1]] for name, needs in lacking.items() if needs}
    about = Facts()
    fit, history = case.subject.fit, case.subject.history
    if fit is not None and history is not None and "validation" in case.has:
        about = losses_of(history, fit.best_epoch)
    if case.subject.rows:
        about.append(("rows", f"{case.subject.rows:,}"))
    return Diagnosis(tuple(findings), about, unseen, len(made))


__all__ = ["CHECKS", "Diagnosis", "diagnose"]
