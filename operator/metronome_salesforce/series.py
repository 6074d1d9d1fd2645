"""The series of many MetronomeSyncs, as lines of Prometheus' text format.

prometheus_client writes every line anew at each scrape. 200 MetronomeSyncs have 26,000 series, a
few hundred of which change from one scrape to the next: to write them all took more CPU than
anything else that an idle operator does. Here the lines of a MetronomeSync stay as they are until
one of its values changes.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Key = tuple[str, str]
"""Namespace and name of a MetronomeSync."""
Labels = tuple[str, ...]
"""Values of the labels beside these two."""

KEY_LABELS = ("namespace", "name")
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Series:
    """All series of one name: of each MetronomeSync those of several values of `labels`.

    Written by one thread, rendered by another.
    """

    def __init__(self, name: str, labels: Labels = ()) -> None:
        self._name = name
        names = (*KEY_LABELS, *labels)
        # By their names, as prometheus_client sorts them, too.
        self._places = sorted((name, place) for place, name in enumerate(names))
        self._values: dict[Key, dict[Labels, float]] = {}
        self._lines: dict[Key, str] = {}
        self._lock = threading.Lock()

    def set(self, key: Key, value: float, *labels: str) -> None:
        """Show this value."""
        with self._lock:
            self._write(key, labels, value)

    def add(self, key: Key, amount: float, *labels: str) -> None:
        """Count on from the value so far; with 0, a series that is new begins."""
        with self._lock:
            before = self._values.get(key, {}).get(labels, 0.0)
            self._write(key, labels, before + amount)

    def replace(self, key: Key, values: Mapping[Labels, float]) -> None:
        """Show these values of a MetronomeSync, and no others."""
        with self._lock:
            if self._values.get(key, {}) != values:
                self._values[key] = dict(values)
                self._lines.pop(key, None)

    def forget(self, key: Key) -> None:
        """Show nothing more of a MetronomeSync."""
        with self._lock:
            self._values.pop(key, None)
            self._lines.pop(key, None)

    def render(self) -> str:
        """All lines."""
        with self._lock:
            return "".join(map(self._lines_of, self._values))

    def _write(self, key: Key, labels: Labels, value: float) -> None:
        of_key = self._values.setdefault(key, {})
        if of_key.get(labels) != value:
            of_key[labels] = value
            self._lines.pop(key, None)

    def _lines_of(self, key: Key) -> str:
        lines = self._lines.get(key)
        if lines is None:
            values = self._values[key].items()
            lines = "".join(self._line((*key, *labels), value) for labels, value in values)
            self._lines[key] = lines
        return lines

    def _line(self, labels: Labels, value: float) -> str:
        told = ",".join(
            f'{name}="{labels[place].translate(_ESCAPED)}"' for name, place in self._places
        )
        return f"{self._name}{{{told}}} {float(value)!r}\n"


class Durations:
    """A histogram of seconds; `buckets` are upper bounds, in order."""

    def __init__(self, name: str, buckets: Sequence[float]) -> None:
        self._bounds = [(bound, repr(float(bound))) for bound in buckets]
        self._buckets = Series(f"{name}_bucket", ("le",))
        self._count = Series(f"{name}_count")
        self._sum = Series(f"{name}_sum")

    def observe(self, key: Key, seconds: float) -> None:
        """Count one that took so long."""
        for bound, text in self._bounds:
            self._buckets.add(key, seconds <= bound, text)
        self._buckets.add(key, 1, "+Inf")
        self._count.add(key, 1)
        self._sum.add(key, seconds)

    def forget(self, key: Key) -> None:
        """Show nothing more of a MetronomeSync."""
        for one in (self._buckets, self._count, self._sum):
            one.forget(key)

    def render(self) -> str:
        """All lines."""
        return "".join(one.render() for one in (self._buckets, self._count, self._sum))


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name, type, meaning and labels, and its series."""

    name: str
    kind: str
    text: str
    labels: Labels
    series: Series | Durations

    def render(self) -> str:
        """All of it in the text format."""
        text = self.text.replace("\\", r"\\").replace("\n", r"\n")
        head = f"# HELP {self.name} {text}\n# TYPE {self.name} {self.kind}\n"
        return head + self.series.render()
