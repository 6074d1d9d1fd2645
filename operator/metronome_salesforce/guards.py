"""The guards between a plan and its first write: is this a day, or an accident.

They raise before anything is written, and say which number was too large and where it is set.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil

from metronome_salesforce.errors import RetriableError, UnsafePlanError
from metronome_salesforce.ports import OrgState, Quota
from metronome_salesforce.rows import Operation

DELETES_FLOOR = 10
"""So many deletes of one object are never suspicious, whatever their share."""
_ROW_KB = 2  # Salesforce counts about 2 KB of storage for a record, whatever its width
_KB_PER_MB = 1024
_BUDGET_SECONDS = 3600.0  # some of the calls are older than 24 hours then


@dataclass(frozen=True, slots=True)
class Limits:
    """What the spec allows, in percent: deletes of an object's rows, use of the daily API calls."""

    max_delete_percent: int
    api_budget_percent: int


@dataclass(frozen=True, slots=True)
class Changes:
    """A plan in numbers: what it does by object, what the org holds in scope, whom it knows."""

    counts: Mapping[str, Mapping[Operation, int]]
    in_scope: Mapping[str, int]
    known_customers: Collection[str]


def ensure_safe(
    changes: Changes,
    *,
    limits: Limits,
    customers: Collection[str],
    state: OrgState,
    chunk_size: int,
) -> None:
    """Raise UnsafePlanError unless the plan may be carried out, RetriableError when later it may.

    `customers` are the ids that Metronome knows, `state` holds the newest quota, `chunk_size` is
    how many rows one call carries.
    """
    _ensure_few_deletes(changes, limits)
    _ensure_same_environment(changes, limits, customers)
    _ensure_storage(changes, state)
    ensure_budget(state.quota, limits, calls=_calls(changes, chunk_size))


def ensure_budget(quota: Quota | None, limits: Limits, *, calls: int) -> None:
    """Raise RetriableError if `calls` more would pass the share of the daily API calls.

    No person has to act: the quota counts the last 24 hours, and so frees itself.
    """
    if quota is None:
        return
    budget = quota.maximum * limits.api_budget_percent // 100
    if quota.used + calls > budget:
        raise RetriableError(
            "ApiBudgetExhausted",
            f"The org has used {quota.used} of its {quota.maximum} daily API calls; with the "
            f"{calls} that this run still needs it would pass the {budget} that "
            f"spec.salesforce.apiBudgetPercent ({limits.api_budget_percent} %) allows. Nothing "
            "was written; the quota counts the last 24 hours, so a later run may pass.",
            after=_BUDGET_SECONDS,
        )


def _ensure_few_deletes(changes: Changes, limits: Limits) -> None:
    percent = limits.max_delete_percent
    for name, operations in changes.counts.items():
        deletes, existing = operations.get(Operation.DELETE, 0), changes.in_scope.get(name, 0)
        if deletes > max(DELETES_FLOOR, existing * percent // 100):
            raise UnsafePlanError(
                "TooManyDeletes",
                f"The plan deletes {deletes} of {existing} {name} rows, more than "
                f"spec.prune.maxDeletePercent ({percent} %) allows. Nothing was written. See "
                "what would go with `metronome-salesforce plan -f FILE --details`; if it is right, "
                "raise spec.prune.maxDeletePercent for one run.",
            )


def _ensure_same_environment(changes: Changes, limits: Limits, customers: Collection[str]) -> None:
    """The key of another environment would not delete anything, but double the org."""
    known = set(changes.known_customers)
    vanished = len(known.difference(customers))
    if vanished > max(DELETES_FLOOR, len(known) * limits.max_delete_percent // 100):
        raise UnsafePlanError(
            "CustomersVanished",
            f"Metronome does not know {vanished} of the org's {len(known)} customers. Nothing "
            "was written. Check that the API key belongs to the Metronome environment whose "
            "data is in this org; if they are really gone, raise spec.prune.maxDeletePercent "
            "for one run (their rows stay).",
        )


def _ensure_storage(changes: Changes, state: OrgState) -> None:
    creates = sum(operations.get(Operation.CREATE, 0) for operations in changes.counts.values())
    needed = creates * _ROW_KB // _KB_PER_MB
    if state.storage_left_mb is not None and needed > state.storage_left_mb:
        raise UnsafePlanError(
            "StorageInsufficient",
            f"The plan creates {creates} rows, about {needed} MB, and the org has "
            f"{state.storage_left_mb} MB of data storage left. Nothing was written. Free or buy "
            "storage, or sync fewer objects (spec.objects), days (spec.usage.lookback) or "
            "invoices (spec.invoices.since).",
        )


def _calls(changes: Changes, chunk_size: int) -> int:
    calls = 0
    for operations in changes.counts.values():
        deletes = operations.get(Operation.DELETE, 0)
        upserts = sum(operations.values()) - deletes
        calls += ceil(upserts / chunk_size) + ceil(deletes / chunk_size)
    return calls
