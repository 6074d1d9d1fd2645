"""What stands around every page: the app's name and tabs above, its utility bar below."""

from metronome_salesforce.sandbox.salesforce.pages.apps import App, Tab, the_app
from metronome_salesforce.sandbox.salesforce.pages.icons import (
    dashboards_icon,
    object_icon,
    reports_icon,
)
from metronome_salesforce.sandbox.salesforce.pages.markup import Markup, join, tag
from metronome_salesforce.sandbox.salesforce.pages.showing import link
from metronome_salesforce.sandbox.salesforce.pages.utility import utility_bar
from metronome_salesforce.sandbox.salesforce.pages.visits import ROOT, Page, Visit, path

STYLE_PATH = path("style.css")


def document(visit: Visit, page: Page) -> str:
    """The whole HTML document of a page."""
    app = the_app(visit.state, visit.user)
    return bare_document(
        f"{page.title} | {app.label}",
        tag("a", "Skip to content", href="#content", class_="skip"),
        _header(visit, app),
        _tabs(visit, app, page.tab),
        tag("main", page.body, id="content"),
        utility_bar(visit, app),
        refresh=page.refresh,
    )


def bare_document(title: str, *body: Markup | None, refresh: int | None = None) -> str:
    """A document without the shell, for what is said to nobody in particular."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="refresh", content=refresh) if refresh else None,
        tag("title", title),
        tag("link", rel="stylesheet", href=STYLE_PATH),
        tag("link", rel="icon", href="data:,"),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", *body), lang="en")


def _header(visit: Visit, app: App) -> Markup:
    stripe = tag(
        "svg", tag("rect", width=100, height=4, fill=app.colour), viewBox="0 0 100 4",
        preserveAspectRatio="none", class_="stripe", aria_hidden="true",
    )  # fmt: skip
    return tag(
        "div",
        stripe,
        link(ROOT, app.label, class_="app"),
        tag("span", "Emulated org", class_="org"),
        tag("span", visit.user.name, class_="person", title=visit.user.username),
        class_="top",
    )


def _tabs(visit: Visit, app: App, current: str) -> Markup:
    links = [
        tag(
            "a",
            _icon(visit, each),
            tag("span", each.label),
            href=each.path,
            aria_current="page" if each.path == current else None,
        )
        for each in app.tabs
    ]
    return tag("nav", *links, class_="tabs", aria_label="Tabs")


def _icon(visit: Visit, each: Tab) -> Markup:
    if each.object is not None:
        return object_icon(visit.state, each.object)
    return reports_icon() if each.path == path("reports") else dashboards_icon()


def missing_person(username: str) -> str:
    """The document while the person whose view is shown is not in the org."""
    return bare_document(
        "Emulated org",
        tag("main", tag("section", join(
            tag("h1", "Nobody is here yet"),
            tag("p", f"The org has no user {username}, as whom these pages look at it."),
        ), class_="card")),
    )  # fmt: skip
