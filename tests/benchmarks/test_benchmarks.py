"""The benchmarks: every question answers on a few rows, and their arithmetic is right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import correctness, exactness, gradient_free, steps, tables
from benchmarks.__main__ import main
from benchmarks.contestants import PEERS, Contestant, choose_peers
from benchmarks.report import duration, number
from benchmarks.rounds import Measured, in_turn
from benchmarks.scaling import CLIFF, Point, jump
from benchmarks.workloads import WORKLOADS, Workload, deep
from tests.tolerance import TOL, assert_close

COMMON = ("--quick", "--engine", "numpy", "--threads", "1", "--json", "-")


@pytest.fixture
def answer(capfd):
    """The JSON of a question, and what it said beside."""

    def answered(*words: str) -> tuple[list, str]:
        capfd.readouterr()
        main([words[0], *COMMON, *words[1:]])
        out, err = capfd.readouterr()
        return json.loads(out), err

    return answered


def test_steps_gives_a_row_for_each_workload(answer, tmp_path):
    picture = tmp_path / "steps.png"
    rows, told = answer("steps", "--workloads", "heart,digits-bn", "--peers", "none", "--plot", str(picture))
    assert [row["workload"] for row in rows] == ["heart", "digits-bn"]
    for row in rows:
        assert row["threads"] == 1
        assert row["precision"] == "float32"
        assert row["ratios"] == {}
        assert row["us_per_step"] > 0
        assert 0 < row["share_of_peak"] < 1
        assert row["flops_per_step"] == WORKLOADS[row["workload"]].flops_per_step
        assert 0 < row["gradient_error"] <= correctness.LIMITS["float32"]
    assert "time of a step" in told
    assert picture.stat().st_size > 1000


def test_a_peer_that_is_not_installed_is_named(answer, monkeypatch):
    monkeypatch.setitem(PEERS, "rival", Contestant("rival", "no_such_package", "rival"))
    rows, told = answer("steps", "--workloads", "heart", "--peers", "rival")
    assert rows[0]["ratios"] == {}
    assert "not installed: rival" in told


def test_a_peer_is_measured_and_one_that_cannot_train_a_workload_says_why(answer):
    rows, _ = answer("steps", "--workloads", "heart,digits-bn", "--peers", "sklearn")
    plain, normed = rows
    assert plain["ratios"]["sklearn"] > 0
    assert plain["peers_us_per_step"]["sklearn"] > 0
    assert normed["ratios"] == {}
    assert normed["missing"] == {"sklearn": "it has neither batch norm nor dropout"}


def test_a_wrong_gradient_refuses_the_run(monkeypatch):
    monkeypatch.setitem(correctness.LIMITS, "float32", 0.0)
    with pytest.raises(SystemExit, match=r"heart, float32: one step's gradient is off by .*nothing was timed"):
        main(["steps", *COMMON, "--workloads", "heart", "--peers", "none"])


def test_a_precision_that_the_engine_lacks_is_refused():
    with pytest.raises(SystemExit, match=r"numpy.* has no products of bf16"):
        main(["steps", *COMMON, "--workloads", "heart", "--peers", "none", "--precision", "bf16"])


def test_scaling_sweeps_every_quantity(answer, tmp_path):
    picture = tmp_path / "scaling.png"
    points, told = answer("scaling", "--rounds", "1", "--plot", str(picture))
    assert {p["sweep"].split(",")[0] for p in points} == {"rows", "width", "depth", "batch", "threads"}
    assert all(p["us_per_unit"] > 0 for p in points)
    assert "worst jump" in told
    assert picture.stat().st_size > 1000


def test_diagnosis_counts_false_alarms_and_misses(answer):
    rows, told = answer("diagnosis", "--tables", "wine")
    assert {row["kind"] for row in rows} == {"sound", "broken"}
    assert {row["table"] for row in rows} == {"wine"}
    for row in rows:
        expected = not row["findings"] if row["kind"] == "sound" else row["findings"][:1] == [row["setup"]]
        assert row["right"] == expected
    assert f"broken: {sum(row['right'] for row in rows if row['kind'] == 'broken')} of 2 named first" in told


def test_classic_compares_both_perceptrons(answer):
    rows, told = answer("classic")
    assert [row["task"] for row in rows] == ["digits, 150 × 64", "images, 300 × 784", "partial_fit, 32 × 64"]
    for row in rows:
        assert row["ratio"] > 0
    assert all(0 <= score[0] <= 1 for row in rows[:2] for score in row["accuracy"].values())
    assert "images, 300 × 784: max_iter=2 for both" in told


def test_tables_measures_every_contestant_on_the_same_folds(answer):
    entries, told = answer("tables", "--tables", "iris,diabetes,heart", "--rows", "60",
                           "--contestants", "linear,sklearn MLP")  # fmt: skip
    found = {(e["table"], e["contestant"]): e for e in entries}
    assert list(found) == [(t, c) for t in ("iris", "diabetes") for c in ("linear", "sklearn MLP")]
    assert all(len(e["fold_seconds"]) == 2 for e in entries)  # --quick
    assert np.mean(found["iris", "linear"]["auc"]) > 0.9
    assert np.mean(found["diabetes", "linear"]["rmse"]) < 1.0
    assert "left out: heart: its file is in no folder that was given" in told
    assert "mean rank" in told


def test_ranks_share_ties_and_know_which_way_is_better():
    entries = [{"table": "t", "contestant": n, "auc": [a], "log_loss": [b]}
               for n, a, b in (("a", 0.9, 0.3), ("b", 0.9, 0.2), ("c", 0.8, 0.4))]  # fmt: skip
    assert tables.ranks(entries, "auc") == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert tables.ranks(entries, "log_loss") == {"a": 2.0, "b": 1.0, "c": 3.0}


def test_compile_times_every_state_of_the_cache(answer):
    (entry,), _ = answer("compile")
    assert entry["workload"] == "depth 2"
    assert {"cold", "library", "warm", "again", "program", "llvmlite", "fallline"} == set(entry["seconds"])
    assert entry["seconds"]["again"] < entry["seconds"]["cold"]


def test_a_run_that_is_killed_and_resumed_ends_with_the_same_bytes(answer):
    (entry,), told = answer("exactness", "--runs", "fit", "--kills", "1")
    assert (entry["run"], entry["kills"], entry["identical"]) == (exactness.FIT, 1, 1)
    assert entry["seconds"] > 0
    assert "killed and resumed" in told


@pytest.mark.slow
def test_the_command_line_is_killed_too(answer):
    (entry,), _ = answer("exactness", "--runs", "train", "--kills", "2")
    assert (entry["run"], entry["identical"]) == (exactness.TRAIN, 2)


def test_what_two_runs_leave_is_compared_but_for_clocks(tmp_path):
    for name, loss, seconds in (("a", "0.5", 1.0), ("b", "0.5", 2.0), ("c", "0.25", 1.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.csv").write_text(f"epoch,train_loss\n0,{loss}\n")
        (tmp_path / name / "result.json").write_text(json.dumps({"epochs": 1, "seconds": seconds}))
    a, b, c = (exactness.outputs(tmp_path / name) for name in "abc")
    assert a == b != c


def test_first_fit_times_whole_processes(answer):
    entries, told = answer("first_fit", "--peers", "none")
    assert len(entries) == 2
    for entry in entries:
        assert entry["ratios"] == {}
        assert entry["seconds"]["fallline"] > 0
        assert 0.3 < entry["accuracy"]["fallline"] <= 1
    assert "whole processes" in told


def test_whole_problem_reaches_the_optimum_beside_its_peers(answer):
    entries, told = answer("whole_problem", "--peers", "sklearn,scipy")
    assert [set(e["seconds"]) for e in entries] == [{"fallline", "sklearn"}] * 2 + [{"fallline", "scipy"}] * 2
    for entry in entries:
        assert all(-1e-9 <= error <= 1e-6 for error in entry["error"].values())
        assert all(n > k for n, k in zip(entry["evaluations"].values(), entry["iterations"].values(), strict=True))
    assert "within 1e-06 of the optimum" in told


def test_gradient_free_counts_evaluations_beside_those_of_scipy(answer):
    entries, told = answer("gradient_free", "--methods", "DifferentialEvolution,CMAES", "--peers", "scipy")
    assert [(e["problem"], e["method"]) for e in entries] == [
        (problem, method) for problem in ("rastrigin", "rosenbrock") for method in ("CMAES", "DifferentialEvolution")
    ]
    for entry in entries:
        assert entry["solved"] == 2
        assert entry["median_best"] <= gradient_free.TARGET
        assert entry["evaluations"] > 0
        assert (entry["ratio"] is None) == (entry["method"] == "CMAES")
    assert f"evaluations until f <= {gradient_free.TARGET:g} in 2 weights" in told


@pytest.mark.parametrize(
    "words",
    [("steps", "--workloads", "hart"), ("steps", "--peers", "trch"), ("scaling", "--sweeps", "hight"),
     ("whole_problem", "--peers", "skl"), ("gradient_free", "--methods", "CMA"), ("gradient_free", "--peers", "cma"),
     ("tables", "--tables", "irsi"), ("tables", "--contestants", "CatBost"),
     ("first_fit", "--target", "AHD"), ("steps", "--threads", "1000")],
)  # fmt: skip
def test_what_is_unknown_is_refused_before_anything_runs(words):
    with pytest.raises(SystemExit):
        main([words[0], "--engine", "numpy", *words[1:]])


def test_the_work_of_a_step_counts_three_products_a_layer_but_two_for_the_first():
    w = Workload("one", 100, 5, (7,), 3, 10)
    assert w.flops_per_step == 10 * 2 * (5 * 7 * 2 + 7 * 3 * 3)
    assert w.bytes_per_step == 10 * 4 * 6
    assert (w.steps_per_epoch, w.full_rows, w.shortened().epochs) == (10, 100, 1)
    assert deep(3).sizes == (64, 64, 64, 64, 10)


def test_gradients_are_compared_where_no_relu_is_near_its_kink():
    w = WORKLOADS["digits"]
    x, z = w.data()[0][w.clear_rows()].astype(np.float64), np.inf
    for W, b in w.weights()[:-1]:
        x = x @ W + b
        z = min(z, np.abs(x).min())
        x = np.maximum(x, 0)
    assert z > 1e-5
    assert len(w.clear_rows()) == w.batch


def test_bf16_peers_run_only_beside_rows_in_bf16():
    for precisions in (["float32"], ["float32", "bf16"]):
        there, absent = choose_peers(None, precisions)
        assert ("torch-bf16" in {*there, *absent}) == ("bf16" in precisions)
    assert choose_peers(["none"], ["bf16"]) == ([], [])


def test_rounds_alternate_and_ratios_are_taken_within_them():
    order = []
    found = in_turn({"a": lambda: order.append("a") or 2.0, "b": lambda: order.append("b") or 3.0}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert_close(found["b"].over(found["a"]), 1.5)
    drifting = Measured([1.0, 2.0, 4.0]), Measured([3.0, 6.0, 12.0])
    assert_close(drifting[1].over(drifting[0]), 3.0)
    assert_close(drifting[0].spread, 1.5)


def test_a_jump_is_a_dearer_unit_or_a_smaller_step_that_takes_longer():
    def points(*steps: tuple[float, float]) -> list[Point]:
        return [Point(k, Measured([seconds]), units) for k, (seconds, units) in enumerate(steps)]

    assert jump(*points((1.0, 1.0), (1.2, 2.0))) == 1.0  # a fixed cost, shared
    assert_close(jump(*points((1.0, 1.0), (4.0, 2.0))), 2.0)
    assert_close(jump(*points((3.0, 1.0), (1.5, 2.0))), 2.0)
    assert CLIFF > 1


def test_the_share_of_peak_is_that_of_the_ceiling_in_the_same_round():
    w = WORKLOADS["heart"]
    row = steps.Row(w, 1, "float32", 0.0, Measured([1e-6, 2e-6]), {}, Measured([w.flops_per_step * 4e6] * 2))
    assert_close(row.share_of_peak, np.median([0.25, 0.125]))


@pytest.mark.parametrize(
    "value, shown",
    [(None, "–"), (0, "0"), (0.01234, "0.0123"), (4.0, "4"), (99.96, "100"), (4499.0, "4,500"), (73356.0, "73,400")],
)
def test_numbers_are_shown_with_three_digits(value, shown):
    assert number(value) == shown


def test_durations_have_the_unit_that_suits_them():
    assert [duration(s) for s in (1.5, 0.0123, 4.4e-6, 2e-8)] == ["1.5 s", "12.3 ms", "4.4 µs", "0.02 µs"]


def test_coverage_and_calibration_on_splits(answer):
    numbers, classes = answer("coverage")[0]
    assert (numbers["table"], classes["table"]) == ("diabetes", "breast-cancer")
    assert 0.8 < numbers["coverage"]["0.95"] <= 1.0
    assert 0 < classes["calibrated"] < np.log(2)  # that of a coin


@pytest.mark.slow
def test_a_large_table_is_measured_in_a_process_of_its_own(answer):
    (entry,), told = answer("large_table")
    assert entry["what"] == "plain"
    assert 0 < entry["gigabytes"] < 4
    assert "GB beyond the table" in told


def test_formats_measures_every_reader_that_is_installed(answer):
    rows, told = answer("formats", "--tables", "iris", "--rounds", "1")
    assert rows[0]["table"] == "iris"
    assert {"NumPy", "ONNX Runtime"} <= set(rows[0]["difference"])
    assert max(rows[0]["difference"].values()) < TOL["library"]
    assert "worst" in told
