"""One function over many keys in several processes, where each key succeeds or fails for itself."""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

Result = TypeVar("Result")


class WorkerDiedError(Exception):
    """The process that worked on a key ended before it had a result; the message says how."""


def each_in_processes(
    function: Callable[..., Result], arguments: Mapping[str, tuple[Any, ...]], workers: int
) -> Iterator[tuple[str, Result | Exception]]:
    """Call `function(*arguments[key])` for every key; yield each key with the result or the exception, as they end.

    A process that dies (killed by the system for its memory, say) costs the key that it was at, no other. When
    the caller stops early, by an exception or a signal, running processes are stopped and waiting keys dropped.
    """
    if not arguments:
        return
    pool = ProcessPool(max_workers=min(workers, len(arguments)), context=multiprocessing.get_context("spawn"))
    try:
        keys: dict[Future[Result], str] = {
            pool.schedule(_call, (function, args)): key for key, args in arguments.items()
        }
        for future in as_completed(keys):
            yield keys[future], _outcome(future)
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _call(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    """In a worker: whatever goes wrong comes back as an exception that survives being sent."""
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        if isinstance(error, SystemExit):
            raise RuntimeError(f"it ended its process with {error.code!r}") from error
        raise


def _outcome(future: Any) -> Any:
    error = future.exception()
    if isinstance(error, ProcessExpired):
        how = f"was killed by signal {-error.exitcode}" if error.exitcode < 0 else f"ended with code {error.exitcode}"
        return WorkerDiedError(f"its process {how}; if the system ran out of memory, lower ISLES_WORKERS and run again")
    return future.result() if error is None else error
