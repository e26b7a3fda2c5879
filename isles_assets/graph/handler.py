"""The common part of loggers for a terminal: one handler per run, which shows all failures at the end.

Dagster makes a logger for the steps of a run and another for the run itself. Both get the same handler, so it sees
every record of the run.
"""

import logging
import sys
from abc import abstractmethod
from weakref import WeakValueDictionary

from isles_assets.graph.run_end import FailureSummary
from isles_assets.lib.secrets import without_secrets


class RunHandler(logging.Handler):
    """Shows the records of one run on stderr as they come, and all failures at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._failures = FailureSummary()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.show(record, self._failures.add(record))
            if block := self._failures.block(record):
                self.write(f"\n{block}\n\n")
        except Exception:
            self.handleError(record)

    @abstractmethod
    def show(self, record: logging.LogRecord, replacement: str | None) -> None:
        """Show `record`.

        Args:
            replacement: The text to show instead of the record's message; empty to show nothing, None for the message.
        """

    def write(self, text: str) -> None:
        """Write `text`, without secrets."""
        sys.stderr.write(without_secrets(text))
        sys.stderr.flush()


def message_of(record: logging.LogRecord) -> str:
    """Return the message of `record`, with the trace of its exception if it has one."""
    message = str(getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage()))
    trace = [logging.Formatter().formatException(record.exc_info)] if record.exc_info else []
    return "\n".join([message, *trace])


_handlers: WeakValueDictionary[tuple[type[RunHandler], str | None], RunHandler] = WeakValueDictionary()
"""Handlers by type and run id. They live as long as a logger of their run."""


def logger_of_run(run_id: str | None, name: str, handler: RunHandler) -> logging.Logger:
    """Return a logger of the run. It uses the run's handler of that type if there is one, else `handler`."""
    logger = logging.Logger(name, logging.DEBUG)
    logger.addHandler(_handlers.setdefault((type(handler), run_id), handler))
    return logger
