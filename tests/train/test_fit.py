"""fit: what users rely on, from the shuffle to Ctrl-C."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError, NonFiniteError, ShapeError, UnknownNameError
from fallline.train import stepping
from fallline.train.events import BatchProgress, EpochEnded, Started
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6))
LABELS = np.where(X[:, 0] + X[:, 1] * X[:, 2] > 0, "yes", "no")
NUMBERS = X[:, 0] * 2 + 1


def mlp(*, units=8, out=1, **kw):
    return fl.Sequential(fl.Dense(units), fl.Tanh(), fl.Dense(out, **kw))


def equal_models(a: fl.Fit, b: fl.Fit) -> bool:
    left, right = fl.leaves(a.model.network), fl.leaves(b.model.network)
    return all(np.array_equal(left[p], right[p]) for p in left)


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not():
    fits = [fl.fit(mlp(), (X, LABELS), epochs=3, seed=s) for s in (1, 1, 2)]
    assert equal_models(fits[0], fits[1])
    assert not equal_models(fits[0], fits[2])
    assert fits[0].history == fits[1].history


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_how_steps_are_grouped_into_engine_calls_changes_no_bit(precision, monkeypatch):
    def trained(seconds_per_call):
        monkeypatch.setattr(stepping, "SECONDS_PER_CALL", seconds_per_call)
        return fl.fit(mlp(), (X, NUMBERS), epochs=3, batch_size=3, precision=precision)

    one_step_a_call, few_calls = trained(1e-9), trained(1e9)
    assert equal_models(one_step_a_call, few_calls)
    assert one_step_a_call.history == few_calls.history


@pytest.mark.parametrize("batch_size", [1, 32, 120, "full", 500])
def test_every_batch_size_learns(batch_size):
    fit = fl.fit(mlp(), (X, LABELS), epochs=20, batch_size=batch_size, optimizer=fl.Adam(0.01))
    losses = fit.history["train_loss"]
    assert losses[-1] < losses[0]


def test_full_batch_does_not_depend_on_the_order_of_the_rows():
    order = np.random.default_rng(3).permutation(120)
    options = {"epochs": 5, "batch_size": "full", "precision": "float64", "optimizer": fl.SGD(0.1)}
    a = fl.fit(mlp(), (X, LABELS), **options)
    b = fl.fit(mlp(), (X[order], LABELS[order]), **options)
    assert_close(a.history["train_loss"], b.history["train_loss"])


def test_epoch_zero_is_the_untrained_network():
    fit = fl.fit(mlp(), (X, LABELS), epochs=2, validation=0.25, metrics=("auc",))
    row = fit.history[0]
    assert row["epoch"] == 0
    assert {"learning_rate", "gradient_norm", "train_loss", "validation_loss", "validation_auc"} <= set(row)
    assert all(np.isfinite(list(r.values())).all() for r in fit.history)


def test_weight_two_is_the_row_twice_and_weight_zero_is_the_row_absent():
    options = {"epochs": 4, "batch_size": "full", "precision": "float64", "optimizer": fl.Adam(0.01), "l2": 0.01}
    w = np.ones(120)
    w[:10], w[100:] = 2.0, 0.0
    rows = np.r_[np.arange(100), np.arange(10)]
    weighted = fl.fit(mlp(), (X, LABELS), sample_weight=w, **options)
    repeated = fl.fit(mlp(), (X[rows], LABELS[rows]), **options)
    assert_close(weighted.model.scores(X), repeated.model.scores(X))
    assert_close(weighted.history["train_loss"], repeated.history["train_loss"])
    absent = fl.fit(mlp(), (X[:100], LABELS[:100]), sample_weight=w[:100], **options)
    assert equal_models(weighted, absent)


def test_class_weight_is_the_sample_weight_of_its_rows():
    options = {"epochs": 3, "batch_size": 16}
    by_class = fl.fit(mlp(), (X, LABELS), class_weight={"yes": 3.0}, **options)
    by_row = fl.fit(mlp(), (X, LABELS), sample_weight=np.where(LABELS == "yes", 3.0, 1.0), **options)
    assert equal_models(by_class, by_row)
    balanced = fl.fit(mlp(), (X, LABELS), class_weight="balanced", **options)
    n_yes = (LABELS == "yes").sum()
    weights = np.where(LABELS == "yes", 120 / (2 * n_yes), 120 / (2 * (120 - n_yes)))
    assert equal_models(balanced, fl.fit(mlp(), (X, LABELS), sample_weight=weights, **options))


def test_the_best_validation_weights_are_what_predict_uses():
    fit = fl.fit(mlp(units=64), (X, LABELS), epochs=60, validation=(X[:40], LABELS[::-1][:40]), optimizer=fl.Adam(0.05))
    losses = fit.history["validation_loss"]
    assert fit.best_epoch == np.argmin(losses)
    assert fit.best_epoch < 60
    assert_close(fit.model.evaluate(X[:40], LABELS[::-1][:40])["loss"], losses[fit.best_epoch], "f32")


def test_early_stopping_watches_any_metric():
    rule = fl.EarlyStopping(metric="validation_auc", patience=3)
    fit = fl.fit(mlp(), (X, LABELS), epochs=200, validation=0.3, early_stopping=rule)
    scores = fit.history["validation_auc"]
    assert fit.best_epoch == np.argmax(scores)
    assert len(fit.history) - 1 == fit.best_epoch + 3
    assert "auc has not improved for 3 epochs" in fit.reason


def test_without_validation_the_last_weights_are_kept():
    assert fl.fit(mlp(), (X, LABELS), epochs=4).best_epoch == 4


def test_heads_follow_from_the_targets():
    three = np.array(["a", "b", "c"])[RNG.integers(0, 3, 120)]
    assert fl.fit(mlp(), (X, LABELS), epochs=1).model.loss == fl.BinaryCrossEntropy()
    assert fl.fit(mlp(out=3), (X, three), epochs=1).model.loss == fl.CategoricalCrossEntropy()
    assert fl.fit(mlp(), (X, NUMBERS), epochs=1).model.loss == fl.SquaredError()


def test_predictions_are_in_the_users_terms():
    fit = fl.fit(mlp(), (X, LABELS), epochs=30, optimizer=fl.Adam(0.02))
    proba = fit.model.predict_proba(X)
    assert proba.shape == (120, 2)
    assert_close(proba.sum(axis=1), np.ones(120))
    assert fit.model.classes == ("no", "yes")
    np.testing.assert_array_equal(fit.model.predict(X), np.where(proba[:, 1] > 0.5, "yes", "no"))
    regression = fl.fit(fl.Sequential(fl.Dense(1)), (X, NUMBERS), epochs=300, optimizer=fl.Adam(0.05)).model
    assert_close(regression.predict(X), NUMBERS, "fit")
    with pytest.raises(ConfigError, match="predicts numbers, not classes"):
        regression.predict_proba(X)


def test_two_targets_at_once():
    targets = np.stack([X[:, 0] + X[:, 1], X[:, 2]], axis=1)
    fit = fl.fit(fl.Sequential(fl.Dense(2)), (X, targets), epochs=300, optimizer=fl.Adam(0.05))
    assert_close(fit.model.predict(X), targets, "fit")


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_weight_has_the_precision_also_behind_codes_and_from_before(precision):
    codes = np.arange(120).reshape(60, 2) % 5
    network = fl.Sequential(fl.Embedding(5, 3), fl.Flatten(), fl.Dense(4), fl.BatchNorm(), fl.Dense(1))
    for start in (network, network.build(fl.spec((2, 2), "int32"), RNG)):
        fit = fl.fit(start, (codes, NUMBERS[:60]), epochs=1, precision=precision)
        assert {leaf.dtype for leaf in fl.leaves(fit.model.network).values()} == {np.dtype(precision)}


def test_training_goes_on_from_a_filled_network():
    first = fl.fit(mlp(), (X, LABELS), epochs=5)
    more = fl.fit(first.model.network, (X, LABELS), epochs=5)
    assert_close(more.history["train_loss"][0], first.model.evaluate(X, LABELS)["loss"], "f32")


def test_a_schedule_reaches_the_history():
    fit = fl.fit(mlp(), (X, LABELS), epochs=4, optimizer=fl.SGD(fl.InverseTime(0.2, decay=1.0)))
    assert_close(fit.history["learning_rate"][1:], 0.2 / np.arange(1, 5))


def test_a_record_with_skip_connections_trains():
    @fl.record
    class SkipInATest(fl.Layer):
        inner: fl.Dense = fl.Dense(6)
        outer: fl.Dense = fl.Dense(1)

        def __call__(self, x, run=fl.EVAL):
            return self.outer(x + fl.tanh(self.inner(x, run)), run)

    fit = fl.fit(SkipInATest(), (X, LABELS), epochs=20, optimizer=fl.Adam(0.02))
    assert fit.history["train_loss"][-1] < fit.history["train_loss"][0] / 2


def test_callbacks_see_every_event_and_may_stop():
    seen = []

    def watch(event):
        seen.append(event)
        if isinstance(event, EpochEnded) and event.row["epoch"] == 2:
            return fl.Stop("seen enough")
        return None

    fit = fl.fit(mlp(), (X, LABELS), epochs=50, callbacks=[watch])
    assert fit.reason == "seen enough"
    assert len(fit.history) == 3
    assert isinstance(seen[0], Started)
    assert any(isinstance(e, BatchProgress) for e in seen)


def test_a_value_that_is_not_finite_stops_at_once_and_says_where():
    with pytest.raises(NonFiniteError, match=r"in epoch 1, batch \d+ of 4, .*the learning rate is too high"):
        fl.fit(mlp(), (X * 1e3, NUMBERS * 1e6), epochs=50, batch_size=32, optimizer=fl.SGD(1e3))


def test_the_best_weights_survive_a_later_failure():
    optimizer = fl.SGD(lambda step: 0.1 if step < 12 else 1e30)  # 4 steps an epoch: the fourth epoch explodes
    net = fl.Sequential(fl.Dense(4), fl.ReLU(), fl.Dense(1))
    with pytest.warns(RuntimeWarning, match="the weights of epoch 3 are kept"):
        fit = fl.fit(net, (X, NUMBERS), epochs=9, batch_size=32, optimizer=optimizer)
    assert fit.best_epoch == 3
    assert np.isfinite(fit.model.predict(X)).all()


def test_the_layer_of_the_first_bad_value_is_named():
    net = fl.Sequential(fl.Dense(4), fl.Sequential(fl.exp, fl.exp), fl.Dense(1))
    with pytest.raises(NonFiniteError, match=r"in layers\.1, op exp"):
        fl.fit(net, (X * 100, NUMBERS), epochs=2)


def test_ctrl_c_keeps_the_best_weights():
    def interrupt(event):
        if isinstance(event, EpochEnded) and event.row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    fit = fl.fit(mlp(), (X, LABELS), epochs=1000, validation=0.2, callbacks=[interrupt])
    assert fit.reason == fit.ended == "interrupted"
    assert len(fit.history) <= 4
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_ends_training_at_once():
    def interrupt(event):
        if isinstance(event, EpochEnded) and event.row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fl.fit(mlp(), (X, LABELS), epochs=1000, callbacks=[interrupt])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_before_there_is_anything_to_keep_is_ctrl_c():
    def interrupt(event):
        if isinstance(event, Started):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fl.fit(mlp(), (X, LABELS), epochs=1000, callbacks=[interrupt])


def test_the_step_is_compiled_once_for_equal_runs():
    from fallline.engines.engine import COMPILED

    fl.fit(mlp(units=11), (X, LABELS), epochs=1)
    builds = COMPILED.builds
    fl.fit(mlp(units=11), (X, LABELS), epochs=3, seed=5)
    assert COMPILED.builds == builds


BAD = {
    "text in X": ((np.array([["a"], ["b"]]), [0, 1]), {}, DataError, "X holds <U1, numbers are needed"),
    "NaN in X": ((np.where(X > 2, np.nan, X), LABELS), {}, DataError, "X holds nan in row"),
    "rows differ": ((X, LABELS[:-1]), {}, DataError, "X has 120 rows and y has shape"),
    "one class": ((X, np.zeros(120, bool)), {}, DataError, "every"),
    "NaN in y": ((X, np.where(X[:, 0] > 2, np.nan, NUMBERS)), {}, DataError, "missing"),
    "inf in y": ((X, np.r_[np.inf, NUMBERS[1:]]), {"loss": "mse"}, DataError, "y holds inf in row 0"),
    "no pair": (X, {}, DataError, "must be a pair"),
    "negative weight": (
        (X, LABELS),
        {"sample_weight": np.r_[-1.0, np.ones(119)]},
        DataError,
        "weights must be finite and at least 0",
    ),
    "all weights zero": ((X, LABELS), {"sample_weight": np.zeros(120)}, DataError, "no row is left"),
    "weight of a class that is not": ((X, LABELS), {"class_weight": {"yess": 2}}, ConfigError, "did you mean 'yes'"),
    "optimizer": ((X, LABELS), {"optimizer": "adm"}, UnknownNameError, "did you mean 'Adam'"),
    "loss": ((X, LABELS), {"loss": "crossentropyy"}, UnknownNameError, "no loss is called"),
    "two-class loss for three": ((X, np.arange(120) % 3), {"loss": "bce"}, ConfigError, "use CategoricalCrossEntropy"),
    "batch size": ((X, LABELS), {"batch_size": 0}, ConfigError, "batch_size=0"),
    "epochs": ((X, LABELS), {"epochs": 2.5}, ConfigError, "epochs=2.5"),
    "precision": ((X, LABELS), {"precision": "float16"}, ConfigError, "precision='float16'"),
    "metric": ((X, LABELS), {"metrics": ["acuracy"]}, UnknownNameError, "did you mean 'accuracy'"),
    "engine": ((X, LABELS), {"engine": "numpi"}, UnknownNameError, "did you mean 'numpy'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line(name):
    data, options, error, words = BAD[name]
    with pytest.raises(error) as caught:
        fl.fit(mlp(), data, **{"epochs": 1, **options})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_integers_are_numbers_unless_the_network_reads_codes():
    counts = RNG.integers(0, 5, (120, 3))
    net = fl.Sequential(fl.Dropout(0.1), fl.BatchNorm(), fl.Dense(1))
    assert np.isfinite(fl.fit(net, (counts, LABELS), epochs=1).model.predict_proba(counts)).all()
    codes = fl.Sequential(fl.Embedding(5, 4), fl.Flatten(), fl.Dense(1))
    fit = fl.fit(codes, (counts, LABELS), epochs=2)
    assert fit.model.network.layers[0].table.shape == (5, 4)
    with pytest.raises(DataError, match="row 7 of an array of 5 rows"):
        fl.fit(codes, (counts + 3, LABELS), epochs=1)
    with pytest.raises(DataError, match="row -1 of an array of 5 rows"):
        fit.model.predict(counts - 1)


def test_a_missing_label_is_named():
    with pytest.raises(DataError, match="y is missing in row 2"):
        fl.fit(mlp(), (X[:4], np.array(["a", "b", None, "a"], dtype=object)), loss="bce", epochs=1)


def test_a_hinge_decides_at_score_zero():
    fit = fl.fit(mlp(), (X, LABELS), loss="hinge", epochs=20, optimizer=fl.Adam(0.02), validation=0.2)
    scores = fit.model.scores(X)
    np.testing.assert_array_equal(fit.model.predict(X), np.where(scores > 0, "yes", "no"))
    found = fit.model.evaluate(X, LABELS)
    assert_close(found["accuracy"], np.mean(fit.model.predict(X) == LABELS))
    assert set(found) == {"loss", "accuracy", "auc"}
    with pytest.raises(ConfigError, match="Hinge predicts classes without probabilities"):
        fit.model.predict_proba(X)
    with pytest.raises(ConfigError, match="metric 'log_loss' needs probabilities"):
        fl.fit(mlp(), (X, LABELS), loss="hinge", epochs=1, metrics=["log_loss"])


def test_several_quantiles_of_one_target():
    fit = fl.fit(mlp(out=3), (X, NUMBERS), loss=fl.Quantile((0.1, 0.5, 0.9)), epochs=30, validation=0.2)
    assert fit.model.predict(X).shape == (120, 3)
    assert set(fit.model.evaluate(X, NUMBERS)) == {"loss"}


def test_what_ended_training_is_told_apart_from_the_words_of_the_reason():
    """A callback may say anything: neither "all …" nor "interrupted" makes its end another one."""
    network, data = fl.Sequential(fl.Dense(1)), (X, X[:, 0])

    def stop(words):
        return lambda event: fl.Stop(words) if isinstance(event, EpochEnded) else None

    for words in ("all good", "interrupted", "not finite"):
        assert fl.fit(network, data, callbacks=[stop(words)]).ended == "stopped"
    assert fl.fit(network, data, epochs=2).ended == fl.fit(network, data, epochs=0).ended == "epochs"
    assert fl.fit(network, data, validation=0.3, early_stopping=1, optimizer="sgd(0.0)").ended == "stopped"
    assert fl.fit(network, data, optimizer="newton").ended == "solved"
    with pytest.warns(RuntimeWarning, match="not finite"):
        failed = fl.fit(network, (1e3 * data[0], data[1]), optimizer="sgd(0.5)", batch_size="full")
    assert failed.ended == "failed"
    both = fl.fit(network, data, restarts=2, callbacks=[stop("interrupted")])
    assert len(both.restarts) == 2


def test_the_rate_is_one_keyword():
    X = np.random.default_rng(0).normal(size=(40, 2))
    data, net = (X, X[:, 0]), fl.Sequential(fl.Dense(1))
    by_keyword = fl.fit(net, data, optimizer="sgd", learning_rate=0.05, epochs=2).model.network
    by_record = fl.fit(net, data, optimizer=fl.SGD(0.05), epochs=2).model.network
    for path, leaf in fl.leaves(by_record).items():
        assert_close(fl.leaves(by_keyword)[path], leaf, "exact")
    with pytest.raises(ConfigError, match="finds its steps itself"):
        fl.fit(net, data, optimizer="newton", learning_rate=0.1)


def test_one_hot_targets_are_not_taken_for_numbers():
    X, one_hot = np.random.default_rng(0).normal(size=(30, 2)), np.eye(3, dtype=int)[np.arange(30) % 3]
    for loss in (None, "cross_entropy"):
        with pytest.raises(DataError, match=r"y\.argmax\(axis=1\)"):
            fl.fit(fl.mlp((3,), 3), (X, one_hot), loss=loss, epochs=1)


def test_x_and_y_in_the_place_of_x_are_refused_in_words():
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = fl.fit(fl.mlp((3,)), (X, X[:, 0]), epochs=1).model
    for ask in (model.predict, lambda given: fl.explain_row(model, given), lambda given: fl.layer_report(model, given)):
        with pytest.raises(ShapeError, match="give X and y apart"):
            ask((X, X[:, 0]))
