"""Which resource answers which path below `/services/data/vX`."""

from metronome_salesforce.sandbox.salesforce import (
    analytics_resources,
    bulk_ingest,
    bulk_query,
    collection_resources,
    composite,
    composite_graph,
    describing,
    listview_resources,
    org_resources,
    row_resources,
)
from metronome_salesforce.sandbox.salesforce.calls import Call, Reply
from metronome_salesforce.sandbox.salesforce.exceptions import SalesforceError, not_found


def family(segments: list[str]) -> str:
    """The word under which a call is counted in the statistics."""
    if not segments:
        return "resources"
    first = segments[0].lower()
    if first in {"query", "queryall"}:
        return "query"
    if first == "composite":
        return "collections" if segments[1:2] == ["sobjects"] else "composite"
    if first == "sobjects" and segments[-1] == "describe":
        return "describe"
    if first == "jobs":
        return "bulk"
    return first


def dispatch(call: Call) -> Reply:
    """Answer one REST call; raises SalesforceError and RowRefusedError."""
    segments = call.segments
    if not segments:
        return org_resources.resources(_only(call, "GET"))
    match segments[0].lower():
        case "sobjects":
            return _sobjects(call, segments[1:])
        case "composite":
            return _composite(call, segments[1:])
        case "query" | "queryall" as name:
            _only(call, "GET")
            if len(segments) == 2:
                return org_resources.query_more(call, segments[1])
            return org_resources.query(call, deleted=name == "queryall")
        case "limits":
            return org_resources.limits(_only(call, "GET"))
        case "metadata":
            return _metadata(call, segments[1:])
        case "jobs":
            return _jobs(call, segments[1:])
        case "tooling":
            return org_resources.tooling(call)
        case "analytics":
            return _analytics(call, segments[1:])
    raise not_found()


def _only(call: Call, *methods: str) -> Call:
    """The call itself, if its method is one of these; raises METHOD_NOT_ALLOWED."""
    if call.method not in methods:
        raise SalesforceError(
            "METHOD_NOT_ALLOWED",
            f"HTTP Method '{call.method}' not allowed. Allowed are {','.join(methods)}",
            status=405,
        )
    return call


def _sobjects(call: Call, rest: list[str]) -> Reply:
    method = call.method
    if not rest:
        return describing.sobjects(_only(call, "GET"))
    name = rest[0]
    if len(rest) == 1:
        _only(call, "GET", "POST", "HEAD")
        return (
            row_resources.create(call, name)
            if method == "POST"
            else (describing.sobject(call, name))
        )
    if rest[1:2] == ["listviews"]:
        return _listviews(_only(call, "GET"), name, rest[2:])
    if len(rest) == 2:
        match rest[1]:
            case "describe":
                return describing.describe(_only(call, "GET"), name)
            case "updated":
                return row_resources.updated(_only(call, "GET"), name)
            case "deleted":
                return row_resources.deleted(_only(call, "GET"), name)
            case "Id":
                return row_resources.create(_only(call, "POST"), name)
        _only(call, "GET", "PATCH", "DELETE", "HEAD")
        one = {"PATCH": row_resources.update, "DELETE": row_resources.delete}
        return one.get(method, row_resources.read)(call, name, rest[1])
    if len(rest) == 3:
        _only(call, "GET", "PATCH", "DELETE", "HEAD")
        by_key = {"PATCH": row_resources.upsert, "DELETE": row_resources.delete_by_key}
        return by_key.get(method, row_resources.read_by_key)(call, name, rest[1], rest[2])
    raise not_found()


def _listviews(call: Call, name: str, rest: list[str]) -> Reply:
    match rest:
        case []:
            return listview_resources.views(call, name)
        case [record]:
            return listview_resources.view(call, name, record)
        case [record, "describe"]:
            return listview_resources.describe(call, name, record)
        case [record, "results"]:
            return listview_resources.results(call, name, record)
    raise not_found()


def _composite(call: Call, rest: list[str]) -> Reply:
    method = call.method
    if not rest:
        return composite.composite(_only(call, "POST"), dispatch)
    match rest[0], len(rest):
        case "batch", 1:
            return composite.batch(_only(call, "POST"), dispatch)
        case "graph", 1:
            return composite_graph.graph(_only(call, "POST"), dispatch)
        case "tree", 2:
            return composite.tree(_only(call, "POST"), rest[1])
        case "sobjects", 1:
            _only(call, "POST", "PATCH", "DELETE")
            if method == "POST":
                return collection_resources.create(call)
            if method == "PATCH":
                return collection_resources.update(call)
            return collection_resources.delete(call)
        case "sobjects", 2:
            return collection_resources.retrieve(_only(call, "GET", "POST"), rest[1])
        case "sobjects", 3:
            _only(call, "PATCH")
            return collection_resources.upsert(call, rest[1], rest[2])
    raise not_found()


def _metadata(call: Call, rest: list[str]) -> Reply:
    if rest[:1] != ["deployRequest"]:
        raise not_found()
    if len(rest) == 1:
        return org_resources.start_deploy(_only(call, "POST"))
    return org_resources.deploy_status(_only(call, "GET", "PATCH"), rest[1])


def _analytics(call: Call, rest: list[str]) -> Reply:
    match rest:
        case ["reports"]:
            return analytics_resources.report_list(_only(call, "GET"))
        case ["reports", record]:
            return analytics_resources.run(_only(call, "GET", "POST"), record)
        case ["reports", record, "describe"]:
            return analytics_resources.describe(_only(call, "GET"), record)
    raise not_found()


def _jobs(call: Call, rest: list[str]) -> Reply:
    since = {"ingest": 41, "query": 47}.get(rest[0] if rest else "")
    if since is None or float(call.version) < since:
        raise not_found()
    match rest:
        case ["ingest"]:
            return bulk_ingest.jobs(_only(call, "GET", "POST"))
        case ["ingest", record]:
            return bulk_ingest.job(_only(call, "GET", "PATCH", "DELETE"), record)
        case ["ingest", record, "batches"]:
            return bulk_ingest.batches(_only(call, "PUT"), record)
        case ["ingest", record, which]:
            return bulk_ingest.results(_only(call, "GET"), record, which)
        case ["query"]:
            return bulk_query.jobs(_only(call, "GET", "POST"))
        case ["query", record]:
            return bulk_query.job(_only(call, "GET", "PATCH", "DELETE"), record)
        case ["query", record, "results"]:
            return bulk_query.results(_only(call, "GET"), record)
    raise not_found()
