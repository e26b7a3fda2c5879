"""What the loggers of a terminal have in common: one handler a run, which ends with what was refused.

Dagster makes a logger for the steps of a run and one for the run around them. Both are given the same handler, so that
it can know all of the run.
"""

import logging
import sys
from abc import abstractmethod
from weakref import WeakValueDictionary

from isles_assets.graph.ending import Ending
from isles_assets.lib.secrets import without_secrets


class RunHandler(logging.Handler):
    """Shows the records of one run on stderr, each as `show` does, and at the end all that was refused."""

    def __init__(self) -> None:
        super().__init__()
        self._ending = Ending()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.show(record, self._ending.take(record))
            if block := self._ending.block(record):
                self.write(f"\n{block}\n\n")
        except Exception:
            self.handleError(record)

    @abstractmethod
    def show(self, record: logging.LogRecord, instead: str | None) -> None:
        """Show what there is to show of `record`, or what `instead` says; that is empty for what is told at the end."""

    def write(self, text: str) -> None:
        """Write `text`, without secrets."""
        sys.stderr.write(without_secrets(text))
        sys.stderr.flush()


def message_of(record: logging.LogRecord) -> str:
    """What `record` says, with the trace of an exception that was logged."""
    said = str(getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage()))
    trace = [logging.Formatter().formatException(record.exc_info)] if record.exc_info else []
    return "\n".join([said, *trace])


_handlers: WeakValueDictionary[tuple[type[RunHandler], str | None], RunHandler] = WeakValueDictionary()
"""By what they show and the run's id, while a logger of that run is there."""


def logger_of_run(run: str | None, name: str, handler: RunHandler) -> logging.Logger:
    """A logger of the run with the id `run`, by the `handler` or the one of its kind that the run has already."""
    logger = logging.Logger(name, logging.DEBUG)
    logger.addHandler(_handlers.setdefault((type(handler), run), handler))
    return logger
