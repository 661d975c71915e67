"""Steps right after those whose results they read.

Steps come in the order of the program's text. Segments are runs of neighbours, and what reads a
product as its neighbour takes it straight out of PSUM.
"""

from __future__ import annotations

from nkigen_lite.tensor_ir.passes.axes.program import Program, Step


def follow_results(program: Program) -> Program:
    """Have in place each step but products as soon as all that it reads is there, before anything
    else that came first:

    a = x @ gate; b = x @ up; c = silu(a); d = c * b
    -->
    a = x @ gate; c = silu(a); b = x @ up; d = c * b
    """
    needed, readers = _links(program)
    missing = {step: len(steps) for step, steps in needed.items()}
    order: dict[Step, None] = {}
    for first in program.steps:
        waiting = [] if first in order else [first]
        while waiting:
            step = waiting.pop()
            order[step] = None
            for reader in readers[step]:
                missing[reader] -= 1
            ready = [r for r in readers[step] if not missing[r] and r.kind != "matmul"]
            waiting += ready[::-1]
    program.steps = list(order)
    return program


def _links(program: Program) -> tuple[dict[Step, list[Step]], dict[Step, list[Step]]]:
    """Per step, those that write what it reads, and those that read what it writes."""
    writers: dict[object, list[Step]] = {}
    for step in program.steps:
        writers.setdefault(step.write.storage, []).append(step)
    needed: dict[Step, list[Step]] = {}
    readers: dict[Step, list[Step]] = {step: [] for step in program.steps}
    for step in program.steps:
        read = dict.fromkeys(view.storage for view in step.reads)
        needed[step] = [w for storage in read for w in writers.get(storage, ())]
        for writer in needed[step]:
            readers[writer].append(step)
    return needed, readers
