"""The order in which intermediates lie in HBM, should they be stored.

A product reads what it contracts on partitions. What only products read, over its last axis, is
better stored the other way round: rows of HBM then go to partitions, where they would otherwise
have to be transposed each time they are loaded. To make it so costs nothing where it comes from a
product itself, whose operands may change places.
"""

from __future__ import annotations

from nkigen_lite.tensor_ir.passes.axes.program import Program, Step, Storage, View


def turn_for_products(program: Program) -> Program:
    """Turn in place two-dimensional results of products, with what is computed of them element by
    element, if all that reads them contracts their last axis."""
    for storage in program.storages:
        readers = program.readers(storage) if len(storage.axes) == 2 else []
        if readers and all(_contracts_last(step, storage) for step in readers):
            made = _made_by_products(program, storage)
            for one in made or ():
                one.axes = one.axes[::-1]
                one.shape = tuple(axis.extent for axis in one.axes)
            if made:
                _turn_views(program, set(made))
    return program


def _contracts_last(step: Step, storage: Storage) -> bool:
    views = [view for view in step.reads if view.storage is storage]
    return step.kind == "matmul" and all(v.is_whole and v.axes[-1] in step.reduced for v in views)


def _made_by_products(program: Program, storage: Storage) -> list[Storage] | None:
    """The storage and the ones that it is computed of up to products, if nobody else reads these;
    None if it is computed of anything else."""
    writers = program.writers(storage)
    if storage.kind != "temp" or len(writers) != 1:
        return None
    step, found = writers[0], [storage]
    if step.kind not in ("matmul", "pointwise") or not step.write.is_whole:
        return None
    for view in step.reads if step.kind == "pointwise" else ():
        if view.storage.kind == "constant":
            continue
        before = _made_by_products(program, view.storage)
        if before is None or program.readers(view.storage) != [step] or view.axes != storage.axes:
            return None
        found += before
    return list(dict.fromkeys(found))


def _turn_views(program: Program, turned: set[Storage]) -> None:
    def view(old: View) -> View:
        return View(old.storage, old.coords[::-1]) if old.storage in turned else old

    for step in program.steps:
        step.reads = tuple(map(view, step.reads))
        step.write = view(step.write)
