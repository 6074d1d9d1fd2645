"""Store decided Account ids in Metronome, before the org's records say that they are applied.

In that order, because Metronome comes before the record: an id that only we stored would decide as
if somebody had chosen it, once the record says otherwise.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.errors import ProductError, RetriableError
from metronome_salesforce.linking import Decision, is_to_be_stored
from metronome_salesforce.ports import CustomerInfo, Source

_AT_ONCE = 8


@dataclass(slots=True)
class Stored:
    """What became of it: the first failure, and customers whose record has to wait for it.

    Only what may pass by itself is waited for: a key that may not write holds no link up.
    """

    error: ProductError | None = None
    waiting: set[str] = field(default_factory=set)

    @property
    def problem(self) -> tuple[str, str] | None:
        """Reason and sentence for the condition WriteBack; None when all is stored."""
        return None if self.error is None else (self.error.reason, self.error.message)


async def store_account_ids(
    source: Source,
    customers: Mapping[str, CustomerInfo],
    decisions: Mapping[str, Decision],
    check_stop: Callable[[], None],
) -> Stored:
    """Store the Account ids of `decisions` where Metronome keeps others; archived ones are left.

    `customers` are those that Metronome knows. Ends at the first failure, which is returned.
    """
    wanted = sorted(
        id_
        for id_, info in customers.items()
        if id_ in decisions
        and not info.archived
        and is_to_be_stored(decisions[id_], info.account_id)
    )
    stored = Stored()
    done: set[str] = set()
    for start in range(0, len(wanted), _AT_ONCE):
        check_stop()
        some = wanted[start : start + _AT_ONCE]
        calls = (source.store_account_id(id_, decisions[id_].account) for id_ in some)
        for id_, failure in zip(some, await _all(*calls), strict=True):
            if failure is None:
                done.add(id_)
            else:
                stored.error = failure
        if stored.error is not None:
            break
    if isinstance(stored.error, RetriableError):
        stored.waiting = {id_ for id_ in wanted if id_ not in done and customers[id_].account_id}
    return stored


async def _all(*calls: Coroutine[Any, Any, None]) -> list[ProductError | None]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    for one in results:
        if one is not None and not isinstance(one, ProductError):
            raise one
    return [one for one in results if one is None or isinstance(one, ProductError)]
