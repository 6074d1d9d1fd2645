"""A headless Chromium, driven as a person would: clicks and keys where the page shows something.

Over the DevTools protocol, with the WebSocket client that the project has anyway: the package that
tests websites usually brings a browser of its own. Elements are found and read by the protocol's
DOM domain, so the pages' scripts can be off, as they are here.
"""

import asyncio
import base64
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from tests.pages.chromium import find_chromium
from tests.sandbox.salesforce.page_reading import Element, read_elements

_STARTED = re.compile(r"DevTools listening on (ws://\S+)")
_START_SECONDS = 30.0
_PATIENCE = 15.0
_POLL = 0.05
_BIGGEST = 64 * 1024 * 1024

Json = dict[str, Any]


def literal(text: str) -> str:
    """The text as XPath writes it, whatever quotes it has."""
    parts = ", '\"', ".join(f'"{each}"' for each in text.split('"'))
    return f"concat({parts}, '')"


class BrowserError(Exception):
    """The browser refused a command, or did not show what was waited for."""


class Tab:
    """One tab without scripts; `problems` are what the browser complained of, or should have."""

    def __init__(self, devtools: "_DevTools", session: str, base: str) -> None:
        self._devtools = devtools
        self._session = session
        self._base = base
        self.problems: list[str] = []
        self.loading = False

    async def open(self, path: str) -> None:
        """Go to a page of the server."""
        await self._call("Page.navigate", url=self._base + path)
        await self.sees("//main")

    async def sees(self, xpath: str, *, seconds: float = _PATIENCE) -> None:
        """Wait until the page has such an element."""
        await self._nodes(xpath, seconds=seconds)

    async def click(self, xpath: str) -> None:
        """Press the mouse in the middle of the first such element."""
        x, y = await self._middle(xpath)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            await self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    async def point(self, xpath: str) -> None:
        """Move the mouse there."""
        x, y = await self._middle(xpath)
        await self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self._call("Input.insertText", text=text)

    async def press_enter(self) -> None:
        """Press the enter key."""
        for kind in ("keyDown", "keyUp"):
            await self._call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                windowsVirtualKeyCode=13,
            )  # fmt: skip

    async def read(self, xpath: str = "//html") -> Element:
        """The first such element as it is now in the browser."""
        node = (await self._nodes(xpath))[0]
        found = await self._call("DOM.getOuterHTML", nodeId=node)
        return read_elements(found["outerHTML"])

    async def box(self, xpath: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of the first such element."""
        node = (await self._nodes(xpath))[0]
        model = (await self._call("DOM.getBoxModel", nodeId=node))["model"]
        left, top = model["border"][:2]
        return left, top, model["width"], model["height"]

    async def is_shown(self, xpath: str) -> bool:
        """Whether the first such element takes room on the page."""
        node = (await self._nodes(xpath))[0]
        style = await self._call("CSS.getComputedStyleForNode", nodeId=node)
        named = {each["name"]: each["value"] for each in style["computedStyle"]}
        return bool(named["display"] != "none")

    async def resize(self, width: int, height: int) -> None:
        """Give the window that size."""
        await self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    async def overflows(self) -> float:
        """By how many pixels the page is wider than the window."""
        sizes = await self._call("Page.getLayoutMetrics")
        wide: float = sizes["cssContentSize"]["width"] - sizes["cssLayoutViewport"]["clientWidth"]
        return wide

    async def scroll_to(self, xpath: str) -> None:
        """Bring the first such element into view."""
        node = (await self._nodes(xpath))[0]
        await self._call("DOM.scrollIntoViewIfNeeded", nodeId=node)

    async def screenshot(self) -> bytes:
        """What is seen, as a PNG file."""
        shot = await self._call("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        return base64.b64decode(shot["data"])

    async def _middle(self, xpath: str) -> tuple[float, float]:
        node = (await self._nodes(xpath))[0]
        await self._call("DOM.scrollIntoViewIfNeeded", nodeId=node)
        quads = (await self._call("DOM.getContentQuads", nodeId=node))["quads"]
        if not quads:
            raise BrowserError(f"{xpath} is not shown")
        corners = quads[0]
        return sum(corners[0::2]) / 4, sum(corners[1::2]) / 4

    async def _nodes(self, xpath: str, *, seconds: float = _PATIENCE) -> list[int]:
        """Such elements, as soon as there are some on a page that has loaded."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            found = await self._find(xpath)
            if found:
                return found
            await asyncio.sleep(_POLL)
        words = (await self.read()).text if xpath != "//html" else ""
        raise BrowserError(f"there is no {xpath} after {seconds} s: {words[:2000]}")

    async def _find(self, xpath: str) -> list[int]:
        if self.loading:
            return []  # what is there already may still move
        try:
            await self._call("DOM.getDocument", depth=0)
            search = await self._call("DOM.performSearch", query=xpath)
            if not search["resultCount"]:
                return []
            found = await self._call(
                "DOM.getSearchResults", searchId=search["searchId"], fromIndex=0,
                toIndex=search["resultCount"],
            )  # fmt: skip
        except BrowserError:
            return []  # the page changed under it
        nodes: list[int] = [each for each in found["nodeIds"] if each]
        return nodes

    async def _call(self, method: str, **parameters: Any) -> Json:
        return await self._devtools.call(method, self._session, **parameters)

    def told(self, event: Json) -> None:
        """Take note of what the browser tells."""
        parameters = event["params"]
        if event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        if event["method"] == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith((f"{self._base}/", "data:")):
                self.problems.append(f"a request elsewhere: {url}")
        if event["method"] in {"Page.frameNavigated", "Page.loadEventFired"}:
            self.loading = event["method"] == "Page.frameNavigated"
        if event["method"] == "Audits.issueAdded":
            self.problems.append(json.dumps(parameters["issue"]))


class _DevTools:
    """The protocol's calls and events over one connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self.tabs: dict[str, Tab] = {}

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Json:
        """The result of a command; raises BrowserError."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        command: Json = {"id": number, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        await self._socket.send_json(command)
        async with asyncio.timeout(_PATIENCE):
            answer = await self._waiting[number]
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: Json = answer["result"]
        return result

    async def listen(self) -> None:
        """Hand answers and events to whom they belong, until the connection ends."""
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._waiting.pop(event["id"]).set_result(event)
            elif event.get("sessionId") in self.tabs:
                self.tabs[event["sessionId"]].told(event)


class Browser:
    """A running Chromium."""

    def __init__(self, devtools: _DevTools) -> None:
        self._devtools = devtools

    async def tab(self, base: str, *, width: int = 1280, height: int = 800) -> Tab:
        """A new tab of that size for the pages of one server, scripts off."""
        made = await self._devtools.call("Target.createTarget", url="about:blank")
        attached = await self._devtools.call(
            "Target.attachToTarget", targetId=made["targetId"], flatten=True
        )
        session = attached["sessionId"]
        tab = self._devtools.tabs[session] = Tab(self._devtools, session, base)
        for domain in ("Page", "DOM", "CSS", "Log", "Network", "Audits"):
            await self._devtools.call(f"{domain}.enable", session)
        await self._devtools.call("Emulation.setScriptExecutionDisabled", session, value=True)
        await tab.resize(width, height)
        return tab


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start a Chromium with a profile of its own, and end it."""
    with TemporaryDirectory(prefix="metronome-salesforce-chromium-") as profile:
        process = await asyncio.create_subprocess_exec(
            find_chromium(), "--headless=new", "--remote-debugging-port=0",
            f"--user-data-dir={profile}", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--no-first-run", "--disable-sync", "--disable-component-update",
            "--disable-background-networking", "--disable-default-apps", "--no-proxy-server",
            "--disable-dev-shm-usage", "--force-color-profile=srgb", "--lang=en-US",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            address = await _address(process)
            async with (
                aiohttp.ClientSession() as client,
                client.ws_connect(address, max_msg_size=_BIGGEST) as socket,
            ):
                devtools = _DevTools(socket)
                listening = asyncio.create_task(devtools.listen())
                yield Browser(devtools)
                listening.cancel()
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.communicate(), _PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    """Where it listens, as it says when it has started."""
    said = ""
    assert process.stderr is not None
    async with asyncio.timeout(_START_SECONDS):
        async for line in process.stderr:
            said += line.decode(errors="replace")
            found = _STARTED.search(said)
            if found is not None:
                return found.group(1)
    raise BrowserError(f"Chromium did not start: {said}")
