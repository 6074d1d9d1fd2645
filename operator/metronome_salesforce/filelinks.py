"""CustomerLinks from files: which of them a run of `sync -f` follows, and what became of each."""

from collections.abc import Iterator

from tabulate import tabulate

from metronome_salesforce.linking import LinkReason, LinkRequest, LinkVerdict
from metronome_salesforce.linkrequests import request_of
from metronome_salesforce.manifests import Bundle
from metronome_salesforce.report import CycleReport
from metronome_salesforce.spec import CustomerLink, MetronomeSync


def links_of(sync: MetronomeSync, bundle: Bundle) -> list[LinkRequest] | None:
    """What the CustomerLinks of `bundle` ask of `sync`, in its namespace as in a cluster.

    None when none of them names it: then these files do not say who is linked, and what
    CustomerLinks elsewhere, as in a cluster, decided before is to stay. An empty list would undo
    all of that, for a mistyped `syncRef` or for links that are another MetronomeSync's.
    """
    return [request_of(link) for link in bundle.links if _concerns(link, sync)] or None


def left_aside(bundle: Bundle) -> list[str]:
    """A sentence for each CustomerLink that names a MetronomeSync which is not among the files."""
    return [
        f"CustomerLink {link.metadata.name} is left aside: the files hold no MetronomeSync"
        f" {link.spec.sync_ref.name} in namespace {link.metadata.namespace}"
        for link in bundle.links
        if not any(_concerns(link, sync) for sync in bundle.syncs)
    ]


def _concerns(link: CustomerLink, sync: MetronomeSync) -> bool:
    return (link.metadata.namespace, link.spec.sync_ref.name) == (
        sync.metadata.namespace,
        sync.metadata.name,
    )


def all_followed(report: CycleReport) -> bool:
    """Whether the run found nothing that keeps a CustomerLink from being followed."""
    return all(verdict.reason is LinkReason.LINKED for verdict in report.links.values())


def links_text(report: CycleReport) -> Iterator[str]:
    """What became of each CustomerLink, as lines of text; none when there was none."""
    if not report.links:
        return
    yield ""
    yield tabulate(
        [
            (
                *(name, verdict.reason),
                _both(verdict.customer_name, verdict.customer_id),
                _both(verdict.account_name, verdict.account_id),
                _sentence(verdict),
            )
            for name, verdict in sorted(report.links.items())
        ],
        headers=("CustomerLink", "reason", "customer", "Account", "what that means"),
        disable_numparse=True,
    )


def _sentence(verdict: LinkVerdict) -> str:
    said = (verdict.message, verdict.contradiction)
    return " ".join(sentence for sentence in said if sentence)


def _both(name: str | None, id_: str | None) -> str:
    if name is None or id_ is None:
        return id_ or ""
    return f"{one_line(name)} ({id_})"


def one_line(text: str) -> str:
    """The text without what would end a line, or steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
