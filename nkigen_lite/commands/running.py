"""``run``: compile for given arrays, run the lowered kernel on numpy, compare with the function."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from inspect import BoundArguments
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from nkigen_lite.api import Compiled
from nkigen_lite.commands import terminal
from nkigen_lite.commands.arguments import Request, load_arrays, request, target_of
from nkigen_lite.commands.compiling import compiled
from nkigen_lite.commands.stages import STAGES, doing_after
from nkigen_lite.core.dtypes import Array, DType, round_to, widen
from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend import arguments
from nkigen_lite.nki_ir.checked import Order
from nkigen_lite.report.agreement import Agreement, compare, dtypes_of, tolerance
from nkigen_lite.report.figures import micros, scientific
from nkigen_lite.report.tables import Column, render, table
from nkigen_lite.tensor_ir.types import TensorType

_INTEGERS_BELOW = 8  # small, so that sums and products of random integers do not overflow
_FLOAT64 = "compared with numpy in float64; what numpy makes in these types is {} from the kernel's"
_STORED = {np.dtype(t) for t in (np.float16, np.float32, np.bool_)}


def run_command(args: argparse.Namespace) -> int:
    """Run the kernel; 1 if ``--check`` finds that it disagrees with numpy."""
    given = load_arrays(args.inputs) if args.inputs else {}
    wanted = request(args.function, args.arg, args.static, given)
    target = target_of(args.target, args.set)
    with terminal.progress(STAGES["trace"]) as progress:
        kernel = compiled(args, wanted, target, lambda stage, _: progress(doing_after(stage)))
        inputs = wanted.with_arrays(_arrays(wanted, args.random))
        progress("running the kernel in the interpreter")
        result = _result(kernel, inputs, args.checked)
        outputs = named_outputs(kernel, result)
        agreements: list[Agreement] = []
        if args.check:
            progress("running numpy")
            agreements = checked(kernel, wanted.function, inputs, outputs)
    if args.output:
        _save(args.output, outputs)
    if not args.quiet:
        _print(kernel, outputs, agreements, args.output)
    return 0 if all(a.ok for a in agreements) else 1


def _result(kernel: Compiled, inputs: BoundArguments, order: Order | None) -> Any:
    """What the kernel returns; with an order, run in memories of bytes at its addresses."""
    if order is None:
        return kernel(*inputs.args, **inputs.kwargs)
    feed = kernel.traced.feed(*inputs.args, **inputs.kwargs)
    return kernel.traced.unflatten(kernel.run_checked(feed, order))


def named_outputs(kernel: Compiled, result: Any) -> dict[str, Any]:
    """The arrays of a result by the kernel's names of its outputs."""
    names: list[str] = []
    arguments.map_tree("", kernel.traced.output_tree, lambda _, name: names.append(name))
    leaves: list[Any] = []
    arguments.map_tree("", result, lambda _, leaf: leaves.append(leaf))
    return dict(zip(names, leaves, strict=True))


def checked(
    kernel: Compiled,
    function: Callable[..., Any],
    inputs: BoundArguments,
    outputs: Mapping[str, Any],
) -> list[Agreement]:
    """How each output compares with what numpy makes of the same arrays.

    Numpy adds up narrow floats in their own type, and so may be far off itself. What disagrees
    with it may agree with what it makes of the same numbers as float64.
    """
    found = _against(kernel, function, inputs, outputs)
    if all(a.ok for a in found) or not any(map(_is_narrow, arguments.leaves(inputs).values())):
        return found
    wide = arguments.map_arguments(inputs, lambda _, leaf: _as_float64(leaf))
    exact = _against(kernel, function, wide, outputs)
    return [
        replace(better, note=_FLOAT64.format(scientific(a.max_rel)))
        if better.ok and not a.ok
        else a
        for a, better in zip(found, exact, strict=True)
    ]


def _against(
    kernel: Compiled,
    function: Callable[..., Any],
    inputs: BoundArguments,
    outputs: Mapping[str, Any],
) -> list[Agreement]:
    with np.errstate(all="ignore"):
        reference = function(*inputs.args, **inputs.kwargs)
    return agreements_of(kernel, outputs, named_outputs(kernel, reference))


def _is_narrow(leaf: Any) -> bool:
    """Whether an argument is an array of floats of less than 32 bits."""
    return isinstance(leaf, np.ndarray) and leaf.dtype != widen(leaf).dtype


def _as_float64(leaf: Any) -> Any:
    return widen(leaf).astype(np.float64) if _is_narrow(leaf) else leaf


def agreements_of(
    kernel: Compiled, outputs: Mapping[str, Any], reference: Mapping[str, Any]
) -> list[Agreement]:
    """How each output compares with its reference, under the tolerance of the kernel's types."""
    dtypes = dtypes_of(kernel.graph)
    found = []
    for name, value in kernel.graph.outputs.items():
        of: DType = value.type.dtype
        allowed = tolerance(dtypes, of)
        found.append(compare(name, outputs[name], reference[name], allowed, exact=not of.is_float))
    return found


def _arrays(wanted: Request, seed: int) -> dict[str, Array]:
    """Arrays for the parameters of which only a spec is known."""
    rng = np.random.default_rng(seed)
    return {
        name: random_array(rng, spec)
        for name, spec in wanted.bound.arguments.items()
        if isinstance(spec, TensorType)
    }


def random_array(rng: np.random.Generator, spec: TensorType) -> Array:
    """Standard normal floats, integers from 0 to 7, or bools."""
    if spec.dtype.is_float:
        return round_to(np.asarray(rng.standard_normal(spec.shape)), spec.dtype)
    below = 2 if spec.dtype is DType.BOOL else _INTEGERS_BELOW
    return np.asarray(rng.integers(0, below, spec.shape)).astype(spec.dtype.np)


def _save(path: str, outputs: Mapping[str, Any]) -> None:
    """Save the outputs; bf16 and fp8, whose types numpy's files do not keep, as float32."""
    arrays = {name: _storable(np.asarray(array)) for name, array in outputs.items()}
    try:
        with open(path, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy types its flag only
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error.strerror}") from None


def _storable(array: Array) -> Array:
    keeps = array.dtype in _STORED or array.dtype.kind in "iu"
    return array if keeps else array.astype(np.float32)


def _print(
    kernel: Compiled, outputs: Mapping[str, Any], agreements: list[Agreement], saved: str | None
) -> None:
    report = kernel.report
    title = (
        f"{report.kernel} on {report.target}: ran in the interpreter; predicted "
        f"{micros(report.predicted_us)} us on hardware, not measured"
    )
    rows = list(_output_rows(kernel, outputs))
    columns = (
        Column("output", least=8),
        Column("type"),
        Column("least", right=True, drop=1),
        Column("mean", right=True, drop=1),
        Column("greatest", right=True, drop=1),
    )
    items: list[RenderableType] = [Text(title), table(columns, rows, terminal.width())]
    if agreements:
        items += [Text(), check_table(agreements, terminal.width())]
    items += [Text(f"{a.name}: {a.note}") for a in agreements if a.note]
    terminal.write(
        render(items, terminal.width(), colour=terminal.colour(), encoding=terminal.encoding())
    )
    if saved:
        terminal.write(f"wrote {saved}\n")


def _output_rows(kernel: Compiled, outputs: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in kernel.graph.outputs.items():
        wide = np.asarray(outputs[name]).astype(np.float64)
        kind = str(value.type).strip("<>")
        with np.errstate(all="ignore"):
            yield name, kind, f"{wide.min():.5g}", f"{wide.mean():.5g}", f"{wide.max():.5g}"


def check_table(agreements: list[Agreement], width: int) -> RenderableType:
    """One row per output: how far it is from numpy, and whether that is allowed."""
    columns = (
        Column("against numpy", least=8),
        Column("max abs error", right=True),
        Column("max rel error", right=True),
        Column("allowed", right=True, drop=1),
        Column(""),
    )
    rows = [
        (
            a.name,
            scientific(a.max_abs),
            scientific(a.max_rel),
            scientific(a.allowed),
            "agrees" if a.ok else "DISAGREES",
        )
        for a in agreements
    ]
    return table(columns, rows, width)
