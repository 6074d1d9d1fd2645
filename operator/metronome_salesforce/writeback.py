"""Store decided Account ids in Metronome, so that an id which only we stored never decides there.

Metronome comes before the record in the link rules, and what we stored counts as ours only while
the record shows the same Account. So an id that differs is cleared before the record changes, and
the new one is stored after: whatever breaks off in between, no id is left that nobody chose.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from metronome_salesforce.errors import ProductError, RetriableError
from metronome_salesforce.linking import Decision, is_to_be_stored
from metronome_salesforce.ports import CustomerInfo, Source

_AT_ONCE = 8


@dataclass(slots=True)
class WriteBack:
    """The ids of one run: `clear` before the records change, `store` after.

    `error` is the first failure. `waiting` are customers whose record has to wait, because their
    former id could not be cleared for a reason that passes by itself; a key that may not write
    holds no link up. Both steps end at their first failure.
    """

    source: Source
    check_stop: Callable[[], None]
    error: ProductError | None = None
    waiting: set[str] = field(default_factory=set)
    _cleared: set[str] = field(default_factory=set)

    @property
    def problem(self) -> tuple[str, str] | None:
        """Reason and sentence for the condition WriteBack; None when all is stored."""
        return None if self.error is None else (self.error.reason, self.error.message)

    async def clear(
        self,
        customers: Mapping[str, CustomerInfo],
        decisions: Mapping[str, Decision],
        applied: Mapping[str, str | None],
    ) -> None:
        """Clear the ids in Metronome of those whose record is about to show another Account.

        `customers` are those that Metronome knows; `applied` has the Account that the record of
        each customer shows until now.
        """
        wanted: dict[str, str | None] = {
            id_: None
            for id_ in self._differing(customers, decisions)
            if customers[id_].account_id and applied.get(id_) != decisions[id_].account
        }
        self._cleared = await self._send(wanted)
        if isinstance(self.error, RetriableError):
            self.waiting = wanted.keys() - self._cleared

    async def store(
        self,
        customers: Mapping[str, CustomerInfo],
        decisions: Mapping[str, Decision],
        *,
        without: Collection[str],
    ) -> None:
        """Store the ids of those whose record shows them, which those `without` do not yet."""
        if self.error is not None:
            return
        wanted = {
            id_: decisions[id_].account
            for id_ in self._differing(customers, decisions)
            if id_ not in without and not (id_ in self._cleared and decisions[id_].account is None)
        }
        await self._send(wanted)

    def _differing(
        self, customers: Mapping[str, CustomerInfo], decisions: Mapping[str, Decision]
    ) -> list[str]:
        """Those of whom Metronome keeps another id than was decided; archived ones are left."""
        return sorted(
            id_
            for id_, info in customers.items()
            if id_ in decisions
            and not info.archived
            and is_to_be_stored(decisions[id_], info.account_id)
        )

    async def _send(self, wanted: Mapping[str, str | None]) -> set[str]:
        """Send ids until one fails; who was sent."""
        done: set[str] = set()
        ids = list(wanted)
        for start in range(0, len(ids), _AT_ONCE):
            self.check_stop()
            some = ids[start : start + _AT_ONCE]
            calls = (self.source.store_account_id(id_, wanted[id_]) for id_ in some)
            for id_, failure in zip(some, await _all(*calls), strict=True):
                if failure is None:
                    done.add(id_)
                else:
                    self.error = self.error or failure
            if self.error is not None:
                break
        return done


async def _all(*calls: Coroutine[Any, Any, None]) -> list[ProductError | None]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    for one in results:
        if one is not None and not isinstance(one, ProductError):
            raise one
    return [one for one in results if one is None or isinstance(one, ProductError)]
