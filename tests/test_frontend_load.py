"""Loading functions from files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from nkigen_lite.errors import InvalidInput
from nkigen_lite.frontend import Kernel, load_function, trace

EXAMPLES = Path(__file__).parents[1] / "examples"


def written(folder: Path, text: str, name: str = "kern.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_loaded_example_traces() -> None:
    softmax = load_function(f"{EXAMPLES / 'softmax.py'}:softmax")
    assert trace(softmax, ["4x8:f32"]).graph.name == "softmax"


def test_loaded_kernel_is_a_kernel(tmp_path: Path) -> None:
    text = "from nkigen_lite.frontend import kernel\n@kernel\ndef f(x):\n    return x + 1\n"
    loaded = load_function(f"{written(tmp_path, text)}:f")
    assert isinstance(loaded, Kernel)
    assert loaded(1) == 2


def test_file_may_import_its_neighbours_and_leaves_the_path_alone(tmp_path: Path) -> None:
    written(tmp_path, "SCALE = 3\n", "neighbour_of_kern.py")
    path = written(tmp_path, "from neighbour_of_kern import SCALE\ndef f(x): return x * SCALE\n")
    before = list(sys.path)
    try:
        assert load_function(f"{path}:f")(2) == 6
        assert sys.path == before
    finally:
        sys.modules.pop("neighbour_of_kern", None)


def test_file_may_define_dataclasses(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Sizes:\n    n: int = 3\ndef f(x): return x * Sizes().n\n"
    )
    np.testing.assert_array_equal(load_function(f"{written(tmp_path, text)}:f")(np.ones(2)), [3, 3])


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    functions = []
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        functions.append(load_function(f"{written(folder, f'def f(): return {value}')}:f"))
    assert [f() for f in functions] == [1, 2]
    assert len({f.__module__ for f in functions}) == 2


def test_a_changed_file_loads_anew(tmp_path: Path) -> None:
    path = written(tmp_path, "def f(): return 1\n")
    assert load_function(f"{path}:f")() == 1
    path.write_text("def f(): return 'second'\n")
    assert load_function(f"{path}:f")() == "second"


@pytest.mark.parametrize("target", ["kern.py", "kern.py:", ":f", ""])
def test_target_without_a_function_is_refused(target: str) -> None:
    with pytest.raises(InvalidInput, match=r"names no function; write path/file.py:function"):
        load_function(target)


@pytest.mark.parametrize(
    ("text", "target", "sentence"),
    [
        ("def f(x): return x\n", "kerm.py:f", r"kerm.py is not a file; did you mean .*kern.py\?"),
        ("def f(x): return x\n", "nothing_like_it.py:f", "nothing_like_it.py is not a file$"),
        ("def f(x:\n", "kern.py:f", r"kern.py is not valid Python: .*\n  at .*kern.py:1$"),
        ("\nimport no_such_module_anywhere\n", "kern.py:f", "raised ModuleNotFoundError while"),
        ("raise SystemExit(2)\n", "kern.py:f", "raised SystemExit while it was loaded"),
        ("1 / 0\n", "kern.py:f", "raised ZeroDivisionError while it was loaded: division by zero"),
        ("def softmax(x): return x\n", "kern.py:sofmax", r"did you mean 'softmax'\?"),
        ("def a(): pass\ndef b(): pass\n", "kern.py:zzz", "has no function 'zzz'; it has a, b$"),
        ("import numpy as np\n", "kern.py:zzz", "has no function 'zzz'$"),
        ("f = 3\n", "kern.py:f", "'f' in .*kern.py is int but must be a function"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_says_why(
    tmp_path: Path, text: str, target: str, sentence: str
) -> None:
    written(tmp_path, text)
    known = set(sys.modules)
    with pytest.raises(InvalidInput, match=sentence) as caught:
        load_function(f"{tmp_path}/{target}")
    assert str(caught.value).startswith("load: ")
    if "raised" in sentence or "valid" in sentence:
        assert not {m for m in set(sys.modules) - known if m.startswith("kern")}


def test_a_file_that_is_not_python_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "f", "kern.txt")
    with pytest.raises(InvalidInput, match=r"its name must end in .py"):
        load_function(f"{path}:f")
