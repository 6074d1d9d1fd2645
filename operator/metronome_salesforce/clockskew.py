"""How far another machine's clock is from ours, by the Date header of its answers.

The header has whole seconds (RFC 9110), and the answer took its time: only what cannot be explained
by either is a difference.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

TOLERATED = timedelta(seconds=60)
"""Beyond that, sign-ins by JWT (3 minutes) come into danger, and days begin at other times."""

_RESOLUTION = timedelta(seconds=1)
_NONE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Heard:
    """A Date header, and our own times when the request went out and the answer was there."""

    date: str | None
    sent: datetime
    received: datetime


def skew(heard: Heard) -> timedelta | None:
    """How far the other clock is ahead of ours (behind: negative); None when it does not tell."""
    try:
        date = parsedate_to_datetime(heard.date or "")
    except ValueError:
        return None
    theirs = date if date.tzinfo else date.replace(tzinfo=UTC)
    if theirs > heard.received:
        return theirs - heard.received
    return min(_NONE, theirs + _RESOLUTION - heard.sent)
