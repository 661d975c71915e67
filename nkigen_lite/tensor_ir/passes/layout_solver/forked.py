"""Working on several cores: calls of a function in processes that are forked from this one."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

_LEAST = 4  # calls that are worth asking other processes for
_MOST = 4  # processes: waves of calls are short

_work: Callable[[Any], Any]  # of a forked process


class Forked(Generic[Asked, Answer]):
    """Calls ``work`` in up to ``processes`` processes, which begin with all that this one has when
    they are first needed. Arguments and results go between them; nothing else does."""

    def __init__(self, work: Callable[[Asked], Answer], processes: int) -> None:
        self._work = work
        self._processes = processes
        self._pool: Any = None

    def map(self, asked: Sequence[Asked]) -> list[Answer]:
        """The results of ``work``, in order."""
        if self._processes < 2 or (self._pool is None and len(asked) < _LEAST):
            return [self._work(one) for one in asked]
        if self._pool is None:
            context = multiprocessing.get_context("fork")
            self._pool = context.Pool(self._processes, _begin, (self._work,))
        found: list[Answer] = self._pool.map(_called, asked, chunksize=1)
        return found

    def close(self) -> None:
        """End the other processes."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()


def usable() -> int:
    """How many processes are of use here: one, where forking is not safe, as there are threads, or
    not possible."""
    safe = sys.platform == "linux" and threading.active_count() == 1
    if not safe or multiprocessing.current_process().daemon:
        return 1
    return min(_MOST, len(os.sched_getaffinity(0)))


def _begin(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    gc.freeze()  # what is shared with the other processes is not looked through, so not copied


def _called(asked: Any) -> Any:
    return _work(asked)
