"""Tasks side by side, each on a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from flowkit.nets.matmul import fast_matmul

T = TypeVar("T")


def side_by_side(tasks: Sequence[Callable[[], T]], ended: threading.Event | None = None) -> list[T]:
    """Return the results of tasks, computed on as many threads as torch uses.

    The tasks share torch's threads. Where operations are small, that is faster than to share each
    operation: that takes longer than to compute it.

    Args:
        tasks: the tasks, which must not depend on each other; begun in this order.
        ended: set if a task or the wait for it fails, so that the other tasks may end early.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(tasks) == 1:
        with fast_matmul():  # as with threads, for the same last bits
            return [task() for task in tasks]

    def share() -> None:
        torch.set_num_threads(max(threads // len(tasks), 1))

    try:
        with fast_matmul(), ThreadPoolExecutor(threads, initializer=share) as pool:
            try:
                return [future.result() for future in [pool.submit(task) for task in tasks]]
            except BaseException:
                if ended is not None:
                    ended.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)  # which `share` sets for new threads too
