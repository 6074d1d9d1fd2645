"""The CustomerLinks of one MetronomeSync: which are to be looked at, when, and how many at once.

Level-triggered: what has to be done is read off the newest body of each link. A link that is ready
for its newest spec is left alone; any other is due, at once when it is news and with growing waits
as long as it fails. News wait for a short pause, so that many links which are applied together are
worked off together; in a flood without pauses a batch starts anyway. Times are monotonic seconds.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.health import is_newer
from metronome_salesforce.linking import LinkRequest
from metronome_salesforce.linkrequests import request_of
from metronome_salesforce.linkstatus import is_ready
from metronome_salesforce.spec import GROUP, CustomerLink, parse_link

Json = dict[str, Any]

FINALIZER = f"{GROUP}/finalizer"

QUIET_SECONDS = 0.2
A_FEW = 5
QUIET_AMONG_MANY = 1.0
"""A folder that is applied has pauses of its own, and nobody looks at one of its links."""
LONGEST_FLOOD = 20.0
MOST_AT_ONCE = 1_000

FIRST_WAIT = 2.0
LONGEST_WAIT = 900.0
LONGEST_PASSING_WAIT = 120.0
"""Seconds between two looks at what fails; the last where time alone will mend it."""
LONGEST_WISH = 3600.0

_ENDED_SECONDS = 600.0
"""How late something may tell of a link that has ended: a list takes two minutes at most."""


@dataclass(slots=True)
class Turn:
    """When something is looked at again (None: not before something happens), after so many tries.

    `fresh`: it is news, and waits for what may come with it.
    """

    due: float | None = None
    attempts: int = 0
    fresh: bool = False

    def now(self, at: float) -> None:
        """Something has happened."""
        self.due, self.attempts, self.fresh = at, 0, True

    def again(self, at: float) -> None:
        """Time, or something else, may have mended it; news stay news."""
        if not self.fresh:
            self.due = at

    def later(self, at: float, *, passing: bool = False, wish: float | None = None) -> None:
        """It failed, and is tried again after a wait that doubles; `wish`: at least so long.

        `passing`: time alone will mend it.
        """
        longest = LONGEST_PASSING_WAIT if passing else LONGEST_WAIT
        wait = min(FIRST_WAIT * (1 << min(self.attempts, 12)), longest)
        self.due, self.fresh = at + max(wait, min(wish or 0.0, LONGEST_WISH)), False
        self.attempts += 1

    def done(self) -> None:
        """There is nothing more to do."""
        self.due, self.attempts, self.fresh = None, 0, False


@dataclass(slots=True)
class Look:
    """A customer to be looked at beside the links, and why (see `relinking.LinkJob`)."""

    turn: Turn = field(default_factory=Turn)
    swept: bool = False


@dataclass(slots=True)
class Entry:
    """One CustomerLink: its newest body, what it asks for or why that is invalid, its turn."""

    body: Json
    request: LinkRequest | None
    problem: ConfigError | None
    retains: bool
    turn: Turn = field(default_factory=Turn)

    @property
    def name(self) -> str:
        """The link's name, which tells it apart within its MetronomeSync."""
        return str(self.body["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The link's uid: another link of the same name has another one."""
        return str(self.body["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """Counts the changes of its spec."""
        return int(self.body["metadata"]["generation"])

    @property
    def status(self) -> Json:
        """Its status, empty at first."""
        return self.body.get("status") or {}

    @property
    def deleting(self) -> bool:
        """Whether somebody has deleted it."""
        return "deletionTimestamp" in self.body["metadata"]

    @property
    def held(self) -> bool:
        """Whether it has our finalizer."""
        return FINALIZER in (self.body["metadata"].get("finalizers") or ())

    @property
    def customer(self) -> str | None:
        """The customer's id, as far as it is known."""
        known = self.status.get("customerId")
        if self.request is not None and self.request.customer_id is not None:
            return self.request.customer_id
        return known if isinstance(known, str) and known else None


def entry_of(body: Json) -> Entry:
    """The entry of a link as the API shows it."""
    body["metadata"].pop("managedFields", None)  # long, and of no use here
    link: CustomerLink | None = None
    problem: ConfigError | None = None
    try:
        link = parse_link(body)
    except ConfigError as error:
        problem = error
    request = None if link is None else request_of(link)
    retains = (body.get("spec") or {}).get("deletionPolicy") == "Retain"
    return Entry(body, request, problem, retains)


def wants_a_look(entry: Entry) -> bool:
    """Whether the link asks for something that has not been done."""
    if entry.deleting:
        return entry.held
    return not is_ready(entry.body)


class LinkSet:
    """The CustomerLinks that name one MetronomeSync, which need not exist.

    `gone` collects links that vanished without having been let go by us. `waken` is whom to wake
    when there is something to do: the worker that serves them, or `unserved`. A link that has ended
    stays so: lists and watches may tell of it once more, and uids are never given twice.
    """

    def __init__(self, key: tuple[str, str], unserved: Callable[[], None]) -> None:
        self.key = key
        self.entries: dict[str, Entry] = {}
        self.gone: list[Entry] = []
        self._unserved = unserved
        self._waken: Callable[[], None] | None = None
        self.freshest = 0.0
        self.flooding_since: float | None = None
        self._released: set[str] = set()
        self._ended: dict[str, float] = {}

    @property
    def served(self) -> bool:
        """Whether a worker looks after them."""
        return self._waken is not None

    def serve(self, waken: Callable[[], None]) -> None:
        """Look after them from now on."""
        self._waken = waken

    def leave(self) -> None:
        """Look after them no longer."""
        self._waken = None
        self._unserved()

    def wake(self) -> None:
        """Tell whoever looks after them that there is something to do."""
        (self._waken or self._unserved)()

    def offer(self, body: Json, now: float) -> bool:
        """Take a body if it is newer than the one known; True if there is something to do."""
        metadata = body["metadata"]
        if metadata["uid"] in self._ended:
            return False
        old = self.entries.get(metadata["name"])
        same = old is not None and old.uid == metadata["uid"]
        if old is not None and same:
            version = old.body["metadata"]["resourceVersion"]
            if not is_newer(metadata["resourceVersion"], version):
                return False
        entry = entry_of(body)
        if old is not None and same:
            entry.turn = old.turn
            self.entries[entry.name] = entry
            if entry.deleting and not entry.held:
                entry.turn.done()  # it goes on to exist for others
            changed = entry.generation != old.generation or entry.deleting != old.deleting
            if changed and wants_a_look(entry):
                self._fresh(entry, now)
                return True
            return changed
        if old is not None:
            self.remove(old.uid, now)
        self.entries[entry.name] = entry
        if wants_a_look(entry):
            self._fresh(entry, now)
        return True

    def remove(self, uid: str, now: float) -> bool:
        """Forget a link that does not exist any more; True if it was known."""
        self._ended.pop(uid, None)
        self._ended[uid] = now
        while now - self._ended[oldest := next(iter(self._ended))] > _ENDED_SECONDS:
            del self._ended[oldest]
        for name, entry in self.entries.items():
            if entry.uid == uid:
                del self.entries[name]
                if uid not in self._released:
                    self.gone.append(entry)
                self._released.discard(uid)
                return True
        return False

    def released(self, entry: Entry, now: float) -> None:
        """Note that the link was let go: what it did has been undone, or is to stay."""
        self.gone = [one for one in self.gone if one.uid != entry.uid]
        known = self.entries.get(entry.name)
        if known is None or known.uid != entry.uid:
            return
        known.turn.done()
        self._released.add(entry.uid)
        if not _others(known):
            self.remove(entry.uid, now)

    def _fresh(self, entry: Entry, now: float) -> None:
        entry.turn.now(now)
        self.freshest = now
        if self.flooding_since is None:
            self.flooding_since = now


def _others(entry: Entry) -> list[str]:
    """The finalizers of others, for which the link goes on to exist."""
    return [one for one in entry.body["metadata"].get("finalizers") or () if one != FINALIZER]


def start_at(links: LinkSet, others: Iterable[Turn]) -> float | None:
    """When the next batch starts, None when there is nothing to do.

    News start it after a pause without further news, or when there are too many of them to wait;
    what was tried before, when its time has come.
    """
    times: list[float] = []
    fresh = 0
    for turn in (*(entry.turn for entry in links.entries.values()), *others):
        if turn.due is None:
            continue
        if turn.fresh:
            fresh += 1
        else:
            times.append(turn.due)
    if fresh:
        since = links.flooding_since if links.flooding_since is not None else links.freshest
        pause = QUIET_SECONDS if fresh <= A_FEW else QUIET_AMONG_MANY
        wanted = min(links.freshest + pause, since + LONGEST_FLOOD)
        times.append(since if fresh >= MOST_AT_ONCE else wanted)
    return min(times, default=None)


def take_batch(links: LinkSet, now: float) -> list[Entry]:
    """The links to look at now, those that have waited longest first; the news' wait is over."""
    due = [
        entry
        for entry in links.entries.values()
        if entry.turn.due is not None and (entry.turn.fresh or entry.turn.due <= now)
    ]
    due.sort(key=lambda entry: entry.turn.due or 0.0)
    batch = due[:MOST_AT_ONCE]
    rest = any(entry.turn.fresh for entry in due[MOST_AT_ONCE:])
    links.flooding_since = now if rest else None
    return batch


def take_looks(looks: Mapping[str, Look], now: float) -> dict[str, Look]:
    """The customers to look at now beside the links, by id; those that have waited longest."""
    due = [
        (look.turn.due, id_)
        for id_, look in looks.items()
        if look.turn.due is not None and look.turn.due <= now
    ]
    return {id_: looks[id_] for _, id_ in sorted(due)[:MOST_AT_ONCE]}


def requests_of(links: LinkSet) -> list[LinkRequest]:
    """What all links ask for that are valid and not being deleted."""
    return [
        entry.request
        for entry in links.entries.values()
        if entry.request is not None and not entry.deleting
    ]


def key_of(body: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name of the MetronomeSync that a link's body names."""
    reference = (body.get("spec") or {}).get("syncRef") or {}
    return str(body["metadata"]["namespace"]), str(reference.get("name") or "")
