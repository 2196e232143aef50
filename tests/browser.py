"""A headless Chromium or Chrome, if the machine has one, driven through its DevTools pipe: nothing to install for Python.

`EXECUTABLE` is None where there is none. A `Page` accepts JavaScript, mouse, keyboard and touch input, and returns what it shows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from pathlib import Path

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 120  # seconds; a busy machine takes half a minute to open a page


class Browser:
    """The browser; `with Browser(profile) as browser` ends it. `flags` are additional command-line flags.

    `errors` are what pages reported, `requests` the addresses that they asked for.
    """

    def __init__(self, profile: Path, *flags: str):
        to_read, self.to_write = os.pipe()
        self.to_read, to_write = os.pipe()
        pipes = f'exec "$@" 3<&{to_read} 4>&{to_write}'  # it takes commands from 3 and answers on 4
        command = ["bash", "-c", pipes, "bash", EXECUTABLE, *FLAGS, *flags, f"--user-data-dir={profile}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, pass_fds=(to_read, to_write), **quiet)
        os.close(to_read)
        os.close(to_write)
        self.sent, self.buffer, self.errors, self.requests = 0, b"", [], []

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        os.close(self.to_read)
        os.close(self.to_write)

    def send(self, method: str, session: str = "", **parameters: object) -> dict:
        """Send a command and return its result; errors that pages report meanwhile are kept in `errors`."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(answer["params"])
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self.sent:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def receive(self) -> dict:
        while b"\0" not in self.buffer:
            more = os.read(self.to_read, 1 << 16)
            assert more, "the browser has ended"
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)


class Target:
    """A page, or a frame in a process of its own."""

    def __init__(self, browser: Browser, target: str):
        self.browser, self.target = browser, target
        self.session = browser.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: object) -> dict:
        return self.browser.send(method, self.session, **parameters)

    def evaluate(self, script: str) -> object:
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, patience: float = PATIENCE) -> None:
        """Wait until a JavaScript expression is true, at most `patience` seconds."""
        end = time.monotonic() + patience
        while not self.evaluate(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.02)

    def box(self, selector: str) -> dict[str, float]:
        """An element's x, y, width and height."""
        return json.loads(self.evaluate(f"JSON.stringify(document.querySelector('{selector}').getBoundingClientRect())"))

    def centre(self, selector: str, fraction: float = 0.5) -> tuple[float, float]:
        """The centre of an element, or the point at `fraction` of its width."""
        box = self.box(selector)
        return box["x"] + fraction * box["width"], box["y"] + box["height"] / 2


class Page(Target):
    """A page that a browser has opened and loaded."""

    def __init__(self, browser: Browser, url: str, width: int = 1100, height: int = 700, dark: bool = False, touch: bool = False):
        super().__init__(browser, browser.send("Target.createTarget", url="about:blank")["targetId"])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=url)
        self.wait("document.readyState == 'complete' && document.body != null")

    def frame(self) -> Target:
        """The first frame of the page that has a process of its own, such as a sandboxed one; waits until there is one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            targets = self.browser.send("Target.getTargets")["targetInfos"]
            if frame_ids := [one["targetId"] for one in targets if one.get("parentId") == self.target]:
                return Target(self.browser, frame_ids[0])
            time.sleep(0.02)
        raise AssertionError("no frame in a process of its own")

    def give_file(self, selector: str, path: Path) -> None:
        """Choose a file for an input."""
        object_id = self.send("Runtime.evaluate", expression=f"document.querySelector('{selector}')")["result"]["objectId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], objectId=object_id)

    def mouse(self, kind: str, x: float, y: float, **more: object) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1, **more)

    def click(self, selector: str, fraction: float = 0.5) -> None:
        x, y = self.centre(selector, fraction)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.mouse("mousePressed", *start)
        self.mouse("mouseMoved", *end)
        self.mouse("mouseReleased", *end)

    def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)])

    def screenshot(self) -> bytes:
        """The page as a png."""
        return b64decode(self.send("Page.captureScreenshot", format="png")["data"])
