"""The utility bar: how the last run of the integration went."""

from datetime import UTC, datetime

from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError
from metronome_salesforce.sandbox.salesforce.pages.apps import App
from metronome_salesforce.sandbox.salesforce.pages.markup import Markup, tag
from metronome_salesforce.sandbox.salesforce.pages.records import Record, select
from metronome_salesforce.sandbox.salesforce.pages.showing import record_link
from metronome_salesforce.sandbox.salesforce.pages.visits import Visit

_RUN = "Metronome_Sync_Run__c"
_STARTED = "Started_At__c"
_NOT_SHOWN = frozenset({"run_id__c", "sync_hash__c"})


def utility_bar(visit: Visit, app: App) -> Markup | None:
    """The bar at the bottom, which opens; None if the person sees no Sync Runs."""
    access = visit.access(_RUN)
    if access is None:
        return None
    run = _last(visit)
    if run is None:
        shown = tag("summary", tag("span", "Last Sync Run"), tag("span", "none yet"))
    else:
        outcome = access.fields.get("outcome__c")
        shown = tag(
            "summary",
            tag("span", "Last Sync Run"),
            run.cell(outcome) if outcome else None,
            tag("span", _ago(visit, run), class_="ago"),
        )
    return tag(
        "footer",
        tag("details", shown, _figures(run) if run else None),
        class_="utility",
        aria_label=app.utility or "Utility bar",
    )


def _last(visit: Visit) -> Record | None:
    access = visit.access(_RUN)
    if access is None or _STARTED.lower() not in access.fields:
        return None
    fields = list(access.fields.values())
    try:
        rows = select(visit, access, fields, f"{_STARTED} != null",
                      f"ORDER BY {_STARTED} DESC LIMIT 1")  # fmt: skip
    except SalesforceError:
        return None
    return rows[0] if rows else None


def _figures(run: Record) -> Markup:
    fields = [
        each
        for key, each in run.access.fields.items()
        if each.custom and key not in _NOT_SHOWN and run.value(each.name) is not None
    ]
    return tag(
        "div",
        tag("p", record_link(run.id, run.name)),
        tag("dl", *(tag("div", tag("dt", one.label), tag("dd", run.cell(one))) for one in fields)),
    )


def _ago(visit: Visit, run: Record) -> str:
    text = run.value("Finished_At__c") or run.value(_STARTED)
    try:
        then = datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    minutes = int((visit.state.moment() - then.astimezone(UTC)).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    hours, days = minutes // 60, minutes // (60 * 24)
    return f"{days} d ago" if days else f"{hours} h ago"
