"""The native engine confined to a family of CPUs, and its plans for any machine."""

from __future__ import annotations

import copy

import pytest

from fallline.core.errors import ConfigError
from fallline.engines.engine import get_engine
from fallline.engines.llvm.coverage import is_native
from fallline.engines.llvm.engine import LlvmEngine
from fallline.engines.llvm.memory import plan_places
from fallline.engines.llvm.products import Products
from fallline.engines.llvm.table import Table, tiled_forms
from fallline.engines.llvm.target import Target, host_target
from fallline.graph.program import Program
from fallline.passes.fuse import Fusion
from fallline.passes.optimize import optimize


def engine_for(family: str) -> LlvmEngine | None:
    """The engine, using nothing beyond that family; None where this CPU has not even that."""
    try:
        target = host_target(family)
    except ConfigError:
        return None
    engine = get_engine("llvm")
    assert isinstance(engine, LlvmEngine)
    made = copy.copy(engine)
    made.__dict__["target"] = target
    return made


def target_for(family: str) -> Target:
    """The target of that family, or a skip where this CPU is none of it."""
    try:
        return host_target(family)
    except ConfigError as error:
        pytest.skip(str(error))


def planned(program: Program, target: Target) -> Table:
    """The native calls of a program on a target, which need not be this machine."""
    fusion = Fusion(optimize(program), is_native)
    return Table(fusion, plan_places(fusion, {}, set()), target, Products(target), tiled_forms(fusion, target))


ENGINES = {name: engine for name in ("avx512", "avx2", "sse2", "neon", "generic") if (engine := engine_for(name))}
