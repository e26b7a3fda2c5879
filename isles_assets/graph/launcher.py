"""Launching runs as Dagster does by default, and telling run monitoring which of them nobody executes any more."""

import json
import socket
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

_SECONDS = 10


class MonitoredRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, with which a run that ended with its computer does not stay started.

    A run is a child of a code server, whose address is in the run's tags. The server fails a run whose process ends;
    a run whose server has ended, too, is failed by run monitoring, which asks here.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether `run` is lost: nobody listens at its server's address. A run of the command line has no server."""
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "null"))
        if server and _nobody_listens(server):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code server that executed it has ended")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def _nobody_listens(server: Mapping[str, Any]) -> bool:
    """Whether that is certain: a server may be too busy to answer, or out of reach for a while."""
    try:
        if "socket" in server:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_SECONDS)
                connection.connect(server["socket"])
        else:
            socket.create_connection((server["host"], server["port"]), _SECONDS).close()
    except OSError as error:
        return isinstance(error, ConnectionRefusedError | FileNotFoundError)
    return False
