"""Solvers through fit: the same loop, the same objective as the training step, and the closed form."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, NonFiniteError
from fallline.losses.penalties import L2
from fallline.train import objective as training_objective
from fallline.train.events import EpochEnded
from fallline.train.examples import Examples
from fallline.train.model import Model
from fallline.train.objective import TrainingObjective
from tests.tolerance import TOL, assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
NUMBERS = X @ np.array([1.0, -2.0, 0.5, 3.0]) + 1 + 0.3 * RNG.normal(size=80)
LABELS = X[:, 0] + 0.7 * RNG.normal(size=80) > 0
AS_FLOATS = {"batch_size": "full", "precision": "float64"}


def linear(units=1):
    return fl.Sequential(fl.Dense(units))


def mlp(*, norm=False):
    between = (fl.BatchNorm(),) if norm else ()
    return fl.Sequential(fl.Dense(3), *between, fl.Tanh(), fl.Dense(1))


def objective_of(network, *, y=LABELS, loss=None, penalties=(), weights=None):
    w = np.ones(len(X)) if weights is None else weights
    model = fl.fit(network, (X, y), epochs=0, precision="float64").model
    encoded = np.asarray(y, np.float64)
    return TrainingObjective(Model(model.network, loss or model.loss, model.target), Examples(X, encoded, w), penalties)


def weights_of(fit):
    layer = fit.model.network.layers[-1]
    return np.append(layer.W.ravel(), layer.b)


@pytest.mark.parametrize("norm", [False, True])
def test_the_objective_is_that_of_the_training_step(norm):
    """One full-batch step of gradient descent at rate 1 moves the weights by the objective's gradient."""
    weights = RNG.uniform(0.5, 1.5, 80)
    weights /= weights.mean()
    objective = objective_of(mlp(norm=norm), penalties=(L2(0.1),), weights=weights)
    w = objective.weights
    fit = fl.fit(
        objective.model.network, (X, LABELS), optimizer=fl.SGD(1.0), epochs=1, l2=0.1, sample_weight=weights,
        keep_path=True, **AS_FLOATS,
    )  # fmt: skip
    value, gradient = objective.gradient(w)
    assert_close(fit.path[0] - fit.path[1], gradient)
    assert_close(fit.history["gradient_norm"][1], np.linalg.norm(gradient))
    assert_close(fit.history["train_loss"][1], value - objective.penalty(w))
    assert_close(objective.value(w), value)
    trained = fl.leaves(fit.model.network, "buffer")
    for path, leaf in objective.moved(objective.buffers, w).items():
        assert_close(leaf, trained[path])


def test_the_hessian_of_a_network_is_the_change_of_its_gradient():
    objective = objective_of(mlp())
    w, h = objective.weights, 1e-5
    H = objective.hessian(w)
    for j, unit in enumerate(np.eye(len(w))):
        numeric = (objective.gradient(w + h * unit)[1] - objective.gradient(w - h * unit)[1]) / (2 * h)
        assert_close(H[j], numeric, "second")


def test_newton_needs_one_epoch_for_linear_regression():
    fit = fl.fit(linear(), (X, NUMBERS), optimizer="newton")
    assert len(fit.history) == 2
    assert_close(weights_of(fit), np.linalg.lstsq(np.column_stack([X, np.ones(80)]), NUMBERS, rcond=None)[0])


def test_newton_brings_the_gradient_of_logistic_regression_to_1e_10_in_fewer_than_15_epochs():
    fit = fl.fit(linear(), (X, LABELS), optimizer="newton")
    assert fit.history[-1]["gradient_norm"] <= TOL["run"]
    assert len(fit.history) - 1 < 15
    assert "within the tolerance" in fit.reason
    p = 1 / (1 + np.exp(-fit.model.scores(X)))
    assert np.abs(np.column_stack([X, np.ones(80)]).T @ (p - LABELS)).max() < 80 * TOL["run"]


def test_newton_never_lets_the_objective_rise_also_where_it_is_not_convex():
    fit = fl.fit(mlp(), (X, LABELS), optimizer="newton", epochs=30, l2=0.01)
    assert (np.diff(fit.history["objective"]) <= TOL["f64"]).all()
    assert fit.history["objective"][-1] < fit.history["objective"][0]
    assert_close(fit.history["objective"][0] - fit.history["train_loss"][0], 0.005 * penalised_squares(mlp()))


def penalised_squares(recipe):
    network = fl.fit(recipe, (X, LABELS), epochs=0, precision="float64").model.network
    return sum(float((leaf**2).sum()) for leaf in fl.leaves(network, "param").values() if leaf.ndim > 1)


def test_three_classes_have_a_flat_direction_and_newton_does_not_mind():
    classes = np.digitize(X[:, 0] + X[:, 1] * 0.5 + 0.5 * RNG.normal(size=80), [-0.5, 0.5])
    fit = fl.fit(linear(3), (X, classes), optimizer="newton", epochs=30)
    assert fit.history[-1]["gradient_norm"] < TOL["step"]


def test_precision_follows_the_method_unless_it_is_given():
    for options, dtype in (({"optimizer": "newton"}, "float64"), ({"optimizer": "sgd"}, "float32"),
                           ({"optimizer": "newton", "precision": "float32"}, "float32")):  # fmt: skip
        fit = fl.fit(linear(), (X, NUMBERS), epochs=3, **options)
        assert fit.model.dtype == np.dtype(dtype)
    assert_close(
        fit.history["train_loss"][-1], fl.fit(linear(), (X, NUMBERS), solver="exact").history["train_loss"][-1], "f32"
    )


def test_the_best_validation_weights_are_kept_and_early_stopping_stops():
    wide = fl.Sequential(fl.Dense(30), fl.Tanh(), fl.Dense(1))
    fit = fl.fit(wide, (X, LABELS), optimizer="newton", validation=0.4, early_stopping=3, epochs=60)
    losses = fit.history["validation_loss"]
    assert fit.best_epoch == np.argmin(losses)
    assert "has not improved for 3 epochs" in fit.reason
    assert len(fit.history) - 1 == fit.best_epoch + 3


def test_callbacks_and_ctrl_c_work_as_ever():
    def stop(event):
        return fl.Stop("enough") if isinstance(event, EpochEnded) and event.row["epoch"] == 2 else None

    assert fl.fit(linear(), (X, NUMBERS), optimizer="random", callbacks=[stop]).reason == "enough"

    def interrupt(event):
        if isinstance(event, EpochEnded) and event.row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    fit = fl.fit(linear(), (X, NUMBERS), optimizer="random", callbacks=[interrupt])
    assert fit.reason == "interrupted"
    assert len(fit.history) == 3


def test_the_same_seed_searches_the_same_way():
    paths = [
        fl.fit(linear(), (X, NUMBERS), optimizer="random", epochs=3, seed=s, keep_path=True).path for s in (1, 1, 2)
    ]
    assert_close(paths[0], paths[1], "exact")
    assert np.abs(paths[0] - paths[2]).max() > 0


def test_a_step_function_is_no_hindrance_to_random_search():
    fit = fl.fit(
        fl.Sequential(fl.Dense(1), fl.Heaviside()), (X, LABELS * 1.0), loss="mse", optimizer="random(0.5)", epochs=4
    )
    assert fit.history["train_loss"][-1] < fit.history["train_loss"][0]


REFUSED = {
    r"draws random numbers \(Dropout\).*leave it out": ({"optimizer": "newton"}, (fl.Dropout(0.2), fl.Dense(1))),
    r"2,401 weights.*take fewer than 2,000": ({"optimizer": "newton"}, (fl.Dense(400), fl.Tanh(), fl.Dense(1))),
    r"optimizer='sgd' and solver='exact': a solver takes": ({"optimizer": "sgd", "solver": "exact"}, (fl.Dense(1),)),
    r"no solver is called 'newtn': did you mean 'Newton'": ({"solver": "newtn"}, (fl.Dense(1),)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_solver_cannot_do_is_refused_in_one_line(words):
    options, layers = REFUSED[words]
    with pytest.raises(fl.FalllineError, match=words) as caught:
        fl.fit(fl.Sequential(*layers), (X, NUMBERS), **options)
    assert "\n" not in str(caught.value)


def test_a_start_without_a_finite_loss_says_so():
    network = linear().build(fl.spec((2, 4), "float64"), 0)
    broken = fl.with_leaves(network, {"layers.0.b": np.array([np.nan])})
    with pytest.raises(NonFiniteError, match="the loss of the starting weights is not finite"):
        fl.fit(broken, (X, NUMBERS), optimizer="newton")


# The ladder of methods, on the same model and data.

LADDER = ("lbfgs", "newton_cg", "levenberg_marquardt", "newton", "coordinate_descent", "fista", "augmented_lagrangian")
LINE = np.linspace(-1, 1, 20)[:, None]


@pytest.mark.parametrize("optimizer", ["lbfgs", "newton_cg", "levenberg_marquardt"])
def test_row_111_second_order_methods_recover_a_line_in_fewer_than_20_iterations(optimizer):
    """y = 2x + 1 (row 67) to a loss of 1e-8."""
    fit = fl.fit(linear(), (LINE, 2 * LINE[:, 0] + 1), optimizer=optimizer, epochs=19)
    assert fit.history["train_loss"].min() <= TOL["step"]
    assert_close(weights_of(fit), [2.0, 1.0], "fit")


def test_row_84_the_slope_of_the_loss_is_0_at_the_minimum_and_for_an_mlp_only_steps_lead_there():
    fit = fl.fit(linear(), (LINE, 2 * LINE[:, 0] + 1), solver="exact")
    assert fit.history[-1]["gradient_norm"] < TOL["step"]
    with pytest.raises(ConfigError, match="no explicit solution: dL/dW = 0 cannot be solved for W"):
        fl.fit(mlp(), (LINE, 2 * LINE[:, 0] + 1), solver="exact")


@pytest.mark.parametrize("optimizer", LADDER)
def test_every_solver_finds_the_optimum_of_logistic_regression(optimizer):
    fit = fl.fit(linear(), (X, LABELS), optimizer=optimizer, l2=0.05, epochs=400)
    best = fl.fit(linear(), (X, LABELS), optimizer="newton", l2=0.05)
    assert fit.ended == "solved"
    assert_close(fit.history["objective"][-1], best.history["objective"][-1], "run")
    assert_close(weights_of(fit), weights_of(best), "library")
    row = fit.history[-1]
    kinds = ("function_evaluations", "gradient_evaluations", "hessian_products")
    assert row["evaluations"] == sum(row.get(kind, 0) for kind in kinds)
    assert row["gradient_evaluations"] > 0


@pytest.mark.parametrize("optimizer", ["fista", "coordinate_descent", "lbfgs"])
def test_l1_logistic_regression_is_that_of_scikit_learn_zeros_included(optimizer):
    """Their C Σ L + |w| is our mean loss + |w| / (C n), the bias free."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    wide = np.column_stack([X, RNG.normal(size=(80, 4))])
    fit = fl.fit(linear(), (wide, LABELS), optimizer=optimizer, l1=0.05, epochs=2000)
    theirs = linear_model.LogisticRegression(
        l1_ratio=1.0, C=1 / (0.05 * 80), solver="saga", tol=1e-10, max_iter=100_000
    )
    theirs.fit(wide, LABELS)
    w = weights_of(fit)
    assert_close(w, [*theirs.coef_[0], *theirs.intercept_], "library")
    assert ((w[:-1] == 0) == (theirs.coef_[0] == 0)).all()
    assert 0 < np.count_nonzero(w) < 9


def test_constraints_through_fit_see_the_weights_by_path():
    """Weights that must not be negative, as scikit-learn's positive=True has them."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    solver = fl.AugmentedLagrangian([fl.AtLeast(lambda w: w["layers.0.W"], 0.0)])
    fit = fl.fit(linear(), (X, NUMBERS), optimizer=solver)
    theirs = linear_model.LinearRegression(positive=True).fit(X, NUMBERS)
    assert fit.ended == "solved"
    assert_close(weights_of(fit), [*theirs.coef_, theirs.intercept_], "library")
    assert fit.history[-1]["violation"] <= TOL["step"]


@pytest.mark.parametrize("loss", [fl.BinaryCrossEntropy(), fl.SquaredError(), fl.Huber(0.3)], ids=repr)
def test_the_gauss_newton_product_leaves_the_curvature_of_the_network_out(loss):
    """J ᵀ H_L J with the Jacobian by differences; of a network that is linear in its weights it is the Hessian."""
    objective = objective_of(mlp(), loss=loss, penalties=(L2(0.1),))
    w, h, d = objective.weights, 1e-6, RNG.normal(size=len(objective.weights))
    model = objective.model

    def scores(v):
        return np.asarray(fl.with_leaves(model.network, objective.leaves_at(v, {}))(X))[:, 0]

    J = np.column_stack([(scores(w + h * e) - scores(w - h * e)) / (2 * h) for e in np.eye(len(w))])
    _, curvature = fl.jvp(lambda s: fl.grad(lambda s: fl.sum(loss(s, LABELS * 1.0)))(s), (scores(w),), (np.ones(80),))
    penalised = np.concatenate([np.full(leaf.size, 0.1 * (leaf.ndim > 1)) for leaf in objective.params.values()])
    assert_close(objective.gauss_newton(w, d), J.T @ (curvature * (J @ d)) / 80 + penalised * d, "second")
    linear_one = objective_of(linear(), penalties=(L2(0.1),))
    v = RNG.normal(size=5)
    assert_close(linear_one.gauss_newton(linear_one.weights, v), linear_one.hvp(linear_one.weights, v))


@pytest.mark.parametrize("penalties", [(), (L2(0.1),)])
def test_rows_in_chunks_give_the_objective_of_all_rows(monkeypatch, penalties):
    whole, w, d = objective_of(mlp(), penalties=penalties), None, RNG.normal(size=19)
    w = whole.weights
    monkeypatch.setattr(training_objective, "CHUNK", 1)
    monkeypatch.setattr(training_objective, "FEWEST_ROWS", 30)
    parts = objective_of(whole.model.network, penalties=penalties)
    assert [len(rows) for rows in parts._chunks(False)] == [30, 30, 20]
    for found, expected in zip(parts.gradient(w), whole.gradient(w), strict=True):
        assert_close(found, expected)
    assert_close(parts.value(w), whole.value(w))
    assert_close(parts.hvp(w, d), whole.hvp(w, d))
    assert_close(parts.gauss_newton(w, d), whole.gauss_newton(w, d))
    normed = objective_of(mlp(norm=True))
    assert len(normed._chunks(False)) == 1, "batch norm needs the statistics of all rows"


# The closed form.


def test_it_is_ridge_regression_with_free_bias_under_l2_and_weights():
    w = RNG.uniform(0.2, 3.0, 80)
    fit = fl.fit(linear(), (X, NUMBERS), solver="exact", l2=0.3, sample_weight=w)
    A, v = np.column_stack([X, np.ones(80)]), w / w.sum()
    penalty = 0.15 * np.diag([1.0, 1.0, 1.0, 1.0, 0.0])
    assert_close(weights_of(fit), np.linalg.solve(A.T @ (v[:, None] * A) + penalty, A.T @ (v * NUMBERS)))
    assert_close(fit.history[-1]["gradient_norm"], 0.0, "step")


def test_a_row_of_weight_two_is_the_row_twice():
    w = np.ones(80)
    w[:7] = 2.0
    weighted = fl.fit(linear(), (X, NUMBERS), solver="exact", sample_weight=w)
    twice = np.r_[np.arange(80), np.arange(7)]
    assert_close(weights_of(weighted), weights_of(fl.fit(linear(), (X[twice], NUMBERS[twice]), solver="exact")))


def test_several_targets_have_their_solutions_side_by_side():
    both = np.column_stack([NUMBERS, X[:, 0] ** 2])
    fit = fl.fit(linear(2), (X, both), solver="exact")
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(80)]), both, rcond=None)[0]
    assert_close(fit.model.network.layers[0].W, expected[:4])
    assert_close(fit.model.network.layers[0].b, expected[4])


def test_of_many_solutions_it_is_the_shortest():
    wide = np.column_stack([X, X[:, :2] + X[:, 2:]])
    fit = fl.fit(linear(), (wide, NUMBERS), solver="exact")
    assert_close(weights_of(fit), np.linalg.pinv(np.column_stack([wide, np.ones(80)])) @ NUMBERS)
    few = fl.fit(linear(), (X[:3], NUMBERS[:3]), solver="exact")
    assert_close(weights_of(few), np.linalg.pinv(np.column_stack([X[:3], np.ones(3)])) @ NUMBERS[:3])
    assert_close(few.model.predict(X[:3]), NUMBERS[:3])


@pytest.mark.parametrize("features", [fl.PolynomialFeatures(3), fl.RandomFourier(20)])
def test_fixed_features_before_the_last_layer_keep_the_closed_form(features):
    fit = fl.fit(fl.Sequential(features, fl.Dense(1)), (X[:, :1], NUMBERS), solver="exact", l2=1e-3)
    assert_close(fit.history[-1]["gradient_norm"], 0.0, "step")
    φ = fit.model.features(X[:, :1])
    A = np.column_stack([φ, np.ones(80)])
    penalty = 5e-4 * np.diag([1.0] * φ.shape[1] + [0.0])
    assert_close(weights_of(fit), np.linalg.solve(A.T @ A / 80 + penalty, A.T @ NUMBERS / 80), "step")


def test_rows_go_through_in_chunks_without_changing_the_solution(monkeypatch):
    whole = weights_of(fl.fit(linear(), (X, NUMBERS), solver="exact", l2=0.1))
    monkeypatch.setattr("fallline.train.closed_form.ENTRIES", 60)
    assert_close(weights_of(fl.fit(linear(), (X, NUMBERS), solver="exact", l2=0.1)), whole)


def test_the_solution_is_found_in_float64_also_for_a_float32_network():
    fit = fl.fit(linear(), (X, NUMBERS), solver="exact", precision="float32")
    exact = fl.fit(linear(), (X, NUMBERS), solver="exact")
    assert fit.model.dtype == np.float32
    assert_close(weights_of(fit), weights_of(exact).astype(np.float32), "f32")


@pytest.mark.parametrize(
    "network, options, words",
    [
        (mlp(), {}, r"no explicit solution: dL/dW = 0 cannot be solved for W.*depends on layers\.\d\.W"),
        (fl.Sequential(fl.Dense(2), fl.Dense(1)), {}, "not linear in its weights"),
        (linear(), {"loss": "mae"}, r"no closed form for AbsoluteError\(\): only the squared error"),
        (linear(), {"l1": 0.1}, r"no closed form with the penalty L1\(strength=0.1\), only with L2"),
        (fl.Sequential(fl.Dropout(0.1), fl.Dense(1)), {}, "draws random numbers"),
        # Their derivative is the same everywhere, as that of something linear.
        (fl.Sequential(fl.Dense(1), lambda z: z + fl.sign(z)), {}, r"not linear in its weights \(at random weights"),
        (fl.Sequential(fl.Dense(1), lambda z: z + fl.stop_gradient(z) ** 2), {}, r"not linear.*\(at random weights"),
    ],
)
def test_everything_else_has_no_closed_form_and_the_error_says_why(network, options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        fl.fit(network, (X, NUMBERS), **{"loss": "mse", "solver": "exact", "strict": False} | options)
    assert "\n" not in str(caught.value)


def test_classes_have_no_closed_form():
    with pytest.raises(ConfigError, match="no closed form for BinaryCrossEntropy"):
        fl.fit(linear(), (X, LABELS), solver="exact")


def test_epoch_0_is_the_untrained_network_with_its_running_statistics_too():
    network = fl.Sequential(fl.Dense(3), fl.BatchNorm(), fl.Tanh(), fl.Dense(1))
    for optimizer in ("newton", "sgd"):
        norm = fl.fit(network, (X + 5, LABELS), optimizer=optimizer, epochs=0).model.network.layers[1]
        assert_close(norm.mean, np.zeros(3), "exact")
        assert_close(norm.var, np.ones(3), "exact")


def test_running_statistics_move_once_an_epoch_however_often_the_objective_is_asked():
    objective = objective_of(mlp(norm=fl.BatchNorm()))
    w, before = objective.weights, objective.buffers
    once = objective.moved(before, w)
    for _ in range(2):
        objective.leaves_at(w, before)
        assert {path: leaf.tobytes() for path, leaf in objective.moved(before, w).items()} == {
            path: leaf.tobytes() for path, leaf in once.items()
        }
    assert any(np.any(leaf != before[path]) for path, leaf in once.items())
