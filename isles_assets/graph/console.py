"""The logger `brief`: a run in a terminal, one line for each asset. The run config chooses it, as demo.yaml does.

Warnings are shown in full, and what was refused in one block at the end, as `terminal` does. On a terminal, a line that
comes and goes says what is being done. The UI and the history have every event, whatever is shown here.
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
    """Shows what a run's records add to what is known of its steps; most of Dagster's events add nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._start, self._here = time.monotonic(), f"{Path.cwd()}{os.sep}"
        self._on_terminal = sys.stderr.isatty()  # while a step runs, Dagster puts a file in its place, and copies that
        self._said: dict[str, str] = {}
        self._made: set[str] = set()
        self._passed = self._noted = self._failed = 0

    def show(self, record: logging.LogRecord, instead: str | None) -> None:
        known: dict[str, Any] = getattr(record, "dagster_meta", {})
        step, event = known.get("step_key") or "", known.get("dagster_event")
        if event:
            self._take(step, event)
        if instead:
            self._show(step, instead)
        elif instead is None and not event:
            said = message_of(record)
            if record.levelno >= logging.WARNING:
                self._show(step, said)
            else:
                self._said[step] = said
                self._show_meanwhile(step)

    def _take(self, step: str, event: dg.DagsterEvent) -> None:
        match event.event_type:
            case dg.DagsterEventType.STEP_START:
                self._show_meanwhile(step)
            case dg.DagsterEventType.ASSET_MATERIALIZATION:
                self._made.add(step)
            case dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                check = event.asset_check_evaluation_data
                self._passed += check.passed
                self._noted += not check.passed and check.severity is dg.AssetCheckSeverity.WARN
                self._failed += not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
            case dg.DagsterEventType.STEP_SUCCESS if step in self._made & self._said.keys():
                self._show(step, self._said[step])
            case dg.DagsterEventType.RUN_SUCCESS | dg.DagsterEventType.RUN_FAILURE:
                counts = {"passed": self._passed, "with notes, which the UI shows": self._noted, "failed": self._failed}
                if told := ", ".join(f"{count} {what}" for what, count in counts.items() if count):
                    self._show("checks", told)

    def _show(self, step: str, words: str) -> None:
        self.write(f"{self._line(step, words)}\n")

    def _show_meanwhile(self, step: str) -> None:
        if self._on_terminal:
            width = shutil.get_terminal_size().columns - 1
            self.write(self._line(step, self._said.get(step, "...")).splitlines()[0][:width])

    def _line(self, step: str, words: str) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        return f"{minutes:>3}:{seconds:02}  {step:<17} {words}"

    def write(self, text: str) -> None:
        super().write(f"{_CLEAR_LINE if self._on_terminal else ''}{text.replace(self._here, '')}")


@dg.logger({}, description="A line for each asset, warnings in full, and one block for what failed.")
def brief(context: dg.InitLoggerContext) -> logging.Logger:
    """A logger of a run."""
    return logger_of_run(context.run_id, "brief", _Brief())
