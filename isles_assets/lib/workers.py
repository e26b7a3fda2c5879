"""Calling one function for many keys in processes, where each key succeeds or fails by itself.

The workers of library pools share a queue or a lock. If the system kills a worker that holds it, the others wait for
ever (pebble, multiprocessing) or all fail (concurrent.futures). Here only one key fails.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Result = TypeVar("Result")

_SPAWN = multiprocessing.get_context("spawn")
_PATIENCE = 3.0
"""Seconds that a process has to stop by itself."""


class WorkerDiedError(Exception):
    """The process died before it had a result for its key; the message says how."""


def map_in_processes(
    function: Callable[..., Result], arguments: Mapping[str, tuple[Any, ...]], workers: int
) -> Iterator[tuple[str, Result | Exception]]:
    """Call `function(*arguments[key])` for every key; yield each key with its result or exception, as they finish.

    A process that dies, killed for lack of memory for example, fails only the key that it works on. When the caller
    stops early, by an exception or a signal, running processes are stopped and waiting keys dropped. When the caller
    is killed, its processes stop by themselves.
    """
    waiting = iter(arguments.items())
    running: list[_Worker] = []
    try:
        running.extend(_Worker(function, *item) for item in islice(waiting, workers))
        while running:
            ready = wait([worker.connection for worker in running])
            for worker in [worker for worker in running if worker.connection in ready]:
                key, outcome = worker.key, worker.outcome()
                following = next(waiting, None)
                if following and not worker.died:
                    worker.start(*following)
                else:
                    worker.stop()
                    running.remove(worker)
                if following and worker.died:
                    running.append(_Worker(function, *following))
                yield key, outcome
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.stop()


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process that works on one key at a time. It shares no queue and no lock with the others."""

    def __init__(self, function: Callable[..., Any], key: str, arguments: tuple[Any, ...]):
        self.connection, end = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(function, end), daemon=True)
        self.process.start()
        end.close()
        self.died = False
        self.start(key, arguments)

    def start(self, key: str, arguments: tuple[Any, ...]) -> None:
        """Start the work on `key`."""
        self.key = key
        with contextlib.suppress(ConnectionError):  # the process has died: `outcome` says so
            self.connection.send(arguments)

    def outcome(self) -> Any:
        """Wait for the result or exception of the key, and return it."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.died = True
            self.process.join()
            code = self.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            mend = "if the system ran out of memory, lower ISLES_WORKERS and run again"
            return WorkerDiedError(f"its process {how}; {mend}")

    def stop(self) -> None:
        """Let the process end; kill it if it does not."""
        self.connection.close()
        self.process.join(_PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def _work(function: Callable[..., Any], connection: Connection) -> None:
    """In a worker: answer each tuple of arguments, until the caller is gone or stops this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller, too, which stops this process
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an exception, so that temporary files are removed
    threading.Thread(target=_stop_with_caller, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        while True:
            connection.send(_call(function, connection.recv()))


def _stop_with_caller() -> None:
    """In a worker: stop this process when its caller dies, because a killed caller cannot stop it."""
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _call(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result | Exception:
    """Return the result, or an exception that can be pickled and has the traceback as a note."""
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        error.add_note(traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes
        except Exception:
            return RuntimeError(f"{type(error).__name__}: {error}")
        if isinstance(error, SystemExit):
            return RuntimeError(f"it ended its process with {error.code!r}")
        return error
