"""Which page answers which path, and what is answered to whom.

The pages know no session: they show the org to whoever reaches them, as one person. So they are
reached from this machine only, by its own name (another name would let a web page that calls itself
so read them), and a form is taken only from a page that was made here.
"""

import secrets
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import parse_qsl, urlsplit

from metronome_salesforce.sandbox.salesforce.calls import Reply, split_target
from metronome_salesforce.sandbox.salesforce.models import SalesforceOrg
from metronome_salesforce.sandbox.salesforce.pages import shell
from metronome_salesforce.sandbox.salesforce.pages.account_choice import (
    ForbiddenFormError,
    choose_account,
    picker_page,
)
from metronome_salesforce.sandbox.salesforce.pages.apps import the_app
from metronome_salesforce.sandbox.salesforce.pages.list_pages import list_page
from metronome_salesforce.sandbox.salesforce.pages.markup import Markup, join, tag
from metronome_salesforce.sandbox.salesforce.pages.record_pages import record_page, related_page
from metronome_salesforce.sandbox.salesforce.pages.report_pages import (
    dashboard_page,
    dashboards_page,
    report_page,
    reports_page,
)
from metronome_salesforce.sandbox.salesforce.pages.visits import (
    ROOT,
    NoPageError,
    Page,
    Redirect,
    Visit,
)

__all__ = ["ROOT", "PageRequest", "Pages"]

_HTML = "text/html;charset=UTF-8"
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_LONGEST_FORM = 16_384
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # With no-referrer browsers would not say where a form comes from, not even to its own server.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What the server was asked: names of headers in lower case, `base` of form `http://host`."""

    method: str
    target: str
    base: str
    headers: dict[str, str]
    body: bytes = b""


class Pages:
    """The pages of one org, as that user of it sees it."""

    def __init__(self, org: SalesforceOrg, username: str) -> None:
        self._org = org
        self._username = username
        self._secret = secrets.token_bytes(32)

    def serves(self, path: str) -> bool:
        """Whether the path (without query) is one of the pages'."""
        return path in {"/", ROOT} or path.startswith(f"{ROOT}/")

    def answer(self, request: PageRequest) -> Reply:
        """The answer to a request for a page; never raises for what was asked."""
        reply = self._answer(request)
        reply.headers.update(_HEADERS)
        return reply

    def _answer(self, request: PageRequest) -> Reply:
        if _host(request) not in _LOCAL:
            return _plain(421, "These pages are for this machine only.")
        if request.method not in {"GET", "HEAD", "POST"}:
            return Reply(405, "", {"Allow": "GET, HEAD, POST"}, _HTML)
        segments, query = split_target(request.target)
        if segments == ["app", "style.css"]:
            style = files(__package__).joinpath("style.css").read_bytes()
            return Reply(200, style, content_type="text/css;charset=UTF-8")
        if not segments:
            return _redirect(ROOT)
        with self._org.lock:
            user = self._org.users.get(self._username.lower())
            if user is None:
                return Reply(404, shell.missing_person(self._username), content_type=_HTML)
            form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
            visit = Visit(self._org, user, query, form, self._secret)
            return self._page(visit, request, segments[1:])

    def _page(self, visit: Visit, request: PageRequest, segments: list[str]) -> Reply:
        try:
            page = _post(visit, request, segments) if request.method == "POST" else (
                _get(visit, segments)
            )  # fmt: skip
        except NoPageError as error:
            page = _said(404, "Not found", str(error))
        except ForbiddenFormError:
            page = _said(
                403, "Not taken",
                "This form was not made by a page of this server. Open the record's page and use "
                "the form there.",
            )  # fmt: skip
        if isinstance(page, Redirect):
            return _redirect(page.to)
        return Reply(page.status, shell.document(visit, page), content_type=_HTML)


def _get(visit: Visit, segments: list[str]) -> Page | Redirect:
    match segments:
        case []:
            tabs = the_app(visit.state, visit.user).tabs
            if not tabs:
                raise NoPageError("There is nothing in this org that may be seen.")
            return Redirect(tabs[0].path)
        case ["o", sobject]:
            return list_page(visit, sobject)
        case ["r", record]:
            return record_page(visit, record)
        case ["r", record, "account"]:
            return picker_page(visit, record)
        case ["r", record, relationship]:
            return related_page(visit, record, relationship)
        case ["reports"]:
            return reports_page(visit)
        case ["reports", folder, name]:
            return report_page(visit, f"{folder}/{name}")
        case ["dashboards"]:
            return dashboards_page(visit)
        case ["dashboards", folder, name]:
            return dashboard_page(visit, f"{folder}/{name}")
    raise NoPageError("There is no such page.")


def _post(visit: Visit, request: PageRequest, segments: list[str]) -> Page | Redirect:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (
        # Browsers always say where a form comes from; whoever does not is no browser of ours.
        request.headers.get("origin") != request.base
        or request.headers.get("sec-fetch-site", "same-origin") != "same-origin"
        or kind != "application/x-www-form-urlencoded"
        or len(request.body) > _LONGEST_FORM
    ):
        raise ForbiddenFormError
    match segments:
        case ["r", record, "account"]:
            return choose_account(visit, record)
    raise NoPageError("There is nothing to be changed.")


def _host(request: PageRequest) -> str:
    """The name by which the server was called, without the port."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _redirect(to: str) -> Reply:
    # 303: whatever was sent, what follows is read.
    return Reply(303, "", {"Location": to}, _HTML)


def _said(status: int, title: str, sentence: str) -> Page:
    return Page(title, _card(title, sentence), status=status)


def _plain(status: int, sentence: str) -> Reply:
    body = shell.bare_document("Emulated org", _card("Emulated org", sentence))
    return Reply(status, body, content_type=_HTML)


def _card(title: str, sentence: str) -> Markup:
    return tag("section", join(tag("h1", title), tag("p", sentence)), class_="card said")
