"""fallline train --resume: from the folder alone, killed in training, in the baseline or while results are written."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.cli.main import run as run_command
from fallline.cli.result import CLOCK, FILES, RESULT
from fallline.train.checkpoint import Checkpoints
from fallline.train.history import History
from fallline.train.model import load

from .conftest import Call, Told, sample_columns, write_csv

QUICK = ("--epochs", "2", "--hidden", "4", "--batch-size", "16")


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is a call, and the disk is not waited for."""
    monkeypatch.setattr("fallline.train.stepping.SECONDS_PER_CALL", 0.0)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


def outputs(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: (run / name).read_bytes() for name in FILES}
    found[RESULT] = {name: value for name, value in json.loads(found[RESULT]).items() if name not in CLOCK}
    return found


def refused(told: Told, *words: str) -> None:
    assert told.status == 2
    assert told.err.count("\n") == 1
    for word in words:
        assert word in told.err, told.err


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folder of a run as it lay on the disk after each offer to write a checkpoint, and at last as it ended."""
    folder, offer, found = tmp_path_factory.mktemp("run"), Checkpoints.offer, []
    source = write_csv(folder / "data.csv", sample_columns())

    def copied(kept: Checkpoints, part: str, take: Any) -> None:
        offer(kept, part, take)
        found.append(shutil.copytree(folder / "run", folder / str(len(found))))

    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        patch.setattr(Checkpoints, "offer", copied)
        assert (
            run_command(["train", str(source), *QUICK, "--quiet", "--out", str(folder / "run"), "--checkpoint", "0"])
            == 0
        )
    return [*map(Path, found), folder / "run"]


@pytest.fixture
def expected(places: list[Path]) -> dict[str, Any]:
    return outputs(places[-1])


@pytest.fixture
def killed(places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """A folder of the test's own as one of these was."""
    monkeypatch.chdir(tmp_path)
    return lambda at: Path(shutil.copytree(places[at], f"killed/{at}", dirs_exist_ok=True))


@pytest.mark.parametrize(
    "at, where", [(0, "after epoch 0 of 2"), (6, "after epoch 1 of 2"), (-2, "with the linear baseline")]
)
def test_killed_in_training_and_in_the_baseline(
    call: Call, killed: Callable[[int], Path], expected: dict[str, Any], at: int, where: str
) -> None:
    run = killed(at)
    told = call("train", "--resume", run)
    assert told.status == 0
    assert outputs(run) == expected
    assert told.out.startswith(f"{run} goes on {where}\n")
    assert f"kept in {run}" in told.out
    assert not [name for name in os.listdir(run) if name.startswith(".")]


def test_a_finished_run_says_so_and_changes_nothing(call: Call, killed: Callable[[int], Path]) -> None:
    run = killed(-1)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    told = call("train", "--resume", run)
    assert told.status == 0
    assert told.out.count("\n") == 1
    assert told.out.startswith(f"{run} has come to its end (all 2 epochs are done): nothing is left to do.")
    assert call("train", "--resume", run, "--json").out == (run / RESULT).read_text()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_after_ctrl_c_it_goes_on(
    call: Call, places: list[Path], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer, seen = Checkpoints.offer, []

    def interrupting(kept: Checkpoints, part: str, take: Any) -> None:
        offer(kept, part, take)
        seen.append(part)
        if len(seen) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "offer", interrupting)
        told = call("train", places[-1].parent / "data.csv", *QUICK, "--out", "cut")
    assert "next: fallline train --resume cut\n" in told.out
    told = call("train", "--resume", "cut")
    assert told.out.startswith("cut goes on after epoch 0 of 2\n")  # it came while the first one was being judged
    assert "--resume" not in told.out
    assert outputs(Path("cut")) == expected


def test_killed_while_results_are_written(
    call: Call, killed: Callable[[int], Path], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def copied(history: Any, path: Path) -> None:
        written.append(shutil.copytree(path.parent, "again"))

    with monkeypatch.context() as patch:
        patch.setattr(History, "to_csv", copied)
        call("train", "--resume", killed(-2))
    Path("again/.model.safetensors.1234").write_text("what a kill leaves")
    assert call("train", "--resume", "again").status == 0
    assert outputs(Path("again")) == expected
    assert not [name for name in os.listdir("again") if name.startswith(".")]


def test_the_model_file_holds_no_clock_time(call: Call, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("train", data, *QUICK, "--out", "a", "--checkpoint", "0")
    monkeypatch.setattr("fallline.train.checkpoint.Checkpoints.elapsed", 77.0)
    monkeypatch.setattr("time.perf_counter", lambda: 3.0)
    call("train", data, *QUICK, "--out", "b", "--checkpoint", "none")
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()
    assert Path("a/history.csv").read_bytes() == Path("b/history.csv").read_bytes()
    assert not Path("b/checkpoints").exists()


def test_the_table_has_moved(
    call: Call, places: list[Path], killed: Callable[[int], Path], expected: dict[str, Any]
) -> None:
    run, source = killed(3), places[-1].parent / "data.csv"
    shutil.move(source, "elsewhere.csv")
    try:
        refused(call("train", "--resume", run), "data.csv is not there any more", f"--resume {run} TABLE")
        assert call("train", "--resume", run, "elsewhere.csv").status == 0
    finally:
        shutil.move("elsewhere.csv", source)
    assert outputs(run) == expected


def test_what_may_not_change(call: Call, data: Path, killed: Callable[[int], Path]) -> None:
    run = killed(3)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refused(call("train", "--resume", run, "--hidden", "3"), "--hidden: a run goes on as it began", "--time-limit")
    refused(call("train", "--resume", run, "--target", "x"), "--target: a run goes on as it began")
    refused(call("train", "--resume", run, "--checkpoint", "soon"), "--checkpoint soon: give seconds, 0 ")
    refused(call("train", "--resume", run, "--epochs", "0"), "--epochs 0: ")
    refused(call("train", "--resume", "nowhere"), "no run to go on with at nowhere")
    refused(call("train", data, "--out", run), f"{run} holds a run that was killed before its end")
    Path("other.csv").write_text(data.read_text().replace("red", "rad", 1))
    refused(call("train", "--resume", run, "other.csv"), "not the data of killed/3 (rows then 80, now 80)")
    refused(call("train"), "missing argument DATA", "or --resume RUN")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_is_told_in_one_line(
    call: Call, killed: Callable[[int], Path], expected: dict[str, Any]
) -> None:
    run = killed(5)
    last = sorted((run / "checkpoints").glob("0*"))[-1]
    last.write_bytes(last.read_bytes()[:-9])
    told = call("train", "--resume", run)
    assert f"note: checkpoint {last.stem} of {run} is damaged: goes on from the one before\n" in told.err
    assert outputs(run) == expected
    run = killed(4)
    for path in (run / "checkpoints").glob("0*"):
        path.write_bytes(b"")
    told = call("train", "--resume", run)
    assert f"{run} are damaged: starts from the beginning\n" in told.err
    assert outputs(run) == expected


def test_longer_limits_are_those_of_a_longer_run(call: Call, places: list[Path], killed: Callable[[int], Path]) -> None:
    run = killed(-1)
    call("train", places[-1].parent / "data.csv", *QUICK, "--epochs", "3", "--out", "long")
    told = call("train", "--resume", run, "--epochs", "3")
    assert told.out.startswith(f"{run} goes on after epoch 2 of 3\n")
    assert outputs(run) == outputs(Path("long"))


@pytest.mark.parametrize(
    "flags, reason",
    [
        (("--step-limit", "4"), "the limit of 4 steps is reached"),
        (("--time-limit", "1e-9"), "the time limit of 1e-09 s is reached"),
        (("--target-loss", "100"), "validation loss 0.6938 has reached the target 100"),
    ],
)
def test_limits(flags: tuple[str, ...], reason: str, call: Call, data: Path) -> None:
    told = call("train", data, *QUICK, *flags)
    result = json.loads(Path("runs/data/result.json").read_text())
    assert result["stopped"] == reason
    assert result["stopped"] in told.err
    assert load("runs/data").notes["best_epoch"] == result["best_epoch"]


def test_a_step_limit_inside_the_first_epoch_keeps_what_was_trained(call: Call, data: Path) -> None:
    call("train", data, "--hidden", "4", "--batch-size", "8", "--step-limit", "4")  # of 6 steps
    result = json.loads(Path("runs/data/result.json").read_text())
    assert (result["epochs"], result["best_epoch"]) == (1, 1)


def test_a_run_from_python_is_not_one_of_the_command(call: Call, places: list[Path], tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 20)[:, None]
    fl.fit(fl.Dense(1), (x, x[:, 0]), epochs=1, checkpoint=tmp_path / "fit")
    refused(call("train", "--resume", tmp_path / "fit"), "was trained from Python: go on with fl.resume('")
    with pytest.raises(fl.FalllineError, match="was trained by the command line: fallline train --resume"):
        fl.resume(places[-1], (x, x[:, 0]))
