"""What a terminal shows of a run: the time, the step and what it says, and one block at the end for what was refused.

Dagster's own logger repeats each error with its trace twice, and names run and process in each line. A location can
give loggers, but Dagster takes only those that the run config names, and `asset materialize` has no default run
config. So the logger of a run that names none is replaced here: docs/decisions/0001-logger-of-a-terminal.md.
"""

import logging
import time
from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.execution import context_creation_job

from isles_assets.graph.handler import RunHandler, logger_of_run, message_of


class _Terminal(RunHandler):
    """Shows each record from a level on in one line, and more where it has more."""

    def __init__(self, level: str) -> None:
        super().__init__()
        self._shown_from = logging.getLevelNamesMapping()[level]

    def show(self, record: logging.LogRecord, instead: str | None) -> None:
        if instead or (instead is None and record.levelno >= self._shown_from):
            self.write(f"{self._line(record, instead)}\n")

    def _line(self, record: logging.LogRecord, instead: str | None) -> str:
        """Time, level if it matters, step and words."""
        known = getattr(record, "dagster_meta", {})
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        source = known.get("step_key") or known.get("job_name")
        return f"{time.strftime('%H:%M:%S')} {level}{source or record.name}: {instead or message_of(record)}"


@dg.logger(config_schema={"name": str, "log_level": str}, description="Short lines, and one block for what failed.")
def terminal(context: dg.InitLoggerContext) -> logging.Logger:
    """A logger of a run."""
    config = context.logger_config
    return logger_of_run(context.run_id, config["name"], _Terminal(config["log_level"]))


def use_terminal() -> None:
    """Let every run whose config names no logger use `terminal`."""
    vars(context_creation_job)["default_system_loggers"] = _loggers


def _loggers(instance: dg.DagsterInstance | None) -> Sequence[tuple[dg.LoggerDefinition, Mapping[str, object]]]:
    """What Dagster takes by default, with our logger in the place of its own."""
    return [(terminal, config) for _, config in dg.default_system_loggers(instance)]
