"""The two custom resources as values, with the defaults and the refusals of `crds/`.

The CRDs are the truth; a test walks both and keeps them equal. The models exist because `sync -f`
has no API server before it, and because an API server cannot check everything: that a time zone
exists, or that a schedule such as 30 February ever comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self, get_args

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
from pydantic_core import ErrorDetails

from metronome_salesforce.errors import ConfigError
from metronome_salesforce.fieldtypes import (
    AccountId,
    ApiName,
    CustomerId,
    DataKey,
    Day,
    Duration,
    InstanceUrl,
    Lookback,
    MetronomeUrl,
    Name,
    NamespacePrefix,
    SalesforceIdField,
    SalesforceVersion,
    Schedule,
    TimeZone,
    not_twice,
    refused,
)

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
InstallPolicy = Literal["Never", "IfMissing", "Always"]

NEEDS: Final[Mapping[str, str]] = {
    "CustomerPlan": "Plan",
    "InvoiceLineItem": "Invoice",
    "InvoiceSubLineItem": "InvoiceLineItem",
    "InvoiceAdjustment": "Invoice",
}
"""Object types whose rows cannot exist without those of another (Customer is needed always)."""


def _complete(objects: tuple[str, ...]) -> tuple[str, ...]:
    if "Customer" not in objects:
        raise refused("must contain Customer")
    for name in objects:
        parent = NEEDS.get(name)
        if parent and parent not in objects:
            raise refused(f"{name} needs {parent}")
    return objects


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

    name: Name
    key: DataKey = "apiKey"


class CredentialsSecretRef(_Part):
    """The Secret with the sign-in to Salesforce."""

    name: Name


class ConfigMapRef(_Part):
    """The ConfigMap with certificate authorities."""

    name: Name
    key: DataKey = "ca.crt"


class MetronomeSpec(_Part):
    """`spec.metronome`: where the data comes from. `base_url` has no slash at its end."""

    api_key_secret_ref: ApiKeySecretRef
    base_url: MetronomeUrl = "https://api.metronome.com"
    max_concurrent_requests: int = Field(default=4, ge=1, le=32)
    salesforce_id_field: SalesforceIdField = "salesforce_account_id"


class PackageSpec(_Part):
    """`spec.salesforce.package`: whether cycles install the Metronome package."""

    install: InstallPolicy = "IfMissing"


class SalesforceSpec(_Part):
    """`spec.salesforce`: where the data goes. `instance_url` has no slash at its end."""

    instance_url: InstanceUrl
    credentials_secret_ref: CredentialsSecretRef
    api_version: SalesforceVersion = "66.0"
    ca_bundle_config_map_ref: ConfigMapRef | None = None
    api_budget_percent: int = Field(default=80, ge=1, le=100)
    namespace_prefix: NamespacePrefix = ""
    package: PackageSpec = PackageSpec()


class InvoicesSpec(_Part):
    """`spec.invoices`: which invoices are synced."""

    since: Day | None = None
    statuses: Annotated[
        tuple[InvoiceStatus, ...],
        Field(strict=False, min_length=1, max_length=3),
        AfterValidator(not_twice),
    ] = ("Draft", "Finalized", "Void")


class UsageSpec(_Part):
    """`spec.usage`: which usage is synced."""

    lookback: Lookback = timedelta(days=34)
    skip_zero: bool = True


class PruneSpec(_Part):
    """`spec.prune`: what happens to rows that Metronome has no more."""

    enabled: bool = True
    max_delete_percent: int = Field(default=10, ge=0, le=100)


class ExecutionSpec(_Part):
    """`spec.execution`: how a cycle is run."""

    active_deadline: Duration = timedelta(hours=6)


class LinkingSpec(_Part):
    """`spec.linking`: how customers find their Accounts."""

    write_back: bool = False
    watch_salesforce_every: Duration = timedelta(minutes=1)


class MetronomeSyncSpec(_Part):
    """`spec` of a MetronomeSync; the CRD describes each field."""

    suspend: bool = False
    schedule: Schedule = "0 6 * * *"
    time_zone: TimeZone = "Etc/UTC"
    starting_deadline: Duration | None = None
    window_size: WindowSize = "Day"
    metronome: MetronomeSpec
    salesforce: SalesforceSpec
    objects: Annotated[
        tuple[ObjectName, ...],
        Field(strict=False, min_length=1, max_length=9),
        AfterValidator(not_twice),
        AfterValidator(_complete),
    ] = get_args(ObjectName)
    invoices: InvoicesSpec = InvoicesSpec()
    usage: UsageSpec = UsageSpec()
    linking: LinkingSpec = LinkingSpec()
    prune: PruneSpec = PruneSpec()
    full_resync_every: Duration = timedelta(days=7)
    heal_edits: bool = True
    history_limit: int = Field(default=10, ge=1, le=50)
    dry_run: bool = False
    execution: ExecutionSpec = ExecutionSpec()


class SyncRef(_Part):
    """`spec.syncRef` of a CustomerLink."""

    name: Name


class CustomerRef(_Part):
    """`spec.customer` of a CustomerLink: exactly one of the two."""

    id: CustomerId | None = None
    ingest_alias: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.id is None) == (self.ingest_alias is None):
            raise refused("must have exactly one of id and ingestAlias")
        return self


class AccountExternalId(_Part):
    """An external id field of Account and its value."""

    field: ApiName
    value: str = Field(min_length=1, max_length=255)


class AccountRef(_Part):
    """`spec.account` of a CustomerLink: exactly one of the two."""

    id: AccountId | None = None
    external_id: AccountExternalId | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.id is None) == (self.external_id is None):
            raise refused("must have exactly one of id and externalId")
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

    name: Name
    namespace: Name = "default"
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
