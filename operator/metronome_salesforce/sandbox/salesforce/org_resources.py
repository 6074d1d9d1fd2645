"""Resources of the org as a whole: versions, limits, queries, deploys, tooling."""

import json
from typing import Any

from metronome_salesforce.sandbox.salesforce import user_permissions
from metronome_salesforce.sandbox.salesforce.access import system_permissions
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.deploy_results import DeployResult
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found
from metronome_salesforce.sandbox.salesforce.multipart import read_parts
from metronome_salesforce.sandbox.salesforce.querying import column_metadata

OLDEST_VERSION, NEWEST_VERSION = 31, 68
_SEASONS = ("Spring", "Summer", "Winter")
DEPLOY_POLLS = 2


def versions() -> Reply:
    """`GET /services/data`: every version, oldest first; needs no session."""
    return Reply(
        200,
        [
            {
                "label": _label(each),
                "url": f"/services/data/v{each}.0",
                "version": f"{each}.0",
            }
            for each in range(OLDEST_VERSION, NEWEST_VERSION + 1)
        ],
    )


def _label(version: int) -> str:
    # v66 is Spring '26, v67 Summer '26, v68 Winter '27: three releases a year.
    year, season = divmod(version - 66, 3)
    return f"{_SEASONS[season]} '{(26 + year + (season == 2)) % 100:02d}"


def resources(call: Call) -> Reply:
    """`GET /services/data/vX`."""
    names = ("sobjects", "query", "queryAll", "limits", "composite", "metadata", "tooling", "jobs")
    found = {name: f"{call.root}/{name}" for name in names}
    found["identity"] = f"{call.base}/id/{call.org.state.organization_id}/{call.user.id}"
    return Reply(200, found)


def limits(call: Call) -> Reply:
    """`GET limits`."""
    org = call.org
    used = sum(org.count(each.name) for each in org.state.schema.objects.values() if each.deletable)
    storage = 0 if org.storage_full else max(1024 - used * 2 // 1024, 0)

    def quota(most: int, left: int) -> dict[str, int]:
        return {"Max": most, "Remaining": left}

    return Reply(
        200,
        {
            "DailyApiRequests": quota(org.api_limit, max(org.api_limit - org.api_used, 0)),
            "DailyBulkApiBatches": quota(org.ingest.batches.limit, org.ingest.batches.left),
            "DailyBulkV2QueryJobs": quota(
                org.bulk_queries.quota.limit, org.bulk_queries.quota.left
            ),
            "DailyBulkV2QueryFileStorageMB": quota(
                org.bulk_queries.storage.limit // 1024, org.bulk_queries.storage.left // 1024
            ),
            "DataStorageMB": quota(1024, storage),
            "FileStorageMB": quota(1024, 1024),
            "HourlyPublishedPlatformEvents": quota(50_000, 50_000),
            "MonthlyPlatformEventsUsageEntitlement": quota(0, 0),
        },
    )


def query(call: Call, *, deleted: bool) -> Reply:
    """`GET query?q=` and `queryAll?q=`."""
    text = call.query.get("q")
    if text is None:
        raise SalesforceError("MALFORMED_QUERY", "A query string has to be specified")
    if user_permissions.is_asked(text):
        state = call.org.state
        permissions = system_permissions(call.user, state.assigned(call.user))
        return Reply(200, user_permissions.answer(text, permissions, call.version))
    if call.query.get("columns", "").lower() == "true":
        compiled = call.org.queries.compile(text, call.user, deleted=deleted)
        return Reply(200, column_metadata(compiled))
    return Reply(
        200,
        call.org.queries.run(
            text, call.user, call.version, deleted=deleted, batch=_batch_size(call)
        ),
    )


def _batch_size(call: Call) -> int:
    for part in call.headers.get("sforce-query-options", "").split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() == "batchsize" and value.strip().isdigit():
            return int(value)
    return 0


def query_more(call: Call, locator: str) -> Reply:
    """`GET query/<locator>`."""
    return Reply(200, call.org.queries.more(locator, call.user, call.version))


def tooling(call: Call) -> Reply:
    """Tooling API: no tooling objects here, so queries and describes say they are unknown."""
    kind = call.segments[1] if len(call.segments) > 1 else ""
    if kind in {"query", "queryAll"}:
        return query(call, deleted=False)
    if kind == "sobjects" and len(call.segments) == 2:
        return Reply(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": []})
    raise not_found()


# --- metadata deploys -----------------------------------------------------------------------


def require_metadata_access(call: Call) -> None:
    """Deploys need the permission to modify metadata."""
    state = call.org.state
    if not any(state.may(call.user, each) for each in ("ModifyMetadata", "ModifyAllData")):
        raise SalesforceError(
            "INSUFFICIENT_ACCESS",
            "You do not have the permission to modify metadata: Modify Metadata Through Metadata "
            "API Functions",
            status=403,
        )


def start_deploy(call: Call) -> Reply:
    """`POST metadata/deployRequest`: multipart with options (`json`) and the zip (`file`)."""
    require_metadata_access(call)
    parts = read_parts(call)
    text = parts.get("json") or parts.get("entity_content")
    content = parts.get("file")
    if text is None or content is None:
        raise SalesforceError("INVALID_MULTIPART_REQUEST", "Parts json and file are required")
    try:
        options = json.loads(text).get("deployOptions") or {}
    except (ValueError, AttributeError) as error:
        raise SalesforceError("JSON_PARSER_ERROR", "Invalid deployOptions") from error
    result = call.org.deploy(
        content,
        username=call.user.username,
        check_only=options.get("checkOnly") is True,
        rollback_on_error=options.get("rollbackOnError") is not False,
        polls=1 if call.fast else DEPLOY_POLLS + 1,
    )
    body = {
        "id": result.id,
        "validatedDeployRequestId": None,
        "deployOptions": options,
        "deployResult": result.body(details=False),
    }
    return Reply(201, body)


def deploy_status(call: Call, record: str) -> Reply:
    """`GET metadata/deployRequest/<id>?includeDetails=`; PATCH asks to cancel."""
    require_metadata_access(call)
    result = call.org.deploys.get(record)
    if result is None:
        raise not_found()
    if call.method == "PATCH":
        _cancel(call, result)
    details = call.query.get("includeDetails", "").lower() == "true"
    body: dict[str, Any] = {
        "id": result.id,
        "deployOptions": {
            "checkOnly": result.check_only,
            "rollbackOnError": result.rollback_on_error,
        },
        "deployResult": result.body(details=details),
    }
    return Reply(202 if call.method == "PATCH" else 200, body)


def _cancel(call: Call, result: DeployResult) -> None:
    """`{"deployResult": {"status": "Canceling"}}` is the only change there is."""
    wanted = call.json_object().get("deployResult")
    if not isinstance(wanted, dict) or wanted.get("status") != "Canceling":
        raise SalesforceError("INVALID_INPUT", "Only the status Canceling can be requested")
    if not result.cancel((call.user.id, call.user.name)):
        raise SalesforceError("INVALID_ID_FIELD", "Deployment already completed")
