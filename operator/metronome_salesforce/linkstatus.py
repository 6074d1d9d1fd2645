"""The one place that turns what happened to a CustomerLink into its status, conditions and Events.

    situation                            Ready   Stalled  Conflict
    all rows hang on the Account         True    False    True if others contradict
    an older CustomerLink wins           False   True     True
    the link names what is not there     False   True     -
    a row was refused, new customer      False   False    -
    the run failed, retry later          False   False    as it was
    the run failed, a person must act    False   True     as it was
    no run is possible (see Hindrance)   False   depends  as it was

`accountId` is there as long as rows may hang there because of the link: it tells a deletion that
there is something to undo. A patch is a JSON merge patch of `status`: None removes a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from metronome_salesforce.conditions import (
    READY,
    STALLED,
    Condition,
    Event,
    Moment,
    replacing,
    sentence_of,
    state_of,
    timestamp,
    with_conditions,
)
from metronome_salesforce.linking import LinkReason, LinkSource, LinkVerdict
from metronome_salesforce.planning import Place

Json = dict[str, Any]
Status = Mapping[str, Any]

CONFLICT = "Conflict"
_TRUE, _FALSE = "True", "False"
_PASSING = frozenset({LinkReason.LINKED, LinkReason.CUSTOMER_NOT_SYNCED, LinkReason.ROWS_REJECTED})
"""Verdicts that stand without a person, or will."""
_VERDICTS = frozenset(reason.value for reason in LinkReason)
_CONTRADICTED = "Contradicted"
INVALID_SPEC = "InvalidSpec"
_CALM = "No person has to act."
_WAITS = (
    " The finalizer waits until the customer's rows have been moved; with spec.deletionPolicy"
    " Retain the link goes at once."
)


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why no link of a MetronomeSync can be applied now.

    `acting`: a person must act. `quiet`: it passes by itself and is not worth an Event.
    """

    reason: str
    message: str
    acting: bool = False
    quiet: bool = False


def sync_not_found(namespace: str, name: str) -> Hindrance:
    """The MetronomeSync does not exist where it has to."""
    return Hindrance(
        "SyncNotFound",
        f"There is no MetronomeSync {name} in namespace {namespace}, where this CustomerLink is;"
        " create it, or a CustomerLink that names another one.",
        acting=True,
    )


SUSPENDED = Hindrance(
    "SyncSuspended",
    "spec.suspend of the MetronomeSync is true: nothing is moved until it is false.",
)
DRY_RUN = Hindrance(
    "SyncDryRun", "spec.dryRun of the MetronomeSync is true: nothing is moved until it is false."
)
SYNC_INVALID = Hindrance(
    "SyncInvalid", "The spec of the MetronomeSync is invalid; its conditions say what is wrong."
)
BEFORE_FIRST_CYCLE = Hindrance(
    "WaitingForFirstCycle",
    "The first cycle of the MetronomeSync has not filled Salesforce yet; it knows this link.",
    quiet=True,
)


def before_first_cycle(sync: Status) -> Hindrance:
    """Salesforce is still empty; `sync` is the status of the MetronomeSync, which may be stuck."""
    stalled, reason = state_of(sync, STALLED)
    if stalled != _TRUE:
        return BEFORE_FIRST_CYCLE
    sentence = (
        "The first cycle of the MetronomeSync has not filled Salesforce yet, and cannot"
        f" ({reason}); the conditions of the MetronomeSync say what to do. It knows this link."
    )
    return replace(BEFORE_FIRST_CYCLE, message=sentence, acting=True)


def waiting_for_lease(holder: str) -> Hindrance:
    """Another operator works on the MetronomeSync."""
    sentence = (
        f"{holder} holds the Lease of the MetronomeSync; the link is applied when it is free."
    )
    return Hindrance("WaitingForLease", sentence, quiet=True)


QUIET = frozenset({BEFORE_FIRST_CYCLE.reason, "WaitingForLease"})


def hindered(status: Status, moment: Moment, why: Hindrance, *, deleting: bool = False) -> Json:
    """The link cannot be looked at, or the run that looked at it failed."""
    message = why.message + (_WAITS if deleting else "")
    wanted = [
        Condition(READY, _FALSE, why.reason, message),
        Condition(
            STALLED,
            _TRUE if why.acting else _FALSE,
            why.reason,
            message if why.acting else _CALM,
        ),
    ]
    return _written(status, moment, wanted)


def judged(status: Status, moment: Moment, verdict: LinkVerdict, place: Place | None) -> Json:
    """A run has looked at the link; `place` is where its customer belongs now, None: not known."""
    linked = verdict.reason is LinkReason.LINKED
    acting = verdict.reason not in _PASSING
    wanted = [
        Condition(READY, _TRUE if linked else _FALSE, verdict.reason.value, verdict.message),
        Condition(
            STALLED,
            _TRUE if acting else _FALSE,
            verdict.reason.value,
            verdict.message if acting else _CALM,
        ),
    ]
    without = set()
    if verdict.reason is LinkReason.CONFLICT:
        wanted.append(Condition(CONFLICT, _TRUE, LinkReason.CONFLICT.value, verdict.message))
    elif verdict.contradiction is not None:
        wanted.append(Condition(CONFLICT, _TRUE, _CONTRADICTED, verdict.contradiction))
    elif not linked or not _stays_contradicted(status, moment, verdict):
        without.add(CONFLICT)
    patch = _written(status, moment, wanted, without)
    if verdict.customer_id is not None:
        patch |= {"customerId": verdict.customer_id, "customerName": verdict.customer_name}
    return patch | _account(status, moment, verdict, place)


def contradicted(status: Status, moment: Moment, verdict: LinkVerdict) -> Json:
    """A cycle, which asks Metronome for all customers, has seen who says otherwise, if anybody."""
    given = {"customerName": verdict.customer_name, "accountName": verdict.account_name}
    names = {name: text for name, text in given.items() if text is not None}
    if verdict.contradiction is None:
        return _written(status, moment, [], {CONFLICT}) | names
    wanted = [Condition(CONFLICT, _TRUE, _CONTRADICTED, verdict.contradiction)]
    return _written(status, moment, wanted) | names


def is_ready(body: Mapping[str, Any]) -> bool:
    """Whether the link's status says that its newest spec has been carried out."""
    status = body.get("status") or {}
    return (
        state_of(status, READY)[0] == _TRUE
        and status.get("observedGeneration") == body["metadata"]["generation"]
    )


def has_conflict(status: Status) -> bool:
    """Whether the link is in conflict, as the loser or contradicted."""
    return state_of(status, CONFLICT)[0] == _TRUE


def summary(body: Mapping[str, Any]) -> str:
    """The link's state in a word for metrics: ready, conflict, failed or waiting."""
    if is_ready(body):
        return "ready"
    status = body.get("status") or {}
    if state_of(status, READY)[1] == LinkReason.CONFLICT:
        return "conflict"
    return "failed" if state_of(status, STALLED)[0] == _TRUE else "waiting"


def agrees(body: Mapping[str, Any], verdict: LinkVerdict) -> bool:
    """Whether the link's status says what the verdict of a cycle says."""
    status = body.get("status") or {}
    if verdict.reason is LinkReason.LINKED:
        return is_ready(body) and status.get("accountId") == verdict.account_id
    told = (state_of(status, READY), sentence_of(status, READY))
    return told == ((_FALSE, verdict.reason.value), verdict.message)


def was_judged(status: Status) -> bool:
    """Whether the last run that looked at the link came to a verdict."""
    return state_of(status, READY)[1] in _VERDICTS


def may_have_moved(status: Status) -> bool:
    """Whether a run has, or may have, moved rows because of this link.

    Where a run was cut short nobody knows; a verdict against the link says that none were.
    """
    if status.get("accountId"):
        return True
    return state_of(status, READY)[1] not in _VERDICTS | {INVALID_SPEC}


def events(before: Status, after: Status) -> list[Event]:
    """What is worth an Event about a link: a change of Ready's reason, and a new conflict."""
    found: list[Event] = []
    state, reason = state_of(after, READY)
    if (state, reason) != state_of(before, READY) and reason not in QUIET:
        kind = "Normal" if state == _TRUE else "Warning"
        found.append(Event(kind, reason, sentence_of(after, READY)))
    elif state == _TRUE and before.get("accountId") != after.get("accountId"):
        found.append(Event("Normal", reason, sentence_of(after, READY)))
    told = sentence_of(before, CONFLICT)
    if state_of(after, CONFLICT) == (_TRUE, _CONTRADICTED) != state_of(before, CONFLICT) or (
        state_of(after, CONFLICT) == (_TRUE, _CONTRADICTED) and sentence_of(after, CONFLICT) != told
    ):
        found.append(Event("Warning", CONFLICT, sentence_of(after, CONFLICT)))
    return found


def unlinked(place: Place | None) -> Event:
    """The link is being deleted, and its customer is where it belongs without it."""
    account, source = place or (None, None)
    if account is None:
        sentence = "The customer's rows hang on its Orphaned Customer record again."
    else:
        sentence = f"The customer's rows hang on Account {account} now, by {source}."
    return Event("Normal", "Unlinked", sentence)


RETAINED = Event(
    "Normal",
    "Retained",
    "The customer's rows are left on the Account, which now counts as chosen by a person in"
    " Salesforce: another CustomerLink, or Metronome, may name another one.",
)


def _stays_contradicted(status: Status, moment: Moment, verdict: LinkVerdict) -> bool:
    """Whether a contradiction that a cycle has found still counts: link runs do not look for it."""
    return (
        status.get("observedGeneration") == moment.generation
        and status.get("accountId") == verdict.account_id
        and state_of(status, CONFLICT) == (_TRUE, _CONTRADICTED)
    )


def _account(status: Status, moment: Moment, verdict: LinkVerdict, place: Place | None) -> Json:
    """The fields that tell where the rows hang because of this link."""
    if verdict.reason in {LinkReason.LINKED, LinkReason.ROWS_REJECTED}:
        same = status.get("accountId") == verdict.account_id
        before = dict(status.get("reparented") or {})
        moved = dict(before) if same else {}
        for name, count in verdict.moved.items():
            moved[name] = moved.get(name, 0) + count
        since = status.get("linkedAt") if same else None
        if verdict.reason is LinkReason.LINKED:
            since = since or timestamp(moment.at)
        return {
            "accountId": verdict.account_id,
            "accountName": verdict.account_name,
            "linkedAt": since,
            "reparented": replacing(before, moved),
        }
    if verdict.reason is not LinkReason.CONFLICT:
        if place is None and status.get("accountId"):
            return {}
        if place is not None and place[0] is not None and place[1] == LinkSource.CUSTOMER_LINK:
            same = status.get("accountId") == place[0]
            return {} if same else {"accountId": place[0], "accountName": None}
    return {"accountId": None, "accountName": None, "linkedAt": None, "reparented": None}


def _written(
    status: Status, moment: Moment, wanted: list[Condition], without: set[str] | None = None
) -> Json:
    return {
        "conditions": with_conditions(status, moment, wanted, without or ()),
        "observedGeneration": moment.generation,
    }
