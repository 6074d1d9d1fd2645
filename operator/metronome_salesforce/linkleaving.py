"""Let go of deleted CustomerLinks whose rows stay where they are, or never went anywhere.

With `deletionPolicy: Retain`, or when a link has moved nothing, the finalizer comes off at once and
needs no run. The others go once a run has moved their customers (`linkbatch`, `linkoutcome`).
"""

import math

from metronome_salesforce import linkstatus
from metronome_salesforce.linkdesk import LinkDesk, goes_at_once, has_moved, is_due, now


async def let_go(desk: LinkDesk, *, in_cycle: bool) -> None:
    """Let go of deleted links that leave nothing to be moved; note whom vanished ones leave.

    `in_cycle`: a cycle runs beside, which may follow them still.
    """
    while desk.links.gone:
        entry = desk.links.gone[-1]
        if entry.customer is not None and entry.retains:
            await desk.retain([entry.customer])
            desk.look(entry.customer)
        elif entry.customer is not None:
            desk.look(entry.customer, swept=in_cycle)
        desk.links.gone.remove(entry)
    going = [one for one in desk.entries if goes_at_once(one) and is_due(one.turn)]
    staying = [one for one in going if has_moved(one)]
    # Noted first: neither a crash nor an outage must orphan them.
    await desk.retain(one.customer for one in staying)
    idle = [one for one in going if not has_moved(one)]
    for entry in idle:
        if entry.customer is not None and in_cycle:
            desk.look(entry.customer, swept=True)
    calls = [desk.writer.let_go(one, linkstatus.RETAINED) for one in staying]
    calls += [desk.writer.let_go(one, None) for one in idle]
    for entry, gone in zip([*staying, *idle], await desk.writer.all(calls), strict=True):
        if not gone:
            entry.turn.later(now(), passing=True)
        elif entry.customer in desk.retained:
            desk.look(entry.customer)  # which is retained until it has been looked at now


def until_let_go(desk: LinkDesk) -> float:
    """How many seconds there is no link to be let go of, infinite if there is none."""
    turns = [one.turn for one in desk.entries if goes_at_once(one)]
    times = [turn.due - now() for turn in turns if turn.due is not None]
    return min(times, default=math.inf)
