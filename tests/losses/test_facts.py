"""What the docstrings of losses and links say is what they compute."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import fallline as fl
from fallline.autodiff.functions import grad, jacobian
from fallline.core.errors import DataError
from fallline.core.facts import special_values
from fallline.core.record import RECORDS
from fallline.losses.links import LINKS, links
from fallline.losses.loss import Loss, losses
from tests.formulas import evaluate
from tests.tolerance import assert_close

S = np.linspace(-3.1, 3.3, 23)
SETTINGS = {"delta": 1.0, "q": 0.5}  # the defaults of Huber and Quantile
ROWS = [row for row in losses() if RECORDS[row.name].__module__.startswith("fallline.")]
SINGLE = [row for row in ROWS if row.name not in ("CategoricalCrossEntropy", "GaussianNLL")]  # one score a row
every_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
every_single = pytest.mark.parametrize("row", SINGLE, ids=[row.name for row in SINGLE])
every_link = pytest.mark.parametrize("row", links(), ids=[row.name for row in links()])


def loss_of(row):
    return RECORDS[row.name]()


def targets_of(loss):
    if loss.task == "classification":
        return (0.0, 1.0)
    if "above 0" in loss.takes:
        return (0.3, 2.0)
    return (0.0, 2.0, 5.0) if "count" in loss.takes else (-1.0, 0.4)


def told(text, t):
    return np.broadcast_to(evaluate(text, s=S, t=t, **SETTINGS)[0], S.shape)


def row_slope(loss, score, target):
    return grad(lambda s: loss(s, np.full(len(score), target)).sum())(score)


@every_row
def test_every_fact_is_there(row):
    assert all(row), row


def test_the_list_prints_and_is_public():
    assert fl.losses()[0].name == "AbsoluteError"
    text = losses().text(80)
    assert max(map(len, text.splitlines())) <= 80
    assert "(s - t)²" in text
    assert losses().frame().columns[:4] == ["name", "formula", "link", "derivative"]
    assert fl.losses.__name__ == "fallline.losses"  # the package stays a package


@every_single
def test_formula_and_derivative(row):
    loss = loss_of(row)
    for t in targets_of(loss):
        assert_close(loss(S, np.full(len(S), t)), told(row.formula, t))
        assert_close(row_slope(loss, S, t), told(row.derivative, t))


@every_single
def test_the_stable_form(row):
    loss = loss_of(row)
    text = row.formula if row.stable.startswith("the formula") else row.stable
    for t in targets_of(loss):
        assert_close(loss(S, np.full(len(S), t)), told(text, t))


@every_row
def test_special_values_and_slopes(row):
    loss = loss_of(row)
    for text, of in ((row.special, loss), (row.slopes, None)):
        values = special_values(text)
        assert values
        for x, t, y in values:
            score = np.array([x]) if len(x) > 1 else np.array(x)
            target = np.array([t], "int32" if loss.target_dtype == "int32" else "float64")
            found = of(score, target) if of else np.ravel(grad(lambda s: loss(s, target).sum())(score))  # noqa: B023
            assert_close(found, np.array(y), "printed")


def test_gaussian_with_a_learned_variance(rng):
    row = next(row for row in ROWS if row.name == "GaussianNLL")
    m, v, t = rng.normal(size=3)
    loss, score = loss_of(row), np.array([[m, v]])
    [value] = evaluate(row.formula.partition(";")[0], m=m, v=v, t=t)
    assert_close(loss(score, np.array([t])), np.array([value]))
    parts = [evaluate(part.rpartition(" for ")[0], m=m, v=v, t=t)[0] for part in row.derivative.split(", ")]
    assert_close(grad(lambda s: loss(s, np.array([t])).sum())(score), np.array([parts]))


def test_categorical_derivative_is_p_minus_t(rng):
    score, codes = rng.normal(size=(5, 3)), np.array([0, 1, 2, 1, 0])
    loss = RECORDS["CategoricalCrossEntropy"]()
    assert_close(grad(lambda s: loss(s, codes).sum())(score), special.softmax(score, 1) - np.eye(3)[codes])


LIKELIHOODS = {
    "SquaredError": lambda s, t: stats.norm(s).logpdf(t),
    "AbsoluteError": lambda s, t: stats.laplace(s).logpdf(t),
    "LogCosh": lambda s, t: stats.hypsecant(s).logpdf(t),
    "Quantile": lambda s, t: stats.laplace(s, 2.0).logpdf(t),  # q = 1/2: half the slopes of scale 1
    "Gamma": lambda s, t: stats.gamma(1.0, scale=np.exp(s)).logpdf(t),
    "Poisson": lambda s, t: stats.poisson(np.exp(s)).logpmf(t),
    "BinaryCrossEntropy": lambda s, t: stats.bernoulli(special.expit(s)).logpmf(t),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_likelihood_that_is_told(name):
    """The text behind the colon is the negative log-likelihood in terms of the loss L."""
    row = next(row for row in ROWS if row.name == name)
    loss = loss_of(row)
    for t in targets_of(loss):
        target = np.full(len(S), t)
        [expected] = evaluate(row.likelihood.rpartition(": ")[2], L=loss(S, target), **SETTINGS)
        assert_close(expected, -LIKELIHOODS[name](S, target), "library")


@every_row
def test_the_link_that_is_told_is_the_one_that_predicts(row):
    loss = loss_of(row)
    if row.link == "its own":
        assert type(loss).predict is not Loss.predict
        return
    score = np.stack([S, -S], axis=1) if row.link == "softmax" else S
    assert_close(loss.predict(score), LINKS[row.link](score))


@every_row
def test_the_targets_that_are_told(row):
    loss = loss_of(row)
    assert row.targets == loss.takes
    with pytest.raises(DataError, match=row.targets):
        loss.check_target(np.array([np.nan]))


@every_link
def test_every_fact_of_a_link_is_there(row):
    assert all(row), row


@every_link
def test_formula_derivative_and_inverse_of_links(row):
    link = LINKS[row.name]
    if row.name == "softmax":
        p = special.softmax([0.3, -1.0, 2.0])
        assert_close(link(np.log(p)), p)
        assert_close(jacobian(link)(np.array([0.3, -1.0, 2.0])), p[:, None] * (np.eye(3) - p))
        return
    for side in evaluate(row.formula, s=S):
        assert_close(side, link(S))
    assert_close(np.broadcast_to(evaluate(row.derivative, s=S)[0], S.shape), grad(lambda s: (link(s) + 0 * s).sum())(S))
    assert_close(evaluate(row.inverse, y=link(S))[0], S, "library")


@every_link
def test_special_values_and_slopes_of_links(row):
    link = LINKS[row.name]
    for text, is_slope in ((row.special, False), (row.slopes, True)):
        assert special_values(text)
        for x, _, y in special_values(text):
            found = grad(lambda s: (link(s) + 0 * s)[0])(np.array(x)) if is_slope else link(np.array(x))
            assert_close(found, np.array(y), "printed")
