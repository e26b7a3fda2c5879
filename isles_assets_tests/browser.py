"""Headless Chromium, driven by the WebDriver protocol that its `chromedriver` speaks: JSON over HTTP on loopback."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from isles_assets_tests.processes import LONG, free_port

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WHY_NOT = "" if BROWSER and DRIVER else "there is no chromium with its chromedriver; Debian has both as packages"

KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"}
KEYS |= {"Tab": "\ue004"}
_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


@dataclass(frozen=True)
class Browser:
    """One window."""

    session: str

    def open(self, address: str) -> None:
        """Go to `address`, and wait until it is loaded."""
        self._post("url", url=address)

    def run(self, script: str, *args: Any) -> Any:
        """What the body of a function in JavaScript returns, called with `args`."""
        return self._post("execute/sync", script=script, args=list(args))

    def eventually(self, script: str) -> None:
        """Wait until an expression in JavaScript is true."""
        deadline = time.monotonic() + LONG
        while not self.run(f"return {script}"):
            assert time.monotonic() < deadline, script
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press and release keys, one after the other: their names as in `KEYS`, or characters."""
        strokes = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def click(self, selector: str) -> None:
        """Click the middle of the first element that a CSS selector finds."""
        found = self._post("element", using="css selector", value=selector)
        self._post(f"element/{next(iter(found.values()))}/click")

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self._ask("GET", "screenshot")))

    def resize(self, width: int, height: int) -> None:
        self._post("window/rect", width=width, height=height)

    def prefer(self, scheme: str) -> None:
        """Let the page see that people prefer a `dark` or a `light` one."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._post("goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params={"features": features})

    def requested(self) -> list[str]:
        """The addresses that were asked for since this was asked last; those that name their own content left out."""
        events = [json.loads(entry["message"])["message"] for entry in self._post("se/log", type="performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """What the console says of faults since this was asked last."""
        return [entry["message"] for entry in self._post("se/log", type="browser")]

    def _post(self, what: str, **body: Any) -> Any:
        return self._ask("POST", what, body)

    def _ask(self, method: str, what: str, body: dict[str, Any] | None = None) -> Any:
        answer = requests.request(method, f"{self.session}/{what}", json=body, timeout=LONG).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer["message"]
        return answer


@contextmanager
def browsing(width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """A window of that size, closed at the end with the browser."""
    assert DRIVER
    port = free_port()
    server = f"http://127.0.0.1:{port}"
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LONG
        while not _answers(server):
            assert driver.poll() is None and time.monotonic() < deadline, "chromedriver does not come up"
            time.sleep(0.05)
        options = {"binary": BROWSER, "args": [*_ARGUMENTS, f"--window-size={width},{height}"]}
        told = {"performance": "ALL", "browser": "ALL"}
        wanted: Any = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": told}}
        answer = requests.post(f"{server}/session", json={"capabilities": wanted}, timeout=LONG).json()["value"]
        assert "sessionId" in answer, answer
        session = f"{server}/session/{answer['sessionId']}"
        try:
            yield Browser(session)
        finally:
            requests.delete(session, timeout=LONG)
    finally:
        driver.terminate()
        driver.wait()


def _answers(server: str) -> bool:
    with suppress(requests.ConnectionError):
        return bool(requests.get(f"{server}/status", timeout=LONG).json()["value"]["ready"])
    return False
