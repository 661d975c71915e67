"""An event-driven simulator of one NeuronCore, on a plain stream of instructions."""

from .bounds import CRITICAL_PATH, MOST_STEPS, bounds_of, critical_path_ns, work_of
from .program import Buffer, Fresh, Held, Index, Item, Loop, Step, Use
from .run import simulate
from .timeline import EngineTime, Event, Timeline

__all__ = [
    "CRITICAL_PATH",
    "MOST_STEPS",
    "Buffer",
    "EngineTime",
    "Event",
    "Fresh",
    "Held",
    "Index",
    "Item",
    "Loop",
    "Step",
    "Timeline",
    "Use",
    "bounds_of",
    "critical_path_ns",
    "simulate",
    "work_of",
]
