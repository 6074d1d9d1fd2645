"""`links`: the org of one MetronomeSync, from files or a cluster, read and shown; nothing written.

But for manifests in a folder, when asked. Salesforce alone is called, not Metronome.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metronome_salesforce.commandsync import CommandError, CommandSync
from metronome_salesforce.errors import ProductError
from metronome_salesforce.execution.running import open_session
from metronome_salesforce.linkmanifests import LEFT_ALONE, Manifest, write_manifests
from metronome_salesforce.linktable import as_json, link_table, table_json, table_text


@dataclass(frozen=True, slots=True)
class LinksOptions:
    """What was asked for; `folder` is where manifests go, None for none."""

    min_score: int
    orphans: bool
    folder: Path | None
    as_json: bool


def show(linked: CommandSync, options: LinksOptions, environment: Mapping[str, str]) -> str:
    """What is to be printed; writes manifests before, if asked to. Raises CommandError."""
    sync = linked.inputs.sync
    try:
        session = open_session(linked.inputs, environment=environment)
        try:
            table = link_table(session, linked.links, options.min_score)
        finally:
            session.close()
    except ProductError as error:
        raise CommandError(error.message) from None
    manifests: list[Manifest] | None = None
    if options.folder is not None:
        try:
            manifests = write_manifests(options.folder, sync, table.lines)
        except OSError as error:
            raise CommandError(f"cannot write to {options.folder}: {error.strerror}") from None
    if not options.as_json:
        return "\n".join([*table_text(table, orphans=options.orphans), *_told(manifests)])
    document = {
        "sync": {"namespace": sync.metadata.namespace, "name": sync.metadata.name},
        **table_json(table, orphans=options.orphans),
    }
    if manifests is not None:
        document["manifests"] = [{"path": str(m.path), "state": m.state} for m in manifests]
    return as_json(document)


def _told(manifests: Sequence[Manifest] | None) -> Iterator[str]:
    if manifests is None:
        return
    yield ""
    for manifest in manifests:
        yield f"{manifest.state}: {manifest.path}"
    if not manifests:
        yield "no manifest is written: no suggestion is beyond doubt"
    elif any(manifest.state == LEFT_ALONE for manifest in manifests):
        yield ("What is left alone was edited, or is not ours: delete it, and it is written anew.")
