"""The vendor's packages: imported only when they are asked for, and named when they are missing.

Nothing else in nkigen-lite imports them. Emitted kernels and the Kernel Builder need the package
``nki``. The Neuron SDK up to 2.27 carries NKI 0.1 as ``neuronxcc.nki`` too: its functions return
tiles instead of taking ``dst``, so kernels written for one do not run on the other, and it is only
recognised. Source of the versions: aws-neuron-sdk, NKI migration guides.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from types import ModuleType

from nkigen_lite.errors import VendorMissing

LEAST, BELOW = (0, 4), (0, 7)
"""Versions of nki whose signatures the emitted calls have, and the first that is not known."""

_HOW = (
    "install the AWS Neuron SDK 2.30 or later and its package nki from the vendor's package index "
    "(docs/install-neuron.md)"
)


@dataclass(frozen=True, slots=True)
class Installed:
    """What of the vendor's packages is there.

    Attributes:
        nki: version of the package ``nki``, or None.
        neuronx_cc: version of the compiler, or None.
        old_nki: whether ``neuronxcc.nki`` can be imported.
    """

    nki: str | None
    neuronx_cc: str | None
    old_nki: bool


def installed() -> Installed:
    """Looks without importing anything of the vendor's but ``neuronxcc`` itself."""
    return Installed(_version("nki"), _version("neuronx-cc"), _exists("neuronxcc.nki"))


def nki(*, simulator: bool = False) -> ModuleType:
    """The package ``nki``, with ``nki.isa`` and ``nki.language`` imported.

    Args:
        simulator: whether ``nki.simulate`` is needed (0.3 and later).

    Raises:
        VendorMissing: it is not installed, is a placeholder, or is of a version that emitted
            kernels do not fit.
    """
    module = _import("nki")
    if not hasattr(module, "jit"):
        raise VendorMissing(
            f"nki: the package of that name has no nki.jit; it is an empty placeholder: {_HOW}"
        )
    _check_version()
    for name in ("nki.isa", "nki.language"):
        _import(name)
    if simulator and not hasattr(module, "simulate"):
        raise VendorMissing(f"nki: version {_version('nki')} has no nki.simulate: {_HOW}")
    return module


def kernel_builder() -> ModuleType:
    """The module ``nki.compiler.kernel_builder``.

    Raises:
        VendorMissing: it cannot be imported.
    """
    return _import("nki.compiler.kernel_builder")


def kernel_builder_objects() -> ModuleType:
    """The vendor's module of native objects: groups of ranks, dimensions of collectives.

    Raises:
        VendorMissing: it cannot be imported.
    """
    return _import("nki.compiler._internal.dialects.nisa")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
    if missing.split(".")[0] != name.split(".")[0]:
        raise VendorMissing(f"{name}: it needs {missing}, which is not installed: {_HOW}")
    if _exists("neuronxcc.nki"):
        raise VendorMissing(
            f"{name}: not installed, but neuronxcc.nki (NKI 0.1) is; kernels of nkigen-lite call "
            f"the functions of the package nki, which takes other arguments: {_HOW}"
        )
    raise VendorMissing(f"{name}: not installed: {_HOW}")


def _check_version() -> None:
    found = _version("nki")
    numbers = tuple(int(n) for n in (found or "").split(".")[:2] if n.isdigit())
    if found is not None and len(numbers) == 2 and not LEAST <= numbers < BELOW:
        raise VendorMissing(
            f"nki: version is {found} but kernels of nkigen-lite are written for "
            f"{_said(LEAST)} up to, not including, {_said(BELOW)}: {_HOW}"
        )


def _said(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
