"""A Salesforce that answers what the test wrote down, over real HTTP.

The emulated org behaves; this one misbehaves in ways that no rule describes: sessions that never
hold, HTML, bodies cut short, dropped connections.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import web

from metronome_salesforce.sandbox.serving import Served

TOKEN_PATH = "/services/oauth2/token"
DATA = "/services/data/v66.0"
USER_ID = "005Ax0000000001AAA"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: a JSON document, or raw bytes; `drop` closes the connection instead.

    `announced` is the Content-Length if it is to differ from the body's; `delay` is in seconds.
    """

    document: Any = None
    status: int = 200
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    announced: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in; `path` still percent-encoded."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def refusal(code: str, message: str = "no", status: int = 400) -> Answer:
    """A refused request, as the REST API words it."""
    return Answer([{"message": message, "errorCode": code}], status=status)


EXPIRED = refusal("INVALID_SESSION_ID", "Session expired or invalid", 401)


def page(*records: dict[str, Any], more: str | None = None) -> Answer:
    """A page of a query's records; `more` is the locator of the next one."""
    document: dict[str, Any] = {"totalSize": 9, "done": more is None, "records": list(records)}
    if more is not None:
        document["nextRecordsUrl"] = f"{DATA}/query/{more}"
    return Answer(document)


class ScriptedSalesforce:
    """Gives the answers in turn, or what a function makes of each request.

    Token requests are answered from `tokens`, and when there are none left with a fresh token.
    """

    def __init__(
        self,
        *answers: Answer,
        by: Callable[[Asked], Answer] | None = None,
        tokens: list[Answer] | None = None,
        **served: Any,
    ) -> None:
        self.asked: list[Asked] = []
        self.logins: list[Asked] = []
        self._answers = list(answers)
        self._tokens = list(tokens or [])
        self._by = by
        self._lock = threading.Lock()
        self._served = Served(self._app, **served)

    @property
    def url(self) -> str:
        return self._served.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._served.stop()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.method,
            urlsplit(request.raw_path).path,  # a proxy is asked for whole URLs
            dict(request.query),
            dict(request.headers),
            await request.read(),
        )
        with self._lock:
            answer = self._answer(asked)
        await asyncio.sleep(answer.delay)
        return await _respond(request, answer)

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.startswith(("/services/oauth2/", "/services/Soap/u/")):
            self.logins.append(asked)
            if self._tokens:
                return self._tokens.pop(0)
            return Answer(
                {
                    "access_token": f"00Dx!token{len(self.logins)}",
                    "instance_url": "https://elsewhere.my.salesforce.com",
                    "id": f"https://login.salesforce.com/id/00Dx0000000001AAA/{USER_ID}",
                    "token_type": "Bearer",
                }
            )
        self.asked.append(asked)
        if self._by is not None:
            return self._by(asked)
        if not self._answers:
            return Answer("the script has no further answer", status=418)
        return self._answers.pop(0)


async def _respond(request: web.Request, answer: Answer) -> web.StreamResponse:
    if answer.drop:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    body = answer.raw if answer.raw is not None else json.dumps(answer.document).encode()
    response = web.StreamResponse(
        status=answer.status,
        headers={"Content-Type": "application/json;charset=UTF-8", **answer.headers},
    )
    response.content_length = len(body) if answer.announced is None else answer.announced
    await response.prepare(request)
    await response.write(body)
    if answer.announced is not None:
        assert request.transport is not None
        request.transport.close()
    return response
