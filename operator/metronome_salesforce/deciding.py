"""Decide for all customers of a cycle at once, and say what became of links and Accounts.

The rules are those of `linking`; this applies them to many customers and finds the words. Nothing
here asks anybody: what Metronome and the org say is given.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from metronome_salesforce.linking import (
    Accounts,
    CustomerFacts,
    Decision,
    Followed,
    LinkReason,
    LinkRequest,
    LinkState,
    LinkVerdict,
    Problem,
    Refusal,
    account_id,
    decide,
    follow,
    judge,
    noticed,
    of_alias,
    rejected,
)
from metronome_salesforce.ports import CustomerInfo

Fact = tuple[str, str]
"""What is worth an Event: its reason and a sentence."""
Customers = Mapping[str, CustomerInfo]
"""The customers that Metronome knows, by id."""
States = Mapping[str, LinkState]
"""What the org's Orphaned Customer records say, by customer id."""

_TOLD_OF_A_KIND = 3
_REFUSALS = (
    (Refusal.MALFORMED, "is no valid record id"),
    (Refusal.NOT_AN_ACCOUNT, "belongs to another object than Account"),
    (Refusal.UNKNOWN, "names no Account that the integration user can see"),
)


@dataclass(frozen=True, slots=True)
class Decided:
    """Where each customer that Metronome knows belongs, and by what."""

    decisions: dict[str, Decision] = field(default_factory=dict)
    links: Sequence[LinkRequest] = ()
    followed: Followed = field(default_factory=Followed)
    accounts: Accounts = field(default_factory=Accounts)


def named_accounts(customers: Customers, states: States, links: Sequence[LinkRequest]) -> set[str]:
    """The Account ids of 18 characters that somebody names: who they are has to be found out."""
    texts = [info.account_id for info in customers.values()] + [one.account_id for one in links]
    ids = {account_id(text) for text in texts if text}
    found = {id_ for id_ in ids if not isinstance(id_, Refusal)}
    of_records = {id_ for one in states.values() for id_ in (one.account, one.linked)}
    return found | {id_ for id_ in of_records if id_ is not None}


def decide_all(
    customers: Customers,
    states: States,
    links: Sequence[LinkRequest] | None,
    accounts: Accounts,
    *,
    retained: Collection[str],
    write_back: bool,
) -> Decided:
    """Apply the link rules to every customer; `links` are None when they are not known."""
    requests, problems = _with_customers(links or (), customers)
    facts = {info.id: CustomerFacts(info.name, info.archived) for info in customers.values()}
    followed = follow(requests, accounts, facts, states, problems)
    decisions = {
        id_: decide(
            record=states.get(id_),
            metronome=info.account_id,
            resolve=accounts.resolve,
            link=followed.accounts.get(id_),
            held=links is None or id_ in followed.held,
            retained=id_ in retained,
            write_back=write_back,
        )
        for id_, info in customers.items()
    }
    return Decided(decisions, requests, followed, accounts)


def _with_customers(
    links: Sequence[LinkRequest], customers: Customers
) -> tuple[list[LinkRequest], dict[str, Problem]]:
    """The links with the ids of the customers that their aliases name, and what is wrong."""
    holders: dict[str, list[tuple[str, bool]]] = {}
    for info in customers.values():
        for alias in info.ingest_aliases:
            holders.setdefault(alias, []).append((info.id, info.archived))
    requests: list[LinkRequest] = []
    problems: dict[str, Problem] = {}
    for one in links:
        request, problem = one, None
        if one.ingest_alias is not None:
            request, problem = of_alias(one, holders.get(one.ingest_alias, ()))
        requests.append(request)
        if problem is not None:
            problems[one.name] = problem
    return requests, problems


def verdicts(
    decided: Decided, customers: Customers, stuck: Mapping[str, str], *, written: bool
) -> Iterator[LinkVerdict]:
    """What became of each CustomerLink; `stuck` says why customers could not be moved whole.

    Unless `written`, it is only planned.
    """
    for one in decided.links:
        info = customers.get(one.customer_id or "")
        verdict = judge(
            one,
            decided.followed,
            decided.accounts,
            decision=None if info is None else decided.decisions[info.id],
            customer_name=None if info is None else info.name,
            written=written,
        )
        if verdict is None:
            continue
        why = stuck.get(verdict.customer_id or "")
        if verdict.reason is LinkReason.LINKED and why is not None:
            verdict = rejected(verdict, why)
        yield verdict


def facts(decided: Decided, states: States) -> Iterator[Fact]:
    """What happened to Accounts and which ids are refused; a few of each kind by customer."""
    told: dict[str, list[str]] = {}
    for id_, decision in decided.decisions.items():
        if id_ in states:
            found = noticed(id_, states[id_], decision, decided.accounts.resolve)
            if found is not None and found.sentence:
                told.setdefault(found.reason, []).append(found.sentence)
    for reason, sentences in told.items():
        yield from ((reason, sentence) for sentence in sentences[:_TOLD_OF_A_KIND])
        if (more := len(sentences) - _TOLD_OF_A_KIND) > 0:
            yield reason, f"The same goes for {more} more customers."
    for refusal, what in _REFUSALS:
        ids = [id_ for id_, one in decided.decisions.items() if one.refusal is refusal]
        if not ids:
            continue
        first = ", ".join(ids[:_TOLD_OF_A_KIND])
        left = len(ids) - _TOLD_OF_A_KIND
        more_of_them = f" and {left} more" if left > 0 else ""
        yield (
            refusal.value,
            (
                f"The Salesforce id in Metronome {what}, and moves nobody: customer"
                f" {first}{more_of_them}. Correct it in Metronome."
            ),
        )
