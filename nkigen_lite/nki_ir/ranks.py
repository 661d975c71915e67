"""Running one kernel on several ranks, which meet in its collectives.

Each rank runs in a thread of its own, on buffers of its own. A rank that comes to a collective
posts its buffers and waits; when all have come, the row's ``exchange`` says what each gets. Ranks
touch each other nowhere else, so the outcome does not depend on how threads are scheduled.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from nkigen_lite.core.dtypes import Array
from nkigen_lite.core.ir import Graph, Op
from nkigen_lite.errors import InvalidInput
from nkigen_lite.nki_ir.interpret import Rank, run
from nkigen_lite.nki_ir.rows import NKI


def run_ranks(graph: Graph, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    """Run the kernel once for each of ``inputs``, in lock step; the outputs of every rank.

    Raises:
        InvalidInput: as ``run`` does for any rank; or ranks come to different collectives, or to
            one that another rank never comes to.
    """
    meeting = _Meeting([_Seat(rank) for rank in range(len(inputs))])
    results: list[dict[str, Array]] = [{} for _ in inputs]

    def run_one(rank: int) -> None:
        try:
            given = Rank(rank, lambda op, dst, src: meeting.wait(rank, op, dst, src))
            results[rank] = run(graph, inputs[rank], rank=given)
        except Exception as error:
            meeting.posts.put((rank, error))
        else:
            meeting.posts.put((rank, None))

    threads = [threading.Thread(target=run_one, args=(rank,)) for rank in range(len(inputs))]
    for thread in threads:
        thread.start()
    meeting.hold()
    for thread in threads:
        thread.join()
    if meeting.errors:
        raise meeting.errors[0]
    return results


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a rank brings to a collective."""

    op: Op
    dst: Array
    src: Array


@dataclass
class _Seat:
    rank: int
    answers: SimpleQueue[Array | Exception] = field(default_factory=SimpleQueue)


@dataclass
class _Meeting:
    """Collects what ranks post: an offer, or that they have ended, well or with an error."""

    seats: list[_Seat]
    posts: SimpleQueue[tuple[int, _Offer | Exception | None]] = field(default_factory=SimpleQueue)
    errors: list[Exception] = field(default_factory=list)

    def wait(self, rank: int, op: Op, dst: Array, src: Array) -> Array:
        """Called by a rank: what it gets, once all have come."""
        self.posts.put((rank, _Offer(op, dst, src)))
        answer = self.seats[rank].answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def hold(self) -> None:
        """Answer offers until all ranks have ended."""
        ended: set[int] = set()
        offers: dict[int, _Offer] = {}
        while len(ended) < len(self.seats):
            rank, post = self.posts.get()
            if isinstance(post, _Offer):
                offers[rank] = post
            else:
                ended.add(rank)
                if post is not None:
                    self.errors.append(post)
            if offers and len(offers) + len(ended) == len(self.seats):
                self.answer(offers, ended)
                offers = {}

    def answer(self, offers: Mapping[int, _Offer], ended: set[int]) -> None:
        try:
            results = self.results([offers[rank] for rank in sorted(offers)], ended)
        except Exception as error:
            results = [error] * len(offers)
        for rank, result in zip(sorted(offers), results, strict=True):
            self.seats[rank].answers.put(result)

    def results(self, offers: Sequence[_Offer], ended: set[int]) -> list[Array | Exception]:
        """What each rank gets.

        Raises:
            InvalidInput: not all ranks have come to the same collective.
        """
        op = offers[0].op
        if ended:
            raise InvalidInput(
                f"run_ranks: ranks wait in {op.opcode} but {sorted(ended)} have ended without it"
            )
        if any(offer.op is not op for offer in offers):
            names = ", ".join(offer.op.opcode for offer in offers)
            raise InvalidInput(f"run_ranks: ranks are at {names} but must meet in one op")
        exchange = NKI[op.opcode].exchange
        assert exchange is not None, f"{op.opcode} is no collective"
        attrs = {k: v for k, v in op.attrs.items() if k != "engine"}
        made = exchange([o.dst for o in offers], [o.src for o in offers], **attrs)
        # Buffers that are written soon may be among what others get.
        return [array.copy() for array in made]
