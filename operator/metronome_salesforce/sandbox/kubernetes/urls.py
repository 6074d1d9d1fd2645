"""Paths of the Kubernetes API: which resource, namespace, object and subresource they mean."""

from dataclasses import dataclass

from metronome_salesforce.sandbox.kubernetes.exceptions import no_such_path


@dataclass(frozen=True, slots=True)
class Target:
    """What a path below `/api/v1` or `/apis/GROUP/VERSION` points at; empty parts are absent."""

    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str = ""
    subresource: str = ""


def is_resource(path: str) -> bool:
    """Whether the path is of a resource rather than of discovery."""
    parts = path.strip("/").split("/")
    return (parts[0] == "api" and len(parts) > 2) or (parts[0] == "apis" and len(parts) > 3)


def parsed(path: str) -> Target:
    """The target of a resource's path; raises ApiError 404 for a path of no known form."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    else:
        group, version, rest = parts[1], parts[2], parts[3:]
    namespace: str | None = None
    # `namespaces/x/status` is a subresource, `namespaces/x/secrets` a collection in x.
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 or not all(rest):
        raise no_such_path()
    plural, name, subresource = [*rest, "", ""][:3]
    return Target(group, version, plural, namespace, name, subresource)


def verb(method: str, target: Target | None, *, watch: bool) -> str:
    """The Kubernetes verb of a request, as RBAC and audit logs name it."""
    collection = target is not None and not target.name
    if method in ("GET", "HEAD"):
        if watch:
            return "watch"
        return "list" if collection else "get"
    if method == "DELETE":
        return "deletecollection" if collection else "delete"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, method.lower())
