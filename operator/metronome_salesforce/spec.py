"""The two custom resources as values, with the defaults and the refusals of `crds/`.

The CRDs are the truth; a test walks both and keeps them equal. The models exist because `sync -f`
has no API server before it, and because an API server cannot check everything: that a time zone
exists, or that a schedule such as 30 February ever comes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from metronome_salesforce.errors import ConfigError

GROUP: Final = "metronome-salesforce.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
SYNC_PLURAL: Final = "metronomesyncs"
LINK_PLURAL: Final = "customerlinks"

ObjectName = Literal[
    "Customer",
    "Plan",
    "CustomerPlan",
    "Invoice",
    "InvoiceLineItem",
    "InvoiceSubLineItem",
    "InvoiceAdjustment",
    "CreditGrant",
    "Usage",
]
InvoiceStatus = Literal["Draft", "Finalized", "Void"]
WindowSize = Literal["Day", "Hour", "None"]
DeletionPolicy = Literal["Orphan", "Retain"]

NEEDS: Final[Mapping[str, str]] = {
    "CustomerPlan": "Plan",
    "InvoiceLineItem": "Invoice",
    "InvoiceSubLineItem": "InvoiceLineItem",
    "InvoiceAdjustment": "Invoice",
}
"""Object types whose rows cannot exist without those of another (Customer is needed always)."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_URL = re.compile(r"https?://[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?/?")
_DURATION = re.compile(
    r"(?:(?P<days>[0-9]{1,4})d)?(?:(?P<hours>[0-9]{1,4})h)?"
    r"(?:(?P<minutes>[0-9]{1,5})m)?(?:(?P<seconds>[0-9]{1,6})s)?"
)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
_ID_FIELD = re.compile(r"salesforce_account_id|customFields\.[^\t\n\f\r ]+")
_SALESFORCE_VERSION = re.compile(r"(5[89]|[6-9][0-9])\.0")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ACCOUNT_ID = re.compile(r"001[A-Za-z0-9]{12}([A-Z0-5]{3})?")
_API_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CHECKSUM_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"


def _cron_field(number: str, names: str = "") -> str:
    """The pattern of one cron field: a list of *, values and ranges, each with a step or not."""
    values = rf"\*|(?:{number})(?:-(?:{number}))?"
    if names:
        values += rf"|(?:{names})(?:-(?:{names}))?"
    term = f"(?:{values})(?:/[1-9][0-9]?)?"
    return f"{term}(?:,{term})*"


_SCHEDULE = re.compile(
    " +".join(
        (
            _cron_field("[0-5]?[0-9]"),
            _cron_field("[01]?[0-9]|2[0-3]"),
            _cron_field("0?[1-9]|[12][0-9]|3[01]"),
            _cron_field("0?[1-9]|1[0-2]", _MONTHS),
            _cron_field("[0-7]", _DAYS),
        )
    ),
    re.IGNORECASE | re.ASCII,
)


def _refuse(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def _matching(pattern: re.Pattern[str], sentence: str) -> AfterValidator:
    """A check that the whole text matches; the text itself stays out of the message."""

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise _refuse(sentence)
        return text

    return AfterValidator(check)


def _schedule(text: str) -> str:
    if not _SCHEDULE.fullmatch(text):
        raise _refuse(
            "must be five cron fields: minute (0-59), hour (0-23), day of month (1-31), month"
            " (1-12 or JAN-DEC) and day of week (0-7 or SUN-SAT), each a *, a value, a range, a"
            " step or a list of these, such as 0 6 * * MON-FRI"
        )
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        part = str(error).removeprefix("Bad ")
        raise _refuse(
            f"has a {part} that cannot be: a range that ends before it begins (a week starts with"
            " SUN), or a day that the month does not have"
        ) from None
    except StopIteration:
        raise _refuse("never comes") from None
    return text


def _time_zone(text: str) -> str:
    if not _ZONE.fullmatch(text):
        raise _refuse("must be the IANA name of a time zone, such as Europe/Berlin or Etc/UTC")
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _refuse("is not a known time zone: use an IANA name such as Europe/Berlin") from None
    return text


def parse_duration(text: str) -> timedelta:
    """`34d`, `6h`, `1h30m` and the like; raises ValueError for other texts and for zero."""
    found = _DURATION.fullmatch(text)
    duration = timedelta()
    if found:
        duration = timedelta(**{unit: int(n) for unit, n in found.groupdict().items() if n})
    if not duration:
        raise ValueError("not a duration above zero")
    return duration


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return parse_duration(_text(value))
    except ValueError:
        raise _refuse(
            "must be a duration above zero of days, hours, minutes and seconds in that order,"
            " such as 34d, 6h or 1h30m"
        ) from None


def _day(value: object) -> date:
    text = _text(value)
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            return date.fromisoformat(text)
    except ValueError:
        pass  # a date such as 30 February
    raise _refuse("must be a day, such as 2024-01-01")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be text")
    return value


def _not_twice(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(items)) != len(items):
        raise _refuse("must not name anything twice")
    return items


def _complete(objects: tuple[str, ...]) -> tuple[str, ...]:
    if "Customer" not in objects:
        raise _refuse("must contain Customer")
    for name in objects:
        parent = NEEDS.get(name)
        if parent and parent not in objects:
            raise _refuse(f"{name} needs {parent}")
    return objects


def _url(example: str) -> AfterValidator:
    return _matching(
        _URL, f"must be https:// and a host name, without user, path or query, such as {example}"
    )


def _my_domain(url: str) -> str:
    if ".lightning.force.com" in url:
        raise _refuse(
            "must be the My Domain address, such as https://acme.my.salesforce.com, not the"
            " lightning.force.com address of the browser"
        )
    return url


def _account_id(text: str) -> str:
    if not _ACCOUNT_ID.fullmatch(text):
        raise _refuse(
            "must be the id of an Account in 15 or 18 letters and digits that begin with 001"
        )
    if text[15:] not in ("", _checksum(text[:15])):
        raise _refuse(
            "has a last part (characters 16 to 18) that does not fit the others: copy the id"
            " again, with upper and lower case as they are"
        )
    return text


def _checksum(short: str) -> str:
    """Characters 16 to 18 of an id: which of the others are upper case, five in each."""
    return "".join(
        _CHECKSUM_ALPHABET[
            sum(1 << place for place in range(5) if "A" <= short[start + place] <= "Z")
        ]
        for start in (0, 5, 10)
    )


_Name = Annotated[
    str,
    Field(min_length=1, max_length=253),
    _matching(_NAME, 'must be a name of lower case letters, digits, "-" and "."'),
]
_DataKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    _matching(_KEY, 'must be letters, digits, "-", "_" and "."'),
]
_Duration = Annotated[timedelta, BeforeValidator(_duration)]
_Host = Field(min_length=1, max_length=280)
_WithoutSlash = AfterValidator(lambda url: url.removesuffix("/"))


class _Part(BaseModel):
    """A part of a resource: unknown fields refused, nothing converted, null as if not given."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
        use_attribute_docstrings=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, given: object) -> object:
        # The API server drops nulls before it sets defaults and validates.
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None}


class ApiKeySecretRef(_Part):
    """The Secret with Metronome's API key."""

    name: _Name
    key: _DataKey = "apiKey"


class CredentialsSecretRef(_Part):
    """The Secret with the sign-in to Salesforce."""

    name: _Name


class ConfigMapRef(_Part):
    """The ConfigMap with certificate authorities."""

    name: _Name
    key: _DataKey = "ca.crt"


class MetronomeSpec(_Part):
    """`spec.metronome`: where the data comes from. `base_url` has no slash at its end."""

    api_key_secret_ref: ApiKeySecretRef
    base_url: Annotated[str, _Host, _url("https://api.metronome.com"), _WithoutSlash] = (
        "https://api.metronome.com"
    )
    max_concurrent_requests: int = Field(default=4, ge=1, le=32)
    salesforce_id_field: Annotated[
        str,
        Field(min_length=1, max_length=200),
        _matching(
            _ID_FIELD,
            "must be salesforce_account_id, or customFields. and the key of a custom field",
        ),
    ] = "salesforce_account_id"


class SalesforceSpec(_Part):
    """`spec.salesforce`: where the data goes. `instance_url` has no slash at its end."""

    instance_url: Annotated[
        str,
        _Host,
        _url("https://acme.my.salesforce.com"),
        AfterValidator(_my_domain),
        _WithoutSlash,
    ]
    credentials_secret_ref: CredentialsSecretRef
    api_version: Annotated[
        str,
        Field(min_length=1, max_length=10),
        _matching(
            _SALESFORCE_VERSION,
            'must be a version of Salesforce\'s API from 58.0 on, such as "66.0"',
        ),
    ] = "66.0"
    ca_bundle_config_map_ref: ConfigMapRef | None = None
    api_budget_percent: int = Field(default=80, ge=1, le=100)


class InvoicesSpec(_Part):
    """`spec.invoices`: which invoices are synced."""

    since: Annotated[date, BeforeValidator(_day)] | None = None
    statuses: Annotated[
        tuple[InvoiceStatus, ...],
        Field(strict=False, min_length=1, max_length=3),
        AfterValidator(_not_twice),
    ] = ("Draft", "Finalized", "Void")


class UsageSpec(_Part):
    """`spec.usage`: which usage is synced."""

    lookback: _Duration = timedelta(days=34)
    skip_zero: bool = True


class PruneSpec(_Part):
    """`spec.prune`: what happens to rows that Metronome has no more."""

    enabled: bool = True
    max_delete_percent: int = Field(default=10, ge=0, le=100)


class ExecutionSpec(_Part):
    """`spec.execution`: how a cycle is run."""

    active_deadline: _Duration = timedelta(hours=6)


class MetronomeSyncSpec(_Part):
    """`spec` of a MetronomeSync; the CRD describes each field."""

    suspend: bool = False
    schedule: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_schedule)] = (
        "0 6 * * *"
    )
    time_zone: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_time_zone)] = (
        "Etc/UTC"
    )
    starting_deadline: _Duration | None = None
    window_size: WindowSize = "Day"
    metronome: MetronomeSpec
    salesforce: SalesforceSpec
    objects: Annotated[
        tuple[ObjectName, ...],
        Field(strict=False, min_length=1, max_length=9),
        AfterValidator(_not_twice),
        AfterValidator(_complete),
    ] = get_args(ObjectName)
    invoices: InvoicesSpec = InvoicesSpec()
    usage: UsageSpec = UsageSpec()
    prune: PruneSpec = PruneSpec()
    full_resync_every: _Duration = timedelta(days=7)
    heal_edits: bool = True
    history_limit: int = Field(default=10, ge=1, le=50)
    dry_run: bool = False
    execution: ExecutionSpec = ExecutionSpec()


class SyncRef(_Part):
    """`spec.syncRef` of a CustomerLink."""

    name: _Name


class CustomerRef(_Part):
    """`spec.customer` of a CustomerLink: exactly one of the two."""

    id: (
        Annotated[
            str,
            Field(min_length=1, max_length=36),
            _matching(
                _UUID,
                "must be the customer's id in Metronome, a UUID such as"
                " 0b9a3c1e-7a55-4c0e-9d0a-3f6b1f1f0001",
            ),
        ]
        | None
    ) = None
    ingest_alias: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.id is None) == (self.ingest_alias is None):
            raise _refuse("must have exactly one of id and ingestAlias")
        return self


class AccountExternalId(_Part):
    """An external id field of Account and its value."""

    field: Annotated[
        str,
        Field(min_length=1, max_length=80),
        _matching(_API_NAME, "must be the API name of a field of Account, such as ERP_Number__c"),
    ]
    value: str = Field(min_length=1, max_length=255)


class AccountRef(_Part):
    """`spec.account` of a CustomerLink: exactly one of the two."""

    id: Annotated[str, Field(min_length=1, max_length=18), AfterValidator(_account_id)] | None = (
        None
    )
    external_id: AccountExternalId | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.id is None) == (self.external_id is None):
            raise _refuse("must have exactly one of id and externalId")
        return self


class CustomerLinkSpec(_Part):
    """`spec` of a CustomerLink; the CRD describes each field."""

    sync_ref: SyncRef
    customer: CustomerRef
    account: AccountRef
    deletion_policy: DeletionPolicy = "Orphan"


class Metadata(BaseModel):
    """What is used of a resource's metadata; the rest of it is let pass."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True
    )

    name: _Name
    namespace: _Name = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    annotations: Annotated[
        Mapping[str, str], BeforeValidator(lambda value: {} if value is None else value)
    ] = Field(default_factory=dict)
    labels: Annotated[
        Mapping[str, str], BeforeValidator(lambda value: {} if value is None else value)
    ] = Field(default_factory=dict)


class _Resource(_Part):
    api_version: Literal["metronome-salesforce.dev/v1alpha1"]
    metadata: Metadata
    status: Mapping[str, Any] = Field(default_factory=dict)


class MetronomeSync(_Resource):
    """A MetronomeSync as the API returns it or a file declares it; `status` is not checked."""

    kind: Literal["MetronomeSync"]
    spec: MetronomeSyncSpec


class CustomerLink(_Resource):
    """A CustomerLink as the API returns it or a file declares it; `status` is not checked."""

    kind: Literal["CustomerLink"]
    spec: CustomerLinkSpec


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field; `path` holds names and list positions as the resource does."""

    path: tuple[str | int, ...]
    message: str

    @property
    def field(self) -> str:
        """The path as people and the API server write it: `spec.objects[2]`."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return text

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.path else self.message


def problems(error: ValidationError) -> list[FieldProblem]:
    """What pydantic found, in sentences that hold no value of any field."""
    found = error.errors()
    # To pydantic, a list whose only entry is wrong is too short as well.
    wrong_lists = {e["loc"][:-1] for e in found if e["loc"] and isinstance(e["loc"][-1], int)}
    return [
        FieldProblem(entry["loc"], _sentence(entry))
        for entry in found
        if entry["type"] != "too_short" or entry["loc"] not in wrong_lists
    ]


_SENTENCES: Final[Mapping[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not a field that exists here",
    "literal_error": "must be one of {expected}",
    "string_type": "must be text (a number goes in quotes)",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "tuple_type": "must be a list",
    "model_type": "must be an object with fields",
    "dict_type": "must be an object with fields",
    "mapping_type": "must be an object with fields",
}


def _sentence(found: ErrorDetails) -> str:
    sentence = _SENTENCES.get(found["type"])
    if sentence is None:
        return found["msg"]
    values = dict(found.get("ctx") or {})
    if "expected" in values:
        values["expected"] = str(values["expected"]).replace("'", "").replace(" or ", ", ")
    return sentence.format_map(values)


def parse_sync(document: Mapping[str, Any]) -> MetronomeSync:
    """A MetronomeSync from the API; raises ConfigError `InvalidSpec` naming every wrong field."""
    try:
        return MetronomeSync.model_validate(_plain(document))
    except ValidationError as error:
        raise _invalid(error) from None


def parse_link(document: Mapping[str, Any]) -> CustomerLink:
    """A CustomerLink from the API; raises ConfigError `InvalidSpec` naming every wrong field."""
    try:
        return CustomerLink.model_validate(_plain(document))
    except ValidationError as error:
        raise _invalid(error) from None


def _plain(value: Any) -> Any:
    """The document in dicts and lists; kopf hands out read-only views of them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _invalid(error: ValidationError) -> ConfigError:
    return ConfigError("InvalidSpec", "; ".join(map(str, problems(error))) + ".")
