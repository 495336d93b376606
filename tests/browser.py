"""Chromium without a window, told what to do over a pipe (Chrome DevTools Protocol): for tests of pages.

    python tests/browser.py PAGE DIRECTORY

writes what it looks like on a phone and on a desk, in light and in dark, to PNG files in the directory.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = (
    *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)


class Browser:
    """One tab. `said` is what the page wrote to its console or was refused; `asked` the addresses that it asked for."""

    def __init__(self) -> None:
        assert PROGRAM is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        # The protocol is on the file descriptors 3 and 4.
        shell = f'exec 3<&{theirs} 4>&{theirs_out}; exec "$@"'
        command = ["bash", "-c", shell, "chromium", PROGRAM, *SWITCHES, f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            pass_fds=(theirs, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(theirs_out)
        self._read, self._number, self._session = b"", 0, None
        self.said: list[str] = []
        self.asked: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have a command carried out; what it answers."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        os.write(
            self._out,
            json.dumps({"id": self._number, "method": method, "params": parameters, **session}).encode() + b"\0",
        )
        while (message := self._next()).get("id") != self._number:
            self._note(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        result: dict[str, Any] = message["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            some = os.read(self._in, 1 << 20)
            if not some:
                raise RuntimeError("the browser has ended")
            self._read += some
        one, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        kind, more = event["method"], event["params"]
        if kind == "Network.requestWillBeSent":
            self.asked.append(more["request"]["url"])
        elif kind in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.said.append(json.dumps(more))
        elif kind == "Page.loadEventFired":
            self._loaded = True

    def show(self, page: Path, width: int, dark: bool = False) -> None:
        """Load a page in a window of this width, in pixels; narrow ones are those of a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._note(self._next())

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def picture(self, path: Path, top: float = 0.0, height: float | None = None) -> bytes:
        """Write a PNG of the whole page, or of a part of its height; its bytes."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": size["width"], "height": height or size["height"] - top, "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        data = base64.b64decode(found["data"])
        path.write_bytes(data)
        return data


if __name__ == "__main__":
    with Browser() as browser:
        for wide in (390, 1280):
            for is_dark in (False, True):
                browser.show(Path(sys.argv[1]), wide, is_dark)
                name = f"{wide}-{'dark' if is_dark else 'light'}.png"
                browser.picture(Path(sys.argv[2]) / name)
                print(name, browser.value("document.documentElement.scrollWidth"), browser.said, len(browser.asked))
