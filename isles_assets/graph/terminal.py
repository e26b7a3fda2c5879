"""What a terminal shows of a run: the time, the step and what it says, and one block at the end for what was refused.

Dagster's own logger repeats each error with its trace twice, and names run and process in each line. A location can
give loggers, but Dagster takes only those that the run config names, and `asset materialize` has no default run
config. So the logger of a run that names none is replaced here: docs/decisions/0001-logger-of-a-terminal.md.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from weakref import WeakValueDictionary

import dagster as dg
from dagster._core.execution import context_creation_job

from isles_assets.graph.ending import Ending
from isles_assets.lib.secrets import without_secrets

_endings: WeakValueDictionary[str, Ending] = WeakValueDictionary()
"""By the run's id, while a logger of it is there."""


class _Terminal(logging.StreamHandler):
    """Writes to stderr what there is to show of each record of a run."""

    def __init__(self, level: str, ending: Ending) -> None:
        super().__init__()
        self._shown_from, self._ending = logging.getLevelNamesMapping()[level], ending

    def emit(self, record: logging.LogRecord) -> None:
        try:
            words = self._ending.take(record)
            if words or (words is None and record.levelno >= self._shown_from):
                self._write(self._line(record, words))
            if block := self._ending.block(record):
                self._write(f"\n{block}\n")
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord, words: str | None) -> str:
        """Time, level if it matters, step and words; with the trace of an exception that was logged."""
        known = getattr(record, "dagster_meta", {})
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        source = known.get("step_key") or known.get("job_name")
        said = words or str(known.get("orig_message", record.getMessage()))
        trace = [logging.Formatter().formatException(record.exc_info)] if record.exc_info else []
        return "\n".join([f"{time.strftime('%H:%M:%S')} {level}{source or record.name}: {said}", *trace])

    def _write(self, text: str) -> None:
        self.stream.write(f"{without_secrets(text)}\n")
        self.flush()


@dg.logger(config_schema={"name": str, "log_level": str}, description="Short lines, and one block for what failed.")
def terminal(context: dg.InitLoggerContext) -> logging.Logger:
    """A logger of a run: Dagster makes one for its steps and one for the run around them, which end as one."""
    logger = logging.Logger(context.logger_config["name"])
    ending = _endings.setdefault(context.run_id or "", Ending())
    logger.addHandler(_Terminal(context.logger_config["log_level"], ending))
    return logger


def use_terminal() -> None:
    """Let every run whose config names no logger use `terminal`."""
    vars(context_creation_job)["default_system_loggers"] = _loggers


def _loggers(instance: dg.DagsterInstance | None) -> Sequence[tuple[dg.LoggerDefinition, Mapping[str, object]]]:
    """What Dagster takes by default, with our logger in the place of its own."""
    return [(terminal, config) for _, config in dg.default_system_loggers(instance)]
