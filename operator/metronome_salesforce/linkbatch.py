"""What one link run looks at: links whose turn it is, links that leave, customers beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from metronome_salesforce import linkstatus
from metronome_salesforce.errors import RetriableError
from metronome_salesforce.linkdesk import LinkDesk, goes_at_once, invalid, is_known, now
from metronome_salesforce.linkqueue import Entry, Look, requests_of, take_batch, take_looks
from metronome_salesforce.relinking import LinkJob
from metronome_salesforce.spec import MetronomeSync


@dataclass(slots=True)
class Batch:
    """What one run looks at; `leaving` are links that go once their customers have moved.

    `known` has uid and generation of all links by name, as the run knows them.
    """

    dirty: list[Entry]
    leaving: list[Entry]
    looks: dict[str, Look]
    known: dict[str, tuple[str, int]]
    cut_short: set[str]

    @property
    def customers(self) -> set[str]:
        """The customers that are known to be looked at."""
        ids = {entry.customer for entry in (*self.dirty, *self.leaving)}
        return {id_ for id_ in ids if id_ is not None} | self.looks.keys()


async def gather(desk: LinkDesk) -> Batch:
    """What is due, with our finalizer on each link that is to be applied."""
    taken = take_batch(desk.links, now())
    for entry in taken:
        if entry.problem is not None and not entry.deleting:
            why = invalid(entry.problem)
            await desk.writer.show(entry, partial(linkstatus.hindered, why=why))
            entry.turn.done()
    dirty = [one for one in taken if not one.deleting and one.request is not None]
    # Those that a run may have left half moved.
    cut_short = {
        one.customer
        for one in dirty
        if one.held and not linkstatus.was_judged(one.status) and one.customer is not None
    }
    held = await desk.writer.all(desk.writer.hold(one) for one in dirty)
    for entry, done in zip(dirty, held, strict=True):
        if not done:
            entry.turn.later(now(), passing=True)
    names = {entry.name for entry, done in zip(dirty, held, strict=True) if done}
    return Batch(
        # As they are now: a finalizer makes a new version, and somebody may have deleted them.
        dirty=[one for one in desk.entries if one.name in names and not one.deleting],
        leaving=[one for one in taken if one.deleting and one.held and not goes_at_once(one)],
        looks=take_looks(desk.looks, now()),
        known=desk.known(),
        cut_short=cut_short,
    )


def job_of(
    desk: LinkDesk,
    sync: MetronomeSync,
    batch: Batch,
    *,
    seen: frozenset[tuple[str, str | None]],
    in_cycle: bool,
) -> LinkJob:
    """What a run has to do for a batch; `in_cycle`: a cycle runs beside it."""
    leaving = {one.customer for one in batch.leaving if one.customer is not None}
    looks = batch.looks
    swept = {id_ for id_, look in looks.items() if look.swept} | leaving | batch.cut_short
    if in_cycle:
        # It may be about to move them as it knew them.
        swept |= batch.customers
    return LinkJob(
        now=desk.runtime.now(),
        links=tuple(requests_of(desk.links)),
        dirty=frozenset(one.name for one in batch.dirty),
        customers=frozenset(looks.keys() | leaving),
        retained=frozenset(desk.retained),
        swept=frozenset(swept),
        seen=seen,
        write_back=sync.spec.linking.write_back,
    )


async def note_customers(desk: LinkDesk, batch: Batch, customers: Mapping[str, str]) -> None:
    """Write which customers ingest aliases stand for, by the links' names.

    Raises RetriableError when that does not stand at each of the links afterwards.
    """
    entries = [one for one in desk.entries if one.name in customers and is_known(one, batch.known)]
    for entry in entries:
        if entry.customer is not None:
            desk.look(entry.customer, swept=True)  # the alias was another's
    calls = [desk.writer.note_customer(one, customers[one.name]) for one in entries]
    if len(entries) < len(customers) or not all(await desk.writer.all(calls)):
        raise RetriableError(
            "StatusNotWritten",
            "The customers whom ingest aliases stand for could not be written to the status of"
            " their CustomerLinks, so no rows were moved; it is tried again.",
        )
