"""Measurement of wall-clock time, and of CPU time summed over all threads. Both are in seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """Call `work` once, and return its result, its wall-clock time and its CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def median_times(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median wall-clock time and CPU time of `work` over `repeats` calls, after one warm-up call."""
    work()
    walls, cpus = zip(*(timed(work)[1:] for _ in range(repeats)))
    return statistics.median(walls), statistics.median(cpus)
