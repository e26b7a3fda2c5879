"""Calling one function for many items in threads, for work that waits for disks and networks."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import TypeVar

from isles_assets.lib.findings import Refusal

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, stop: Event | None = None
) -> Iterator[tuple[Item, Result | Refusal]]:
    """Call `function(item)` for every item; yield each with its result or `Refusal`, as they finish.

    When the caller stops early, by an exception or a signal, waiting items are dropped and running ones finished.

    Args:
        stop: Set at the end, so that running items can finish early.

    Raises:
        Exception: Any exception of `function` but a `Refusal`.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(function, item): item for item in items}
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], error if isinstance(error, Refusal) else future.result()
    finally:
        if stop:
            stop.set()
        pool.shutdown(cancel_futures=True)
