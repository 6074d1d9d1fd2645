"""The link rules: to whom a customer belongs, decided in one pure function.

Three ways lead to an Account: a CustomerLink, the Salesforce id that Metronome keeps on the
customer, and the Account that a person sets on the Orphaned Customer record. First match wins:

    1  a CustomerLink (valid, not in conflict)                → its Account
    2  a Salesforce id in Metronome naming an existing Account → that Account
    3  Account__c differs from Linked_Account_ID__c: a person changed the record → Account__c
    4  Link_Source__c is Salesforce: a person decided earlier  → Account__c
    5  none of these: what decided before is gone              → nobody, the customer is orphaned

An id that is malformed or names no Account decides nothing and changes nothing, be it in Metronome
or in a CustomerLink: what Metronome or a CustomerLink decided before stays, and the refusal is
reported. An Account that was merged stands for its master everywhere. One that the record and its
link agree on counts although we may not see it: Salesforce clears what names a deleted Account.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class LinkSource(StrEnum):
    """Who decided; the values of Link_Source__c."""

    CUSTOMER_LINK = "CustomerLink"
    METRONOME = "Metronome"
    SALESFORCE = "Salesforce"


class Refusal(StrEnum):
    """Why a Salesforce id decides nothing; the values are condition and Event reasons."""

    MALFORMED = "MalformedAccountId"
    NOT_AN_ACCOUNT = "NotAnAccountId"
    UNKNOWN = "AccountNotFound"


@dataclass(frozen=True, slots=True)
class LinkState:
    """What the Orphaned Customer record says: intent, what has been applied, who decided."""

    account: str | None = None
    linked: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The Account (18 characters) that a customer belongs to, or None for nobody.

    `overruled` names who says otherwise, and which Account (None: none at all).
    """

    account: str | None
    source: LinkSource | None
    refusal: Refusal | None = None
    overruled: tuple[tuple[LinkSource, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What one CustomerLink asks for; `name` tells it apart within its MetronomeSync.

    The customer by `customer_id` or, as long as that is not known, by `ingest_alias`; the Account
    by `account_id` (15 or 18 characters) or by `external_id` (field and value). `created` is an RFC
    3339 time in UTC.
    """

    name: str
    created: str = ""
    customer_id: str | None = None
    ingest_alias: str | None = None
    account_id: str | None = None
    external_id: tuple[str, str] | None = None

    @property
    def age(self) -> tuple[str, str]:
        """Sorts the older one first; names break ties."""
        return (self.created, self.name)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts as they were found: `names` of those that exist by id, `merged` ids with masters.

    `by_external_id` has the ids for (field, value) as asked for, or in lower case; `bad_fields`
    names fields that cannot be searched, with the sentence why. All ids have 18 characters.
    """

    names: Mapping[str, str | None] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)
    by_external_id: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    bad_fields: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, id_: str | None) -> str | None:
        """The id of the existing Account that `id_` stands for, itself or by merges."""
        seen: set[str] = set()
        while id_ is not None and id_ not in self.names:
            if id_ in seen:
                return None
            seen.add(id_)
            id_ = self.merged.get(id_)
        return id_


class LinkReason(StrEnum):
    """What became of a CustomerLink; the values are reasons of its Ready condition."""

    LINKED = "Linked"
    CONFLICT = "Conflict"
    CUSTOMER_NOT_FOUND = "CustomerNotFound"
    CUSTOMER_ARCHIVED = "CustomerArchived"
    CUSTOMER_NOT_SYNCED = "CustomerNotSynced"
    ALIAS_AMBIGUOUS = "AliasAmbiguous"
    ACCOUNT_NOT_FOUND = "AccountNotFound"
    ACCOUNT_AMBIGUOUS = "AccountAmbiguous"
    EXTERNAL_ID_INVALID = "ExternalIdFieldInvalid"
    ROWS_REJECTED = "RowsRejected"


@dataclass(frozen=True, slots=True)
class LinkVerdict:
    """What became of one CustomerLink in a run: a reason, and a sentence for a person.

    `moved` counts rows by object. `contradiction` is a sentence about who says otherwise although
    this link decides. `merged_from` is the Account id of the spec when that was merged.
    """

    name: str
    reason: LinkReason
    message: str
    customer_id: str | None = None
    customer_name: str | None = None
    account_id: str | None = None
    account_name: str | None = None
    moved: Mapping[str, int] = field(default_factory=dict)
    contradiction: str | None = None
    merged_from: str | None = None


_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SHORT, _LONG, _GROUP = 15, 18, 5
_ACCOUNT_PREFIX = "001"


def to_id18(text: str) -> str:
    """The 18-character form of a record id of 15 or 18 characters.

    Raises ValueError when the text is no record id or its checksum is wrong. The checksum exists
    because 15-character ids differ in case alone, which spreadsheets lose (Salesforce, record ids).
    """
    id_ = text.strip()
    if len(id_) not in {_SHORT, _LONG} or not id_.isascii() or not id_.isalnum():
        raise ValueError("a Salesforce record id has 15 or 18 letters and digits")
    body = id_[:_SHORT]
    suffix = "".join(
        _CHECKSUM[
            sum(
                1 << position
                for position, character in enumerate(body[start : start + _GROUP])
                if character.isupper()
            )
        ]
        for start in range(0, _SHORT, _GROUP)
    )
    if len(id_) == _LONG and id_[_SHORT:] != suffix:
        raise ValueError("the last three characters do not match the first fifteen")
    return body + suffix


def account_id(text: str) -> str | Refusal:
    """The 18-character Account id that `text` holds, or why it holds none."""
    try:
        id_ = to_id18(text)
    except ValueError:
        return Refusal.MALFORMED
    return id_ if id_.startswith(_ACCOUNT_PREFIX) else Refusal.NOT_AN_ACCOUNT


def target_of(request: LinkRequest, accounts: Accounts) -> str | tuple[LinkReason, str]:
    """The Account that a CustomerLink names, or why it names none, with a sentence."""
    if request.external_id is not None:
        name, value = request.external_id
        if name in accounts.bad_fields:
            return LinkReason.EXTERNAL_ID_INVALID, accounts.bad_fields[name]
        known = accounts.by_external_id
        found = known.get((name, value), known.get((name, value.lower()), ()))
        if len(found) == 1:
            return found[0]
        if found:
            return LinkReason.ACCOUNT_AMBIGUOUS, (
                f"{len(found)} Accounts have the value of spec.account.externalId in {name}; the"
                " field must be unique, or use spec.account.id."
            )
        return LinkReason.ACCOUNT_NOT_FOUND, (
            f"No Account that the integration user can see has the value of"
            f" spec.account.externalId in {name}; correct it, or create the Account."
        )
    id_ = account_id(request.account_id or "")
    if not isinstance(id_, Refusal):
        account = accounts.resolve(id_)
        if account is not None:
            return account
    return LinkReason.ACCOUNT_NOT_FOUND, (
        f"spec.account.id {request.account_id} names no Account that the integration user can see:"
        " it was deleted, belongs to another org, or is hidden; correct it, or restore the Account."
    )


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """What a CustomerLink must know of a customer that exists in Metronome."""

    name: str | None
    archived: bool = False


Problem = tuple[LinkReason, str]
"""Why a CustomerLink cannot be followed, and the sentence for a person."""


@dataclass(slots=True)
class Followed:
    """The CustomerLinks as they count: Account and link by customer, customers held, problems.

    `accounts` has the 18-character Account id by customer id, `chosen` the link that named it.
    `held` customers have a link that cannot be followed. `problems` is by the link's name.
    """

    accounts: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, LinkRequest] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    problems: dict[str, Problem] = field(default_factory=dict)


def follow(
    requests: Collection[LinkRequest],
    accounts: Accounts,
    customers: Mapping[str, CustomerFacts],
    records: Mapping[str, LinkState],
    problems: Mapping[str, Problem],
) -> Followed:
    """See which CustomerLinks count and what stands in the way of the others.

    `customers` are those that Metronome knows, `records` the org's, both by customer id;
    `problems` are known from before, such as an alias that nobody has.
    """
    result = Followed(problems=dict(problems))
    valid: dict[str, str] = {}
    for request in requests:
        if request.name in result.problems:
            continue
        problem = _about_customer(request, customers, records)
        if problem is None:
            target = target_of(request, accounts)
            if isinstance(target, str):
                valid[request.name] = target
                continue
            problem = target
        result.problems[request.name] = problem
    result.chosen, beaten = winners(requests, valid)
    result.accounts = {id_: valid[request.name] for id_, request in result.chosen.items()}
    for loser, winner in beaten.items():
        result.problems[loser] = (
            LinkReason.CONFLICT,
            (
                f"CustomerLink {winner}, which is older, links the same customer; delete one of the"
                " two. This one takes over when the other goes."
            ),
        )
    result.held = {
        one.customer_id
        for one in requests
        if one.customer_id is not None
        and one.name in result.problems
        and one.customer_id not in result.accounts
    }
    return result


def _about_customer(
    request: LinkRequest,
    customers: Mapping[str, CustomerFacts],
    records: Mapping[str, LinkState],
) -> Problem | None:
    id_ = request.customer_id
    if id_ is None or id_ not in customers:
        how = (
            f"the ingest alias {request.ingest_alias}" if request.ingest_alias else f"the id {id_}"
        )
        return LinkReason.CUSTOMER_NOT_FOUND, (
            f"Metronome knows no customer with {how}; delete this CustomerLink and create one with"
            " the right customer."
        )
    record = records.get(id_)
    if customers[id_].archived and (record is None or record.source != LinkSource.CUSTOMER_LINK):
        return LinkReason.CUSTOMER_ARCHIVED, (
            "The customer is archived in Metronome, so its rows stay where they are; delete this"
            " CustomerLink."
        )
    return None


def judge(
    request: LinkRequest,
    followed: Followed,
    accounts: Accounts,
    *,
    decision: Decision | None,
    customer_name: str | None,
    written: bool = True,
) -> LinkVerdict | None:
    """What became of a CustomerLink by what is known of it; None when it was not looked at.

    Unless `written`, it is only planned.
    """
    id_ = request.customer_id
    if (problem := followed.problems.get(request.name)) is not None:
        return LinkVerdict(request.name, *problem, customer_id=id_, customer_name=customer_name)
    if id_ is None or followed.chosen.get(id_, request).name != request.name:
        return None
    account = followed.accounts.get(id_)
    if account is None:
        return None
    hang = "hang" if written else "will hang"
    verdict = LinkVerdict(
        request.name,
        LinkReason.LINKED,
        f"All rows of the customer {hang} on the Account.",
        customer_id=id_,
        customer_name=customer_name,
        account_id=account,
        account_name=accounts.names.get(account),
        contradiction=None if decision is None else _contradiction(decision),
    )
    wanted = request.account_id
    if wanted is None or wanted[:_SHORT] == account[:_SHORT]:
        return verdict
    sentence = (
        f"All rows of the customer {hang} on Account {account}, into which {wanted} was merged; set"
        " spec.account.id to it."
    )
    return replace(verdict, merged_from=wanted, message=sentence)


def rejected(verdict: LinkVerdict, why: str) -> LinkVerdict:
    """The verdict on a CustomerLink some of whose rows Salesforce refused to move."""
    return replace(
        verdict,
        reason=LinkReason.ROWS_REJECTED,
        message=f"Salesforce refused to move a row: {why} It is tried again.",
    )


_WHO = {
    LinkSource.METRONOME: "the Salesforce id in Metronome",
    LinkSource.SALESFORCE: "the Account on the Orphaned Customer record",
}


def _contradiction(decision: Decision) -> str | None:
    if not decision.overruled:
        return None
    named = " and ".join(
        f"{_WHO[source]} names {account or 'no Account'}" for source, account in decision.overruled
    )
    return f"This CustomerLink decides, but {named}; correct the one that is wrong."


def winners(
    requests: Iterable[LinkRequest], valid: Collection[str]
) -> tuple[dict[str, LinkRequest], dict[str, str]]:
    """The request that counts for each customer id, and the losers with the winner's name.

    Of several the oldest counts whose name is in `valid` (its Account was found); requests whose
    customer is not known take no part.
    """
    chosen: dict[str, LinkRequest] = {}
    beaten: dict[str, str] = {}
    for request in sorted(requests, key=lambda one: one.age):
        if request.customer_id is None or request.name not in valid:
            continue
        first = chosen.setdefault(request.customer_id, request)
        if first is not request:
            beaten[request.name] = first.name
    return chosen, beaten


def decide(
    *,
    record: LinkState | None,
    metronome: str | None,
    resolve: Callable[[str], str | None],
    link: str | None = None,
    held: bool = False,
    retained: bool = False,
    write_back: bool = False,
) -> Decision:
    """Apply the link rules to one customer.

    `link` is the 18-character Account id of the CustomerLink that counts, `metronome` the text that
    Metronome keeps, `record` what the org holds (None for a customer that is new there). `resolve`
    gives the id of the Account that an id of 18 characters stands for, None if there is none.
    `held`: a CustomerLink cannot be followed, or the CustomerLinks are not known, so that what one
    decided before stays. `retained`: one was deleted that leaves its Account behind. `write_back`:
    what others decided is stored in Metronome, where it must not decide by itself.
    """
    state = record or LinkState()
    if state.account is not None and state.account == state.linked:
        linked: str | None = state.linked
    else:
        linked = None if state.linked is None else resolve(state.linked)
    # A merge moves Account__c to the master and a deleted Account clears it: no person did.
    by_person = state.account != state.linked and (state.linked is None or state.account != linked)
    chosen = by_person or state.source == LinkSource.SALESFORCE
    wanted, refusal = _of_metronome(metronome, resolve)
    if write_back and wanted is not None and wanted == linked and state.source in _WRITTEN_BACK:
        wanted = None

    if link is not None:
        decision = Decision(link, LinkSource.CUSTOMER_LINK)
    elif held and linked is not None and state.source == LinkSource.CUSTOMER_LINK:
        decision = Decision(linked, LinkSource.CUSTOMER_LINK)
    elif wanted is not None:
        decision = Decision(wanted, LinkSource.METRONOME)
    elif chosen or (retained and state.source == LinkSource.CUSTOMER_LINK):
        source = None if state.account is None else LinkSource.SALESFORCE
        return Decision(state.account, source, refusal)
    elif linked is not None and refusal is not None and state.source == LinkSource.METRONOME:
        return Decision(linked, LinkSource.METRONOME, refusal)
    else:
        return Decision(None, None, refusal)

    others: list[tuple[LinkSource, str | None]] = []
    if wanted is not None and wanted != decision.account:
        others.append((LinkSource.METRONOME, wanted))
    if chosen and state.account != decision.account:
        others.append((LinkSource.SALESFORCE, state.account))
    return Decision(decision.account, decision.source, refusal, tuple(others))


_WRITTEN_BACK = frozenset({LinkSource.CUSTOMER_LINK, LinkSource.SALESFORCE})


def _of_metronome(
    text: str | None, resolve: Callable[[str], str | None]
) -> tuple[str | None, Refusal | None]:
    if text is None or not text.strip():
        return None, None
    wanted = account_id(text)
    if isinstance(wanted, Refusal):
        return None, wanted
    found = resolve(wanted)
    return (found, None) if found is not None else (None, Refusal.UNKNOWN)


def is_to_be_stored(decision: Decision, stored: str | None) -> bool:
    """Whether write-back has to change the Salesforce id that Metronome keeps, `stored`.

    Not where Metronome decided, nor an id that is refused: that is somebody's to correct.
    """
    if decision.source is LinkSource.METRONOME:
        return False
    if stored is None or not stored.strip():
        return decision.account is not None
    if decision.account is None:
        return decision.refusal is None
    return account_id(stored) != decision.account


@dataclass(frozen=True, slots=True)
class Noticed:
    """What happened to the Account of a record in the org, as an Event: reason and sentence.

    `by_person`: somebody chose the Account; `overruled`: and somebody else who comes first names
    another. The sentence is empty for a choice that is followed.
    """

    reason: str
    sentence: str
    by_person: bool = False
    overruled: bool = False


def noticed(
    id_: str, state: LinkState, decision: Decision, resolve: Callable[[str], str | None]
) -> Noticed | None:
    """What became of the Account that the record of a customer names; None when nothing did."""
    if state.account == state.linked:
        return None
    linked = None if state.linked is None else resolve(state.linked)
    if state.linked is not None and state.account == linked:
        if linked is not None:
            sentence = f"Account {state.linked} of customer {id_} was merged into {linked}"
        else:
            sentence = f"Account {state.linked} of customer {id_} was deleted"
        reason = "AccountDeleted" if linked is None else "AccountMerged"
        if decision.account is None:
            return Noticed(reason, f"{sentence}; the customer is an orphan again.")
        return Noticed(reason, f"{sentence}; its rows hang on {decision.account} now.")
    if (LinkSource.SALESFORCE, state.account) not in decision.overruled:
        return Noticed("", "", by_person=True)
    decider = "a CustomerLink" if decision.source is LinkSource.CUSTOMER_LINK else "Metronome"
    return Noticed(
        "Conflict",
        "The Account that somebody set on the Orphaned Customer record of customer"
        f" {id_} is not followed: {decider} says otherwise, and comes first. Change it there.",
        by_person=True,
        overruled=True,
    )


def of_alias(
    request: LinkRequest, holders: Collection[tuple[str, bool]]
) -> tuple[LinkRequest, Problem | None]:
    """The request with the id of the customer that has its ingest alias, and what is wrong.

    `holders` are (id, archived). An alias may go on to a new customer once the old one is archived;
    where nobody has it, or more than one, the customer that is known from before stays.
    """
    active = sorted({id_ for id_, archived in holders if not archived})
    ids = active or sorted({id_ for id_, _ in holders})
    if len(ids) == 1:
        return replace(request, customer_id=ids[0]), None
    if len(active) > 1:
        return request, (
            LinkReason.ALIAS_AMBIGUOUS,
            (
                f"{len(active)} customers in Metronome have the ingest alias"
                f" {request.ingest_alias}; use customer.id in a new CustomerLink instead."
            ),
        )
    return request, None
