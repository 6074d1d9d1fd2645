"""The table of link rules as a model of its own: what each side says, and what follows from it.

Written from the rules alone, without the product's code. Ids are those of the org. The model knows
what the sides said last, what was applied last and who decided that; the rest is reading the table
from the top:

    1  a CustomerLink that names an Account, the oldest of several     → its Account
    2  a Salesforce id in Metronome that names an Account              → that Account
    3  a person changed the Account on the Orphaned Customer record    → what the record says
    4  a person decided earlier                                        → what the record says
    5  none of these                                                   → nobody

An id that names no Account decides nothing and takes nothing away: what a CustomerLink (or
Metronome) decided before stays as long as there is a CustomerLink (or an id in Metronome) that
cannot be followed, or nobody knows the CustomerLinks. An Account that was merged stands for its
master; one that was deleted is nobody's any more. What write-back stored in Metronome says nothing.
"""

from dataclasses import dataclass, field

LINK, METRONOME, PERSON = "CustomerLink", "Metronome", "Salesforce"

Place = tuple[str | None, str | None]
"""Where a customer belongs (None: nowhere), and who decided; the values of Link_Source__c."""
Shown = tuple[str | None, str | None, str | None]
"""Account__c, Linked_Account_ID__c and Link_Source__c of a record."""


@dataclass
class Accounts:
    """The Accounts that there are, and the masters of those that were merged."""

    alive: list[str]
    masters: dict[str, str] = field(default_factory=dict)

    def find(self, id_: str | None) -> str | None:
        """The Account that an id, or a text that is none, stands for."""
        while id_ is not None and id_ in self.masters:
            id_ = self.masters[id_]
        return id_ if id_ in self.alive else None


@dataclass
class Told:
    """What the sides say of one customer, and what was applied last.

    `links` has the Account ids of its CustomerLinks by name; names sort by age. `text` is what
    Metronome holds, `ours` whether write-back stored it. `retained`: a link was deleted that leaves
    its Account behind.
    """

    accounts: Accounts
    write_back: bool = False
    links: dict[str, str] = field(default_factory=dict)
    text: str | None = None
    ours: bool = False
    record: str | None = None
    linked: str | None = None
    source: str | None = None
    retained: bool = False

    @property
    def shown(self) -> Shown:
        """What the record shows."""
        return self.record, self.linked, self.source

    @property
    def pending(self) -> bool:
        """Whether the record names another Account than the one that was applied."""
        return self.record != self.linked

    def followed(self) -> str | None:
        """The name of the CustomerLink that counts."""
        valid = (name for name in sorted(self.links) if self.accounts.find(self.links[name]))
        return next(valid, None)

    def verdict(self, name: str) -> str:
        """What a CustomerLink of this customer is told."""
        if self.accounts.find(self.links[name]) is None:
            return "AccountNotFound"
        return "Linked" if name == self.followed() else "Conflict"

    def decided(self, *, links_known: bool = True) -> Place:
        """Read the table."""
        winner = self.followed() if links_known else None
        if winner is not None:
            return self.accounts.find(self.links[winner]), LINK
        applied = self.accounts.find(self.linked)
        if self.source == LINK and applied is not None and (self.links or not links_known):
            return applied, LINK
        said = self.accounts.find(self.text)
        if said is not None and not self._stored():
            return said, METRONOME
        # Salesforce itself lets a record follow a merge, and clears it when the Account goes.
        by_person = self.pending and (self.linked is None or self.record != applied)
        if by_person or self.source == PERSON:
            return self.record, PERSON if self.record else None
        if self.source == LINK and self.retained and links_known:
            return self.record, PERSON if self.record else None
        if self.source == METRONOME and self.text is not None and said is None and applied:
            return applied, METRONOME
        return None, None

    def _stored(self) -> bool:
        """Whether what Metronome holds is what write-back stored, or cannot be told from it."""
        if not self.write_back:
            return False
        applied = self.accounts.find(self.linked)
        same = applied is not None and self.accounts.find(self.text) == applied
        return self.ours or (same and self.source in {LINK, PERSON})

    def to_be_stored(self, place: Place) -> str | None:
        """What Metronome must hold once the customer is where it belongs."""
        account, source = place
        if not self.write_back or source == METRONOME:
            return self.text
        if account is not None:
            return account
        return None if self._stored() and self.accounts.find(self.text) else self.text

    def settle(self, place: Place) -> None:
        """Note that the customer is where it belongs."""
        self.record = self.linked = place[0]
        self.source = place[1]

    def says(self, text: str | None) -> None:
        """Somebody sets the Salesforce id in Metronome."""
        self.ours = self.ours and text is not None and text == self.text
        self.text = text

    def merge(self, master: str, loser: str) -> None:
        """Salesforce lets the record follow."""
        if self.record == loser:
            self.record = master

    def lose(self, account: str) -> None:
        """Salesforce clears what names a deleted Account."""
        if self.record == account:
            self.record = None
