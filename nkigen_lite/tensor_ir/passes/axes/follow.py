"""Elementwise steps right after the product that they take over.

Steps come in the order of the program's text. Segments are runs of neighbours, and what reads a
product as its neighbour takes it straight out of PSUM.
"""

from __future__ import annotations

from nkigen_lite.tensor_ir.passes.axes.program import Program, Step


def follow_products(program: Program) -> Program:
    """Move in place each elementwise step that is the only reader of a product to right after it,
    if its other operands are there by then:

    a = x @ gate; b = x @ up; c = silu(a); d = c * b
    -->
    a = x @ gate; c = silu(a); b = x @ up; d = c * b
    """
    for step in [s for s in program.steps if s.kind == "matmul"]:
        reader = _only_reader(program, step)
        if reader is not None and _is_ready(program, reader, step):
            program.steps.remove(reader)
            program.steps.insert(program.steps.index(step) + 1, reader)
    return program


def _only_reader(program: Program, step: Step) -> Step | None:
    """The elementwise step that alone reads what a step makes, and alone writes what it does."""
    made = step.write.storage
    readers = program.readers(made)
    if made.kind != "temp" or len(readers) != 1 or readers[0].kind != "pointwise":
        return None
    return readers[0] if program.writers(readers[0].write.storage) == readers else None


def _is_ready(program: Program, step: Step, after: Step) -> bool:
    """Whether all that a step reads has been written once another one is done."""
    done = set(program.steps[: program.steps.index(after) + 1])
    return all(done.issuperset(program.writers(view.storage)) for view in step.reads)
