"""What the parts that serve one MetronomeSync's CustomerLinks share: links, looks, whom to tell."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from metronome_salesforce import linkstatus
from metronome_salesforce.conditions import Event, Moment
from metronome_salesforce.errors import ConfigError
from metronome_salesforce.execution.lease import SharedLease
from metronome_salesforce.linkqueue import Entry, LinkSet, Look, Turn
from metronome_salesforce.linkstatus import Hindrance
from metronome_salesforce.linkwriting import LinkWriter
from metronome_salesforce.runtime import Runtime
from metronome_salesforce.series import Key
from metronome_salesforce.spec import MetronomeSync

Json = dict[str, Any]


class SyncSide(Protocol):
    """What the links need of their MetronomeSync's own task."""

    key: Key
    lease: SharedLease

    @property
    def body(self) -> Json:
        """The newest body."""

    def sync(self) -> MetronomeSync:
        """The newest body as its model; raises ConfigError when it is invalid."""

    async def show_links(self, make: Callable[[Json, Moment], Json]) -> None:
        """Patch the status with what `make` makes of the newest; raises GoneError, KubeError."""

    async def tell(self, events: Sequence[Event]) -> None:
        """Post Events about the MetronomeSync."""


class LinkDesk:
    """The links of one MetronomeSync and the customers to be looked at beside them, by id."""

    def __init__(self, side: SyncSide, links: LinkSet, runtime: Runtime) -> None:
        self.side = side
        self.links = links
        self.runtime = runtime
        self.writer = LinkWriter(links, runtime)
        self.looks: dict[str, Look] = {}

    @property
    def status(self) -> Json:
        """The newest status of the MetronomeSync."""
        return self.side.body.get("status") or {}

    @property
    def retained(self) -> set[str]:
        """Customers who keep the Account that a deleted link leaves behind."""
        return set(self.status.get("retained") or ())

    @property
    def entries(self) -> list[Entry]:
        """All links as they are now."""
        return list(self.links.entries.values())

    def known(self) -> dict[str, tuple[str, int]]:
        """The uid and generation of all links by name."""
        return {entry.name: identity(entry) for entry in self.entries}

    def look(self, id_: str, *, swept: bool = False) -> None:
        """Look at a customer at once; what was known of why it has to be, stays."""
        old = self.looks.get(id_, Look())
        look = Look(swept=old.swept or swept)
        look.turn.again(now())
        self.looks[id_] = look

    async def retain(self, customers: Iterable[str | None]) -> None:
        """Note whose rows stay on the Account that a deleted link leaves behind."""
        ids = {id_ for id_ in customers if id_ is not None}
        if not ids:
            return

        def make(status: Json, _moment: Moment) -> Json:
            return {"retained": sorted({*status.get("retained", ()), *ids})}

        news = ids - self.retained
        await self.side.show_links(make)
        for id_ in news:
            self.look(id_)


def identity(entry: Entry) -> tuple[str, int]:
    """What tells a link, with its spec, from any other: uid and generation."""
    return entry.uid, entry.generation


def is_known(entry: Entry, known: Mapping[str, tuple[str, int]]) -> bool:
    """Whether the link is the very one, with the very spec, that a run knows."""
    return known.get(entry.name) == identity(entry)


def has_moved(entry: Entry) -> bool:
    """Whether the customer of a held link may hang on an Account because of it."""
    return entry.customer is not None and linkstatus.may_have_moved(entry.status)


def goes_at_once(entry: Entry) -> bool:
    """Whether a deleted link that we hold leaves nothing to be moved."""
    return entry.deleting and entry.held and (entry.retains or not has_moved(entry))


def is_due(turn: Turn) -> bool:
    """Whether it is to be looked at now; news are, if need be."""
    return turn.due is not None and (turn.fresh or turn.due <= now())


def invalid(problem: ConfigError) -> Hindrance:
    """The spec of a link cannot be followed."""
    return Hindrance(linkstatus.INVALID_SPEC, problem.message, acting=True)


def now() -> float:
    """Monotonic seconds, as turns have them."""
    return asyncio.get_running_loop().time()
