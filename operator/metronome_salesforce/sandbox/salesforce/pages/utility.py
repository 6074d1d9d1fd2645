"""The app's utility bar: its lists, and above all how the last run of the integration went."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.listviews import run_list_view
from metronome_salesforce.sandbox.salesforce.packages import local_name, text_of
from metronome_salesforce.sandbox.salesforce.pages.apps import App
from metronome_salesforce.sandbox.salesforce.pages.list_pages import view_table
from metronome_salesforce.sandbox.salesforce.pages.markup import Content, Markup, join, tag
from metronome_salesforce.sandbox.salesforce.pages.records import Record, select
from metronome_salesforce.sandbox.salesforce.pages.showing import link, record_link
from metronome_salesforce.sandbox.salesforce.pages.visits import Visit, object_path

_LIST = "flexipage:filterListCard"
_RUN = "Metronome_Sync_Run__c"
_STARTED = "Started_At__c"
_FINISHED = "Finished_At__c"
_OUTCOME = "Outcome__c"
_USUAL_SIZE = 10


@dataclass(frozen=True, slots=True)
class UtilityList:
    """A list view in the utility bar, with as many rows as `size`."""

    label: str
    object: str
    view: str
    size: int


def utility_bar(visit: Visit, app: App) -> Markup | None:
    """The bar at the bottom, which opens; None if the app has none that the person may see."""
    items = [
        tag("details", _summary(visit, each), tag("div", _panel(visit, each), class_="panel"))
        for each in _lists(visit.state, app)
        if visit.access(each.object) is not None
    ]
    return tag("footer", *items, class_="utility", aria_label="Utility bar") if items else None


def _lists(state: OrgState, app: App) -> Iterator[UtilityList]:
    stored = state.components.get(("FlexiPage", app.utility or ""))
    if stored is None:
        return
    for each in ET.fromstring(stored.content).iter():  # noqa: S314 -- as deployed
        if local_name(each) != "componentInstance" or text_of(each, "componentName") != _LIST:
            continue
        given = {
            text_of(one, "name"): text_of(one, "value")
            for one in each
            if local_name(one) == "componentInstanceProperties"
        }
        size = given.get("pageSize", "")
        yield UtilityList(
            given.get("label", ""),
            given.get("entityName", ""),
            given.get("filterName", ""),
            int(size) if size.isdigit() else _USUAL_SIZE,
        )


def _summary(visit: Visit, each: UtilityList) -> Markup:
    words: list[Content] = [tag("span", each.label)]
    if each.object == _RUN:
        run = _last_run(visit)
        words += _last_words(visit, run) if run else [" ", tag("span", "none yet", class_="ago")]
    return tag("summary", *words)


def _last_words(visit: Visit, run: Record) -> list[Content]:
    outcome = run.access.fields.get(_OUTCOME.lower())
    return [
        " ",
        tag("span", run.name, class_="ago"),
        " ",
        run.cell(outcome) if outcome else None,
        " ",
        tag("span", _ago(visit, run), class_="ago"),
    ]


def _panel(visit: Visit, each: UtilityList) -> Markup:
    run = _last_run(visit) if each.object == _RUN else None
    try:
        listing = run_list_view(visit.state, visit.user, each.object, each.view, limit=each.size)
    except SalesforceError as error:
        rows = tag("p", error.message, class_="note")
    else:
        rows = view_table(visit, listing)
    return join(
        _figures(run) if run else None,
        rows,
        tag("p", link(object_path(each.object, view=each.view), "Open the list"), class_="all"),
    )


# --- the last run -----------------------------------------------------------------------


def _last_run(visit: Visit) -> Record | None:
    access = visit.access(_RUN)
    if access is None or _STARTED.lower() not in access.fields:
        return None
    last = f"ORDER BY {_STARTED} DESC LIMIT 1"
    rows = select(visit, access, access.fields.values(), f"{_STARTED} != null", last)
    return rows[0] if rows else None


def _figures(run: Record) -> Markup:
    """The numbers of a run that are not zero."""
    fields = [
        each
        for each in run.access.fields.values()
        if each.custom and each.type == "Number" and run.value(each.name)
    ]
    return tag(
        "dl",
        tag("div", tag("dt", "Last run"), tag("dd", record_link(run.id, run.name))),
        *(tag("div", tag("dt", each.label), tag("dd", run.cell(each))) for each in fields),
    )


def _ago(visit: Visit, run: Record) -> str:
    text = run.value(_FINISHED) or run.value(_STARTED)
    then = datetime.fromisoformat(str(text)).astimezone(UTC)
    minutes = int((visit.state.moment() - then).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 24 * 60 else f"{minutes // (24 * 60)} d ago"
