"""Watching a command and all its processes: memory, open files, and the size of folders, while it runs."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.25
_DISK_EVERY = 5.0


@dataclass
class Watched:
    """What was seen of a command: seconds, and the greatest values of the others."""

    wall: float = 0.0
    memory: int = 0
    """Bytes of memory of all its processes; pages that several share are counted once (the kernel's `Pss`)."""
    open_files: int = 0
    processes: int = 0
    disk: int = 0
    """Bytes in the folders that were watched."""
    code: int = 0


def watch(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    folders: Sequence[Path],
    log: Path,
    stop: Callable[[], bool] = lambda: False,
) -> Watched:
    """Run a command to its end, or kill it with all its processes (SIGKILL) once `stop` returns True.

    Args:
        folders: Folders whose files are summed up; hard links are counted once.
        log: File for what the command says.
    """
    os.sync()
    seen, start, disk_at = Watched(), time.perf_counter(), 0.0
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, cwd=folder, env=dict(environment), stdout=output, stderr=output, start_new_session=True
        )
        while process.poll() is None:
            members = _session(process.pid)
            seen.memory = max(seen.memory, sum(map(_pss, members)))
            seen.open_files = max(seen.open_files, sum(map(_open_files, members)))
            seen.processes = max(seen.processes, len(members))
            if time.perf_counter() - disk_at > _DISK_EVERY:
                seen.disk = max(seen.disk, sum(map(disk_used, folders)))
                disk_at = time.perf_counter()
            if stop():
                for member in members:
                    with suppress(ProcessLookupError):
                        os.kill(member, signal.SIGKILL)
            time.sleep(_EVERY)
    seen.wall, seen.code = time.perf_counter() - start, process.returncode
    return seen


def _session(leader: int) -> list[int]:
    """Return the processes of the session that `leader` began."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                    members.append(int(entry.name))
    return members


def _pss(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _open_files(process: int) -> int:
    with suppress(OSError):
        return len(list(Path(f"/proc/{process}/fd").iterdir()))
    return 0


def disk_used(folder: Path) -> int:
    """Return the bytes on the disk of the files below `folder`; a file with several names counts once."""
    sizes = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            status = path.lstat()
            sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())
