"""Discovery: which groups, versions and resources there are, in the old and the aggregated form.

Source: Kubernetes documentation, "The Kubernetes API", API Discovery. OpenAPI v3 says only that
writes take `fieldValidation`: with that kubectl leaves validation to the server.
"""

from metronome_salesforce.sandbox.kubernetes.exceptions import Json, no_such_path
from metronome_salesforce.sandbox.kubernetes.kinds import Resource

VERSION: Json = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.2",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def _groups(resources: list[Resource]) -> dict[str, list[str]]:
    """Versions by named group, in order of registration, the preferred one first."""
    groups: dict[str, list[str]] = {}
    for resource in resources:
        versions = groups.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)
    return groups


def core_versions() -> Json:
    """`/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(resources: list[Resource]) -> Json:
    """`/apis`."""
    groups = [_group(name, versions) for name, versions in _groups(resources).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(resources: list[Resource], name: str) -> Json:
    """`/apis/GROUP`; raises ApiError 404."""
    versions = _groups(resources).get(name)
    if not versions:
        raise no_such_path()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(resources: list[Resource], group_name: str, version: str) -> Json:
    """`/api/v1` or `/apis/GROUP/VERSION`; raises ApiError 404."""
    listed: list[Json] = []
    for resource in resources:
        if (resource.group, resource.version) != (group_name, version):
            continue
        entry: Json = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        listed.append(entry)
        if resource.has_status:
            listed.append(
                {
                    "name": f"{resource.plural}/status",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": resource.kind,
                    "verbs": ["get", "patch", "update"],
                }
            )
    if not listed:
        raise no_such_path()
    name = f"{group_name}/{version}" if group_name else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": name,
        "resources": listed,
    }


def aggregated(resources: list[Resource], *, core: bool) -> Json:
    """`/api` or `/apis` in one document, as kubectl since 1.27 asks for it."""
    items: list[Json] = []
    for name, versions in _groups(resources).items():
        if (name == "") is not core:
            continue
        listed = [
            {
                "version": version,
                "freshness": "Current",
                "resources": [
                    _aggregated_resource(resource)
                    for resource in resources
                    if (resource.group, resource.version) == (name, version)
                ],
            }
            for version in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated_resource(resource: Resource) -> Json:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: Json = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
    }
    if resource.has_status:
        entry["subresources"] = [
            {"subresource": "status", "responseKind": kind, "verbs": ["get", "patch", "update"]}
        ]
    return entry


def openapi_index(resources: list[Resource]) -> Json:
    """`/openapi/v3`."""
    paths = {}
    for name, versions in _groups(resources).items():
        for version in versions:
            path = f"apis/{name}/{version}" if name else f"api/{version}"
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}"}
    return {"paths": paths}


def openapi(resources: list[Resource], path: str) -> Json:
    """`/openapi/v3/api/v1` and its like: one PATCH operation for each kind."""
    parts = path.split("/")
    group_name = parts[1] if parts[0] == "apis" else ""
    version = parts[-1]
    paths: Json = {}
    for resource in resources:
        if (resource.group, resource.version) != (group_name, version):
            continue
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        paths[f"/{path}{scope}/{resource.plural}/{{name}}"] = {
            "patch": {
                "parameters": [
                    {"name": "dryRun", "in": "query", "schema": {"type": "string"}},
                    {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}},
                ],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": {
                    "group": resource.group,
                    "version": resource.version,
                    "kind": resource.kind,
                },
            }
        }
    if not paths:
        raise no_such_path()
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": paths,
        "components": {"schemas": {}},
    }
