"""The default logger of runs in a terminal: time, step and message per line, and one block of failures at the end.

Dagster's own logger shows each error and its trace twice, and run and process in each line. A code location can define
loggers, but Dagster uses only those that the run config names, and `asset materialize` has no default run config. So
this module replaces Dagster's default logger: docs/decisions/0001-logger-of-a-terminal.md.
"""

import logging
import time
from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.execution import context_creation_job

from isles_assets.graph.handler import RunHandler, logger_of_run, message_of


class _Terminal(RunHandler):
    """Shows each record of a level or above."""

    def __init__(self, level: str) -> None:
        super().__init__()
        self._min_level = logging.getLevelNamesMapping()[level]

    def show(self, record: logging.LogRecord, replacement: str | None) -> None:
        if replacement or (replacement is None and record.levelno >= self._min_level):
            self.write(f"{self._line(record, replacement)}\n")

    def _line(self, record: logging.LogRecord, replacement: str | None) -> str:
        """Return time, level if it is a warning or worse, step and message."""
        meta = getattr(record, "dagster_meta", {})
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        source = meta.get("step_key") or meta.get("job_name")
        return f"{time.strftime('%H:%M:%S')} {level}{source or record.name}: {replacement or message_of(record)}"


@dg.logger(
    config_schema={"name": str, "log_level": str}, description="Short lines, and one block of failures at the end."
)
def terminal(context: dg.InitLoggerContext) -> logging.Logger:
    """Return the logger of a run."""
    config = context.logger_config
    return logger_of_run(context.run_id, config["name"], _Terminal(config["log_level"]))


def use_terminal() -> None:
    """Make `terminal` the logger of every run whose config names none."""
    vars(context_creation_job)["default_system_loggers"] = _loggers


def _loggers(instance: dg.DagsterInstance | None) -> Sequence[tuple[dg.LoggerDefinition, Mapping[str, object]]]:
    """Return Dagster's default loggers and their configs, with `terminal` in place of the console logger."""
    return [(terminal, config) for _, config in dg.default_system_loggers(instance)]
