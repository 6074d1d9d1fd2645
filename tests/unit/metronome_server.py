"""A Metronome that answers what the test wrote down, over real HTTP.

The emulator behaves; this one misbehaves in ways that no rule describes: bodies cut short, HTML,
dropped connections.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from metronome_salesforce.sandbox.serving import Served


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: a JSON document, or raw bytes; `drop` closes the connection instead.

    `announced` is the Content-Length if it is to differ from the body's; `delay` is in seconds.
    `drip` sends a blank every 50 ms until the client goes away.
    """

    document: Any = None
    status: int = 200
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    drip: bool = False
    announced: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


def page(*items: Any, cursor: str | None = None) -> Answer:
    """A page of Metronome's."""
    return Answer({"data": list(items), "next_page": cursor})


class ScriptedMetronome:
    """Gives the answers in turn, or what a function makes of each request; counts what runs."""

    def __init__(
        self, *answers: Answer, by: Callable[[Asked], Answer] | None = None, **served: Any
    ) -> None:
        self.asked: list[Asked] = []
        self.running = 0
        self.most_running = 0
        self._answers = list(answers)
        self._by = by
        self._lock = threading.Lock()
        self._served = Served(self._app, **served)

    @property
    def url(self) -> str:
        return self._served.url

    def stop(self) -> None:
        self._served.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = Asked(
            request.method,
            request.raw_path.partition("?")[0],
            dict(request.query),
            dict(request.headers),
            body,
        )
        with self._lock:
            self.asked.append(asked)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            answer = self._by(asked) if self._by is not None else self._next()
        try:
            if answer.delay:
                await asyncio.sleep(answer.delay)
            return await _respond(request, answer)
        finally:
            with self._lock:
                self.running -= 1

    def _next(self) -> Answer:
        if not self._answers:
            return Answer({"message": "the script has no further answer"}, status=418)
        return self._answers.pop(0)


async def _respond(request: web.Request, answer: Answer) -> web.StreamResponse:
    if answer.drop:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    body = answer.raw if answer.raw is not None else json.dumps(answer.document).encode()
    response = web.StreamResponse(
        status=answer.status, headers={"Content-Type": "application/json", **answer.headers}
    )
    response.content_length = len(body) if answer.announced is None else answer.announced
    await response.prepare(request)
    await response.write(body)
    while answer.drip:
        await asyncio.sleep(0.05)
        await response.write(b" ")  # raises once the client is gone
    if answer.announced is not None:
        assert request.transport is not None
        request.transport.close()
    return response
