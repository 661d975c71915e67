"""Indirect accesses, gathers, shuffles and registers of the stand-in.

Written from the vendor's documentation (aws-neuron-sdk: nki.isa reference and NkiTensor.ap of
NKI 0.6), independently of the code under test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nki_stand_in_rules import check_operands
from nki_stand_in_tensors import (
    Indirect,
    MemoryRegion,
    Register,
    Tensor,
    require,
    rounded,
)

AXES = {2: (1, 0), 3: (2, 1, 0), 4: (3, 1, 2, 0)}
SHUFFLED = 32


class MovingIsa:
    """Instructions that move data by indices, and registers."""

    rounding: str

    def gather_or_scatter(self, dst: Any, src: Any, oob_mode: Any, dge_mode: Any) -> None:
        """dma_copy with an indirect side."""
        side = src if isinstance(src, Indirect) else dst
        require(side.shape == (dst if side is src else src).shape, f"{src} to {dst}")
        require(
            side.vector_offset is None or dge_mode.name in ("swdge", "unknown"),
            "vector offsets are for software descriptors",
        )
        at, inside = side.addresses(oob_mode.name == "skip")
        base = side.tensor
        if side is src:
            require(dst.dtype == base.dtype, f"gathers {base} into {dst}")
            require(bool(base.written.reshape(-1)[at][inside].all()), f"gathers from {base}")
            require(bool((dst.written | inside).all()), f"{dst} keeps what nothing has written")
            dst.write(np.where(inside, base.data.reshape(-1)[at], dst.data), self.rounding)
        else:
            require(src.dtype == base.dtype, f"scatters {src} into {base}")
            base.data.reshape(-1)[at[inside]] = src.read()[inside]
            base.written.reshape(-1)[at[inside]] = True

    def dma_compute(
        self,
        dst: Any,
        srcs: Any,
        reduce_op: Any,
        scales: Any,
        unique_indices: bool,
        oob_mode: Any,
    ) -> None:
        """The read-modify-write forms with vector offsets."""
        require(reduce_op.name == "add" and scales is None and unique_indices, "dma_compute")
        require(len(srcs) == 2, f"adds {srcs}")
        sides = [side for side in (dst, *srcs) if isinstance(side, Indirect)]
        require(bool(sides) and sides[0].vector_offset is not None, f"adds {srcs} to {dst}")
        at, inside = sides[0].addresses(oob_mode.name == "skip")
        flat = sides[0].tensor.data.reshape(-1)
        tile = srcs[1] if isinstance(dst, Indirect) else dst
        require(srcs[0] == dst if tile is srcs[1] else srcs[0].data is dst.data, "dst is a source")
        total = flat[at].astype(np.float32) + tile.read().astype(np.float32)
        if tile is dst:
            dst.write(np.where(inside, total, dst.data.astype(np.float32)), self.rounding)
        else:
            flat[at[inside]] = rounded(total[inside], sides[0].tensor.dtype, self.rounding)

    def dma_transpose(
        self, dst: Tensor, src: Any, axes: Any, dge_mode: Any, oob_mode: Any, priority: Any
    ) -> None:
        require(dst.region is MemoryRegion.sbuf, f"transposes into {dst}")
        require(axes is None or tuple(axes) == AXES[len(src.shape)], f"axes {axes}")
        values = src
        if isinstance(src, Indirect):
            require(dge_mode.name in ("swdge", "unknown"), "an indirect transpose is software's")
            require(src.tensor.data.itemsize == 2, f"gathers {src.tensor}")
            indices = src.vector_offset
            require(len(indices.shape) == 2 and indices.dtype == "uint32", f"indices {indices}")
            require(indices.shape[0] in range(16, 129, 16), f"indices {indices}")
            require(indices.shape[1] == 1 or indices.shape[0] == 128, f"indices {indices}")
            require(src.shape[0] % 16 == 0 and src.shape[-1] <= 128, f"gathers {src.shape}")
            require(len(src.shape) != 4 or 1 in src.shape[1:3], f"gathers {src.shape}")
            at, _ = src.addresses(skip=False)
            values = src.tensor.data.reshape(-1)[at]
            dtype = src.tensor.dtype
        else:
            require(src.region is not MemoryRegion.psum, f"transposes {src}")
            require(dge_mode.name in ("hwdge", "unknown"), "a direct transpose is hardware's")
            require(src.data.itemsize in (2, 4), f"transposes {src}")
            values, dtype = src.read(), src.dtype
        require(dst.dtype == dtype, f"transposes {dtype} into {dst}")
        dst.write(values.transpose(AXES[values.ndim]), self.rounding)

    def nc_n_gather(self, dst: Tensor, data: Tensor, indices: Tensor) -> None:
        check_operands(dst, data, indices, gpsimd=True)
        require(indices.dtype == "uint32" and dst.dtype == data.dtype, f"gathers by {indices}")
        require(dst.free_size == indices.free_size, f"gathers {indices} into {dst}")
        rows, at = (
            data.read().reshape(len(data.data), -1),
            indices.read().reshape(len(data.data), -1),
        )
        require(int(at.max()) < rows.shape[1], f"an index of {indices} is out of bounds")
        made = np.stack([row[chosen] for row, chosen in zip(rows, at, strict=True)])
        dst.write(made.reshape(dst.shape), self.rounding)

    def local_gather(
        self,
        dst: Tensor,
        src_buffer: Tensor,
        index: Tensor,
        num_elem_per_idx: int,
        num_valid_indices: int | None,
    ) -> None:
        check_operands(dst, src_buffer, index, gpsimd=True)
        require(src_buffer.shape[0] % 16 == 0, f"gathers {src_buffer}")
        require(index.dtype == "uint16" and dst.dtype == src_buffer.dtype, f"gathers by {index}")
        require(num_elem_per_idx in (1, 2, 4, 8, 16, 32), f"{num_elem_per_idx} elements an index")
        valid = 16 * index.free_size if num_valid_indices is None else num_valid_indices
        require(valid <= 4096 and valid * num_elem_per_idx == dst.free_size, f"{valid} indices")
        flat = src_buffer.read().reshape(src_buffer.shape[0], -1)
        table = index.read().reshape(src_buffer.shape[0], -1)
        made = np.empty((len(flat), valid, num_elem_per_idx), flat.dtype)
        for row in range(len(flat)):
            core = table[row // 16 * 16 : row // 16 * 16 + 16]
            for k, start in enumerate(core.flatten(order="F")[:valid]):
                made[row, k] = flat[row, int(start) : int(start) + num_elem_per_idx]
        dst.write(made.reshape(dst.shape), self.rounding)

    def nc_stream_shuffle(self, dst: Tensor, src: Tensor, shuffle_mask: Any) -> None:
        check_operands(dst, src, same_partitions=False)
        require(dst.dtype == src.dtype and dst.free_size == src.free_size, f"{src} to {dst}")
        require(len(shuffle_mask) == SHUFFLED, f"mask {shuffle_mask}")
        values, made = src.read(), dst.data.copy()
        for row in range(dst.shape[0]):
            source = shuffle_mask[row % SHUFFLED]
            if source == 255:
                require(bool(dst.written[row].all()), f"{dst} keeps what nothing has written")
            else:
                made[row] = values[row // SHUFFLED * SHUFFLED + source]
        dst.write(made, self.rounding)

    def sequence_bounds(self, dst: Tensor, segment_ids: Tensor) -> None:
        check_operands(dst, segment_ids, gpsimd=True)
        ids = segment_ids.read().reshape(-1).tolist()
        require(dst.shape == (1, 2, len(ids)), f"bounds of {segment_ids} in {dst}")
        made = np.empty((1, 2, len(ids)), np.int64)
        for i, segment in enumerate(ids):
            first = last = i
            while first and ids[first - 1] == segment:
                first -= 1
            while last + 1 < len(ids) and ids[last + 1] == segment:
                last += 1
            made[0, :, i] = (first, last + 1) if segment else (len(ids), -1)
        dst.write(made, self.rounding)

    def nonzero_with_count(
        self, dst: Tensor, src: Tensor, index_offset: int, padding_val: int
    ) -> None:
        check_operands(dst, src, gpsimd=True)
        require(dst.dtype == "int32" and src.dtype in ("int32", "float32"), f"{src} to {dst}")
        require(dst.free_size == src.free_size + 1, f"{src} to {dst}")
        made = dst.data.copy()
        for row in range(0, src.shape[0], 16):
            found = [i + index_offset for i, v in enumerate(src.data[row].ravel()) if v != 0]
            rest = [padding_val] * (src.free_size - len(found))
            made[row] = [*found, *rest, len(found)]
        dst.write(made, self.rounding)

    def register_alloc(self, x: int | None) -> Register:
        return Register(x)

    def register_move(self, dst: Register, src: Any) -> None:
        dst.value = src.value if isinstance(src, Register) else src
        require(type(dst.value) is int, f"moves {src!r}")

    def register_load(self, dst: Register, src: Tensor) -> None:
        require(src.region is not MemoryRegion.psum, f"loads {src}")
        require(src.data.size == 1, f"loads {src}")
        dst.value = int(src.read().item())

    def register_store(self, dst: Tensor, src: Register) -> None:
        require(dst.region is not MemoryRegion.psum and dst.data.size == 1, f"stores to {dst}")
        dst.write(np.full(dst.shape, src.value, np.int64), self.rounding)
