"""The native engine: programs as machine code for this CPU, through llvmlite."""

from fallline.engines.engine import ENGINES
from fallline.engines.llvm.engine import LlvmEngine

ENGINES.add("llvm", LlvmEngine())
