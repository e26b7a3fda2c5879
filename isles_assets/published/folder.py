"""The folder of an export, which appears whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isles_assets.lib.files import make_folder, remove_leftovers, sync_folder, temporary_beside, write_errors_refused
from isles_assets.lib.findings import Refusal
from isles_assets.published.source import HEADLINE

OUT = "OUT"
"""Name, in messages, of the argument that says where an export goes."""

MARK, BIDS_MARK = "export_report.csv", "code/export_report.csv"
"""The report in an export; BIDS has a folder for it. Only a folder that has one of them is replaced."""


def check_free(out: Path, *, overwrite: bool) -> None:
    """Raise `Refusal` if `out` is there and must not be replaced. An empty folder is not in the way."""
    with write_errors_refused(out, OUT, headline=HEADLINE):
        if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
            return
        mend = "move it away, or name another OUT"
        if not _is_export(out):
            raise Refusal.of(HEADLINE, "is there already, and is no export", mend, path=out)
        if not overwrite:
            raise Refusal.of(HEADLINE, "is an export already", f"{mend}, or use --overwrite", path=out)


@contextmanager
def whole_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a new folder beside `out` to fill; on success sync it, and let it become `out`.

    On an exception the new folder is removed, and `out` stays as it was. A process that is killed leaves the new folder
    behind; the next export to the same place removes it.

    Raises:
        Refusal: `out` must not be replaced, the disk is full, or writing is not permitted.
    """
    check_free(out, overwrite=overwrite)
    new, old = temporary_beside(out), temporary_beside(out.with_name(f"{out.name}.old"))
    with write_errors_refused(out, OUT, headline=HEADLINE):
        make_folder(out.parent)
        remove_leftovers(out.parent)
        new.mkdir()
        try:
            yield new
            _sync(new)
            check_free(out, overwrite=overwrite)
            if _is_export(out):
                out.rename(old)
            new.rename(out)
        except BaseException:
            if old.exists() and not out.exists():
                old.rename(out)
            raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        sync_folder(out.parent)


def _is_export(folder: Path) -> bool:
    return not folder.is_symlink() and any((folder / mark).is_file() for mark in (MARK, BIDS_MARK))


def _sync(folder: Path) -> None:
    """Wait until all files below `folder` that are not links, and all names, are on the disk."""
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(path, name)
            if not file.is_symlink() and file.stat().st_nlink == 1:
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        sync_folder(Path(path))


def json_text(content: Any) -> str:
    """Return `content` as JSON for people and programs."""
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n"
