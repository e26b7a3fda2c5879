"""One function over many keys in several processes, where each key succeeds or fails for itself.

Pools of libraries share a queue or a lock among their workers. One that the system kills while it holds that makes
the others wait for ever (pebble, multiprocessing) or ends them all (concurrent.futures); here it is one key.
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
    """The process that worked on a key ended before it had a result; the message says how."""


def each_in_processes(
    function: Callable[..., Result], arguments: Mapping[str, tuple[Any, ...]], workers: int
) -> Iterator[tuple[str, Result | Exception]]:
    """Call `function(*arguments[key])` for every key; yield each key with the result or the exception, as they end.

    A process that dies (killed by the system for its memory, say) costs the key that it was at, no other. When
    the caller stops early, by an exception or a signal, running processes are stopped and waiting keys dropped.
    When it is killed, they stop by themselves.
    """
    waiting = iter(arguments.items())
    team: list[_Worker] = []
    try:
        team.extend(_Worker(function, *each) for each in islice(waiting, workers))
        while team:
            ready = wait([worker.connection for worker in team])
            for worker in [worker for worker in team if worker.connection in ready]:
                key, outcome = worker.key, worker.outcome()
                following = next(waiting, None)
                if following and not worker.died:
                    worker.begin(*following)
                else:
                    worker.dismiss()
                    team.remove(worker)
                if following and worker.died:
                    team.append(_Worker(function, *following))
                yield key, outcome
    finally:
        for worker in team:
            worker.process.terminate()
        for worker in team:
            worker.dismiss()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process that works on one key at a time.

    It shares nothing with the others, no queue and no lock: so whenever it dies, it is the only one to stop.
    """

    def __init__(self, function: Callable[..., Any], key: str, arguments: tuple[Any, ...]):
        self.connection, end = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(function, end), daemon=True)
        self.process.start()
        end.close()
        self.died = False
        self.begin(key, arguments)

    def begin(self, key: str, arguments: tuple[Any, ...]) -> None:
        """Let it work on `key`."""
        self.key = key
        with contextlib.suppress(ConnectionError):  # it has died, as its outcome says
            self.connection.send(arguments)

    def outcome(self) -> Any:
        """What became of its key; waits for it."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.died = True
            self.process.join()
            code = self.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            mend = "if the system ran out of memory, lower ISLES_WORKERS and run again"
            return WorkerDiedError(f"its process {how}; {mend}")

    def dismiss(self) -> None:
        """Let it end, and see that it does."""
        self.connection.close()
        self.process.join(_PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def _work(function: Callable[..., Any], connection: Connection) -> None:
    """In a worker: answer each tuple of arguments, until the caller is gone or wants it to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the caller hears as well
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an exception, so that temporary files are removed
    threading.Thread(target=_stop_with_caller, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        while True:
            connection.send(_call(function, connection.recv()))


def _stop_with_caller() -> None:
    """In a worker: a caller that was killed cannot stop it, and it would go on to the end of its key."""
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _call(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result | Exception:
    """Whatever goes wrong comes back as an exception that survives being sent, and notes where it was raised."""
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
