"""A graph as plain data, put into the objects of the package onnx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline import __version__
from fallline.interchange.onnx_graph import Graph, Node
from fallline.passes.rows import Shape, Size

OPSET = 18
IR_VERSION = 9  # goes with opset 18 or later: ONNX Runtime 1.14 and all after it
ML, ML_OPSET = "ai.onnx.ml", 3  # the domain of the encoders of labels


@dataclass(frozen=True)
class Port:
    """An input or an output of the graph.

    dtype  of numbers, or "text"
    """

    name: str
    dtype: str
    shape: Shape


def proto(onnx: Any, graph: Graph, inputs: Sequence[Port], outputs: Sequence[Port], about: dict[str, str]) -> Any:
    """The onnx.ModelProto of the nodes that the outputs need.   about  facts that the file holds beside the graph"""
    helper = onnx.helper
    nodes = [_node(onnx, node) for node in graph.used(port.name for port in outputs)]
    arrays = [_tensor(onnx, name, array) for name, array in graph.arrays.items()]
    ports = [[_port(onnx, port) for port in listed] for listed in (inputs, outputs)]
    made = helper.make_model(
        helper.make_graph(nodes, "fallline", *ports, arrays),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="fallline",
        producer_version=__version__,
    )
    helper.set_model_props(made, about)
    return made


def _kind(onnx: Any, dtype: Any) -> int:
    if str(dtype) == "text":
        return onnx.TensorProto.STRING
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _port(onnx: Any, port: Port) -> Any:
    shape = [str(size) if isinstance(size, Size) else size for size in port.shape]
    return onnx.helper.make_tensor_value_info(port.name, _kind(onnx, port.dtype), shape)


def _node(onnx: Any, node: Node) -> Any:
    attrs = {name: _attribute(onnx, value) for name, value in node.attrs.items()}
    return onnx.helper.make_node(node.kind, node.inputs, node.outputs, node.name, domain=node.domain, **attrs)


def _attribute(onnx: Any, value: Any) -> Any:
    if isinstance(value, np.dtype):
        return _kind(onnx, value)
    return onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value


def _tensor(onnx: Any, name: str, array: np.ndarray) -> Any:
    if array.dtype.kind == "U":
        text = [str(cell).encode() for cell in array.flat]
        return onnx.helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, text)
    return onnx.numpy_helper.from_array(array, name)


__all__ = ["ML", "OPSET", "Port", "proto"]
