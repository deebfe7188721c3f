"""Fifteen kinds of broken set-ups and more, each named first among the findings; sound ones accused of nothing."""

from __future__ import annotations

import pytest

import fallline as fl
from fallline.explain.diagnosis.diagnose import CHECKS
from tests.explain.diagnosis.setups import BROKEN, SLOW, SOUND

UNDER = {  # findings that have another name than their check
    "squared error of a probability": "network and loss",
    "classes trained as numbers": "numbers and classes",
    "learning rate too low": "learning rate or time too low",
    "stopped too early": "learning rate or time too low",
}


def cases(setups):
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in setups]


@pytest.mark.parametrize("name", cases(BROKEN))
def test_a_broken_set_up_is_named_first(name):
    fit, data = BROKEN[name]()
    found = fl.diagnose(fit, data)
    assert found.names[:1] == [name], found.names
    finding = found[0]
    assert finding.where
    assert finding.cause
    assert finding.evidence
    for width in (60, 100):
        text = found.text(width)
        assert all(len(line) <= width for line in text.splitlines())
        for part in (f"1. {finding.name}", finding.verdict[:20], f"Cure: {finding.cure[:20]}"):
            assert part in text
    told = found.to_dict()["findings"][0]
    assert (told["name"], told["what"], told["cure"]) == (finding.name, finding.verdict, finding.cure)


@pytest.mark.parametrize("name", cases(SOUND))
def test_a_sound_set_up_is_accused_of_nothing(name):
    found = fl.diagnose(*SOUND[name]())
    assert found.names == []
    assert "nothing is wrong, as far as could be seen" in str(found)


def test_fifteen_of_each():
    assert len(BROKEN) >= 15
    assert len(SOUND) >= 15
    assert len(set(BROKEN) - SLOW) >= 12
    assert len(set(SOUND) - SLOW) >= 8


def test_every_check_has_a_broken_set_up():
    """But for one, whose histories are in test_diagnose."""
    assert {UNDER.get(name, name) for name in BROKEN} == {check.name for check in CHECKS} - {"loss rises"}
