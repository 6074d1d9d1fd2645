"""What can go wrong, named by what happens next.

    ProductError                a sentence for the person who must act, and a reason in one word
    ├── ConfigError             somebody must change the resource, a Secret or the org; waiting
    │                           does not help → Stalled=True
    ├── RetriableError          the other side may answer later → Ready=Unknown, tried again
    └── UnsafePlanError         the plan looks wrong; nothing was written → outcome Refused

A row that Salesforce refuses is data (`rows.RowResult`), never an exception. Anything else that is
raised is a bug of ours and is not swallowed.

No message may hold a secret, or content of a customer's records.
"""


class ProductError(Exception):
    """A sentence for a person (`message`) and its PascalCase `reason`, as conditions carry it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ConfigError(ProductError):
    """Nothing will change until a person changes something; the message says what."""


class RetriableError(ProductError):
    """The same call may succeed later; `after` is the other side's wish in seconds, if any."""

    def __init__(self, reason: str, message: str, after: float | None = None) -> None:
        super().__init__(reason, message)
        self.after = after


class UnsafePlanError(ProductError):
    """A guard refused the plan before the first write."""
