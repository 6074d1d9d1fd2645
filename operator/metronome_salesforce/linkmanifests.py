"""CustomerLinks for orphans as files, for people to look through and apply: nothing here applies.

A file is written again only as long as it is as it was written: its last line has a checksum.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from metronome_salesforce.filelinks import one_line
from metronome_salesforce.linktable import CustomerLine
from metronome_salesforce.namesakes import Suggestion, plain_name
from metronome_salesforce.spec import API_VERSION, CustomerLink, MetronomeSync

_LONGEST_NAME = 40
_CHECKSUM = re.compile(r"(?P<text>.*\n)# checksum (?P<sum>[0-9a-f]{16})\n", re.DOTALL)


WRITTEN, UNCHANGED, LEFT_ALONE = "written", "unchanged", "left alone"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One file; its `state` is one of the three words above."""

    path: Path
    state: str


def write_manifests(
    folder: Path, sync: MetronomeSync, lines: Iterable[CustomerLine]
) -> list[Manifest]:
    """Write a CustomerLink for each customer whose suggestion is beyond doubt, a file each.

    Raises OSError when the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _write(folder, line, line.sure, document)
        for line, document in _documents(sync, lines)
        if line.sure is not None
    ]


def _documents(
    sync: MetronomeSync, lines: Iterable[CustomerLine]
) -> Iterator[tuple[CustomerLine, dict[str, Any]]]:
    for line in lines:
        if line.sure is None:
            continue
        metadata = {"name": _name(line)}
        # A file that names no namespace leaves it to whoever applies it; so does ours, then.
        if "namespace" in sync.metadata.model_fields_set:
            metadata["namespace"] = sync.metadata.namespace
        document = {
            "apiVersion": API_VERSION,
            "kind": "CustomerLink",
            "metadata": metadata,
            "spec": {
                "syncRef": {"name": sync.metadata.name},
                "customer": {"id": line.record.id},
                "account": {"id": line.sure.account_id},
            },
        }
        try:
            CustomerLink.model_validate(document)
        except ValidationError:
            continue  # the record's id is none of Metronome's
        yield line, document


def _name(line: CustomerLine) -> str:
    """A name that says who it is, and that no other customer has."""
    words = re.sub(r"[^a-z0-9]+", "-", plain_name(line.record.name).core)
    return f"{words[:_LONGEST_NAME].strip('-')}-{line.record.id[:8].lower()}".strip("-")


def _write(
    folder: Path, line: CustomerLine, suggestion: Suggestion, document: dict[str, Any]
) -> Manifest:
    path = folder / f"{document['metadata']['name']}.yaml"
    text = (
        "# A suggestion of `metronome-salesforce links --write`: look at it before you apply it.\n"
        f"# Customer: {one_line(line.record.name)}\n"
        f"# Account:  {one_line(suggestion.account_name)} (similarity {suggestion.score})\n"
        "# Once it is edited, it is never written again.\n"
        + yaml.safe_dump(document, sort_keys=False)
    )
    text += f"# checksum {_checksum(text)}\n"
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        return _write_again(path, text, line.record.id)
    return Manifest(path, WRITTEN)


def _write_again(path: Path, text: str, customer_id: str) -> Manifest:
    try:
        there = path.read_text("utf-8")
    except UnicodeDecodeError:
        return Manifest(path, LEFT_ALONE)
    if there == text:
        return Manifest(path, UNCHANGED)
    found = _CHECKSUM.fullmatch(there)
    is_ours = found is not None and found["sum"] == _checksum(found["text"])
    if not is_ours or f"    id: {customer_id}\n" not in there:
        return Manifest(path, LEFT_ALONE)
    path.write_text(text, "utf-8")
    return Manifest(path, WRITTEN)


def _checksum(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
