"""How each command ends: with an exit code, and with a message on stderr if something stopped it."""

import logging
import os
import sys
from collections.abc import Callable

from isles_assets.lib.files import of_machine
from isles_assets.lib.findings import Refusal

REFUSED, INTERRUPTED = 1, 130

log = logging.getLogger(__name__)


def exit_code_of(work: Callable[[], int], interrupted: str = "Stopped.") -> int:
    """Return the exit code of `work`; log why it was refused or interrupted. Faults of the program pass.

    Args:
        interrupted: Message after Ctrl-C.

    Returns:
        What `work` returns, or 1 if it was refused, or 130 if it was interrupted.
    """
    try:
        return work()
    except Refusal as refusal:
        log.error("%s", refusal)
    except BrokenPipeError:  # the reader closed the pipe, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.filename is None and not of_machine(error):
            raise
        problem, mend = f"{error.strerror}", "see that it can be read and written; then run again"
        log.error("%s", of_machine(error) or Refusal.of("It could not be done.", problem, mend, path=error.filename))
    except KeyboardInterrupt:
        log.error("%s", interrupted)
        return INTERRUPTED
    return REFUSED
