"""diagnose: what is wrong with a model or its training, each finding with its numbers, its likely cause and a cure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, DataError
from fallline.core.registry import nearest
from fallline.explain.diagnosis import capacity, inputs, network, training
from fallline.explain.diagnosis.case import Case
from fallline.explain.diagnosis.finding import Check, Finding
from fallline.explain.diagnosis.subject import Subject, subject_of
from fallline.explain.reports.report import Facts, Report, Section

STRONG, HIGH, LOW = "regularised too strongly", "learning rate too high", "learning rate or time too low"
SIZES = ("value for missing", "inputs not scaled", "targets not scaled")
START = ("network and loss", "numbers and classes", "identical units", "exploding gradients")
STUCK = ("dead units", "saturation", "vanishing gradients")
# In the order in which findings are told, causes before effects: what is given, how it starts, how it is trained, what
# comes of it. A check that stands after others is a consequence where one of these has found something.
CHECKS: tuple[Check, ...] = (
    Check("network and loss", ("loss",), network.poor_pairing, brief=False),
    Check("numbers and classes", ("targets",), inputs.numbers_for_classes, ("network and loss",)),
    Check("leaking column", ("targets",), inputs.leaking),
    Check("value for missing", ("rows",), inputs.sentinel, brief=False),
    Check("inputs not scaled", ("rows",), inputs.unscaled, ("value for missing",), brief=False),
    Check("identical units", (), network.identical),
    Check("exploding gradients", ("rows",), network.exploding, (*SIZES, "network and loss"), brief=False),
    Check("targets not scaled", ("targets",), inputs.targets_unscaled, SIZES[:2] + START, brief=False),
    Check(STRONG, ("targets", "history"), capacity.too_strong, SIZES + START, brief=False),
    Check(HIGH, ("history",), training.too_fast, (*SIZES, *START, STRONG)),
    Check("dead units", ("rows",), network.dead, (*SIZES, *START, HIGH)),
    Check("saturation", ("rows",), network.saturated, (*SIZES, *START, HIGH)),
    Check("equals one linear layer", (), network.one_linear_layer, brief=False),
    Check("vanishing gradients", ("targets",), network.vanishing, (*SIZES, *START, HIGH, *STUCK), brief=False),
    Check("nothing to learn", ("targets", "trained"), capacity.nothing_told, (*SIZES, *START, HIGH, *STUCK),
          brief=False),
    Check(LOW, ("history",), training.too_slow, (*SIZES, *START, STRONG, HIGH, *STUCK, "nothing to learn")),
    Check("underfit", ("targets", "trained"), capacity.underfit,
          (*SIZES, *START, HIGH, *STUCK, "equals one linear layer", LOW, STRONG), brief=False),
    Check("overfit", ("history", "validation"), capacity.overfit, (HIGH, "nothing to learn")),
    Check("class imbalance ignored", ("targets", "trained"), inputs.imbalance,
          (*SIZES, *START, HIGH, *STUCK, LOW, "underfit", STRONG)),
    Check("no gain over a linear model", ("targets", "trained", "held"), capacity.no_gain,
          ("leaking column", *SIZES, *START, HIGH, *STUCK, LOW, "nothing to learn", "overfit", "underfit",
           "equals one linear layer", STRONG), brief=False),
    Check("loss rises", ("history",), training.rises, (*SIZES, *START, HIGH)),
    Check("copied rows", ("targets",), inputs.copied_rows, brief=False),
    Check("duplicated column", ("rows",), inputs.duplicated, brief=False),
    Check("one input dominates", ("trained",), network.dominating, ("leaking column", *SIZES, *START, HIGH)),
)  # fmt: skip
NEEDS = {  # what to pass so that a check can look
    "history": "what fl.fit returns",
    "validation": "a fit with validation rows",
    "trained": "what fl.fit returns, or a model",
    "held": "a fit with validation=0.2 and its own rows: diagnose(fit, (X, y))",
    "rows": "rows: diagnose(fit, X)",
    "loss": "rows, and a loss or targets: diagnose(fit, (X, y))",
    "targets": "rows with targets: diagnose(fit, (X, y))",
}


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Report):
    """The findings, as text and as a page; true when there are any, with their number as its length.

    diagnosis[0], diagnosis["overfit"]  a finding;  names  of all of them
    about    the losses and their gap;  unseen  the checks that had nothing to look at, with what they need
    call     how the change of a finding is written
    """

    findings: tuple[Finding, ...]
    about: Facts
    unseen: dict[str, str]
    checked: int
    call: Callable[[Finding], str] = field(default=lambda finding: finding.call, repr=False)

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

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, ready for JSON."""
        found = [finding.to_dict() for finding in self.findings]
        return {"findings": found, "about": dict(self.about), "checked": self.checked, "not_looked_for": self.unseen}

    def sections(self) -> Iterable[Section]:
        for i, finding in enumerate(self.findings, 1):
            yield Section(f"{i}. {finding.name} ({finding.where})", [f"{finding.verdict}.", *finding.evidence,
                                                                     *self._advice(finding)])  # fmt: skip
        parts: list[Any] = [self.about] if self.about else []
        by_need: dict[str, list[str]] = {}
        for name, need in self.unseen.items():
            by_need.setdefault(need, []).append(name)
        parts.append(f"{self.checked} check{'s were' if self.checked != 1 else ' was'} made.")
        parts += [f"Not looked for: {', '.join(names)}. That needs {need}." for need, names in by_need.items()]
        yield Section("What was looked at", parts)

    def _advice(self, finding: Finding) -> list[str]:
        told = [f"Likely cause: {finding.cause}."] if finding.cause else []
        call = self.call(finding)
        told.append(f"Cure: {finding.cure}." + (f" {call}" if call else ""))
        told += [f"This explains: {', '.join(finding.explains)}."] if finding.explains else []
        return told

    def __repr__(self) -> str:
        return str(self)


def diagnose(model: Any, data: Any = None, loss: Any = None) -> Diagnosis:
    """Looks for what is wrong with a model and says it with the numbers behind it, the likely cause and a cure.

    model   what fl.fit returns (then its history is looked at too), a model, or a filled network
    data    rows with their targets, (X, y), best those given to fl.fit: then the rows that judged are known too; a
            table, which holds its targets itself; or rows alone, X (of a network that takes a tuple, (X, None))
    loss    of a network that is no model yet; None: what suits y
    The finding that explains the others stands first. Whatever a check needs and is not given is listed as not looked
    for.
    """
    X, y = data if isinstance(data, (tuple, list)) and len(data) == 2 else (data, None)
    if loss is not None and hasattr(loss, "__len__") and not isinstance(loss, str):
        raise DataError("diagnose takes rows and targets as one pair: diagnose(fit, (X, y))")
    return findings_of(subject_of(model, X, y, loss))


def findings_of(subject: Subject, *, brief: bool = False) -> Diagnosis:
    """What the checks find.   brief: only those that are cheap enough to end every training with"""
    case = Case(subject, brief)
    checks = [check for check in CHECKS if check.brief or not brief]
    lacking = {check.name: [need for need in check.needs if need not in case.has] for check in checks}
    made = [check for check in checks if not lacking[check.name]]
    found: dict[str, Finding] = {}
    for check in made:
        with np.errstate(all="ignore"):  # numbers beyond all bounds are a finding, not a warning
            finding = check.look(case)
        cause = next((name for name in check.after if name in found), None)
        if finding is None:
            continue
        if cause is None:
            found[check.name] = finding
        else:
            told = f"{finding.name} ({finding.where})"
            found[cause] = replace(found[cause], explains=(*found[cause].explains, told))
    unseen = {name: NEEDS[needs[-1]] for name, needs in lacking.items() if needs}
    return Diagnosis(tuple(found.values()), _about(case), unseen, len(made))


def _about(case: Case) -> Facts:
    about = Facts()
    fit, history = case.subject.fit, case.subject.history
    if fit is not None and history is not None and "validation" in case.has:
        about = training.losses_of(history, fit.best_epoch)
    if case.subject.rows:
        about.append(("rows", f"{case.subject.rows:,}"))
    return about


__all__ = ["CHECKS", "Diagnosis", "diagnose", "findings_of"]
