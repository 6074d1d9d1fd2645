"""Salesforce record ids: a three-character key prefix, a counter, and a case checksum.

The API answers with 18 characters and takes 15 or 18 (Object Reference, ID Field Type).
"""

import re
from itertools import count

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SHAPE = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?\Z")
_INSTANCE = "Hs00"

# Standard objects' prefixes; custom objects are given a00, a01, ... as they are created.
KEY_PREFIXES = {
    "Account": "001",
    "Contact": "003",
    "User": "005",
    "Organization": "00D",
    "Profile": "00e",
    "PermissionSet": "0PS",
    "PermissionSetAssignment": "0Pa",
    "ApexClass": "01p",
}


def to18(short: str) -> str:
    """The 18-character form of a 15-character id: three letters tell which were capitals."""
    suffix = "".join(
        _CHECKSUM[
            sum(1 << bit for bit, char in enumerate(short[at : at + 5]) if "A" <= char <= "Z")
        ]
        for at in (0, 5, 10)
    )
    return short + suffix


def normalise(value: str) -> str | None:
    """The 18-character form of a well-formed id, or None.

    The checksum of an 18-character id also mends letters whose case was lost on the way.
    """
    if not _SHAPE.match(value):
        return None
    if len(value) == 15:
        return to18(value)
    mended = ""
    for block in range(3):
        index = _CHECKSUM.find(value[15 + block].upper())
        if index < 0:
            return None
        for bit in range(5):
            char = value[block * 5 + bit]
            mended += char.upper() if index >> bit & 1 else char.lower()
    return to18(mended)


def encode(number: int, width: int) -> str:
    """A number in base 62, as the counters inside ids are written."""
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits


class IdSource:
    """Hands out ids: one counter for each key prefix."""

    def __init__(self) -> None:
        self._counters: dict[str, count[int]] = {}

    def next(self, prefix: str) -> str:
        """A new 18-character id."""
        counter = self._counters.get(prefix)
        if counter is None:
            counter = self._counters[prefix] = count(1)
        return to18(prefix + _INSTANCE + encode(next(counter), 8))

    def reserve(self, prefix: str, taken: int) -> None:
        """Begin after the first `taken` numbers, for a database that was opened again."""
        self._counters[prefix] = count(taken + 1)


def custom_prefix(number: int, letter: str = "a") -> str:
    """The key prefix of the nth custom object: a00, a01, ...; metadata types have m00, ..."""
    return letter + encode(number, 2)
