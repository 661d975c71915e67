"""The order in which intermediates lie in HBM, should they be stored.

A product reads what it contracts on partitions. What only products read, over its last axis, is
better stored the other way round: rows of HBM then go to partitions, where they would otherwise
have to be transposed each time they are loaded. To make it so costs nothing where it comes from a
product itself, whose operands may change places.
"""

from __future__ import annotations

from nkigen_lite.tensor_ir.passes.axes.program import Program, Step, Storage, View


def turn_for_products(program: Program) -> Program:
    """Turn in place two-dimensional results of products, and of elementwise steps after them, if
    all that reads them contracts their last axis."""
    for storage in program.storages:
        readers = program.readers(storage) if len(storage.axes) == 2 else []
        contracted = readers and all(_contracts_last(step, storage) for step in readers)
        if contracted and storage.kind == "temp" and _is_of_products(program, storage):
            storage.axes = storage.axes[::-1]
            storage.shape = tuple(axis.extent for axis in storage.axes)
            _turn_views(program, storage)
    return program


def _contracts_last(step: Step, storage: Storage) -> bool:
    views = [view for view in step.reads if view.storage is storage]
    return step.kind == "matmul" and all(v.is_whole and v.axes[-1] in step.reduced for v in views)


def _is_of_products(program: Program, storage: Storage) -> bool:
    """Whether a storage is made by a product, or element by element of such and constants."""
    writers = program.writers(storage)
    if len(writers) != 1 or not writers[0].write.is_whole:
        return False
    (step,) = writers
    views = [view for view in step.reads if view.storage.kind != "constant"]
    return step.kind == "matmul" or (
        step.kind == "pointwise"
        and all(v.is_whole and set(v.axes) == set(storage.axes) for v in views)
        and all(_is_of_products(program, v.storage) for v in views)
    )


def _turn_views(program: Program, turned: Storage) -> None:
    def view(old: View) -> View:
        return View(turned, old.coords[::-1]) if old.storage is turned else old

    for step in program.steps:
        step.reads = tuple(map(view, step.reads))
        step.write = view(step.write)
