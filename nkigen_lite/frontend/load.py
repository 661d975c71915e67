"""Loading a function from a Python file: ``examples/rmsnorm.py:rmsnorm``."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from nkigen_lite.errors import InvalidInput


def load_function(target: str) -> Callable[..., Any]:
    """The function (or ``Kernel``) that ``target``, a ``path/file.py:name``, names.

    The file runs anew at each call, under a module name of its own. While it runs, and only then,
    its folder is first on ``sys.path``, so that it may import the files beside it.

    Raises:
        InvalidInput: ``target`` has no colon, the file is missing or raises, it has no such name
            (near names are listed), or what has the name cannot be called.
    """
    if not isinstance(target, str):
        raise InvalidInput(f"load: {target!r} is not text; write path/file.py:function")
    file, colon, name = target.rpartition(":")
    if not colon or not file or not name:
        raise InvalidInput(f"load: {target!r} names no function; write path/file.py:function")
    module = _run(Path(file))
    if not hasattr(module, name):
        raise InvalidInput(f"load: {file} has no function {name!r}{_near(module, name)}")
    found = getattr(module, name)
    if not callable(found):
        raise InvalidInput(
            f"load: {name!r} in {file} is {type(found).__name__} but must be a function"
        )
    function: Callable[..., Any] = found
    return function


def _run(path: Path) -> ModuleType:
    if not path.is_file():
        raise InvalidInput(f"load: {path} is not a file{_near_files(path)}")
    full = path.resolve()
    # The digest keeps files of one name in different folders apart.
    name = f"{full.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"load: {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses look their own module up while it runs
    try:
        with _importable(full.parent):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        _restore(name, before)
        where = f"{error.filename or path}:{error.lineno}"
        raise InvalidInput(f"load: {path} is not valid Python: {error.msg}\n  at {where}") from None
    except (Exception, SystemExit) as error:  # a script may call sys.exit
        _restore(name, before)
        raise InvalidInput(
            f"load: {path} raised {type(error).__name__} while it was loaded: {error}"
        ) from error
    return module


def _restore(name: str, before: ModuleType | None) -> None:
    del sys.modules[name]
    if before is not None:
        sys.modules[name] = before


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _near(module: ModuleType, name: str) -> str:
    own = [
        key
        for key, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    near = get_close_matches(name, own, n=3)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    return f"; it has {', '.join(n for n in own if not n.startswith('_'))}" if own else ""


def _near_files(path: Path) -> str:
    beside = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""
