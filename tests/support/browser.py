"""A real browser, driven by plain WebDriver requests (W3C WebDriver): chromedriver and a headless Chromium.

with browser() as page:
    page.open("http://127.0.0.1:8080/console"); page.text("h1")
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name that the standard gives to element references
_MOVED = ("stale element", "does not belong to the document", "aborted by navigation")
_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def missing() -> str | None:
    """Return what a browser test lacks on this machine, or None."""
    if shutil.which("chromedriver") is None:
        return "no chromedriver on the path"
    if not any(shutil.which(name) for name in _CHROMIUMS):
        return f"none of {', '.join(_CHROMIUMS)} on the path"
    return None


class Refused(Exception):
    """The browser could not do what was asked; its words."""


class Page:
    """One window of the browser."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        self._post("url", {"url": address})

    def address(self) -> str:
        """Return where the window is."""
        return str(_get(f"{self._session}/url"))

    def find(self, selector: str) -> list[str]:
        """Return the elements of a CSS selector."""
        found = self._post("elements", {"using": "css selector", "value": selector})
        return [each[_ELEMENT] for each in found]

    def one(self, selector: str) -> str:
        """Return the first element of a CSS selector, waiting up to 5 seconds for it."""
        for _ in range(50):
            if found := self.find(selector):
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"{self.address()} has no {selector}")

    def text(self, selector: str) -> str:
        """Return the text of the first element as a person sees it."""
        return str(self._on(selector, lambda element: _get(f"{element}/text")))

    def click(self, selector: str) -> None:
        """Click on the first element."""
        self._on(selector, lambda element: _post(f"{element}/click", {}))

    def type(self, selector: str, text: str) -> None:
        """Type into the first element."""
        self._on(selector, lambda element: _post(f"{element}/value", {"text": text}))

    def press(self, keys: str) -> None:
        """Press and release keys where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def run(self, script: str) -> Any:
        """Run JavaScript with `return` and give its value."""
        return self._post("execute/sync", {"script": script, "args": []})

    def problems(self) -> list[str]:
        """Return what the browser complained of since it was last asked: the policy's refusals, errors."""
        entries = self._post("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        path.write_bytes(base64.b64decode(_get(f"{self._session}/screenshot")))

    def _on(self, selector: str, act: Callable[[str], Any]) -> Any:
        """Act on the first element; once more when the page was left between finding and acting."""
        for attempt in range(10):
            try:
                return act(f"{self._session}/element/{self.one(selector)}")
            except Refused as error:
                if attempt == 9 or not any(words in str(error) for words in _MOVED):
                    raise
                time.sleep(0.1)
        return None

    def _post(self, command: str, body: dict[str, Any]) -> Any:
        return _post(f"{self._session}/{command}", body)


@contextmanager
def browser(width: int = 1280, height: int = 900, extra: Sequence[str] = ()) -> Iterator[Page]:
    """Start a headless browser with one window; everything ends with the block. `extra` are its flags."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    session = ""
    try:
        server = f"http://127.0.0.1:{port}"
        _await(f"{server}/status")
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
        arguments += extra or ["--disable-gpu"]
        options = {
            "args": [*arguments, f"--window-size={width},{height}"],
            "binary": next(path for name in _CHROMIUMS if (path := shutil.which(name))),
        }
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        made = _post(f"{server}/session", {"capabilities": wanted})
        session = f"{server}/session/{made['sessionId']}"
        yield Page(session)
    finally:
        if session:
            _send(Request(session, method="DELETE"))
        driver.terminate()
        driver.wait(10)


def _await(address: str) -> None:
    for _ in range(100):
        try:
            if _get(address)["ready"]:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("chromedriver does not answer")


def _get(address: str) -> Any:
    return _send(Request(address))


def _post(address: str, body: dict[str, Any]) -> Any:
    return _send(Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"}))


def _send(request: Request) -> Any:
    try:
        with urlopen(request, timeout=60) as response:
            return json.load(response)["value"]
    except HTTPError as error:
        raise Refused(json.load(error)["value"]["message"].splitlines()[0]) from error
