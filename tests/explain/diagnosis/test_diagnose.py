"""diagnose: each check finds its broken model and says so with numbers; sound models pass in silence."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.explain.diagnosis.diagnose import CHECKS
from fallline.explain.diagnosis.finding import Case
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


# Broken models: the finding that each must give, and nothing else.


def diverging():
    options = {"optimizer": fl.SGD(1.5), "batch_size": "full", "epochs": 10}
    return fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), **options), X, NUMBERS


def by_heart():
    x, y = RNG.normal(size=(40, 10)), RNG.integers(0, 2, 40)
    return (fl.fit(fl.mlp((1000,)), (x, y), validation=0.5, epochs=40),)


def collapsed():
    return fl.fit(fl.mlp((8, 8), activation="linear"), (X, NUMBERS), epochs=1), X, NUMBERS


def dying():
    network = filled(fl.mlp((16,)))
    return fl.with_leaves(network, {"layers.0.b": np.full(16, -20.0)}), X, Y


def unscaled():
    return fl.fit(fl.mlp((32,), activation="tanh"), (1000 * X, Y), epochs=1), 1000 * X, Y


def squared():
    y = Y.astype(float)
    return fl.fit(fl.Sequential(fl.Dense(1), fl.Sigmoid()), (X, y), loss="mse", epochs=1, strict=False), X, y


BROKEN = {
    "learning rate too high": diverging,
    "loss rises": lambda: (with_history([1.0, 0.5, 0.3, 0.35, 0.4, 0.5, 0.4]),),
    "overfit": by_heart,
    "squared error of a probability": squared,
    "equals one linear layer": collapsed,
    "dead units": dying,
    "vanishing gradients": lambda: (filled(fl.mlp((20,) * 10, activation="sigmoid")), X, Y),
    "saturation": unscaled,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_found_out(name):
    found = fl.diagnose(*BROKEN[name]())
    assert found.names == [name]
    assert len(found) == 1
    assert found
    finding = found[name]
    assert found[0] is finding
    text = found.text(80)
    assert all(len(line) <= 80 for line in text.splitlines())
    for part in (f"1. {name}", finding.verdict[:20], f"Cure: {finding.cure[:20]}"):
        assert part in text
    assert finding.evidence


def test_one_cause_is_one_finding():
    step = filled(fl.mlp((4, 4), activation="heaviside"))
    assert fl.diagnose(step, X, Y).names == ["step function"]
    tanh = filled(fl.mlp((16,), activation="tanh"))
    stuck = fl.with_leaves(tanh, {"layers.0.b": np.full(16, 1000.0)})  # a slope of exactly 0 on every row
    assert fl.diagnose(stuck, X, Y).names == ["saturation"]


def test_every_check_has_a_broken_model():
    names = {"squared error of a probability": "network and loss"}
    assert {names.get(name, name) for name in BROKEN} == {check.name for check in CHECKS}


# Sound models.


def scaled(load):
    data = load()
    return StandardScaler().fit_transform(data.data), data.target


def tanh_and_hinge():
    y = np.where(X[:, 0] * X[:, 1] > 0, 1, -1)
    network = fl.Sequential(fl.Dense(8), fl.Tanh(), fl.Dense(1), fl.Tanh())
    return fl.fit(network, (X, y), loss="hinge", epochs=60, optimizer=fl.Adam(0.01)), X, y


def stopped_in_time():
    x, y = scaled(datasets.load_breast_cancer)
    return fl.fit(fl.mlp((32,), dropout=0.1), (x, y), validation=0.2, early_stopping=10), x, y


def many_classes():
    x, y = scaled(datasets.load_wine)
    return fl.fit(fl.mlp((32,), 3), (x, y), validation=0.2, epochs=60), x, y


def regression():
    x, y = scaled(datasets.load_diabetes)
    return fl.fit(fl.mlp((32,)), (x, y), validation=0.2, epochs=100, optimizer=fl.Adam(0.01)), x, y


def single_rows():
    y = NUMBERS + RNG.normal(size=len(X))
    options = {"batch_size": 1, "epochs": 20, "validation": 0.2}
    return fl.fit(fl.Sequential(fl.Dense(1)), (X, y), optimizer=fl.SGD(0.01), **options), X, y


def nothing_to_learn():
    y = RNG.integers(0, 2, len(X))
    return fl.fit(fl.mlp((4,)), (X, y), epochs=40, validation=0.2, early_stopping=10), X, y


def descent_below_the_limit():
    options = {"optimizer": fl.SGD(0.1), "batch_size": "full", "epochs": 30}
    return fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), **options), X, NUMBERS


SOUND = {
    "logistic regression": lambda: (fl.fit(fl.mlp(()), (X, Y), epochs=20, validation=0.2), X, Y),
    "linear regression in closed form": lambda: (fl.fit(fl.mlp(()), (X, NUMBERS), solver="exact"), X, NUMBERS),
    "gradient descent": descent_below_the_limit,
    "stopped in time": stopped_in_time,
    "three classes": many_classes,
    "regression in the target's unit": regression,
    "tanh and hinge": tanh_and_hinge,
    "ten layers of ReLU": lambda: (filled(fl.mlp((20,) * 10)), X, Y),
    "ten layers of tanh": lambda: (filled(fl.mlp((20,) * 10, activation="tanh")), X, Y),
    "ten layers of sigmoid with norm": lambda: (filled(fl.mlp((20,) * 10, activation="sigmoid", norm="batch")), X, Y),
    "stochastic gradient descent": single_rows,
    "nothing to learn": nothing_to_learn,
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_model_passes_in_silence(name):
    found = fl.diagnose(*SOUND[name]())
    assert found.names == []
    assert not found
    assert "nothing is wrong, as far as could be seen" in str(found)


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
        found = fl.diagnose(fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), **options), X, NUMBERS)
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
        found = fl.diagnose(fit, X, NUMBERS)
        assert found.names == names
    told = dict(found[0].evidence[0])
    assert_close(float(told["gradient descent falls below 2/L_max"]), limit, "fit")


def test_no_limit_above_the_rate_that_diverged():
    """Steps on single rows diverge far below the limit of steps on all rows; weights of other rows tell none."""
    found = fl.diagnose(with_history([1.0, 2.0, 4.0, 8.0], rate=0.01), X, NUMBERS)
    assert found.names == ["learning rate too high"]
    assert "2/L_max" not in str(found)
    assert "by a factor of 10" in found[0].cure
    settings = {"optimizer": fl.SGD(2.0), "batch_size": "full", "epochs": 10, "sample_weight": 1 + (X[:, 0] > 1)}
    weighted = fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), **settings)
    assert "2/L_max" in str(fl.diagnose(weighted, X, NUMBERS))
    assert "2/L_max" not in str(fl.diagnose(weighted, X[:50], NUMBERS[:50]))


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
    found = fl.diagnose(fit, 1000 * X, NUMBERS)
    assert found.names == ["learning rate too high"]
    assert "diverged" in found[0].verdict


# What is given.


def test_what_could_not_be_looked_at_is_listed():
    found = fl.diagnose(filled(fl.mlp((4,))))
    assert found.checked == 1
    assert set(found.unseen) == {check.name for check in CHECKS} - {"equals one linear layer"}
    text = found.text(80)
    assert "Not looked for: vanishing gradients. That needs rows with targets: diagnose(fit, X, y)." in " ".join(
        text.split()
    )
    assert "1 check was made." in text


def test_a_fitted_table_is_taken_with_its_targets():
    run = prepare(fl.read_table("iris"), None, TableOptions(epochs=30)).train()
    found = fl.diagnose(run.fit, fl.read_table("iris"))
    assert found.names == []
    assert found.unseen == {}


def test_the_page_holds_the_findings():
    found = fl.diagnose(*BROKEN["vanishing gradients"]())
    assert "<h2>1. vanishing gradients</h2>" in found.html
    assert "Gradients, from the first layer to the last" in found.html
    assert repr(found) == str(found)


def test_what_cannot_be_diagnosed_is_refused():
    with pytest.raises(ConfigError, match=r"diagnose takes what fl\.fit returns, a model or a filled network"):
        fl.diagnose(X)
    with pytest.raises(ConfigError, match="there is no finding 'overfitted': did you mean 'overfit'"):
        fl.diagnose(*BROKEN["overfit"]())["overfitted"]


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
    assert not fl.diagnose(fit, X)
