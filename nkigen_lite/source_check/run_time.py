"""What run time decides: registers, functions that loops run, exchange between ranks.

Of a register nothing is known but that it is one. A function that a loop of unknown length runs is
executed twice, as two runs show what one leaves to the next; what it writes counts as written,
which the verdict names among what was not decided.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nkigen_lite.source_check.binding import Signature, signature
from nkigen_lite.source_check.expressions import Env, Evaluate, compiled
from nkigen_lite.source_check.facts import Groups, Register, Token
from nkigen_lite.source_check.findings import Illegal, require
from nkigen_lite.source_check.machine import Machine
from nkigen_lite.source_check.tensors import View

Run = Callable[[Env], None]

RUNS = 2
"""How often a function is run whose loop's length is not known."""

NEW_REGISTERS = ("nisa.register_alloc", "ncc.rank_id")
REGISTER_CALLS = ("nisa.register_move", "nisa.register_load", "nisa.register_store")
REPEATS = {"nl.fori_loop": 3, "nl.while_loop": 2}
"""The functions that run others, by their number of positional arguments; the last one is run."""

_HBM = ("hbm", "private_hbm", "shared_hbm")


@dataclass(frozen=True, eq=False)
class Function:
    """A function in a kernel: its parameter, the names of its own, and what runs its body."""

    name: str
    parameter: str
    own: frozenset[str]
    run: Run

    def call(self, env: Env, argument: Any) -> None:
        """Run it once; what it binds ends with it."""
        inside = {name: value for name, value in env.items() if name not in self.own}
        self.run(inside | {self.parameter: argument})


def new_register(call: ast.Call) -> Evaluate:
    """``nisa.register_alloc(x=4)`` or ``ncc.rank_id()``."""
    bound = signature(ast.unparse(call.func).split(".")[1], ast.unparse(call.func).split(".")[0])
    bound.bind(call)
    given = [compiled(k.value) for k in call.keywords]

    def evaluate(env: Env) -> Any:
        for part in given:
            value = part(env)
            require(
                type(value) is int or (isinstance(value, View) and _is_word(value)),
                f"nisa.{bound.name}: x is {value} but must be an int or a tile of one",
            )
        return Register()

    return evaluate


def next_register(makers: Sequence[Evaluate], env: Env) -> None:
    """What the function of a ``while_loop`` gives back."""
    found = [make(env) for make in makers]
    require(
        len(found) == 1 and isinstance(found[0], Register),
        f"return: {found} is returned but a function in a kernel must return one register",
    )


def repeats(machine: Machine, path: str, node: ast.Expr) -> Run:
    """``nl.fori_loop(0, bound, function, step=2)`` or ``nl.while_loop(register, function)``."""
    call = node.value
    assert isinstance(call, ast.Call)
    steps = [k for k in call.keywords if k.arg == "step" and path == "nl.fori_loop"]
    require(
        len(call.args) == REPEATS[path] and steps == call.keywords,
        f"{path}: {ast.unparse(call)} has other arguments than bounds and a function",
    )
    parts = [compiled(a) for a in (*call.args, *(k.value for k in call.keywords))]
    place = REPEATS[path] - 1

    def run(env: Env) -> None:
        def act() -> Function:
            given = [part(env) for part in parts]
            function = given.pop(place)
            require(
                isinstance(function, Function), f"{path}: {function!r} is run but is no function"
            )
            for value in given:
                require(
                    isinstance(value, Register) or type(value) is int,
                    f"{path}: {value} is a bound but must be a register or an int",
                )
            assert isinstance(function, Function)
            return function

        function = machine.attempt(node.lineno, act)
        if function is None:
            return
        machine.undecided[
            f"line {node.lineno}: how often {function.name} runs is decided at run time; "
            f"{RUNS} runs were followed"
        ] = None
        for _ in range(RUNS):
            function.call(env, Register())

    return run


def side_call(machine: Machine, path: str, node: ast.Expr) -> Run:
    """A call that moves a register, or in which ranks exchange."""
    call = node.value
    assert isinstance(call, ast.Call)
    module, name = path.split(".", 1)
    bound = signature(name, module)
    bound.bind(call)
    given = [(str(k.arg), compiled(k.value)) for k in call.keywords]
    act = _register_call if module == "nisa" else _exchange

    def run(env: Env) -> None:
        machine.attempt(
            node.lineno,
            lambda: act(machine, bound, {name: part(env) for name, part in given}),
        )

    return run


def _register_call(machine: Machine, bound: Signature, args: dict[str, Any]) -> None:
    """One element and one register, or two numbers, one of them a register."""
    name = f"nisa.{bound.name}"
    moves = bound.name == "register_move"
    for what in ("dst", "src"):
        value = args[what]
        if (what == "dst") == (bound.name != "register_store") or moves:
            legal = isinstance(value, Register) or (moves and what == "src" and type(value) is int)
            require(legal, f"{name}: {what} is {value} but must be a register")
        else:
            legal = isinstance(value, View) and _is_word(value)
            require(legal, f"{name}: {what} is {value} but must be one integer in sbuf or hbm")
    read = {w: v for w, v in args.items() if w == "src" and isinstance(v, View)}
    written = {w: v for w, v in args.items() if w == "dst" and isinstance(v, View)}
    machine.touch(name, read, written)


def _is_word(view: View) -> bool:
    """Whether a view is one integer that a register may hold."""
    one = view.partitions * view.free_size == 1
    return one and view.dtype.is_integer and view.region.name != "psum"


# --- exchange ------------------------------------------------------------------------------------

_ONLY_HBM = ("all_to_all", "collective_permute")
_FOLDS = ("add", "maximum", "minimum")


def _exchange(machine: Machine, bound: Signature, args: dict[str, Any]) -> None:
    """A collective of one tensor of each rank (aws-neuron-sdk, nki.collectives reference)."""
    name = f"ncc.{bound.name}"
    src, dst = (_only_tensor(name, what, args[what]) for what in ("srcs", "dsts"))
    try:
        _check_exchange(name, bound.name, src, dst, args)
    finally:
        machine.touch(name, {"srcs": src}, {"dsts": dst})


def _only_tensor(name: str, what: str, given: Any) -> View:
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], View):
        return given[0]
    raise Illegal(f"{name}: {what} is {given} but must be a list of one tensor")


def _check_exchange(name: str, kind: str, src: View, dst: View, args: dict[str, Any]) -> None:
    places = {"hbm" if v.region.name in _HBM else v.region.name for v in (src, dst)}
    legal = places == {"hbm"} or (places == {"sbuf"} and kind not in _ONLY_HBM)
    where = "hbm" if kind in _ONLY_HBM else "hbm, or both in sbuf"
    require(legal, f"{name}: tensors are in {' and '.join(sorted(places))} but must be in {where}")
    require(src.dtype == dst.dtype, f"{name}: {src.dtype} becomes {dst.dtype} but must stay")
    op = args.get("op")
    require(
        op is None or (isinstance(op, Token) and op.name in _FOLDS),
        f"{name}: op is {op!r} but must be one of nl's {', '.join(_FOLDS)}",
    )
    wanted = list(src.shape)
    if "replica_group" in args:
        groups, dim = args["replica_group"], args.get("collective_dim", 0)
        require(isinstance(groups, Groups), f"{name}: replica_group is {groups!r}")
        most = 1 if kind == "all_gather" and places == {"sbuf"} else 0
        require(
            type(dim) is int and 0 <= dim <= most,
            f"{name}: collective_dim is {dim!r} but must be 0 to {most}",
        )
        if kind == "all_gather":
            wanted[dim] *= len(groups.ranks[0])
        if kind == "reduce_scatter":
            wanted[dim] //= len(groups.ranks[0])
    require(dst.shape == tuple(wanted), f"{name}: dst is {dst.shape} but must be {tuple(wanted)}")
