"""The checker on what run time decides: registers, functions that loops run, branches, ranks, and
names that are bound anew."""

from __future__ import annotations

import pytest

from nkigen_lite.source_check import Verdict, check_source

HEAD = """\
import nki
import nki.collectives as ncc
import nki.isa as nisa
import nki.language as nl

INPUTS = {"x": ((8, 4), "float32"), "word": ((1, 1), "int32")}


@nki.jit
def k(x, word):
    y = nl.ndarray((8, 4), dtype=nl.float32, buffer=nl.shared_hbm)
"""
FILLED = "nisa.dma_copy(dst=y, src=x)"
HELD = "held = nisa.register_alloc()\nnisa.register_load(dst=held, src=word)"
TILE = "tile = nl.ndarray((8, 4), dtype=nl.float32, buffer=nl.sbuf)"
LOADED = f"{TILE}\nnisa.dma_copy(dst=tile, src=x)"


def verdict(*parts: str) -> Verdict:
    lines = [line for part in (*parts, "return y") for line in part.splitlines()]
    return check_source(HEAD + "".join(f"    {line}\n" for line in lines))


def sentences(*parts: str) -> list[str]:
    return [problem.sentence for problem in verdict(*parts).problems]


LEGAL = {
    "register from a number": ("r = nisa.register_alloc(x=4)", FILLED),
    "registers move": (HELD, "other = nisa.register_alloc()",
                       "nisa.register_move(dst=other, src=held)", FILLED),
    "loop of unknown length": (HELD, "def body(i):\n    nisa.dma_copy(dst=y, src=x)",
                               "nl.fori_loop(0, held, body, step=2)"),
    "while loop": (HELD, "def body(r):\n    nisa.dma_copy(dst=y, src=x)\n    return r",
                   "nl.while_loop(held, body)"),
    "branch on an index": ("for i in range(2):\n    if i > 0:\n"
                           "        nisa.dma_copy(dst=y, src=x)\n    else:\n        pass",),
    "exchange": ("s = nl.ndarray((8, 4), dtype=nl.float32, buffer=nl.hbm)",
                 "nisa.dma_copy(dst=s, src=x)",
                 "ncc.all_reduce(srcs=[s], dsts=[y], replica_group=ncc.ReplicaGroup([[0, 1]]), "
                 "op=nl.add)"),
    "rows at a register": (HELD, LOADED.replace("(8, 4)", "(1, 4)").replace("src=x", "src=x.ap("
                           "pattern=[[4, 1], [1, 4]], scalar_offset=held)"), FILLED),
    "rows at a rank": ("r = ncc.rank_id()", FILLED),
    "a tile keeps a name": (LOADED, "for i in range(3):\n    before = tile\n"
                            "    tile = nl.ndarray((8, 4), dtype=nl.float32, buffer=nl.sbuf)\n"
                            "    nisa.tensor_copy(dst=tile, src=before)", FILLED),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_legal(name: str) -> None:
    assert sentences(*LEGAL[name]) == []


BROKEN = {
    "register of a float": (("r = nisa.register_alloc(x=0.5)",), "x is 0.5 but must be an int"),
    "register of a row": (("r = nisa.register_alloc()", "nisa.register_load(dst=r, src=x)"),
                          "register_load: src is x"),
    "register of nothing": (("w = nl.ndarray((1, 1), dtype=nl.int32, buffer=nl.sbuf)",
                             "r = nisa.register_alloc()", "nisa.register_load(dst=r, src=w)"),
                            "src reads 1 of 1 elements of w that nothing has written"),
    "tile as a register": ((LOADED, "nisa.register_move(dst=tile, src=3)"),
                           "register_move: dst is tile"),
    "register as a number": ((HELD, "for i in range(2):\n    if held > 0:\n        pass"),
                             "Register() is not a number"),
    "register as a place": ((HELD, "nisa.dma_copy(dst=y[held, 0:4], src=x[0, 0:4])"),
                            "indexed by Register()"),
    "loop over no function": ((HELD, "nl.fori_loop(0, held, held)"), "is run but is no function"),
    "loop to a tile": ((LOADED, "def body(i):\n    pass", "nl.fori_loop(0, tile, body)"),
                       "is a bound but must be a register or an int"),
    "unknown keyword of a loop": ((HELD, "def body(i):\n    pass",
                                   "nl.fori_loop(0, held, body, unroll=2)"),
                                  "has other arguments than bounds and a function"),
    "function of two": ((HELD, "def body(i, j):\n    pass"), "must take one plain name"),
    "result of a function": ((HELD, "def body(r):\n    return y", "nl.while_loop(held, body)"),
                             "must return one register"),
    "tile from inside a function": (
        (HELD, f"def body(i):\n    {TILE}\n    nisa.memset(dst=tile, value=0.0)",
         "nl.fori_loop(0, held, body)", "nisa.dma_copy(dst=y, src=tile)"),
        "tile is used but nothing has defined it"),
    "name bound anew in a function": (
        (LOADED, HELD, f"def body(i):\n    before = tile\n    {TILE}",
         "nl.fori_loop(0, held, body)"),
        "tile is used but nothing has defined it"),
    "read of the new tile": ((LOADED, f"before = tile\n{TILE}", "nisa.dma_copy(dst=y, src=tile)"),
                             "src reads 32 of 32 elements of tile that nothing has written"),
    "name before it is bound": (("for i in range(2):\n    before = tile",),
                                "tile is used but nothing has defined it"),
    "collective of a tile alone": (
        ("ncc.all_reduce(srcs=x, dsts=[y], replica_group=ncc.ReplicaGroup([[0]]), op=nl.add)",),
        "srcs is x (8, 4)"),
    "collective that multiplies": (
        ("ncc.all_reduce(srcs=[x], dsts=[y], replica_group=ncc.ReplicaGroup([[0]]), "
         "op=nl.multiply)",), "must be one of nl's add, maximum, minimum"),
    "gather of too little": (
        ("ncc.all_gather(srcs=[x], dsts=[y], replica_group=ncc.ReplicaGroup([[0, 1]]), "
         "collective_dim=0)",), "dst is (8, 4) but must be (16, 4)"),
    "ranks twice": (
        ("ncc.all_gather(srcs=[x], dsts=[y], replica_group=ncc.ReplicaGroup([[0, 0]]), "
         "collective_dim=0)",), "is not a list of groups of one size, each rank once"),
    "collective in two memories": (
        (TILE, "ncc.all_to_all(srcs=[x], dsts=[tile], replica_group=ncc.ReplicaGroup([[0]]), "
         "collective_dim=0)"), "tensors are in hbm and sbuf but must be in hbm"),
    "collective that is none": (("ncc.all_reverse(srcs=[x], dsts=[y])",),
                                "ncc.all_reverse is not a function of nki.collectives"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    parts, wanted = BROKEN[name]
    found = sentences(*parts, FILLED)
    assert any(wanted in sentence for sentence in found), found
    assert len(found) == 1


def test_what_a_function_writes_counts_and_is_named_as_undecided() -> None:
    found = verdict(*LEGAL["loop of unknown length"])
    assert found.ok
    assert found.undecided == (
        "line 16: how often body runs is decided at run time; 2 runs were followed",
    )


def test_two_runs_show_what_one_leaves_to_the_next() -> None:
    acc = "acc = nl.ndarray((4, 4), dtype=nl.float32, buffer=nl.psum)"
    body = ("def body(i):\n    nisa.nc_matmul(dst=acc, stationary=tile, moving=tile, "
            "accumulate=False)")  # fmt: skip
    (found,) = sentences(LOADED, HELD, acc, body, "nl.fori_loop(0, held, body)", FILLED)
    assert "accumulate is False but 16 elements of acc hold a sum that nothing has read" in found
