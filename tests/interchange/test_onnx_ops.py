"""Every op as nodes of ONNX, run by ONNX Runtime beside the interpreter: each dtype, sample and edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.tree import leaves
from fallline.graph.op import OPS
from fallline.graph.program import Program
from fallline.interchange.onnx_graph import Graph, Node
from fallline.interchange.onnx_ops import LOWERINGS, NOT_NODES, add_program
from fallline.interchange.onnx_proto import Port, proto
from fallline.passes.rows import RowProgram, Size
from tests.engines.test_contract import calls
from tests.interchange.onnx_session import onnx, session
from tests.tolerance import assert_close

KINDS = {"float32": "library", "float64": "f64"}  # float32 as another library's kernels round it
IN_FLOAT32 = {"erf": "library"}  # there is no kernel of float64


def port(name: str, found: Any) -> Port:
    """For an array, or for a node of a program."""
    return Port(name, str(found.dtype), found.shape)


def test_every_op_is_nodes_or_named_with_the_reason():
    assert set(OPS) == set(LOWERINGS) | set(NOT_NODES)
    assert not set(LOWERINGS) & set(NOT_NODES)


def test_an_op_without_nodes_is_named_with_its_layer(monkeypatch):
    monkeypatch.delitem(LOWERINGS, "tanh")
    network = fl.Sequential(fl.Dense(1), fl.Tanh()).build(np.zeros((1, 2)), 0)
    with pytest.raises(ConfigError, match=r"^layer layers\.1: the op tanh has no nodes in ONNX: say in "):
        fl.to_onnx(network, example=np.zeros((1, 2)))


@pytest.mark.parametrize("name", sorted(LOWERINGS))
def test_an_op_does_what_the_interpreter_does(name):
    op, graph, ports, given, wanted = OPS[name], Graph(), [], {}, []
    for k, (dtype, args, attrs) in enumerate(calls(op)):
        arrays = [np.asarray(leaf) for arg in args for leaf in leaves(arg).values()]
        entered = [port(graph.free(f"x{k}_{i}"), array) for i, array in enumerate(arrays)]
        build = lambda n, args=args, attrs=attrs: Program.of(lambda *a: {"y": op(*a, **attrs)}, *args)  # noqa: E731
        made = add_program(graph, RowProgram.of(build), [p.name for p in entered])["y"]
        graph.nodes.append(Node("Identity", (made,), (f"y{k}",), {}, f"y{k}"))
        ports += entered
        given |= {p.name: array for p, array in zip(entered, arrays, strict=True)}
        with np.errstate(all="ignore"):
            wanted.append((dtype, build(0).run(*arrays)[0]))
    outputs = [port(f"y{k}", array) for k, (_, array) in enumerate(wanted)]
    found = session(proto(onnx, graph, ports, outputs, {})).run(None, given)
    for ours, (dtype, meant) in zip(found, wanted, strict=True):
        assert ours.dtype == meant.dtype
        kind = IN_FLOAT32.get(name) or KINDS.get(dtype, "exact")
        assert_close(ours, meant, kind if meant.dtype.kind == "f" else "exact")


def growing(build: Any, *arrays: Any) -> list[Any]:
    """What a function of n rows gives for one input of 2, 7 and 100 rows, beside the interpreter."""
    program = RowProgram.of(lambda n: Program.of(lambda x: {"y": build(x)}, fl.Spec((n, 6), np.dtype("float32"))))
    graph = Graph({"x"})
    (made,) = add_program(graph, program, ["x"]).values()
    graph.nodes.insert(0, Node("Shape", ("x",), (graph.rows,), {"start": 0, "end": 1}, graph.rows))
    graph.nodes.append(Node("Identity", (made,), ("y",), {}, "y"))
    x, y = port("x", program.calls[0]), port("y", program.calls[program.outputs["y"]])
    running = session(proto(onnx, graph, [x], [y], {}))
    pairs = []
    for n in (2, 7, 100):
        rows = np.random.default_rng(n).normal(size=(n, 6)).astype(np.float32)
        pairs.append((running.run(None, {"x": rows})[0], Program.of(build, rows).run(rows)[0]))
    return pairs


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x.reshape(-1),
        lambda x: x.reshape(x.shape[0] * 2, 3).T,
        lambda x: fl.softmax(x @ x.T, axis=0),
        lambda x: fl.broadcast_to(x.sum(axis=0), x.shape) * 2.0,
        lambda x: fl.concatenate([x, np.ones((3, 6), np.float32)]).reshape(-1),
        lambda x: fl.flip(x[1:, ::2], 0),
        lambda x: OPS["unslice"].apply(x, bounds=((1, 1 + 2 * x.shape[0], 2), (0, 6, 1)), shape=(3 * x.shape[0], 6)),
        lambda x: fl.sort(x, axis=0),
        lambda x: fl.take(x, fl.argmax(x, axis=0)),
        lambda x: x * np.full(x.shape, 2.0, np.float32) + np.ones((x.shape[0], 1), np.float32),
    ],
    ids=["flat", "halves", "gram", "spread", "longer", "slice", "unslice", "sort", "rows", "repeated"],
)
def test_sizes_follow_the_number_of_rows(build):
    for ours, meant in growing(build):
        assert_close(ours, meant, "library")


def test_a_size_is_written_as_a_term_of_n():
    assert [str(Size(1)), str(Size(3)), str(Size(2, -1)), str(Size(1, 4))] == ["n", "3n", "2n-1", "n+4"]


def test_what_depends_on_the_number_of_rows_is_refused():
    spec = lambda n: fl.Spec((n, 2), np.dtype("float32"))  # noqa: E731
    with pytest.raises(ConfigError, match=r"^constant: for 11, 13, 17 rows it holds an array that differs; what is"):
        RowProgram.of(lambda n: Program.of(lambda x: {"y": x + np.arange(n, dtype=np.float32)[:, None]}, spec(n)))
    with pytest.raises(ConfigError, match="sizes 121, 169, 289"):
        RowProgram.of(lambda n: Program.of(lambda x: {"y": (x @ x.T).reshape(-1)}, spec(n)))
