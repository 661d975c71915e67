# PYTHON_ARGCOMPLETE_OK
"""The command line: ``nkigen-lite compile|show|run|simulate|memory|sweep|why|plan|check|targets``.

Exit codes: 0 all went well; 1 the user's input is wrong or a check failed (one message on stderr);
2 the arguments are wrong; 130 interrupted; 141 whoever read the output went away.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import argcomplete
from argcomplete.completers import FilesCompleter

import cost_models
import nkigen_lite
import solver
from cost_models import PriceError, ProfileError, targets
from nkigen_lite.commands.arguments import count, order, pair, seconds, seed, stage
from nkigen_lite.commands.checking import check_command
from nkigen_lite.commands.compiling import compile_command, show_command
from nkigen_lite.commands.explaining import plan_diff_command, value_names, why_command
from nkigen_lite.commands.listing import targets_command
from nkigen_lite.commands.mapping import memory_command
from nkigen_lite.commands.running import run_command
from nkigen_lite.commands.simulating import simulate_command
from nkigen_lite.commands.stages import ALL, STAGES
from nkigen_lite.commands.sweeping import sweep_command
from nkigen_lite.errors import InvalidStage, NkigenError
from nkigen_lite.report.timeline_lanes import DRAWN
from nkigen_lite.source_check import checked_targets

INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + the signal's number, as shells say it
_OURS = tuple(
    os.path.dirname(os.path.realpath(str(package.__file__))) + os.sep
    for package in (nkigen_lite, solver, cost_models)
)
_EXPECTED = (NkigenError, ProfileError, PriceError, solver.ProblemError, solver.SolverMissing)

_EXAMPLES = """\
examples:
  nkigen-lite compile examples/rmsnorm.py:rmsnorm --arg x=128x1024:bf16 --arg weight=1024:bf16
  nkigen-lite compile examples/softmax.py:softmax --arg x=4096x4096 --target trn1 -o out/
  nkigen-lite show examples/softmax.py:softmax --arg x=64x256 --stage axes
  nkigen-lite run examples/matmul.py:matmul --arg a=64x256 --arg b=256x32 --check
  nkigen-lite simulate examples/softmax.py:softmax --arg x=4096x4096 --svg softmax.svg
  nkigen-lite memory examples/attention.py:attention --arg q=1x2x256x64 --arg k=1x2x256x64 \\
      --arg v=1x2x256x64 --svg memory.svg
  nkigen-lite sweep examples/softmax.py:softmax --arg x=Mx1024:T --vary M=128,1024,4096 \\
      --vary T=f32,bf16 --svg sweep.svg
  nkigen-lite check out/kernel.py --target trn2
  nkigen-lite why out/ v9
  nkigen-lite plan diff before/ after/
  nkigen-lite targets trn2 --assumed

Times are predicted by a cost model or a simulator; nothing is measured. To complete words with the
tab key:
  eval "$(register-python-argcomplete nkigen-lite)"
"""
_SPEC_HELP = (
    "a parameter's shape and element type, as in x=128x1024:bf16 (f32 if left out; x=:f32 is a "
    "scalar), or an array in a file, x=@file.npy; once per parameter"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code.

    Raises:
        SystemExit: for ``--help``, ``--version`` (0) and wrong arguments (2).
    """
    parser = make_parser()
    argcomplete.autocomplete(parser)
    args = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        return command(args)
    except KeyboardInterrupt:
        print("nkigen-lite: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        if args.traceback:
            traceback.print_exc()
        print(f"nkigen-lite: {explain(error, getattr(args, 'function', ''))}", file=sys.stderr)
        return 1


def explain(error: Exception, function: str) -> str:
    """One message for an exception: what is wrong, and where if the user's own code raised it."""
    if isinstance(error, _EXPECTED) and not isinstance(error, InvalidStage):
        return f"error: {error}"
    said = f"{type(error).__name__}: {error}"
    users = os.path.realpath(function.rpartition(":")[0])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = os.path.realpath(frame.filename)
        if file == users:
            return f"error: {function} raised {said}\n  at {frame.filename}:{frame.lineno}"
        if file.startswith(_OURS):
            break
    return f"internal error: {said}\n  --traceback shows where; please report it"


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="nkigen-lite",
        description="Compile numpy functions to NKI kernels for AWS Trainium NeuronCores.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"nkigen-lite {nkigen_lite.__version__}"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (command, summary, add_options) in _COMMANDS.items():
        made = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        made.set_defaults(command=command)
        add_options(made)
        _traceback_option(made, default=False)
    return parser


def _traceback_option(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--traceback",
        action="store_true",
        default=default,
        help="on an error, show where it was raised",
    )


def _function_options(parser: argparse.ArgumentParser) -> None:
    """What every command that compiles a function takes."""
    function = parser.add_argument(
        "function", metavar="FILE:FUNC", help="a numpy function: its file and its name"
    )
    _complete(function, FilesCompleter(("py",)))
    repeated = {"action": "append", "default": [], "type": pair, "metavar": "NAME=VALUE"}
    parser.add_argument("--arg", help=_SPEC_HELP, **repeated)  # type: ignore[arg-type]
    parser.add_argument(
        "--static",
        help="a parameter that is no array, as a Python literal; any other text is a string",
        **repeated,  # type: ignore[arg-type]
    )
    target = parser.add_argument(
        "--target",
        default="trn2",
        metavar="NAME",
        help=f"{', '.join(targets())}, or the path of a profile file (default: trn2)",
    )
    _complete(target, lambda **_: targets())
    parser.add_argument(
        "--set",
        help="replace a number of the profile, as in dma.queues=8; `targets NAME` lists them",
        **repeated,  # type: ignore[arg-type]
    )
    _solver_options(
        parser, "seconds for the solver (default: 10); the best plan so far is taken then"
    )
    decided = parser.add_argument(
        "--constraints",
        metavar="FILE.json",
        help="decisions for the solver to respect: where values live, roles, tiles, cuts, fusion",
    )
    _complete(decided, FilesCompleter(("json",)))
    parser.add_argument(
        "--prepack",
        action="append",
        default=[],
        metavar="NAME",
        help="a parameter that the kernel may take in another order, made once; may be repeated",
    )


def _solver_options(parser: argparse.ArgumentParser, limit_help: str) -> None:
    parser.add_argument("--time-limit", type=seconds, default=10.0, metavar="S", help=limit_help)
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="of the solver (default: 0)"
    )


def _compile_options(parser: argparse.ArgumentParser) -> None:
    _function_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="write kernel.py, plan.json, report.json and what `why` reads into this folder",
    )
    parser.add_argument(
        "--direct-alloc",
        action="store_true",
        help="write the planned address of every tile into kernel.py; else NKI's allocator decides",
    )
    parser.add_argument("--full", action="store_true", help="print long tables in full")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print report.json instead of text")
    how.add_argument("--quiet", action="store_true", help="print nothing")


def _show_options(parser: argparse.ArgumentParser) -> None:
    _function_options(parser)
    chosen = parser.add_argument(
        "--stage",
        type=stage,
        default=ALL,
        metavar="STAGE",
        help=f"one of {', '.join(STAGES)}, or {ALL} (default)",
    )
    _complete(chosen, lambda **_: [*STAGES, ALL])


def _run_options(parser: argparse.ArgumentParser) -> None:
    _function_options(parser)
    parser.add_argument(
        "--inputs",
        metavar="FILE.npz",
        help="arrays by parameter name; beside it, --arg says the element type of one",
    )
    parser.add_argument(
        "--random",
        type=seed,
        default=0,
        metavar="SEED",
        help="of the random values of parameters that --arg gives only a shape (default: 0)",
    )
    parser.add_argument("-o", "--output", metavar="FILE.npz", help="save the outputs by name")
    parser.add_argument(
        "--checked",
        type=order,
        metavar="ORDER",
        help="run in memories of bytes, each buffer at its address: in `program` order, or in one "
        "that the engines may take, for a seed; reads of bytes that are not there are errors",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with numpy; exit code 1 if they disagree"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def _simulate_options(parser: argparse.ArgumentParser) -> None:
    _function_options(parser)
    parser.add_argument(
        "--first",
        type=count,
        default=DRAWN,
        metavar="N",
        help="draw the first N instructions, DMA triggers and transfers "
        f"(default: {DRAWN}); the drawing on the terminal has as many as fit",
    )
    svg = parser.add_argument(
        "--svg", metavar="FILE", help="draw them into this file: a lane per engine, with tooltips"
    )
    _complete(svg, FilesCompleter(("svg",)))
    trace = parser.add_argument(
        "--trace",
        metavar="FILE",
        help="write trace events to open in Perfetto or chrome://tracing: the first 4 N, or 1,024",
    )
    _complete(trace, FilesCompleter(("json",)))
    parser.add_argument(
        "--addresses",
        action="store_true",
        help="let a buffer wait for those that had its bytes before",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _memory_options(parser: argparse.ArgumentParser) -> None:
    _function_options(parser)
    svg = parser.add_argument(
        "--svg", metavar="FILE", help="draw the map into this file, with tooltips"
    )
    _complete(svg, FilesCompleter(("svg",)))
    parser.add_argument("--full", action="store_true", help="list all buffers")
    parser.add_argument("--json", action="store_true", help="print the addresses as JSON")


def _sweep_options(parser: argparse.ArgumentParser) -> None:
    _function_options(parser)
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        type=pair,
        metavar="NAME=V1,V2",
        help="values for `target`, for a field of the profile (dma.queues=8,16), a parameter, or a "
        "name in --arg, as M in x=Mx1024; all combinations are compiled",
    )
    for option, what in (("svg", "draw a chart into this file"), ("csv", "write the points")):
        file = parser.add_argument(f"--{option}", metavar="FILE", help=what)
        _complete(file, FilesCompleter((option,)))
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _check_options(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument(
        "files", nargs="+", metavar="FILE", help="kernel source that compile wrote"
    )
    _complete(files, FilesCompleter(("py",)))
    parser.add_argument(
        "--target",
        choices=checked_targets(),
        default="trn2",
        help="whose limits hold (default: trn2)",
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="also run the kernels in the vendor's CPU simulator, which must be installed",
    )


def _why_options(parser: argparse.ArgumentParser) -> None:
    folder = parser.add_argument(
        "folder", metavar="OUT", help="a folder that `compile -o` wrote, or a file in it"
    )
    _complete(folder, FilesCompleter(("json",)))
    value = parser.add_argument(
        "value",
        nargs="?",
        metavar="VALUE",
        help="a value: what other places, roles and limits would cost; without one, what holds up "
        "each segment and what fusing neighbours would cost",
    )
    _complete(value, lambda parsed_args, **_: value_names(parsed_args.folder))
    _solver_options(parser, "seconds for each question to the solver (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _plan_options(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "say what differs between two plans"
    made = kinds.add_parser("diff", help=summary, description=f"{summary.capitalize()}.")
    made.set_defaults(command=plan_diff_command)
    for name, what in (("old", "a plan.json, or its folder"), ("new", "another")):
        file = made.add_argument(name, metavar=name.upper(), help=what)
        _complete(file, FilesCompleter(("json",)))
    made.add_argument("--json", action="store_true", help="print JSON instead of text")
    _traceback_option(made, default=argparse.SUPPRESS)  # `plan --traceback diff` says it, too


def _targets_options(parser: argparse.ArgumentParser) -> None:
    name = parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a profile's name or path; lists all its numbers"
    )
    _complete(name, lambda **_: targets())
    parser.add_argument("--assumed", action="store_true", help="only numbers that are assumed")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _complete(action: argparse.Action, completer: Callable[..., object]) -> None:
    """Let the tab key complete the argument; argcomplete looks for this attribute."""
    action.completer = completer  # type: ignore[attr-defined]


_COMMANDS: dict[
    str, tuple[Callable[[argparse.Namespace], int], str, Callable[[argparse.ArgumentParser], None]]
] = {
    "compile": (compile_command, "compile a function and report what was chosen", _compile_options),
    "show": (show_command, "print the IR after each stage", _show_options),
    "run": (run_command, "run the lowered kernel in the interpreter", _run_options),
    "simulate": (
        simulate_command,
        "compile a function and show the simulated time line of its kernel",
        _simulate_options,
    ),
    "memory": (
        memory_command,
        "compile a function and show where its buffers lie in SBUF and PSUM",
        _memory_options,
    ),
    "sweep": (
        sweep_command,
        "compile a function for many shapes, targets or numbers of a profile",
        _sweep_options,
    ),
    "check": (
        check_command,
        "check kernel source against the vendor's published rules",
        _check_options,
    ),
    "why": (
        why_command,
        "say why a compiled plan is as it is, and what other choices would cost",
        _why_options,
    ),
    "plan": (plan_diff_command, "compare saved plans", _plan_options),
    "targets": (targets_command, "list the hardware profiles and their numbers", _targets_options),
}
