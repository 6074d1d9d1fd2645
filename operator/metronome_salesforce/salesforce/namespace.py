"""The namespace of a package that was installed with one: names on the wire, and names in here.

Everywhere else the package's names are those of its source (`Metronome_Invoice__c`). Where somebody
has made a managed package of it, the org knows them as `acme__Metronome_Invoice__c`, and only what
belongs to the package: the fields of the organisation's own keep their names, and so do those of
the platform (ISVforce guide, Namespace Prefix).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from metronome_salesforce.canon import Lookup, MasterDetail
from metronome_salesforce.mapping import ObjectMapping
from metronome_salesforce.objects import ACCOUNT_SUMMARY, PACKAGED
from metronome_salesforce.salesforce.package import VERSION_FIELD, VERSION_TYPE

# A quoted text, which stays as it is, or a name.
_WORDS = re.compile(r"'(?:[^'\\]|\\.)*'|\b[A-Za-z]\w*__(?:c|r|mdt)\b")


_FROM_ACCOUNT = re.compile(r"\bFROM Account\b")


def _names_of(mappings: Iterable[ObjectMapping]) -> frozenset[str]:
    names = set()
    for mapping in mappings:
        names.add(mapping.sobject)
        for field in mapping.fields:
            names.add(field.api)
            if isinstance(field.kind, Lookup | MasterDetail):
                names.add(f"{field.api.removesuffix('__c')}__r")
    return frozenset(name for name in names if name.endswith(("__c", "__r")))


_NAMES = _names_of((*PACKAGED, ACCOUNT_SUMMARY)) | {VERSION_TYPE, VERSION_FIELD}
# An org may well have an Account field of its own that is called as one of our other objects'.
_OF_ACCOUNT = _names_of([ACCOUNT_SUMMARY])


class Namespace:
    """Puts the prefix before the package's own names on their way out, and takes it off again."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}__" if prefix else ""

    def __bool__(self) -> bool:
        return bool(self._prefix)

    def name(self, name: str, ours: frozenset[str] = _NAMES) -> str:
        """One name as the org knows it; `ours` are the names that take the prefix."""
        return f"{self._prefix}{name}" if name in ours else name

    def soql(self, query: str) -> str:
        """A query with the org's names; quoted texts stay."""
        if not self:
            return query
        ours = _OF_ACCOUNT if _FROM_ACCOUNT.search(query) else _NAMES
        return _WORDS.sub(lambda found: self.name(found[0], ours), query)

    def path(self, path: str) -> str:
        """A resource's path with the org's names."""
        return "/".join(map(self.name, path.split("/"))) if self else path

    def outgoing(self, body: Any) -> Any:
        """A body with the org's names for fields, relationships and types of records."""
        if not self:
            return body
        if isinstance(body, Mapping):
            return {
                self.name(key): self.name(value) if key == "type" else self.outgoing(value)
                for key, value in body.items()
            }
        if isinstance(body, list | tuple):
            return [self.outgoing(one) for one in body]
        return body

    def incoming(self, answer: Any) -> Any:
        """An answer with the package's names: in keys, and where an answer is about names."""
        if not self:
            return answer
        if isinstance(answer, dict):
            return {
                self._own(key): self._own(value)
                if key in _NAMING and isinstance(value, str)
                else self._names(value)
                if key == "fields"
                else self.incoming(value)
                for key, value in answer.items()
            }
        if isinstance(answer, list):
            return [self.incoming(one) for one in answer]
        return answer

    def _names(self, value: Any) -> Any:
        """The fields of an error are names; those of a describe are objects."""
        if isinstance(value, list):
            return [self._own(one) if isinstance(one, str) else self.incoming(one) for one in value]
        return self.incoming(value)

    def _own(self, name: str) -> str:
        short = name[len(self._prefix) :]
        return short if name == f"{self._prefix}{short}" and short in _NAMES else name


# Keys of describe answers whose values are names.
_NAMING = frozenset({"name", "relationshipName"})
