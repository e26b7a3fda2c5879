"""A launcher that works like Dagster's default one, and also tells run monitoring which runs no process executes."""

import json
import socket
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

_TIMEOUT = 10
"""Seconds."""


class MonitoredRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, but runs that ended with their computer do not stay in state "started".

    A code server starts the process of a run; the run's tags have the server's address. If the process ends, the server
    marks the run as failed. If the server has ended, too, run monitoring does so, after it asks this launcher.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether `run` is lost: no server listens at its address. Runs of the command line have no server."""
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "null"))
        if server and _has_ended(server):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code server that executed it has ended")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def _has_ended(server: Mapping[str, Any]) -> bool:
    """Return whether the server has certainly ended. A busy or unreachable server may still run."""
    try:
        if "socket" in server:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT)
                connection.connect(server["socket"])
        else:
            socket.create_connection((server["host"], server["port"]), _TIMEOUT).close()
    except OSError as error:
        return isinstance(error, ConnectionRefusedError | FileNotFoundError)
    return False
