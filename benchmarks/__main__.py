"""python -m benchmarks QUESTION (steps, scaling, compile, first_fit …); --help lists them, and the options."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from benchmarks import pinned
from benchmarks.worker import WorkerError
from benchmarks.workloads import WORKLOADS

PRECISIONS = ("float32", "float64", "bf16x3", "bf16")
QUESTIONS = {
    "steps": "time of one training step, beside the peers that are installed",
    "scaling": "cost per unit of work against rows, width, depth, batch and threads",
    "compile": "time until the first step: cold, from the disk cache, in the process",
    "whole_problem": "time and gradients until the optimum of linear models, beside other libraries' L-BFGS",
    "first_fit": "a fresh process from import to a trained model; the command line beside a scikit-learn script",
    "gradient_free": "evaluations until Rastrigin and Rosenbrock are solved without a gradient, beside pycma and SciPy",
    "tables": "cross-validated accuracy on real tables, and fit seconds, beside other estimators with their defaults",
    "large_table": "memory and time of a fit on a million rows of mixed columns, and of a million predictions",
    "coverage": "how often intervals hold the target, and what calibration does to log-loss, over many splits",
    "exactness": "runs that are killed at random moments and resumed, beside one that nobody killed",
    "classic": "fl.MLPClassifier with default arguments beside scikit-learn's: time and accuracy, seed by seed",
    "formats": "how far ONNX Runtime, PyTorch and a reader of NumPy are from a model's own answers, table by table",
    "diagnosis": "how often fl.diagnose accuses a sound training, and misses a broken one",
}


def main(given: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(given)
    most = pinned.cores()
    if max(asked.threads) > most:
        raise SystemExit(f"--threads {max(asked.threads)}: this process may run on {most} cores")
    try:
        importlib.import_module(f"benchmarks.{asked.question}").main(asked)
    except WorkerError as error:
        raise SystemExit(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How long training takes.")
    questions = parser.add_subparsers(dest="question", required=True, metavar="|".join(QUESTIONS))
    for name, help_text in QUESTIONS.items():
        _add_options(questions.add_parser(name, help=help_text, description=help_text), name)
    return parser


def _add_options(parser: argparse.ArgumentParser, question: str) -> None:
    both = "1,2" if question == "steps" and pinned.cores() > 1 else "1"
    parser.add_argument("--threads", type=_numbers, default=both, metavar="N,N…", help=f"default {both}")
    parser.add_argument("--engine", default="auto", metavar="NAME", help="of Fallline: numpy, llvm, auto")
    parser.add_argument("--quick", action="store_true", help="few rows and short turns: tries the benchmark itself")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for standard output")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measurements of each, in turn (default 5)")
    if question in ("steps", "compile"):
        known = ", ".join(WORKLOADS)
        parser.add_argument("--workloads", type=_words, metavar="NAME,NAME…", help=f"of {known} (default all)")
    if question in ("steps", "scaling", "compile"):
        precisions = ", ".join(PRECISIONS)
        parser.add_argument("--precision", type=_precisions, default="float32", metavar="NAME,NAME…", help=precisions)
    if question in ("steps", "first_fit", "gradient_free", "whole_problem"):
        parser.add_argument("--peers", type=_words, metavar="NAME,NAME…", help="default all; none for none")
    if question == "steps":
        of_calls = "of ours and of jax: after each call Python may look (default 1)"
        parser.add_argument("--epochs-per-call", type=int, default=1, metavar="N", help=of_calls)
    if question in ("steps", "scaling"):
        parser.add_argument("--plot", metavar="FILE", help="draw the result (PNG, SVG, PDF)")
    if question == "scaling":
        parser.add_argument("--sweeps", type=_words, metavar="NAME,NAME…", help="of rows, width, depth, batch, threads")
    if question == "gradient_free":
        parser.add_argument("--methods", type=_words, metavar="NAME,NAME…", help="of ours (default all)")
        parser.add_argument("--seeds", type=int, default=20, metavar="N", help="random starts of each (default 20)")
    if question == "exactness":
        parser.add_argument("--runs", type=_words, metavar="train,fit", help="which runs (default both)")
        parser.add_argument("--kills", type=int, metavar="N", help="of each run (default 50)")
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (default 0)")
    if question == "classic":
        parser.add_argument("--seeds", type=int, default=5, metavar="N", help="fits of each, in turn (default 5)")
        parser.add_argument("--max-iter", type=int, default=20, metavar="N", help="of both on the images (default 20)")
    if question == "coverage":
        parser.add_argument("--data", metavar="FOLDER", help="where the tables lie that scikit-learn does not package")
    if question == "tables":
        parser.add_argument("--contestants", type=_words, metavar="NAME,NAME…", help="default all that are installed")
        parser.add_argument("--tables", type=_words, metavar="NAME,NAME…", help="default all")
        parser.add_argument("--data", metavar="FOLDER", help="where the tables lie that scikit-learn does not package")
        parser.add_argument("--folds", type=int, metavar="N", help="of the cross-validation (default 5)")
        parser.add_argument("--rows", type=int, metavar="N", help="of each table at most, drawn with seed 0")
    if question in ("diagnosis", "formats"):
        parser.add_argument("--tables", type=_words, metavar="NAME,NAME…", help="packaged sets, or FILE:TARGET")
    if question in ("first_fit", "exactness"):
        parser.add_argument("--csv", metavar="FILE", help="a table of your own for the command line (with --target)")
        parser.add_argument("--target", metavar="NAME", help="its column to predict, one with two or more classes")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    found = [int(word) for word in _words(text)]
    if not found or min(found) < 1:
        raise ValueError(text)
    return found


def _precisions(text: str) -> list[str]:
    found = _words(text)
    unknown = [word for word in found if word not in PRECISIONS]
    if unknown or not found:
        raise argparse.ArgumentTypeError(f"{text!r}: known are {', '.join(PRECISIONS)}")
    return found


if __name__ == "__main__":
    main()
