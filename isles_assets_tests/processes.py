"""Code under test in other processes: by itself, or without the rights of root. Light to import, for they do."""

import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from isles_assets.lib.files import atomic_write

REPOSITORY = Path(__file__).parents[1]
URLS: dict[str, str] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["urls"]
"""Where code and dataset live. The package reads what was installed of it."""
NOBODY = 65534
LONG = 900
"""Seconds after which what was waited for is taken to hang: on a busy machine all takes ten times as long."""


def as_nobody(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` in a process that is not root's, so that the system's permissions hold for it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(_without_rights, function, args).result()


def runner(main: Callable[..., int], caplog: Any, release: Any) -> Callable[..., tuple[int, str]]:
    """Function: run a command in this process, by default on `release`; its exit code and what it said."""
    caplog.set_level(logging.INFO, "isles_assets")

    def run(*arguments: object, release: Any = release) -> tuple[int, str]:
        caplog.clear()
        code = main([str(argument) for argument in arguments], release)
        return code, "\n".join(caplog.messages)

    return run


def often(start: float, times: int, function: Callable[..., Any], *args: Any) -> int:
    """Call `function(*args)` so many `times` from a moment on, given as seconds since the epoch; the process."""
    time.sleep(max(0.0, start - time.time()))
    for _ in range(times):
        function(*args)
    return os.getpid()


def hold_or_wait(folder: Path, hold: bool) -> None:
    """Write half of a file below `folder` and sleep, or wait until somebody does."""
    if hold:
        with atomic_write(folder / "file") as temporary:
            temporary.write_bytes(b"half")
            time.sleep(LONG)
    deadline = time.monotonic() + LONG
    while not list(folder.rglob("*.tmp")):
        assert time.monotonic() < deadline, "nobody writes"
        time.sleep(0.001)


def _without_rights(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    return function(*args)


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A temporary folder that every user may enter and list, unlike pytest's; only its owner may write there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def environment(**more: str) -> dict[str, str]:
    """The environment of this process with no setting of the project's but not to ask Zenodo, then `more`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ISLES_", "DAGSTER_", "HF_"))}
    return kept | {"ISLES_LISTING": "off", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | more


def free_port() -> int:
    """A port of loopback that nobody listens at, below those that the system hands out to whoever asks for any."""
    while True:
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            return int(free.getsockname()[1])


def shown(*command: str, cwd: Path, env: Mapping[str, str]) -> tuple[int, str]:
    """Run a command; its exit code and what a terminal would show."""
    result = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LONG
    )
    return result.returncode, result.stdout


FROM_SHELL = ("sh", "-c", '"$@"; exit $?', "sh")
"""A process starts with the peak memory of the one that it was forked from; a shell's is small."""


END_AT_ONCE = "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n"
"""For what has streamed: Arrow may abort a process that ends as others do, https://github.com/apache/arrow/issues/45214."""


def python(code: str, *args: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run `code` in an interpreter of its own that can import the package; it must succeed."""
    command = [*options.pop("before", ()), *FROM_SHELL, sys.executable, "-c", code, *map(str, args)]
    timeout = options.pop("timeout", LONG)
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, **options)
    assert result.returncode == 0, result.stderr
    return result


def on_small_disk(folder: Path, size: str, code: str, *args: object, **options: Any) -> str:
    """What `code` prints in a process that alone sees a new file system of `size` at `folder`; it must succeed.

    Skips the test where none can be mounted.
    """
    import pytest

    mount = 'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"'
    before = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, size, str(folder)]
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare")
    attempt = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if attempt.returncode:
        pytest.skip(f"no file system can be mounted here: {attempt.stderr}")
    return python(code, *args, before=before, **options).stdout
