"""Which nodes are computed together, what is stored, and that every group can run in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given

from fallline.autodiff.functions import grad
from fallline.graph.op import OPS
from fallline.graph.program import Program
from fallline.ops.composite import dot
from fallline.passes.fuse import REDUCTIONS, Fusion, Group, cuts_of, joined_cuts, parts_of
from fallline.passes.optimize import optimize
from tests.strategies import RandomProgram, programs

exp, tanh = OPS["exp"], OPS["tanh"]
X, Y, W, B = np.ones((4, 6)), np.ones((4, 6)), np.ones((6, 5)), np.ones(5)


def fused(f: Callable[..., Any], *args: Any) -> Fusion:
    return Fusion(optimize(Program.of(f, *args)))


def shown(fusion: Fusion) -> list[str]:
    """Each group as "kind: op op …", with a star behind what is stored."""
    stored = {id(v) for g in fusion.groups for v in g.stored}
    return [
        f"{g.kind}: " + " ".join(n.op.name + "*" * (id(n) in stored) for n in sorted(g.nodes, key=lambda n: n.op.name))
        for g in fusion.groups
    ]


def test_cuts_and_parts():
    assert cuts_of((2, 3, 4)) == {1, 4, 12, 24}
    assert joined_cuts(cuts_of((2, 12)), cuts_of((6, 4))) == cuts_of((2, 3, 4))
    assert joined_cuts(cuts_of((2, 3)), cuts_of((3, 2))) is None
    assert parts_of((2, 3, 4), (0,)) == {(12, 24)}
    assert parts_of((2, 3, 4), (0, 2)) == {(12, 24), (1, 4)}
    assert parts_of((2, 3, 4), (1, 2)) == {(1, 12)}


def test_a_chain_is_one_loop():
    assert shown(fused(lambda x, y: tanh(exp(x) * 2.0 + y), X, Y)) == ["loop: add exp multiply tanh*"]


def test_a_sum_joins_the_loop_before_it():
    assert shown(fused(lambda x: exp(x).sum(axis=1), X)) == ["loop: exp sum*"]
    assert shown(fused(lambda x: (exp(x).sum(axis=1), exp(x).max(axis=1)), X)) == ["loop: exp max* sum*"]


def test_sums_over_different_axes_are_different_loops():
    assert len(fused(lambda x: (x.sum(axis=0), x.sum(axis=1)), X).groups) == 2


def test_what_reads_a_sum_comes_later():
    found = fused(lambda x: exp(x) / exp(x).sum(axis=1, keepdims=True), X)
    assert [g.kind for g in found.groups] == ["loop", "loop"]
    assert shown(found)[0] == "loop: exp* sum*"


def test_a_product_takes_what_reads_it_entry_by_entry():
    assert shown(fused(lambda x, w, b: tanh(x @ w + b), X, W, B)) == ["matmul: add matmul tanh*"]
    kinds = [g.kind for g in fused(lambda x, w, b: tanh((x @ w).transpose() * 2.0), X, W, B).groups]
    assert kinds == ["matmul", "loop"]


def test_what_a_product_reads_is_not_its_epilogue():
    square = np.ones((6, 6))
    for f in (lambda a, b: exp(a) @ b, lambda a, b: b @ exp(a) + 1.0, lambda a, b: exp(a) @ b + exp(a)):
        found = fused(f, square, square)
        assert [g.kind for g in found.groups] == ["loop", "matmul"]
        assert shown(found)[0] == "loop: exp*"


def test_only_what_is_read_elsewhere_is_stored():
    assert shown(fused(lambda x, y: (exp(x) + y, (exp(x) * y).transpose() @ x), X, Y)) == [
        "loop: add* exp multiply*", "matmul: matmul*",
    ]  # fmt: skip


def test_a_node_of_a_single_later_group_moves_there():
    """exp(y) is not stored for the loop behind the product: the loop computes it."""
    found = fused(lambda x, w, y: exp(y) * (x @ w)[::-1], X, W, np.ones((4, 5)))
    assert shown(found) == ["matmul: matmul*", "loop: exp multiply*"]


def test_views_are_in_no_group_unless_they_are_results():
    found = fused(lambda x: (x.transpose() * 2.0, x[1:].reshape(-1) + 1.0), X)
    assert not any(n.op.view for g in found.groups for n in g.nodes)
    found = fused(lambda x: (x.transpose(), x.transpose().reshape(-1)), X)
    assert sorted(n.op.name for g in found.groups for n in g.nodes) == ["reshape", "transpose"]


def test_a_result_that_is_a_view_reads_in_its_own_order():
    square = np.ones((6, 6))
    found = fused(lambda x: (exp(x), exp(x).transpose()), square)
    assert len(found.groups) == 2
    node = found.groups[1].nodes[0]
    assert found.reading(node, node.args[0]).strides == (1, 6)


def test_what_an_engine_cannot_say_stands_alone():
    program = optimize(Program.of(lambda x: tanh(exp(x) * 2.0), X))
    found = Fusion(program, lambda node: node.op.name != "multiply")
    assert [g.kind for g in found.groups] == ["loop", "call", "loop"]


def check_order(fusion: Fusion) -> None:
    """Every node is in one group, behind what it reads; what is read from memory is stored."""
    homes: dict[int, Group] = {}
    for group in fusion.groups:
        for node in group.nodes:
            assert id(node) not in homes
            homes[id(node)] = group
    for group in fusion.groups:
        place = {id(n): k for k, n in enumerate(group.nodes)}
        for k, node in enumerate(group.nodes):
            for arg in node.args:
                made, direct = fusion.root_of(arg)
                if id(made) not in homes:
                    assert made.op.name in ("input", "constant")
                    continue
                home = homes[id(made)]
                if home is group:
                    assert direct
                    assert place[id(made)] < k
                    assert made.op.name not in REDUCTIONS
                    assert node is not group.product
                else:
                    assert home.number < group.number
                    assert made in home.stored
    for output in fusion.program.outputs:
        made, _ = fusion.root_of(output)
        assert id(made) not in homes or made in homes[id(made)].stored


@given(programs(max_steps=12))
def test_random_programs_are_in_order(random: RandomProgram):
    xs = random.inputs()
    gradients = grad(lambda *v: dot(random(*v), random(*v)), tuple(range(len(xs))))
    check_order(fused(lambda *v: (random(*v), *gradients(*v)), *xs))
