"""The code in README.md and docs/ runs, and what they link to is there."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nkigen_lite import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[\w-]*)?\)")
_FILE = re.compile(r"# (\w+\.py)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the language after the fence, and the text."""

    language: str
    text: str


def _blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in _FENCE.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with the examples in it, whose modules can be imported."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def _run_python(block: Block, folder: Path) -> None:
    """Run the block; one that begins with ``# name.py`` is also that file."""
    named = _FILE.match(block.text)
    if named:
        (folder / named[1]).write_text(block.text, encoding="utf-8")
    exec(compile(block.text, named[1] if named else "block", "exec"), {"__name__": "block"})


def _run_console(block: Block) -> None:
    """Run each line that begins with ``$ nkigen-lite``; the others are what it printed."""
    for line in block.text.splitlines():
        if line.startswith("$ "):
            program, *words = shlex.split(line[2:])
            assert program == "nkigen-lite"
            assert cli.main(words) == 0, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_on_the_page_runs(
    page: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in _blocks(page):
        if block.language == "python":
            _run_python(block, folder)
        elif block.language == "console":
            _run_console(block)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    known = {"python", "console", "sh", "text", "json"}
    assert {block.language for block in _blocks(page)} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    own = [link for link in links if "://" not in link]
    assert [link for link in own if not (page.parent / link).exists()] == []


def test_the_readme_opens_with_a_short_kernel_its_command_and_its_output() -> None:
    kernel, command, excerpt, *_ = _blocks(ROOT / "README.md")
    assert (kernel.language, command.language, excerpt.language) == ("python", "console", "text")
    assert len(kernel.text.splitlines()) <= 12
    assert "nisa.nc_matmul" in excerpt.text
    for heading in ("Totals", "Segments", "Values"):
        assert f"\n{heading}\n" in command.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_of_source_files_on_the_page_exist(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    found = re.findall(r"`((?:nkigen_lite|solver|cost_models|tests|examples)/[\w/.*]+)`", text)
    assert [path for path in found if not list(ROOT.glob(path.rstrip("/")))] == []
