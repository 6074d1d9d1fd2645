"""The link rules: to whom a customer belongs, decided in one pure function.

Three ways lead to an Account: a CustomerLink, the Salesforce id that Metronome keeps on the
customer, and the Account that a person sets on the Orphaned Customer record. First match wins:

    1  a CustomerLink (valid, not in conflict)                → its Account
    2  a Salesforce id in Metronome naming an existing Account → that Account
    3  Account__c differs from Linked_Account_ID__c: a person changed the record → Account__c
    4  Link_Source__c is Salesforce: a person decided earlier  → Account__c
    5  none of these: what decided before is gone              → nobody, the customer is orphaned

An id in Metronome that is malformed or names no Account decides nothing and changes nothing: the
customer keeps its former place, and the refusal is reported.
"""

from collections.abc import Callable
from dataclasses import dataclass
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
    """The Account (18 characters) that a customer belongs to, or None for nobody."""

    account: str | None
    source: LinkSource | None
    refusal: Refusal | None = None


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


def decide(
    *,
    record: LinkState | None,
    metronome: str | None,
    exists: Callable[[str], bool],
    link: str | None = None,
) -> Decision:
    """Apply the link rules to one customer.

    `link` is the 18-character Account id of the CustomerLink that counts, `metronome` the text that
    Metronome keeps, `record` what the org holds (None for a customer that is new there), `exists`
    tells whether an Account id of 18 characters names an Account.
    """
    state = record or LinkState()
    if link is not None:
        return Decision(link, LinkSource.CUSTOMER_LINK)

    refusal: Refusal | None = None
    if metronome is not None and metronome.strip():
        wanted = account_id(metronome)
        if isinstance(wanted, Refusal):
            refusal = wanted
        elif exists(wanted):
            return Decision(wanted, LinkSource.METRONOME)
        else:
            refusal = Refusal.UNKNOWN

    if state.account != state.linked or state.source == LinkSource.SALESFORCE:
        return Decision(
            state.account, LinkSource.SALESFORCE if state.account is not None else None, refusal
        )
    if refusal is not None and state.linked is not None and exists(state.linked):
        return Decision(state.linked, _known(state.source), refusal)
    return Decision(None, None, refusal)


def _known(source: str | None) -> LinkSource | None:
    return LinkSource(source) if source in set(LinkSource) else None
