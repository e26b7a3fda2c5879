"""How each command ends: with an exit code, and in words on stderr if anything has stopped it."""

import logging
import os
import sys
from collections.abc import Callable

from isles_assets.lib.files import of_machine
from isles_assets.lib.findings import Refusal

REFUSED, STOPPED = 1, 130

log = logging.getLogger(__name__)


def in_words(work: Callable[[], int], stopped: str = "Stopped.") -> int:
    """The exit code that `work` returns, or 1 if it is refused, or 130 if it is interrupted, with the reason told.

    A fault of the program is raised as it is.
    """
    try:
        return work()
    except Refusal as refusal:
        log.error("%s", refusal)
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.filename is None and not of_machine(error):
            raise
        problem, mend = f"{error.strerror}", "see that it can be read and written; then run again"
        log.error("%s", of_machine(error) or Refusal.of("It could not be done.", problem, mend, path=error.filename))
    except KeyboardInterrupt:
        log.error("%s", stopped)
        return STOPPED
    return REFUSED
