# An example.
"""NKI kernel matmul_bias.

Inputs, in HBM:
    aT: (512, 256) bfloat16
    b: (512, 512) bfloat16
    bias: (256,) float32

Outputs, in HBM:
    y: (256, 512) bfloat16
"""

try:
    import nki
    import nki.isa as nisa
    import nki.language as nl
except ModuleNotFoundError:  # without the vendor package this file can be read, but not run
    nki = nisa = nl = None


def matmul_bias(aT, b, bias):
    y_out = nl.ndarray((256, 512), dtype=nl.bfloat16, buffer=nl.shared_hbm)
    for m in range(2):
        acc = nl.ndarray((128, 512), dtype=nl.float32, buffer=nl.psum)
        for k in range(4):
            a_tile = nl.ndarray((128, 128), dtype=nl.bfloat16, buffer=nl.sbuf)
            b_tile = nl.ndarray((128, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
            nisa.dma_copy(dst=a_tile, src=aT[nl.ds(k * 128, 128), nl.ds(m * 128, 128)])
            nisa.dma_copy(dst=b_tile, src=b[nl.ds(k * 128, 128), 0:512])
            nisa.nc_matmul(dst=acc, stationary=a_tile, moving=b_tile, accumulate=(k > 0))
        bias_tile = nl.ndarray((128, 1), dtype=nl.float32, buffer=nl.sbuf)
        nisa.dma_copy(dst=bias_tile, src=bias.reshape((256, 1))[nl.ds(m * 128, 128), 0:1])
        out = nl.ndarray((128, 512), dtype=nl.bfloat16, buffer=nl.sbuf)
        nisa.activation(dst=out, op=nl.silu, data=acc, bias=bias_tile)
        nisa.dma_copy(dst=y_out[nl.ds(m * 128, 128), 0:512], src=out)
    return y_out


if nki:
    matmul_bias = nki.jit(matmul_bias)
