# An example.
"""NKI kernel masked_softmax.

Inputs, in HBM:
    scores: (200, 300) float32
    mask: (200, 300) uint8 (bool)
    row_scale: (300,) float32

Outputs, in HBM:
    probs: (200, 300) float32
"""

try:
    import nki
    import nki.isa as nisa
    import nki.language as nl
except ModuleNotFoundError:  # without the vendor package this file can be read, but not run
    nki = nisa = nl = None

INF = float("inf")


def masked_softmax(scores, mask, row_scale):
    probs_out = nl.ndarray((200, 300), dtype=nl.float32, buffer=nl.shared_hbm)
    for row in range(0, 128, 128):
        x = nl.ndarray((128, 300), dtype=nl.float32, buffer=nl.sbuf)
        in_ = nl.ndarray((128, 300), dtype=nl.uint8, buffer=nl.sbuf)
        scale = nl.ndarray((128, 300), dtype=nl.float32, buffer=nl.sbuf)
        nisa.dma_copy(dst=x, src=scores[nl.ds(row, 128), 0:300])
        nisa.dma_copy(dst=in_, src=mask[nl.ds(row, 128), 0:300])
        nisa.dma_copy(dst=scale, src=row_scale.expand_dim(0).broadcast(0, 128))
        logits = nl.ndarray((128, 300), dtype=nl.float32, buffer=nl.sbuf)
        nisa.memset(dst=logits, value=-INF, engine=nisa.engine.vector)
        nisa.tensor_tensor(dst=x, data1=x, data2=scale, op=nl.multiply, engine=nisa.engine.vector)
        nisa.tensor_copy_predicated(dst=logits, src=x, predicate=in_)
        peak = nl.ndarray((128, 1), dtype=nl.float32, buffer=nl.sbuf)
        total = nl.ndarray((128, 1), dtype=nl.float32, buffer=nl.sbuf)
        nisa.tensor_reduce(dst=peak, op=nl.maximum, data=logits, axis=1, keepdims=True)
        nisa.tensor_scalar(
            dst=logits, data=logits, op0=nl.subtract, operand0=peak, engine=nisa.engine.vector
        )
        nisa.activation(dst=logits, op=nl.exp, data=logits)
        nisa.tensor_reduce(dst=total, op=nl.add, data=logits, axis=1, keepdims=True)
        nisa.reciprocal(dst=total, data=total)
        nisa.tensor_scalar(
            dst=logits, data=logits, op0=nl.multiply, operand0=total, engine=nisa.engine.vector
        )
        nisa.dma_copy(dst=probs_out[nl.ds(row, 128), 0:300], src=logits)
    x = nl.ndarray((72, 300), dtype=nl.float32, buffer=nl.sbuf)
    in_ = nl.ndarray((72, 300), dtype=nl.uint8, buffer=nl.sbuf)
    scale = nl.ndarray((72, 300), dtype=nl.float32, buffer=nl.sbuf)
    nisa.dma_copy(dst=x, src=scores[128:200, 0:300])
    nisa.dma_copy(dst=in_, src=mask[128:200, 0:300])
    nisa.dma_copy(dst=scale, src=row_scale.expand_dim(0).broadcast(0, 72))
    logits = nl.ndarray((72, 300), dtype=nl.float32, buffer=nl.sbuf)
    nisa.memset(dst=logits, value=-INF, engine=nisa.engine.vector)
    nisa.tensor_tensor(dst=x, data1=x, data2=scale, op=nl.multiply, engine=nisa.engine.vector)
    nisa.tensor_copy_predicated(dst=logits, src=x, predicate=in_)
    peak = nl.ndarray((72, 1), dtype=nl.float32, buffer=nl.sbuf)
    total = nl.ndarray((72, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=peak, op=nl.maximum, data=logits, axis=1, keepdims=True)
    nisa.tensor_scalar(
        dst=logits, data=logits, op0=nl.subtract, operand0=peak, engine=nisa.engine.vector
    )
    nisa.activation(dst=logits, op=nl.exp, data=logits)
    nisa.tensor_reduce(dst=total, op=nl.add, data=logits, axis=1, keepdims=True)
    nisa.reciprocal(dst=total, data=total)
    nisa.tensor_scalar(
        dst=logits, data=logits, op0=nl.multiply, operand0=total, engine=nisa.engine.vector
    )
    nisa.dma_copy(dst=probs_out[128:200, 0:300], src=logits)
    return probs_out


if nki:
    masked_softmax = nki.jit(masked_softmax)
