"""A bag: honest, reproducible, within its budget, and never far behind a linear model."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from fallline.data.target import ClassTarget, NumberTarget
from fallline.estimators.bagging import train_bag
from fallline.estimators.budget import Budget
from fallline.estimators.folds import make_folds, padded
from fallline.estimators.kernel import _Dual, _Primal
from fallline.estimators.linear import fit_linear
from fallline.estimators.members import by_row
from fallline.estimators.mixing import compositions, mean_loss, mixed, shares_of
from fallline.estimators.recipe import Recipe, recipes_for
from fallline.estimators.targets import Task
from fallline.train.examples import Examples
from fallline.train.fit import start_model
from fallline.train.model import score_rows
from tests.tolerance import assert_close

QUICK = (Recipe(hidden=(8,), waves=2, epochs=4), Recipe(hidden=(6,), bins=3, epochs=3))


def classes(n: int = 60, d: int = 4, seed: int = 0) -> tuple[Examples, Task]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    y = (x[:, 0] - x[:, 1] + 0.5 * rng.normal(size=n) > 0).astype(np.float32)
    task = Task(fl.BinaryCrossEntropy(), ClassTarget("y", (0, 1)), None, 1, codes=y)
    return Examples(x, y, np.ones(n, np.float32)), task


def numbers(n: int = 50, outputs: int = 1) -> tuple[Examples, Task]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    y = np.stack([x[:, 0] * (k + 1) + np.sin(x[:, 1]) for k in range(outputs)], axis=1).astype(np.float32)
    return (
        Examples(x, y[:, 0] if outputs == 1 else y, np.ones(n, np.float32)),
        Task(fl.SquaredError(), NumberTarget("y"), None, outputs),
    )


def test_every_row_judges_once_and_classes_are_in_proportion():
    codes = np.repeat([0, 1, 2], [40, 20, 6])
    folds = make_folds(66, 5, np.random.default_rng(0), codes)
    assert sorted(np.concatenate([f.judge for f in folds])) == list(range(66))
    for fold in folds:
        assert not set(fold.train) & set(fold.judge)
        for k, n in enumerate((40, 20, 6)):
            assert abs((codes[fold.judge] == k).sum() - n / 5) < 1


def test_no_group_lies_in_two_folds():
    groups = np.repeat(np.arange(9), [7, 1, 3, 2, 5, 1, 1, 6, 4])
    for fold in make_folds(30, 4, np.random.default_rng(0), groups=groups):
        assert not set(groups[fold.train]) & set(groups[fold.judge])
        assert len(fold.judge)
    with pytest.raises(DataError, match="2 different groups, 3 folds need as many"):
        make_folds(4, 3, np.random.default_rng(0), groups=np.array([0, 0, 1, 1]))


def test_padding_adds_rows_of_weight_0():
    rows, _ = classes(5)
    longer = padded(rows, 8)
    assert len(longer) == 8
    assert longer.w.tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert padded(rows, 5) is rows


@pytest.mark.parametrize("made", [_Dual, _Primal])
def test_scores_of_a_fold_are_those_of_a_fit_without_it(made):
    rng = np.random.default_rng(0)
    n, folds = 30, make_folds(30, 3, np.random.default_rng(1))
    x = rng.normal(size=(n, 2))
    K = np.exp(-np.abs(x[:, None] - x[None]).sum(axis=2))
    T, w = rng.normal(size=(n, 2)), rng.uniform(0.5, 2, n)
    centres = np.arange(n) if made is _Dual else np.arange(0, n, 3)
    given = (K, T, w, folds) if made is _Dual else (K[:, centres], T, w, folds, centres)
    rows, found = made(*given).held_out(0.3, folds)
    for fold in folds:
        a = fold.train
        if made is _Dual:
            alpha = np.linalg.solve(K[np.ix_(a, a)] + np.diag(0.3 / w[a]), T[a])
            expected = K[np.ix_(fold.judge, a)] @ alpha
        else:
            part = K[np.ix_(a, centres)]
            G = (part * w[a, None]).T @ part + 0.3 * K[np.ix_(centres, centres)]
            expected = K[np.ix_(fold.judge, centres)] @ np.linalg.solve(G, (part * w[a, None]).T @ T[a])
        assert_close(found[np.isin(rows, fold.judge)], expected, "fit")
    changed = T.copy()
    changed[7] += 100.0  # a row's own label has no part in its score
    again = made(given[0], changed, *given[2:]).held_out(0.3, folds)[1]
    assert_close(again[rows == 7], found[rows == 7], "library")


def test_the_linear_member_is_the_ridge_and_the_logistic_regression_of_its_strength():
    for (rows, task), peer in ((classes(), LogisticRegression), (numbers(), Ridge)):
        exact = Examples(rows.x.astype(np.float64), rows.y.astype(np.float64), rows.w.astype(np.float64))
        model = start_model(fl.Sequential(fl.Dense(1)), exact, task.loss, task.target, "auto", 0, strict=False)
        folds = make_folds(len(rows), 5, np.random.default_rng(0), task.codes)
        found = fit_linear(model, exact, folds, fl.get_engine("auto"), (2.0,))
        # squared error is not halved in the mean loss: λ/2 Σw² beside Σ r² is Ridge's alpha of λ/2
        known = peer(C=0.5) if peer is LogisticRegression else peer(alpha=1.0)
        known.fit(exact.x, exact.y)
        expected = known.decision_function(exact.x) if peer is LogisticRegression else known.predict(exact.x)
        assert_close(score_rows(found.network, rows.x, "auto"), expected, "statistics")
        assert found.loss == pytest.approx(mean_loss(found.scores, exact.y, exact.w, task.loss))


def test_shares_go_to_the_better_kind_and_are_alike_where_kinds_are():
    rng, loss, w = np.random.default_rng(0), fl.SquaredError(), np.ones(200)
    y = rng.normal(size=200)
    good, bad = y + 0.1 * rng.normal(size=200), y + 3 * rng.normal(size=200)
    assert shares_of(np.stack([bad, good], axis=1), y, w, loss)[1] > 0.99
    like = np.stack([y + rng.normal(size=200), y + rng.normal(size=200)], axis=1)
    shares = shares_of(like, y, w, loss)
    assert abs(shares[0] - 0.5) < 0.15
    assert mean_loss(mixed(like, shares, "identity"), y, w, loss) < 0.7 * mean_loss(like[:, 0], y, w, loss)


def test_compositions_are_all_shares_in_whole_parts():
    tried = compositions(3)
    assert len(np.unique(tried, axis=0)) == len(tried) == 28
    assert np.allclose(tried.sum(axis=1), 1.0)


def test_scores_of_several_repeats_are_averaged():
    assert by_row(2, np.array([0, 1, 0]), np.array([1.0, 5.0, 3.0])).tolist() == [2.0, 5.0]


def test_a_bag_has_the_same_bits_on_any_number_of_threads_and_others_with_another_seed():
    rows, task = classes()
    bags = [train_bag(rows, task, recipes=QUICK, budget=Budget("fast"), seed=s, threads=t)
            for s, t in ((0, 1), (0, 3), (1, 1))]  # fmt: skip
    found = [fl.leaves(bag.network) for bag in bags]
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(found[0][path], found[1][path]) for path in found[0])
    assert np.array_equal(bags[0].out_of_fold, bags[1].out_of_fold)
    assert not np.array_equal(bags[0].out_of_fold, bags[2].out_of_fold)


def test_a_bag_is_no_worse_than_its_linear_member_where_the_truth_is_linear():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, 15)).astype(np.float32)
    y = (x[:, :3].sum(axis=1) + rng.normal(size=120) > 0).astype(np.float32)
    task = Task(fl.BinaryCrossEntropy(), ClassTarget("y", (0, 1)), None, 1, codes=y)
    bag = train_bag(Examples(x, y, np.ones(120, np.float32)), task, recipes=QUICK, budget=Budget("fast"))
    linear = bag.members.columns["loss"][0]
    assert mean_loss(bag.out_of_fold, y, np.ones(120), task.loss) <= linear + 0.01
    assert sum(bag.members.columns["share"]) == pytest.approx(1.0)
    test = rng.normal(size=(2000, 15)).astype(np.float32)
    p = task.loss.predict(score_rows(bag.network, test, "auto").astype(np.float64))
    assert np.mean((p > 0.5) == (test[:, :3].sum(axis=1) > 0)) > 0.8


@pytest.mark.parametrize("outputs", [1, 2])
def test_numbers_and_several_outputs(outputs):
    rows, task = numbers(outputs=outputs)
    bag = train_bag(rows, task, recipes=QUICK[:1], budget=Budget("fast"))
    assert bag.out_of_fold.shape == rows.y.shape
    assert mean_loss(bag.out_of_fold, rows.y, rows.w, task.loss) < 0.5 * np.var(rows.y)


def test_classes_codes_and_weights_pass_through_all_kinds():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, size=(60, 1)).astype(np.int32)
    x = rng.normal(size=(60, 2)).astype(np.float32), codes
    y = (codes[:, 0] % 3).astype(np.int32)
    task = Task(fl.CategoricalCrossEntropy(), ClassTarget("y", ("a", "b", "c")), None, 3, codes=y)
    rows = Examples(x, y, rng.uniform(0.5, 1.5, 60).astype(np.float32))
    bag = train_bag(rows, task, recipes=QUICK[1:], budget=Budget("fast"))
    assert bag.out_of_fold.shape == (60, 3)
    assert np.mean(bag.out_of_fold.argmax(axis=1) == y) > 0.9


def test_the_clock_cuts_what_is_left_and_the_listing_says_so():
    rows, task = classes()
    bag = train_bag(rows, task, recipes=QUICK, budget=Budget("fast", seconds=1e-6))
    assert bag.members.columns["kind"][0] == "linear"
    assert bag.members.columns["detail"][-1] == "cut by the clock"
    assert "cut by the clock" in str(bag.members)
    assert bag.out_of_fold.shape == (60,)


def test_budgets_grow_and_few_rows_get_no_more_folds_than_rows():
    plans = [Budget(level).plan(800) for level in ("fast", "default", "best")]
    assert plans[0].folds < plans[1].folds < plans[2].folds
    assert plans[0].tried < plans[1].tried < plans[2].tried
    assert Budget().plan(3).folds == 3
    assert Budget().plan(50_000).folds < Budget().plan(500).folds
    with pytest.raises(ConfigError, match="level"):
        Budget("huge")


def test_recipes_take_fewer_epochs_where_rows_are_many():
    recipe = Recipe(epochs=40)
    assert recipe.epochs_of(300) == 40
    assert recipe.epochs_of(200_000) == 8
    assert recipe.rows_of_batch(20) == 16
    assert recipe.rows_of_batch(10**6) == 256
    assert recipes_for(300, 2)[0].hidden == (32, 32)
    assert recipes_for(3000, 2)[0].hidden == (64, 64)


def test_members_of_an_ensemble_train_in_one_program_as_each_would_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3)).astype(np.float32)
    y = rng.integers(0, 3, 20).astype(np.int32)
    net, loss = Recipe(hidden=(4,), dropout=0.0, ensemble=2).together(
        fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(3)), fl.CategoricalCrossEntropy(), 3
    )
    built = net.build(fl.spec((20, 3), "float32"), rng=0)
    fit = fl.fit(built, (x, y), loss=loss, optimizer="sgd(0.1)", epochs=3, batch_size="full", strict=False)
    for before, after in zip(built.members, fit.model.network.members, strict=True):
        # half the loss is half the rate
        alone = fl.fit(before, (x, y), optimizer="sgd(0.05)", epochs=3, batch_size="full").model.network
        for path, leaf in fl.leaves(alone).items():
            assert_close(fl.leaves(after)[path], leaf, "f32")
    batch = x, y
    assert "computes nothing" in str(fl.explain_compile(built, batch, loss=loss))  # NumPy, beside native code


def test_a_bag_of_ensembles_holds_all_their_members():
    rows, task = classes()
    bag = train_bag(rows, task, recipes=[Recipe(hidden=(4,), epochs=3, ensemble=3)], budget=Budget("fast"))
    assert bag.members.columns["members"][-1] == 4 * 3
    assert "3 x 4 selu" in bag.members.columns["kind"][-1]
