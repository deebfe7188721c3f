"""diagnose: each check finds its broken model and says so with numbers; sound models pass in silence."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from fallline.explain.diagnosis.case import Case
from fallline.explain.diagnosis.diagnose import CHECKS
from fallline.explain.diagnosis.subject import subject_of
from fallline.train.history import History
from fallline.train.tabular import TableOptions, prepare
from fallline.train.trainer import Fit
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 5))
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
NUMBERS = X @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + 1


def filled(network, x=X):
    return network.build(fl.spec(x[:2].shape, "float64"), 0)


def with_history(train, validation=None, *, best=-1, reason="", ended="epochs", rate=0.1):
    """A fit with these losses; what the network is does not matter."""
    rows = [
        {"epoch": i, "learning_rate": rate, "train_loss": t, **({} if validation is None else {"validation_loss": v})}
        for i, (t, v) in enumerate(zip(train, validation or train, strict=True))
    ]
    model = fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), epochs=0).model
    epochs = len(rows) - 1
    return Fit(model, History(rows), reason or f"all {epochs} epochs are done", epochs if best < 0 else best, ended)


def by_heart():
    x, y = RNG.normal(size=(40, 10)), RNG.integers(0, 2, 40)
    return fl.fit(fl.mlp((1000,)), (x, y), validation=0.5, epochs=40)


def vanishing():
    return fl.diagnose(filled(fl.mlp((20,) * 10, activation="sigmoid")), (X, Y))


def test_one_cause_is_one_finding():
    step = filled(fl.mlp((4, 4), activation="heaviside"))
    assert fl.diagnose(step, (X, Y)).names == ["step function"]
    tanh = filled(fl.mlp((16,), activation="tanh"))
    stuck = fl.with_leaves(tanh, {"layers.0.b": np.full(16, 1000.0)})  # a slope of exactly 0 on every row
    assert fl.diagnose(stuck, (X, Y)).names == ["saturation"]


SOUND = {
    "ten layers of ReLU": {},
    "ten layers of tanh": {"activation": "tanh"},
    "ten layers of sigmoid with norm": {"activation": "sigmoid", "norm": "batch"},
}


@pytest.mark.parametrize("name", SOUND)
def test_an_untrained_network_is_judged_by_its_layers_alone(name):
    found = fl.diagnose(filled(fl.mlp((20,) * 10, **SOUND[name])), (X, Y))
    assert not found
    assert "nothing is wrong, as far as could be seen" in str(found)
    assert "underfit" in found.unseen


# Histories.


@pytest.mark.parametrize(
    "train, validation, options, names",
    [
        ([1.0, 0.5, 0.6, 0.7, 0.8], None, {}, ["loss rises"]),
        ([1.0, 0.5, 0.6, 0.7], None, {}, []),  # two rises
        ([1.0, 0.5, 0.505, 0.51, 0.515], None, {}, []),  # small ones
        ([1.0, 1e-4, 2e-4, 4e-4, 8e-4], None, {}, []),  # small beside what was gained
        ([1.0, 2.0, 4.0, 8.0], None, {}, ["learning rate too high"]),
        (
            [1.0, 0.9, 0.8],
            None,
            {"reason": "the loss is not finite in epoch 3", "ended": "failed"},
            ["learning rate too high"],
        ),
        ([0.7, 0.3, 0.1, 0.01], [0.7, 0.5, 0.6, 0.9], {"best": 1}, ["overfit"]),  # went on too long
        ([0.7, 0.5, 0.1], [0.7, 0.6, 0.6], {}, ["overfit"]),  # most of the gain is not there
        ([0.7, 0.5, 0.4], [0.7, 0.55, 0.5], {}, []),
        (
            [0.7, 0.5, 0.3, 0.1],
            [0.7, 0.5, 0.6, 0.9],
            {"best": 1, "reason": "it has not improved", "ended": "stopped"},
            [],
        ),
        ([9.0, 0.5], [3.0, 0.6], {}, []),  # the parts begin with different losses
        ([0.70, 0.69], [0.70, 0.70], {}, []),  # nothing to learn
        ([0.7, 0.3, 0.01], [0.7, 0.4, float("nan")], {"best": 1}, []),
    ],
)
def test_what_a_history_tells(train, validation, options, names):
    assert fl.diagnose(with_history(train, validation, **options)).names == names


def test_the_report_prints_train_validation_and_gap():
    found = fl.diagnose(with_history([0.7, 0.4, 0.3], [0.7, 0.5, 0.45]))
    told = dict(found.about)
    assert [told[k] for k in ("train loss", "validation loss", "gap")] == ["0.3", "0.45", "0.15"]
    for words in ("train loss", "validation loss", "gap"):
        assert words in str(found)


# Numbers.


def test_the_largest_curvature_is_that_of_the_hessian():
    """J = mean (X w + b - y)²: the Hessian is 2/n [X 1]ᵀ[X 1]."""
    case = Case(subject_of(filled(fl.Sequential(fl.Dense(1))), X, NUMBERS))
    design = np.c_[X, np.ones(len(X))]
    largest = np.linalg.eigvalsh(2 / len(X) * design.T @ design)[-1]
    assert_close(case.largest_curvature, largest, "fit")
    assert Case(subject_of(filled(fl.mlp((3,))), X, NUMBERS)).largest_curvature is None
    assert Case(subject_of(filled(fl.Sequential(fl.Dense(1))), X, Y)).largest_curvature is None


def test_a_rate_above_two_over_the_curvature_is_told_with_the_limit():
    design = np.c_[X, np.ones(len(X))]
    limit = 2 / np.linalg.eigvalsh(2 / len(X) * design.T @ design)[-1]
    for factor, names in ((0.98, []), (1.1, ["learning rate too high"])):
        options = {"optimizer": fl.SGD(factor * limit), "batch_size": "full", "epochs": 60, "precision": "float64"}
        found = fl.diagnose(fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), **options), (X, NUMBERS))
        assert found.names == names
    told = dict(found[0].evidence[0])
    assert_close(float(told["gradient descent falls below 2/L_max"]), limit, "fit")


PENALISED = {
    "l2": ({"l2": 20.0}, 20.0),
    "l1 has no curvature": ({"l1": 0.1, "l2": 3.0}, 3.0),
    "l2 on the bias alone": ({"penalties": [fl.L2(7.0, where="*.b")]}, 0.0),
    "weights of rows": ({"sample_weight": 0.05 + 3 * (X[:, 0] > 1)}, 0.0),
}


@pytest.mark.parametrize("name", PENALISED)
def test_the_limit_is_that_of_the_cost_with_its_penalties_and_weights(name):
    """J = Σ v (X w + b - y)² / Σ v + l2/2 Σ w²: the Hessian is 2 [X 1]ᵀ diag(v) [X 1] / Σ v, and l2 on its diagonal."""
    options, strength = PENALISED[name]
    v = options.get("sample_weight", np.ones(len(X)))
    design, ridge = np.c_[X, np.ones(len(X))], np.array([strength] * 5 + [7.0 * ("bias" in name)])
    limit = 2 / np.linalg.eigvalsh(2 / v.sum() * design.T @ (v[:, None] * design) + np.diag(ridge))[-1]
    bare = 2 / np.linalg.eigvalsh(2 / len(X) * design.T @ design)[-1]
    assert limit < 0.95 * bare
    for factor, names in ((0.97, []), (1.03, ["learning rate too high"])):
        settings = {"optimizer": fl.SGD(factor * limit), "batch_size": "full", "epochs": 200, "precision": "float64"}
        fit = fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), **settings, **options)
        found = fl.diagnose(fit, (X, NUMBERS))
        assert ("learning rate too high" in found.names) == bool(names)
    told = dict(found[0].evidence[0])
    assert_close(float(told["gradient descent falls below 2/L_max"]), limit, "fit")


def test_no_limit_above_the_rate_that_diverged():
    """Steps on single rows diverge far below the limit of steps on all rows; weights of other rows tell none."""
    found = fl.diagnose(with_history([1.0, 2.0, 4.0, 8.0], rate=0.01), (X, NUMBERS))
    assert found.names == ["learning rate too high"]
    assert "2/L_max" not in str(found)
    assert "by a factor of 10" in found[0].cure
    settings = {"optimizer": fl.SGD(2.0), "batch_size": "full", "epochs": 10, "sample_weight": 1 + (X[:, 0] > 1)}
    weighted = fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), **settings)
    assert "2/L_max" in str(fl.diagnose(weighted, (X, NUMBERS)))
    assert "2/L_max" not in str(fl.diagnose(weighted, (X[:50], NUMBERS[:50])))


def test_features_keep_the_curvature_and_batch_norm_does_not():
    """Scores that are linear in the weights: behind RandomFourier they are, behind the statistics of a batch not."""
    network = filled(fl.Sequential(fl.RandomFourier(7), fl.Dense(1)))
    design = np.c_[network.layers[0](X), np.ones(len(X))]
    largest = np.linalg.eigvalsh(2 / len(X) * design.T @ design)[-1]
    assert_close(Case(subject_of(network, X, NUMBERS)).largest_curvature, largest, "fit")
    normed = filled(fl.Sequential(fl.BatchNorm(), fl.Dense(1)))
    assert Case(subject_of(normed, X, NUMBERS)).largest_curvature is None


def test_values_beyond_all_bounds_are_a_finding():
    options = {"optimizer": fl.SGD(0.5), "batch_size": "full"}
    with pytest.warns(RuntimeWarning, match="not finite"):
        fit = fl.fit(fl.Sequential(fl.Dense(1)), (1000 * X, NUMBERS), **options)
    found = fl.diagnose(fit, (1000 * X, NUMBERS))
    assert found.names == ["inputs not scaled"]
    assert found[0].explains[0] == "learning rate too high (training)"
    found = fl.diagnose(fit)
    assert found.names == ["learning rate too high"]
    assert "diverged" in found[0].verdict


# What is given.


def test_what_could_not_be_looked_at_is_listed():
    found = fl.diagnose(filled(fl.mlp((4,))))
    assert found.checked == 2
    assert set(found.unseen) == {check.name for check in CHECKS} - {"equals one linear layer", "identical units"}
    text = found.text(80)
    assert "That needs rows with targets: diagnose(fit, (X, y))." in " ".join(text.split())
    assert "2 checks were made." in text


def test_a_fitted_table_is_taken_with_its_targets():
    run = prepare(fl.read_table("wine"), None, TableOptions(epochs=100)).train()
    found = fl.diagnose(run.fit, fl.read_table("wine"))
    assert found.names == []
    assert set(found.unseen) == {"no gain over a linear model"}  # the split of a table is not that of fl.fit


def test_the_page_holds_the_findings():
    found = vanishing()
    assert "<h2>1. vanishing gradients (layers.0)</h2>" in found.html
    assert "Gradients, from the first layer to the last" in found.html
    assert repr(found) == str(found)


def test_what_cannot_be_diagnosed_is_refused():
    with pytest.raises(ConfigError, match=r"diagnose takes what fl\.fit returns, a model or a filled network"):
        fl.diagnose(X)
    with pytest.raises(ConfigError, match="there is no finding 'overfitted': did you mean 'overfit'"):
        fl.diagnose(by_heart())["overfitted"]
    with pytest.raises(DataError, match=r"one pair: diagnose\(fit, \(X, y\)\)"):
        fl.diagnose(filled(fl.mlp((4,))), X, Y)


def test_the_words_of_a_callback_are_no_evidence():
    """Stopped in time with the best weights kept, whatever the callback calls it."""
    losses = [1.0, 0.6, 0.3, 0.1], [1.0, 0.7, 0.5, 0.9]
    for reason in ("all good", "enough", "the loss is not finite in my view"):
        fit = with_history(*losses, best=2, reason=reason, ended="stopped")
        assert overfit_or_diverged(fit) == []
    assert overfit_or_diverged(with_history(*losses, best=2)) == ["overfit"]
    assert overfit_or_diverged(with_history(*losses, best=2, ended="failed")) == ["learning rate too high"]


def overfit_or_diverged(fit):
    return [name for name in fl.diagnose(fit).names if name in ("overfit", "learning rate too high")]


def test_a_network_of_numbers_and_codes_is_diagnosed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2)), np.stack([rng.integers(0, 3, 50), rng.integers(0, 4, 50)], axis=1)
    fit = fl.fit(fl.Sequential(fl.ColumnEmbedding((3, 4), (2, 2)), fl.Dense(1)), (X, rng.integers(0, 2, 50)), epochs=2)
    assert not fl.diagnose(fit, (X, None))
