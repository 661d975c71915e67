"""The vendor's packages: what is said when they are missing, too old, or a placeholder."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from command_line import Run
from nki_stand_in import stand_in
from packaging.requirements import Requirement

from nkigen_lite import vendor
from nkigen_lite.errors import VendorMissing

GOLDEN = Path(__file__).parent / "golden" / "emit_matmul_bias.py"
NAMES = ("nki", "nki.isa", "nki.language", "nki.compiler", "neuronxcc", "neuronxcc.nki")


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has, the tests begin without it."""
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, None)
    installs(monkeypatch, {})


def installs(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    """Let the metadata of installed packages say these versions and no others."""

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_missing_package_is_named_with_what_to_install() -> None:
    with pytest.raises(VendorMissing, match=r"nki: not installed: install the AWS Neuron SDK 2.30"):
        vendor.nki()


def test_missing_kernel_builder_is_named() -> None:
    with pytest.raises(VendorMissing, match=r"nki.compiler.kernel_builder: not installed"):
        vendor.kernel_builder()


def test_missing_package_is_an_import_error() -> None:
    with pytest.raises(ImportError):
        vendor.nki()


def test_old_layout_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("neuronxcc.nki")
    old.__spec__ = importlib.machinery.ModuleSpec("neuronxcc.nki", None)
    monkeypatch.setitem(sys.modules, "neuronxcc", ModuleType("neuronxcc"))
    monkeypatch.setitem(sys.modules, "neuronxcc.nki", old)
    with pytest.raises(VendorMissing, match=r"neuronxcc.nki \(NKI 0.1\) is; kernels of"):
        vendor.nki()
    assert vendor.installed().old_nki


def test_placeholder_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nki", ModuleType("nki"))
    with pytest.raises(VendorMissing, match="it is an empty placeholder"):
        vendor.nki()


@pytest.mark.parametrize("version", ["0.3.1", "0.7.0", "1.0"])
def test_version_that_emitted_calls_do_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    installs(monkeypatch, {"nki": version})
    with stand_in(), pytest.raises(VendorMissing, match=rf"version is {version} but kernels"):
        vendor.nki()


@pytest.mark.parametrize("version", ["0.4.0", "0.6.2", "0.5.0b1+gabc"])
def test_package_of_a_fitting_version_is_returned(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    installs(monkeypatch, {"nki": version})
    with stand_in():
        assert vendor.nki(simulator=True) is sys.modules["nki"]
        assert vendor.installed().nki == version


def test_package_without_a_simulator_is_refused_only_where_one_is_needed() -> None:
    with stand_in():
        del sys.modules["nki"].simulate
        vendor.nki()
        with pytest.raises(VendorMissing, match=r"has no nki.simulate"):
            vendor.nki(simulator=True)


def test_check_command_simulates_where_the_package_is(run: Run) -> None:
    with stand_in():
        code, out, _ = run("check", str(GOLDEN), "--simulate")
    assert code == 0
    assert "matmul_bias: ran in the simulator" in out


def test_check_command_says_what_is_missing_for_simulating(run: Run) -> None:
    code, _, err = run("check", str(GOLDEN), "--simulate")
    assert code == 1
    assert "nki: not installed: install the AWS Neuron SDK" in err


@pytest.mark.parametrize(("name", "version"), [("nki", "0.0.1"), ("neuronx-cc", "1.0.post1")])
def test_the_extra_leaves_the_placeholders_out(name: str, version: str) -> None:
    wanted = [Requirement(text) for text in extra()]
    (found,) = [requirement for requirement in wanted if requirement.name == name]
    assert not found.specifier.contains(version, prereleases=True)


def extra() -> list[str]:
    """The requirements of the extra ``neuron``."""
    project = tomllib.loads((GOLDEN.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["project"]["optional-dependencies"]["neuron"])


def test_the_extra_the_file_and_the_check_ask_for_the_same_versions() -> None:
    least, below = (".".join(map(str, version)) for version in (vendor.LEAST, vendor.BELOW))
    wanted = f"nki>={least},<{below}"
    assert wanted in extra()
    assert f'pip install "{wanted}"' in GOLDEN.read_text(encoding="utf-8")
