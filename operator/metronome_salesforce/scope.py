"""Which rows a cycle looks at: the same rule in SOQL for the org and in Python for Metronome.

Rows outside the scope are neither read nor deleted. Both renderings stand side by side here because
a row that only one side takes for "in scope" would be created again or deleted for nothing.
"""

from dataclasses import dataclass
from datetime import date

from metronome_salesforce.mapping import ObjectMapping, Reach


@dataclass(frozen=True, slots=True)
class Scope:
    """The reach of one cycle; dates are UTC days, None means "everything".

    `invoices_from`: drafts, and invoices whose period ended or that were issued since that day (or
    that have neither date). `usage_from`: windows that start on that day or later. `content` asks
    for the whole content of each row instead of its fingerprint, to compare or show field by field.
    `full` tells a full resync from a daily cycle, which leaves customers alone that were archived
    before its reach. `edited` asks for rows only that somebody else wrote last.
    """

    invoices_from: date | None = None
    usage_from: date | None = None
    content: bool = False
    full: bool = False
    edited: bool = False

    def includes_invoice(self, *, draft: bool, end: date | None, issued: date | None) -> bool:
        """Whether an invoice of Metronome is looked at."""
        start = self.invoices_from
        if start is None or draft:
            return True
        if end is None and issued is None:
            return True
        return (end is not None and end >= start) or (issued is not None and issued >= start)

    def condition(self, mapping: ObjectMapping) -> str | None:
        """The SOQL condition for the rows of `mapping` that are looked at; None for all."""
        match mapping.reach:
            case Reach.INVOICES if self.invoices_from is not None:
                path = mapping.invoice_path or ""
                day = self.invoices_from.isoformat()
                return (
                    f"({path}Status__c = 'Draft' OR {path}End__c >= {day}"
                    f" OR {path}Issued_At__c >= {day}T00:00:00Z"
                    f" OR ({path}End__c = null AND {path}Issued_At__c = null))"
                )
            case Reach.USAGE if self.usage_from is not None:
                # A row without windows is one sum whose start moves with the look-back.
                return f"(Start__c >= {self.usage_from.isoformat()} OR Window_Size__c = 'None')"
            case _:
                return None
