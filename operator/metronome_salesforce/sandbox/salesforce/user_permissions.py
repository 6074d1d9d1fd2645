"""UserPermissionAccess: what the user who asks may do, one record that is stored nowhere.

Source: Object Reference, UserPermissionAccess. It has one checkbox for each system permission, and
whoever may use the API may query it.
"""

import re
from collections.abc import Collection
from typing import Any

from metronome_salesforce.sandbox.salesforce.access import SYSTEM_PERMISSIONS
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError

OBJECT = "UserPermissionAccess"
_QUERY = re.compile(
    rf"\s*SELECT\s+(?P<fields>\w+(?:\s*,\s*\w+)*)\s+FROM\s+{OBJECT}(?:\s+LIMIT\s+[1-9]\d*)?\s*\Z",
    re.IGNORECASE,
)
_FIELDS = {f"permissions{name}".lower(): name for name in SYSTEM_PERMISSIONS}


def is_asked(soql: str) -> bool:
    """Whether a query is about this object."""
    return re.search(rf"\bFROM\s+{OBJECT}\b", soql, re.IGNORECASE) is not None


def answer(soql: str, permissions: Collection[str], version: str) -> dict[str, Any]:
    """The answer to a query; `permissions` are those that the user has, such as ModifyMetadata."""
    found = _QUERY.match(soql)
    if found is None:
        raise SalesforceError("MALFORMED_QUERY", f"{OBJECT} is queried without conditions")
    record: dict[str, Any] = {
        "attributes": {
            "type": OBJECT,
            "url": f"/services/data/v{version}/sobjects/{OBJECT}/000000000000000AAA",
        }
    }
    for name in re.split(r"\s*,\s*", found["fields"]):
        permission = _FIELDS.get(name.lower())
        if permission is None:
            raise SalesforceError("INVALID_FIELD", f"No such column '{name}' on entity '{OBJECT}'.")
        record[f"Permissions{permission}"] = permission in permissions
    return {"totalSize": 1, "done": True, "records": [record]}
