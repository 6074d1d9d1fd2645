"""The app as it is deployed: its tabs in order, its colour, its utility bar.

Without an app in the org, its custom objects are the tabs (Metadata API, CustomApplication and
CustomTab).
"""

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from metronome_salesforce.sandbox.salesforce.access import User
from metronome_salesforce.sandbox.salesforce.core import OrgState
from metronome_salesforce.sandbox.salesforce.packages import children, text_of
from metronome_salesforce.sandbox.salesforce.pages.visits import object_path, path

_PLAIN = "#0b5cab"
_STANDARD = "standard-"
_PAGES = {"standard-report": "Reports", "standard-dashboard": "Dashboards"}


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab of the app and the page it leads to; `object` is None for reports and dashboards."""

    label: str
    path: str
    object: str | None = None


@dataclass(frozen=True, slots=True)
class App:
    """The app; `colour` is of the form `#rrggbb`, `utility` the name of its utility bar."""

    label: str
    colour: str
    tabs: tuple[Tab, ...]
    utility: str | None


def the_app(state: OrgState, user: User) -> App:
    """The first app of the org, with the tabs whose objects the person may read."""
    for (kind, name), stored in state.components.items():
        if kind == "CustomApplication":
            return _deployed(state, user, name, ET.fromstring(stored.content))  # noqa: S314 -- as deployed
    names = [each.name for each in state.schema.objects.values() if each.custom]
    tabs = [_object_tab(state, user, each) for each in [*names, "Account"]]
    return App("Sandbox", _PLAIN, tuple(each for each in tabs if each), None)


def motif_of(state: OrgState, sobject: str) -> str:
    """The motif of an object's custom tab, such as `Custom57: Building Block`; "" without a tab."""
    stored = state.components.get(("CustomTab", sobject))
    return "" if stored is None else text_of(ET.fromstring(stored.content), "motif")  # noqa: S314 -- as deployed


def _deployed(state: OrgState, user: User, name: str, element: ET.Element) -> App:
    brand = next(iter(children(element, "brand")), element)
    tabs = [_tab(state, user, (each.text or "").strip()) for each in children(element, "tabs")]
    return App(
        text_of(element, "label") or name,
        _colour(text_of(brand, "headerColor")),
        tuple(each for each in tabs if each),
        text_of(element, "utilityBar") or None,
    )


def _tab(state: OrgState, user: User, name: str) -> Tab | None:
    page = _PAGES.get(name.lower())
    if page is not None:
        return Tab(page, path(page.lower()))
    if name.lower().startswith(_STANDARD):
        return _object_tab(state, user, name[len(_STANDARD) :])
    return _object_tab(state, user, name)


def _object_tab(state: OrgState, user: User, name: str) -> Tab | None:
    access = state.access(name, user)
    if access is None:
        return None  # no such object for the person, or a tab of another kind (home, a page)
    return Tab(access.sobject.plural, object_path(access.sobject.name), access.sobject.name)


def _colour(text: str) -> str:
    digits = text.removeprefix("#").lower()
    right = len(digits) == 6 and all(each in "0123456789abcdef" for each in digits)
    return f"#{digits}" if right else _PLAIN
