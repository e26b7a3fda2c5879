"""Python processes whose Hub clients reach one server only."""

import subprocess
import sys
from pathlib import Path

from isles_assets_tests.hub_server.server import HubServer
from isles_assets_tests.processes import LONG


def script(hub: HubServer, home: Path, code: str, *arguments: object, token: str = "writer") -> "subprocess.Popen[str]":
    """Start a process that runs `code`, with clients that reach `hub` only."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=hub.environment(home, token),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process: "subprocess.Popen[str]") -> list[str]:
    """Wait for a process to succeed, and return the lines that it printed."""
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    return out.splitlines()
