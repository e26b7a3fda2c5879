"""Headless Chromium, driven by `chromedriver`'s WebDriver protocol: JSON over HTTP on loopback."""

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
    """A browser window."""

    session: str

    def open(self, address: str) -> None:
        """Open a URL, and wait until it is loaded."""
        self._post("url", url=address)

    def run(self, script: str, *args: Any) -> Any:
        """Run `script` as the body of a JavaScript function with `arguments`, and return its result."""
        return self._post("execute/sync", script=script, args=list(args))

    def eventually(self, script: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + LONG
        while not self.run(f"return {script}"):
            assert time.monotonic() < deadline, script
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press and release keys one after the other: names in `KEYS`, or characters."""
        strokes = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def click(self, selector: str) -> None:
        """Click the middle of the first element that a CSS selector matches."""
        element = self._post("element", using="css selector", value=selector)
        self._post(f"element/{next(iter(element.values()))}/click")

    def screenshot(self, path: Path) -> None:
        """Write a screenshot of the window as PNG."""
        path.write_bytes(base64.b64decode(self._ask("GET", "screenshot")))

    def resize(self, width: int, height: int) -> None:
        self._post("window/rect", width=width, height=height)

    def prefer(self, scheme: str) -> None:
        """Set the preferred color scheme: `dark` or `light`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._post("goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params={"features": features})

    def requested(self) -> list[str]:
        """Return the URLs requested since the last call, without `data:` and `blob:` URLs."""
        events = [json.loads(entry["message"])["message"] for entry in self._post("se/log", type="performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """Return the console's messages since the last call."""
        return [entry["message"] for entry in self._post("se/log", type="browser")]

    def _post(self, what: str, **body: Any) -> Any:
        return self._ask("POST", what, body)

    def _ask(self, method: str, what: str, body: dict[str, Any] | None = None) -> Any:
        answer = requests.request(method, f"{self.session}/{what}", json=body, timeout=LONG).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer["message"]
        return answer


@contextmanager
def browsing(width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """Yield a window of that size in pixels. The browser is closed at the end."""
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
