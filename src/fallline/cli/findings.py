"""Findings in the words of the command line: changed arguments as flags, and one line for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fallline.cli import show
from fallline.cli.words import flag_of, in_flags
from fallline.core.record import fields_of
from fallline.explain.diagnosis.diagnose import Diagnosis
from fallline.explain.diagnosis.finding import Finding
from fallline.train.tabular import TableOptions

MOST = 3  # findings at the end of a training
FLAGS = {f.name: f.name for f in fields_of(TableOptions)} | {"early_stopping": "patience"}


def flags_of(change: Mapping[str, str]) -> str:
    """--learning-rate 0.001; what has no flag is left out."""
    return " ".join(f"{flag_of(FLAGS[name])} {text.strip(chr(34))}" for name, text in change.items() if name in FLAGS)


def in_words(found: Diagnosis) -> Diagnosis:
    """The findings with their cures as flags."""
    return replace(found, findings=tuple(map(_in_words, found.findings)), call=lambda finding: flags_of(finding.change))


def _in_words(finding: Finding) -> Finding:
    cure = in_flags(finding.cure, FLAGS)
    return replace(finding, cure=cure, verdict=in_flags(finding.verdict, FLAGS))


def one_line_of(finding: Finding) -> str:
    """overfit: … the sentence, and the flags to change."""
    flags = flags_of(finding.change)
    told = in_flags(finding.verdict, FLAGS)
    return f"{finding.name}: {told[:1].lower()}{told[1:]}" + (f"; try {flags}" if flags else "")


def told_briefly(lines: Sequence[str], width: int | None) -> list[str]:
    """At most three lines, below an empty one; nothing where there are none."""
    return ["", *(part for line in lines[:MOST] for part in show.wrap(line, width, show.INDENT))] if lines else []


__all__ = ["flags_of", "in_words", "one_line_of", "told_briefly"]
