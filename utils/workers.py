"""A lazy `map` over several processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

import torch

from utils.errors import UserError

AHEAD = 16  # maximum number of submitted jobs per process; `ProcessPoolExecutor.map` would submit all jobs first

Process = Callable[[Callable, Iterable], Iterator]


@contextmanager
def processes(workers: int) -> Iterator[Process]:
    """Yield a lazy `map` that uses `workers` processes, or the current process if `workers` is 1.

    An exception cancels pending jobs. Raises `UserError` if a process is killed, for example because memory ran out.
    """
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,))

    def in_order(function: Callable, jobs: Iterable) -> Iterator:
        pending = deque()
        for job in jobs:
            pending.append(pool.submit(function, job))
            if len(pending) > AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    try:
        yield in_order
    except BrokenProcessPool as error:
        problem = f"--workers {workers}: a worker process was killed, possibly because memory ran out"
        raise UserError(f"{problem}; use fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)
