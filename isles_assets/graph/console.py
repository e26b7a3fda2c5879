"""The logger `brief`: it shows one line per asset. A run config can choose it, as demo.yaml does.

Like `terminal`, it shows warnings in full and all failures in one block at the end. On a terminal, a temporary line
shows the current work. Dagster's UI and history have every event.
"""

import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from isles_assets.graph.handler import RunHandler, logger_of_run, message_of

_CLEAR_LINE = "\r\x1b[K"


class _Brief(RunHandler):
    """Shows the last message of each materialized asset, warnings, errors, and the number of checks by result."""

    def __init__(self) -> None:
        super().__init__()
        self._start, self._working_directory = time.monotonic(), f"{Path.cwd()}{os.sep}"
        self._on_terminal = sys.stderr.isatty()  # asked now: while a step runs, Dagster replaces stderr by a file
        self._last_message: dict[str, str] = {}  # by step
        self._materialized: set[str] = set()
        self._passed = self._noted = self._failed = 0

    def show(self, record: logging.LogRecord, replacement: str | None) -> None:
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        step, event = meta.get("step_key") or "", meta.get("dagster_event")
        if event:
            self._follow(step, event)
        if replacement:
            self._show(step, replacement)
        elif replacement is None and not event:
            message = message_of(record)
            if record.levelno >= logging.WARNING:
                self._show(step, message)
            else:
                self._last_message[step] = message
                self._show_temporarily(step)

    def _follow(self, step: str, event: dg.DagsterEvent) -> None:
        match event.event_type:
            case dg.DagsterEventType.STEP_START:
                self._show_temporarily(step)
            case dg.DagsterEventType.ASSET_MATERIALIZATION:
                self._materialized.add(step)
            case dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                check = event.asset_check_evaluation_data
                self._passed += check.passed
                self._noted += not check.passed and check.severity is dg.AssetCheckSeverity.WARN
                self._failed += not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
            case dg.DagsterEventType.STEP_SUCCESS if step in self._materialized & self._last_message.keys():
                self._show(step, self._last_message[step])
            case dg.DagsterEventType.RUN_SUCCESS | dg.DagsterEventType.RUN_FAILURE:
                counts = {"passed": self._passed, "with notes, which the UI shows": self._noted, "failed": self._failed}
                if text := ", ".join(f"{count} {result}" for result, count in counts.items() if count):
                    self._show("checks", text)

    def _show(self, step: str, text: str) -> None:
        self.write(f"{self._line(step, text)}\n")

    def _show_temporarily(self, step: str) -> None:
        if self._on_terminal:
            width = shutil.get_terminal_size().columns - 1
            self.write(self._line(step, self._last_message.get(step, "...")).splitlines()[0][:width])

    def _line(self, step: str, text: str) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        return f"{minutes:>3}:{seconds:02}  {step:<17} {text}"

    def write(self, text: str) -> None:
        super().write(f"{_CLEAR_LINE if self._on_terminal else ''}{text.replace(self._working_directory, '')}")


@dg.logger({}, description="One line per asset, warnings in full, and one block of failures at the end.")
def brief(context: dg.InitLoggerContext) -> logging.Logger:
    """Return the logger of a run."""
    return logger_of_run(context.run_id, "brief", _Brief())
