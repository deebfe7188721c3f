"""The passes that every engine runs before it takes over."""

from __future__ import annotations

from fallline.graph.program import Program
from fallline.passes.fold import fold
from fallline.passes.rewrite import run_passes
from fallline.passes.share import share
from fallline.passes.simplify import simplify


def optimize(program: Program) -> Program:
    """The same function with fewer nodes. Simplifying twice catches what sharing has made visible."""
    return run_passes(program, (simplify, fold, share, simplify, share))
