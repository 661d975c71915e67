"""Source text of the host part of an emitted file.

In ``MISSING`` and ``RUN_END``, ``KERNEL`` stands for the kernel's name.
"""

MISSING = '''\
def missing():
    """What to do where the vendor package is not there."""
    return (
        f"KERNEL: {nki.error}. "
        "Kernels need the package nki of the AWS Neuron SDK, 0.4 to 0.6 (nki 0.0.1 on PyPI is an "
        "empty placeholder): follow the setup guide of the SDK to add its package index, then run: "
        'pip install "nki>=0.4,<0.7"'
    )
'''

RUN_BEGINNING = '''\
    """The kernel on numpy or torch arrays: one result, or a tuple in the order of RESULTS.

    With simulate it runs on the vendor's CPU simulator, else on the device.
    """
    if nl is None:
        raise ModuleNotFoundError(missing())
'''

RUN_REMEMBERS = """\

    Weights are put into the kernel's order when an array is given for the first time. After writing
    to one, call IN_ORDER.clear().
"""

RUN_WEIGHTS = """\
    arrays |= {n: in_order(n, given[w], arrays[w]) for n, (w, *_) in REORDERED.items()}
"""

RUN_CONSTANTS = """\
    arrays |= bound_constants(next(iter(arrays.values()), None))
"""

RUN_END = """\
    execute = KERNEL
    if simulate:
        execute = nki.simulate(execute)
    made = execute(*[arrays[name] for name in INPUTS])
    results = tuple(map(finished, RESULTS, made if isinstance(made, tuple) else (made,)))
    return results[0] if len(results) == 1 else results
"""

CHECKS = '''\
def prepared(name, array):
    """An argument as the kernel takes it; a ValueError or TypeError says what does not fit."""
    shape, dtype = ARGUMENTS[name]
    if not hasattr(array, "dtype"):
        raise TypeError(f"{name} is a {type(array).__name__} but must be an array")
    found = str(array.dtype).removeprefix("torch.")
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(array.shape)} but must have {shape}")
    if found != dtype:
        raise TypeError(f"{name} has element type {found} but must have {dtype}")
    if dtype == "bool":  # NKI keeps truth values in uint8
        array = array.byte() if hasattr(array, "byte") else array.astype("uint8")
    return array.reshape(INPUTS[name][0])


def finished(name, array):
    """A result as callers get it."""
    shape, dtype = RESULTS[name]
    if dtype == "bool":
        array = array.bool() if hasattr(array, "byte") else array.astype("bool")
    return array.reshape(shape)
'''

IN_ORDER = '''\
IN_ORDER = {}


def in_order(name, weight, array):
    """A weight, checked as ``array``, in the order in which the kernel takes it; made once."""
    if name not in IN_ORDER or IN_ORDER[name][0] is not weight:
        _, cut, order = REORDERED[name]
        if isinstance(array, np.ndarray):
            made = np.ascontiguousarray(array.reshape(cut).transpose(order))
        else:
            made = array.reshape(cut).permute(order).contiguous()
        IN_ORDER[name] = weight, made
    return IN_ORDER[name][1]
'''

CONSTANTS = '''\
def constants():
    """Arrays that the function brought along, unpacked."""
    for name, packed in PACKED.items():
        data = zlib.decompress(zlib.decompress(base64.b64decode("".join(packed))))
        yield name, np.frombuffer(data, INPUTS[name][1]).reshape(INPUTS[name][0])
'''

STORED_CONSTANTS = '''\
def constants():
    """Arrays that the function brought along, from the file."""
    with np.load(Path(__file__).parent / "constants.npz") as stored:
        for name in STORED:
            yield name, stored[name].astype(INPUTS[name][1]).reshape(INPUTS[name][0])
'''

BOUND = '''\
BOUND = {}


def bound_constants(like):
    """The constants beside an argument: numpy arrays, or tensors on its device; made once."""
    device = None if like is None or isinstance(like, np.ndarray) else like.device
    if device not in BOUND:
        BOUND[device] = {name: of_kind(array, device) for name, array in constants()}
    return BOUND[device]
'''

OF_KIND = '''\
def of_kind(array, device):
    """A numpy array as it is, or as a torch tensor on a device."""
    if device is None:
        return array
    import torch

    dtype = getattr(torch, str(array.dtype))
    bits = {1: np.int8, 2: np.int16}.get(array.itemsize)  # torch takes no narrow floats of numpy's
    tensor = torch.from_numpy(array.copy() if bits is None else array.view(bits).copy())
    return (tensor if bits is None else tensor.view(dtype)).to(device)
'''

RANDOM = '''\
def random_array(rng, shape, dtype):
    """Standard normal floats, integers from 0 to 7, or truth values."""
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if "int" in dtype:
        return np.asarray(rng.integers(0, 8, shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)
'''

AGREES = '''\
def agrees(name, got, wanted):
    """Whether a result is as near to numpy's as its types allow; prints how near it is."""
    got, wanted = (np.asarray(a).astype("float64") for a in (got, wanted))
    whole = "int" in RESULTS[name][1] or RESULTS[name][1] == "bool"
    scale = 1.0 if whole else np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0) or 1.0
    equal = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    error = np.abs(got - wanted)[~equal].max(initial=0.0) / scale
    verdict = "agrees" if error <= TOLERANCES[name] else "DISAGREES"
    print(f"{name}: {verdict} with numpy; error {error:.2e}, allowed {TOLERANCES[name]:.2e}")
    return verdict == "agrees"
'''

MAIN_BEGINNING = '''\
def main(options):
    """Run on random arrays, simulated or with --hardware on the device.

    Exit codes: 0 all went well, 1 a result disagrees with numpy, 2 the package nki is missing
    or an option is wrong.
    """
    if set(options) - {"--hardware"}:
        print("the only option is --hardware", file=sys.stderr)
        return 2
    if nl is None:
        print(missing(), file=sys.stderr)
        return 2
    rng = np.random.default_rng(0)
    given = {name: random_array(rng, *spec) for name, spec in ARGUMENTS.items()}
    simulate = "--hardware" not in options
    where = "in the simulator" if simulate else "on the device"
'''

MAIN_COMPARES = """\
    made = made if isinstance(made, tuple) else (made,)
    with np.errstate(all="ignore"):
        wanted = reference(*given.values())
    return 0 if all([*map(agrees, RESULTS, made, wanted)]) else 1
"""

MAIN_COMPARES_NARROW = """\
    made = made if isinstance(made, tuple) else (made,)
    with np.errstate(all="ignore"):
        if all([*map(agrees, RESULTS, made, reference(*given.values()))]):
            return 0
        print("numpy adds up narrow floats in their own type; of the same numbers as float64:")
        narrow = {n for n, a in given.items() if a.itemsize < 4 and "float" in a.dtype.name}
        wide = [a.astype("float64") if n in narrow else a for n, a in given.items()]
        return 0 if all([*map(agrees, RESULTS, made, reference(*wide))]) else 1
"""

MAIN_END = """\
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
