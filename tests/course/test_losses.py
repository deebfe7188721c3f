"""Rows 22-40 of the course: losses, risk and output units, by their numbers.

Expected values are from mathematics, NumPy or scipy.stats; "printed" ones are given with ten decimals.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import fallline as fl
from fallline.core.errors import DataError, ShapeError
from fallline.data.batches import batch_indices
from fallline.train.pairing import PairingWarning
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 4))
TWO = (X[:, 0] + 0.5 * RNG.normal(size=70) > 0).astype(int)
THREE = RNG.integers(0, 3, 70)
NUMBERS = X @ np.array([1.0, -2.0, 0.5, 0.0]) + RNG.normal(size=70)
SCORES = np.linspace(-8.0, 8.0, 33)
FROZEN = fl.SGD(0.0)


def slope(loss, score, target):
    """d loss / d score of a single row."""
    return fl.grad(lambda s: loss(s, np.array([target])).sum())(np.array([score]))[0]


def logistic(**options):
    """A fit of a filled Dense(1) in float64, and that Dense before."""
    start = fl.Dense(1).build(fl.spec(X.shape, "float64"), 0)
    return fl.fit(start, (X, TWO), precision="float64", **options), start


def numpy_losses(W, b=0.0):
    """The cross-entropies of the rows, and dL/dW of each."""
    p = special.expit((X @ W)[:, 0] + b)
    return -(TWO * np.log(p) + (1 - TWO) * np.log1p(-p)), (p - TWO)[:, None] * X


def test_row_022_the_epoch_loss_is_the_mean_over_samples_also_with_a_short_last_batch():
    """70 = 32 + 32 + 6: the mean of the three batch means would count six rows as much as 32."""
    fit, start = logistic(optimizer=FROZEN, epochs=1, batch_size=32, shuffle=False)
    losses, _ = numpy_losses(start.W)
    assert_close(fit.history["train_loss"][1], fit.model.evaluate(X, TWO)["loss"], "central")
    assert_close(fit.history["train_loss"][1], losses.mean())
    of_batches = np.mean([losses[:32].mean(), losses[32:64].mean(), losses[64:].mean()])
    assert abs(of_batches - losses.mean()) > 1e-3


def test_row_023_the_report_prints_train_validation_and_gap_and_flags_an_overfit():
    x, y = RNG.normal(size=(40, 10)), RNG.integers(0, 2, 40)
    fit = fl.fit(fl.mlp(hidden=(1000,)), (x, y), validation=0.5, epochs=60)
    found = fl.diagnose(fit)
    assert found.names == ["overfit"]
    told = dict(found["overfit"].evidence[0])
    last = fit.history[-1]
    assert_close(float(told["train loss"]), last["train_loss"], "fit")
    assert_close(float(told["validation loss"]), last["validation_loss"], "fit")
    assert_close(float(told["gap"]), last["validation_loss"] - last["train_loss"], "fit")
    for words in ("train loss", "validation loss", "gap", "Cure: Get more rows"):
        assert words in str(found)


@pytest.mark.parametrize("t", [0, 1])
def test_row_024_binary_cross_entropy_is_the_likelihood_of_bernoulli(t):
    target = np.full_like(SCORES, t)
    assert_close(fl.BinaryCrossEntropy()(SCORES, target), -stats.bernoulli.logpmf(target, special.expit(SCORES)))


def test_row_024_cross_entropy_is_the_likelihood_of_the_categorical_distribution():
    scores, codes = 3 * RNG.normal(size=(50, 4)), RNG.integers(0, 4, 50)
    p = special.softmax(scores, axis=1)
    expected = [-stats.multinomial.logpmf(np.eye(4)[c], 1, row / row.sum()) for c, row in zip(codes, p, strict=True)]
    assert_close(fl.CategoricalCrossEntropy()(scores, codes), np.array(expected))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_row_024_gaussian_nll_is_the_likelihood_of_the_normal_distribution(sigma):
    score, target = 3 * RNG.normal(size=40), 3 * RNG.normal(size=40)
    expected = -stats.norm.logpdf(target, score, sigma)
    assert_close(fl.GaussianNLL(sigma)(score, target), expected)
    learned = np.stack([score, np.full(40, 2 * np.log(sigma))], axis=1)
    assert_close(fl.GaussianNLL()(learned, target), expected)


def test_row_024_poisson_is_the_likelihood_of_counts():
    score, counts = RNG.normal(size=60), RNG.poisson(5.0, 60)
    assert_close(fl.Poisson()(score, counts), -stats.poisson.logpmf(counts, np.exp(score)))


def test_row_025_the_slope_of_cross_entropy_stays_large_where_squared_error_on_a_sigmoid_loses_it():
    a = np.array([-10.0])
    squared = fl.grad(lambda s: fl.SquaredError()(fl.sigmoid(s), np.ones(1)).sum())(a)[0]
    p = special.expit(-10.0)
    assert_close(slope(fl.BinaryCrossEntropy(), -10.0, 1.0), p - 1)
    assert_close(squared, 2 * (p - 1) * p * (1 - p))
    assert f"{p - 1:.7f}" == "-0.9999546"
    assert f"{squared:.3e}" == "-9.079e-05"


def test_row_025_fit_and_diagnose_warn_of_squared_error_on_a_sigmoid():
    network, y = fl.Sequential(fl.Dense(1), fl.Sigmoid()), TWO.astype(float)
    with pytest.warns(PairingWarning, match="next to no gradient where it is most wrong"):
        fl.fit(network, (X, y), loss="mse", epochs=1)
    fit = fl.fit(network, (X, y), loss="mse", epochs=1, strict=False)
    found = fl.diagnose(fit, (X, y))
    assert found.names == ["squared error of a probability"]
    assert "−9.079e−05" in str(found)
    assert "−0.9999546" in str(found)
    assert found[0].cure == "Leave Sigmoid() out and train with BinaryCrossEntropy"


@pytest.mark.parametrize("y", [TWO, TWO == 1, np.where(TWO == 1, "ill", "well"), 2 * TWO - 1], ids=lambda y: y.dtype)
def test_row_026_two_classes_select_the_sigmoid_and_binary_cross_entropy(y):
    model = fl.fit(fl.mlp(()), (X, y), epochs=1).model
    assert model.loss == fl.BinaryCrossEntropy()
    assert_close(model.predict_proba(X)[:, 1], special.expit(model.scores(X).astype(float)))


def test_row_026_one_sigmoid_unit_and_two_softmax_units_give_equal_probabilities():
    one = fl.Dense(1).build(fl.spec(X.shape, "float64"), 0)
    two = fl.Dense(2, W=np.c_[0 * one.W, one.W] + 5.0, b=np.array([3.0, 3.0]))  # what both columns share cancels
    options = {"epochs": 0, "precision": "float64"}
    a = fl.fit(one, (X, TWO), **options).model
    b = fl.fit(two, (X, TWO), loss="cross_entropy", **options).model
    assert_close(a.predict_proba(X), b.predict_proba(X))
    assert_close(a.evaluate(X, TWO)["loss"], b.evaluate(X, TWO)["loss"])


@pytest.mark.parametrize("y", [THREE, np.array(["a", "b", "c"])[THREE]], ids=lambda y: y.dtype)
def test_row_027_three_classes_select_softmax_and_cross_entropy_and_probabilities_sum_to_1(y):
    model = fl.fit(fl.mlp((5,), 3), (X, y), epochs=2).model
    assert model.loss == fl.CategoricalCrossEntropy()
    assert_close(model.predict_proba(X).sum(axis=1), np.ones(70))


def test_row_028_numbers_select_the_linear_unit_and_squared_error():
    model = fl.fit(fl.mlp(()), (X, NUMBERS), epochs=1).model
    assert model.loss == fl.SquaredError()
    np.testing.assert_array_equal(model.predict(X), model.scores(X))


def test_row_028_squared_error_has_twice_the_gradient_of_gaussian_nll_with_deviation_1():
    score, target = RNG.normal(size=40), RNG.normal(size=40)
    squared, normal = (
        fl.grad(lambda s, loss=loss: loss(s, target).sum())(score) for loss in (fl.SquaredError(), fl.GaussianNLL(1.0))
    )
    assert_close(squared, 2 * normal)


def test_row_028_the_deviation_can_be_learned():
    """Two groups with a mean and a deviation each: the likelihood is largest at those of the sample."""
    group = np.repeat([0.0, 1.0], 100)
    y = np.where(group == 0, 1 + 0.5 * RNG.normal(size=200), -2 + 3 * RNG.normal(size=200))
    fit = fl.fit(fl.Dense(2), (group[:, None], y), loss="gaussian", optimizer="newton", epochs=50)
    scores = fit.model.scores(np.array([[0.0], [1.0]]))
    parts = [y[group == g] for g in (0, 1)]
    assert_close(fit.model.predict(np.array([[0.0], [1.0]])), np.array([p.mean() for p in parts]), "fit")
    assert_close(fit.model.loss.deviation(scores), np.array([p.std() for p in parts]), "fit")


def test_row_030_the_link_of_two_classes():
    """P(y=0) = 1 / (1 + e^φ), φ the score."""
    p = fl.BinaryCrossEntropy().predict(np.array([9.0]))[0]
    assert_close(1 - p, 1.2339457599e-4, "printed")
    assert_close(fl.sigmoid(-9.0), 1.2339457599e-4, "printed")
    network = fl.Dense(1, W=np.array([[3.0]]), b=np.zeros(1))
    model = fl.fit(network, (np.array([[3.0], [0.0]]), [1, 0]), epochs=0, precision="float64").model
    assert_close(model.predict_proba(np.array([[3.0]]))[0, 0], 1.2339457599e-4, "printed")


def test_row_031_softmax_does_not_change_by_a_shift_and_stays_finite():
    z = np.array([[0.3, -1.2, 2.0]])
    assert_close(fl.softmax(z), np.exp(z) / np.exp(z).sum())
    assert_close(fl.softmax(z + 100.0), fl.softmax(z))
    assert_close(fl.softmax(np.array([1000.0, 0.0])), np.array([1.0, 0.0]), "exact")


def test_row_032_softmax_turns_scores_into_probabilities_that_sum_to_1():
    z = 20 * RNG.normal(size=(50, 6))
    p = fl.softmax(z)
    assert (p > 0).all()
    assert_close(p.sum(axis=1), np.ones(50))
    np.testing.assert_array_equal(p.argmax(axis=1), z.argmax(axis=1))
    model = fl.fit(fl.mlp((), 3), (X, THREE), epochs=2).model
    assert_close(model.predict_proba(X), special.softmax(model.scores(X).astype(float), axis=1))


def test_row_033_binary_cross_entropy_is_finite_for_a_prediction_of_0():
    score = np.array([-800.0])
    assert special.expit(score) == 0  # the logarithm of the prediction would be -∞
    assert_close(fl.BinaryCrossEntropy()(score, np.ones(1)), np.array([800.0]))
    assert_close(slope(fl.BinaryCrossEntropy(), -800.0, 1.0), -1.0)


REG = 0.3
PENALTIES = {  # the options of fit, and dR/dW
    "L1": ({"l1": REG}, lambda W: REG * np.sign(W)),
    "L2": ({"l2": REG}, lambda W: REG * W),
    "callable": ({"penalties": lambda params: REG * (params["W"] ** 4).sum()}, lambda W: 4 * REG * W**3),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_row_033_a_regulariser_is_added_to_the_mean_loss(name):
    """One step of gradient descent: W - rate · (mean of dL/dW + dR/dW)."""
    options, of_weights = PENALTIES[name]
    fit, start = logistic(optimizer=fl.SGD(0.5), batch_size="full", epochs=1, **options)
    _, gradients = numpy_losses(start.W)
    expected = start.W - 0.5 * (gradients.mean(axis=0)[:, None] + of_weights(start.W))
    assert_close(fit.model.network.W, expected)


def test_row_033_a_regulariser_of_strength_0_is_no_regulariser():
    options = {"epochs": 3, "optimizer": fl.SGD(0.5)}
    plain, _ = logistic(**options)
    for penalties in ([fl.L1(0.0)], [fl.L2(0.0)], [lambda params: 0.0 * (params["W"] ** 4).sum()]):
        assert_close(logistic(penalties=penalties, **options)[0].model.network.W, plain.model.network.W, "exact")


def test_row_034_the_step_takes_the_mean_and_the_sum_has_n_times_its_gradient():
    start = fl.Dense(1).build(fl.spec(X.shape, "float64"), 0)
    target = TWO.astype(float)

    def cost(W, total):
        losses = fl.BinaryCrossEntropy()((X @ W)[:, 0], target)
        return losses.sum() if total else losses.mean()

    of_sum, of_mean = (fl.grad(cost)(start.W, total) for total in (True, False))
    assert_close(of_sum, 70 * of_mean)
    fit, _ = logistic(optimizer=fl.SGD(0.5), batch_size="full", epochs=1)
    assert_close(fit.model.network.W, start.W - 0.5 * of_mean)


def test_row_034_the_average_of_the_batch_losses_over_an_epoch_is_the_loss():
    fit, start = logistic(optimizer=FROZEN, batch_size=14, epochs=1)
    losses, _ = numpy_losses(start.W)
    batches = batch_indices(70, 14, seed=0, epoch=1, shuffle=True)
    assert_close(np.mean([losses[b].mean() for b in batches]), losses.sum() / 70)
    assert_close(fit.history["train_loss"][1], losses.sum() / 70)


def test_row_035_cross_entropy_of_a_one_hot_target():
    scores = np.log(np.array([[0.2, 0.7, 0.1]]))  # their softmax is (.2, .7, .1)
    assert_close(fl.softmax(scores), np.array([[0.2, 0.7, 0.1]]))
    assert_close(fl.CategoricalCrossEntropy()(scores, np.array([1]))[0], 0.3566749439, "printed")


@pytest.mark.parametrize(
    "name, formula",
    [
        ("mse", lambda r: r**2),
        ("mae", np.abs),
        ("huber", lambda r: np.where(np.abs(r) <= 1, r**2 / 2, np.abs(r) - 0.5)),
    ],
)
def test_row_036_losses_of_regression_by_name(name, formula):
    model = fl.fit(fl.mlp(()), (X, NUMBERS), loss=name, epochs=1, precision="float64").model
    residuals = model.predict(X) - NUMBERS
    assert_close(model.loss(model.scores(X), NUMBERS), formula(residuals))
    assert_close(model.evaluate(X, NUMBERS)["loss"], formula(residuals).mean())


def test_row_036_nothing_is_broadcast():
    """A column against a row would give (n, n) differences, and their mean in silence."""
    with pytest.raises(ShapeError, match=r"score \(3, 1\) and target \(3,\) do not fit: nothing is broadcast"):
        fl.SquaredError()(np.ones((3, 1)), np.ones(3))


def test_row_037_score_comes_first_and_swapped_arrays_are_refused():
    score, target = np.array([1.3, -0.2, 4.0]), np.array([1.0, 0.0, 1.0])
    fl.BinaryCrossEntropy()(score, target)
    with pytest.raises(DataError, match=r"is not a probability from 0 to 1: are score and target swapped\?"):
        fl.BinaryCrossEntropy()(target, score)
    with pytest.raises(DataError, match=r"swapped\? The order is \(score, target\)"):
        fl.CategoricalCrossEntropy()(np.eye(3), np.array([0.5, 1.0, 2.0]))
    assert_close(fl.SquaredError()(score, target), fl.SquaredError()(target, score))  # here it does no harm


def test_row_038_the_logistic_loss_of_good_and_bad_predictions():
    good, bad = special.logit(0.99), special.logit(0.01)
    losses = fl.BinaryCrossEntropy()(np.array([good, bad, bad, good]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert [f"{v:.5f}" for v in losses] == ["0.01005", "4.60517", "0.01005", "4.60517"]


def test_row_038_both_branches_are_plotted():
    """Over the predicted probability: -log ŷ for target 1 and -log(1 - ŷ) for target 0."""
    axes = fl.plot_function("bce").axes[0]
    curves = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) > 100]
    assert len(curves) == 2
    for (p, cost), branch in zip((c.T for c in curves), (lambda p: -np.log(p), lambda p: -np.log1p(-p)), strict=True):
        assert_close(cost, branch(p))


def test_row_039_the_cost_is_the_sum_of_losses_over_m():
    fit, start = logistic(epochs=0)
    losses, _ = numpy_losses(start.W)
    assert_close(fit.model.evaluate(X, TWO)["loss"], sum(loss / 70 for loss in losses))
    assert_close(fit.history["train_loss"][0], losses.sum() / 70)


def test_row_040_the_loss_along_one_weight():
    """The curve holds the mean loss with w1 moved and all other weights still."""
    fit, start = logistic(epochs=0)
    axes = fl.plot_loss(fit.model, X, TWO, along="w1").axes[0]
    w1, cost = next(line.get_xydata() for line in axes.lines if len(line.get_xydata()) > 100).T
    assert w1[0] < start.W[0, 0] < w1[-1]
    for at in (0, 57, -1):
        moved = start.W.copy()
        moved[0, 0] = w1[at]
        assert_close(cost[at], numpy_losses(moved)[0].mean())


def test_row_040_the_loss_takes_all_weights_and_gives_one_number():
    """L(w0, w1, w2, w3, w4): better weights have a smaller one."""
    fit, start = logistic(epochs=50, optimizer=fl.SGD(0.5))
    assert fl.count_parameters(start) == 5
    assert fit.model.evaluate(X, TWO)["loss"] < numpy_losses(start.W)[0].mean()
