"""One function over many items in several threads, for work that waits for disks and networks."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import TypeVar

from isles_assets.lib.findings import Refusal

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, stop: Event | None = None
) -> Iterator[tuple[Item, Result | Refusal]]:
    """Call `function(item)` for every item; yield each with the result or the `Refusal`, as they end.

    Any other exception is raised. When the caller stops early, by an exception or a signal, waiting items are dropped,
    `stop` is set, and those at work are waited for.
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
