"""Calling functions in threads, for work that waits for disks and networks."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from threading import Event, Thread
from typing import Generic, TypeVar

from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import readable_time

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


class NoAnswerError(Exception):
    """A function did not return in time."""


def answer_within(seconds: float, function: Callable[[], Result]) -> Result:
    """Return what `function` returns, or raise what it raises.

    Raises:
        NoAnswerError: It takes longer than `seconds`. Its thread goes on, and does not keep the process alive.
    """
    return Asked(function).answer(seconds)


class Asked(Generic[Result]):
    """A `function` that is called in a thread of its own, which does not keep the process alive."""

    def __init__(self, function: Callable[[], Result]):
        self._result: Future[Result] = Future()
        self._begin = time.monotonic()
        Thread(target=self._call, args=(function,), daemon=True).start()

    @property
    def seconds(self) -> float:
        """The seconds since it was asked."""
        return time.monotonic() - self._begin

    def _call(self, function: Callable[[], Result]) -> None:
        try:
            self._result.set_result(function())
        except BaseException as error:  # raised where the answer is asked for
            self._result.set_exception(error)

    def answer(self, seconds: float | None = None) -> Result:
        """Return what the function returns, or raise what it raises.

        Args:
            seconds: None: however long it takes.

        Raises:
            NoAnswerError: It takes longer than `seconds`.
        """
        try:
            return self._result.result(seconds)
        except FutureTimeoutError:
            if self._result.done():  # the function itself raised it
                raise
            raise NoAnswerError(f"nothing within {readable_time(seconds or 0)}") from None


class InBackground(Generic[Item]):
    """Calls of a `function`, one after the other, in a thread that does not keep the process alive."""

    def __init__(self, function: Callable[[Item], object]):
        self._function = function
        self._last: Asked[object] | None = None

    def start(self, item: Item) -> None:
        """Call the function with `item`, once the call before is finished. Raises what that call raises."""
        self.finish()
        self._last = Asked(partial(self._function, item))

    def finish(self) -> None:
        """Wait for the last call. Raises what it raises, once."""
        last, self._last = self._last, None
        if last:
            last.answer()
