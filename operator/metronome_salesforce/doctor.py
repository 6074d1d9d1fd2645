"""What `doctor` tells: checks that come one after the other, each with what was found and a remedy.

Areas are chains: what cannot be looked at because something before it is not in order is told as
such, and is no failure of its own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tabulate import tabulate

from metronome_salesforce.errors import ProductError

_FOUND, _REMEDY = 60, 50
_WAITING = "not looked at: "


class Mark(Enum):
    """How a check went; `WAITING`: not looked at."""

    FINE = "✔"
    BROKEN = "✘"
    UNKNOWN = "?"
    WAITING = "-"


_WORDS: Mapping[Mark, str] = {
    Mark.FINE: "ok",
    Mark.BROKEN: "failed",
    Mark.UNKNOWN: "unknown",
    Mark.WAITING: "notLookedAt",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One check of an area: what was found, and what mends it (empty where nothing has to be)."""

    area: str
    name: str
    mark: Mark
    found: str
    remedy: str = ""


class Area:
    """The checks of one area, in the order of `names`; the rest of a chain is told at its end.

    A name that was not told when `checks` is asked was not looked at: because of `because`, or of
    the last check before it that is not in order.
    """

    def __init__(self, name: str, names: Sequence[str], because: str = "") -> None:
        self._name = name
        self._names = names
        self._because = because
        self.told: dict[str, Check] = {}

    @property
    def next(self) -> str:
        """The first check that was not told yet."""
        return next(name for name in self._names if name not in self.told)

    def fine(self, name: str, found: str) -> None:
        """It is in order."""
        self._tell(name, Mark.FINE, found)

    def broken(self, name: str, found: str, remedy: str) -> None:
        """It is not in order."""
        self._tell(name, Mark.BROKEN, found, remedy)

    def failed(self, name: str, error: ProductError) -> None:
        """The same, in the words of an error, whose sentences are what is wrong; what to do."""
        found, remedy = told(error)
        self.broken(name, found, remedy)

    def unknown(self, name: str, found: str, remedy: str = "") -> None:
        """It cannot be told, or is neither good nor bad."""
        self._tell(name, Mark.UNKNOWN, found, remedy)

    def wait(self, name: str, because: str) -> None:
        """It cannot be looked at before something else is in order."""
        self._tell(name, Mark.WAITING, f"{_WAITING}{because}")

    @property
    def first_broken(self) -> str:
        """The first check that is not in order, as "area: name"; empty when there is none."""
        for name in self._names:
            if name in self.told and self.told[name].mark is Mark.BROKEN:
                return f"{self._name}: {name}"
        return ""

    def checks(self) -> list[Check]:
        """All of them."""
        return list(self._checks())

    def _checks(self) -> Iterator[Check]:
        because = self._because
        for name in self._names:
            check = self.told.get(name)
            if check is None:
                yield Check(self._name, name, Mark.WAITING, f"{_WAITING}{because}")
                continue
            if check.mark is Mark.WAITING:
                because = check.found.removeprefix(_WAITING)
            if check.mark in {Mark.BROKEN, Mark.UNKNOWN}:
                because = f"{self._name}: {name} comes first"
            yield check

    def _tell(self, name: str, mark: Mark, found: str, remedy: str = "") -> None:
        if name not in self._names:
            raise ValueError(f"{self._name} has no check {name}")
        self.told[name] = Check(self._name, name, mark, found, remedy)


def told(error: ProductError) -> tuple[str, str]:
    """What an error says is wrong, and what it says to do: our sentences have a semicolon there."""
    found, _, remedy = error.message.partition("; ")
    remedy = remedy or f"See {error.reason} in the README, Troubleshooting."
    return _sentence(found), _sentence(remedy)


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return text[:1].upper() + text[1:] + "." if text else ""


def is_healthy(checks: Sequence[Check]) -> bool:
    """Whether nothing is broken."""
    return all(check.mark is not Mark.BROKEN for check in checks)


def as_text(checks: Sequence[Check]) -> str:
    """The table, and a line that counts the marks."""
    rows, area = [], ""
    for check in checks:
        shown = "" if check.area == area else check.area
        area = check.area
        rows.append((check.mark.value, shown, check.name, _clean(check.found), check.remedy))
    table = tabulate(
        rows,
        headers=("", "area", "check", "found", "what to do"),
        disable_numparse=True,
        maxcolwidths=[None, None, None, _FOUND, _REMEDY],
    )
    return f"{table}\n\n{_summary(checks)}"


def _clean(text: str) -> str:
    """Without control characters: what others wrote must not steer the terminal."""
    return "".join(one for one in text if one.isprintable())


def _summary(checks: Sequence[Check]) -> str:
    counts = {mark: sum(check.mark is mark for check in checks) for mark in Mark}
    words = {
        Mark.FINE: "in order",
        Mark.BROKEN: "not in order",
        Mark.UNKNOWN: "cannot be told",
        Mark.WAITING: "not looked at",
    }
    parts = [f"{counts[mark]} {words[mark]} ({mark.value})" for mark in Mark if counts[mark]]
    return f"{len(checks)} checks: {', '.join(parts)}"


def as_json(checks: Sequence[Check]) -> str:
    """The same for scripts."""
    return json.dumps(
        {
            "healthy": is_healthy(checks),
            "checks": [
                {
                    "area": check.area,
                    "check": check.name,
                    "result": _WORDS[check.mark],
                    "found": check.found,
                    "remedy": check.remedy,
                }
                for check in checks
            ],
        },
        indent=2,
        ensure_ascii=False,
    )
