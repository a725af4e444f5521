"""A headless Chromium, spoken to over its debugging pipe (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

CHROMIUM = shutil.which("chromium")


class Browser:
    """One page of a running Chromium.

    Attributes:
        requests: addresses of all that pages asked for, in order.
        messages: what pages wrote to the console, errors included.
    """

    def __init__(self, commands: int, replies: BinaryIO):
        self._commands, self._replies = commands, replies
        self._session, self._number = None, 0
        self._events: list[str] = []
        self.requests: list[str] = []
        self.messages: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params) -> dict[str, Any]:
        """What a method of the protocol replies."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (reply := self._read()).get("id") != self._number:
            pass
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a file at a width in CSS pixels, a phone's if it is narrow, and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.requests.clear()
        self.messages.clear()
        self._events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._read()

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """The page as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._replies.read(1)) != b"\0":
            if not byte:
                raise EOFError("chromium ended")
            message += byte
        found = json.loads(message)
        params = found.get("params", {})
        self._events.append(found.get("method", ""))
        if found.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif found.get("method") == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])
        elif found.get("method") == "Runtime.consoleAPICalled":
            self.messages.append(json.dumps(params["args"]))
        return found


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser that ends with the block; its profile lies in `folder`."""
    their_in, commands = os.pipe()
    replies, their_out = os.pipe()

    def as_3_and_4() -> None:
        # Both may be 3 or 4 already, so they move out of the way first.
        high_in, high_out = os.dup(their_in), os.dup(their_out)
        os.dup2(high_in, 3)
        os.dup2(high_out, 4)

    process = subprocess.Popen(
        [CHROMIUM or "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--hide-scrollbars", "--no-first-run", "--disable-background-networking", f"--user-data-dir={folder}",
         "--remote-debugging-pipe", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=as_3_and_4, close_fds=False,
    )  # fmt: skip
    os.close(their_in)
    os.close(their_out)
    try:
        with os.fdopen(replies, "rb") as stream:
            yield Browser(commands, stream)
    finally:
        os.close(commands)
        process.terminate()
        process.wait(20)
