"""Reviews: who asks, and what somebody may do. Asked by POST, stored nowhere.

There is no RBAC here: everybody may do everything but what a fault answers with 403, so that tests
say in one place what is forbidden. Source: Kubernetes API reference, authorization.k8s.io/v1 and
authentication.k8s.io/v1.
"""

import json
from collections.abc import Callable

from metronome_salesforce.sandbox.kubernetes import exceptions
from metronome_salesforce.sandbox.kubernetes.exceptions import Json
from metronome_salesforce.sandbox.kubernetes.faults import Call

_AUTHORIZATION = "authorization.k8s.io/v1"
_AUTHENTICATION = "authentication.k8s.io/v1"
_KINDS = {
    f"/apis/{_AUTHORIZATION}/selfsubjectaccessreviews": "SelfSubjectAccessReview",
    f"/apis/{_AUTHORIZATION}/subjectaccessreviews": "SubjectAccessReview",
    f"/apis/{_AUTHENTICATION}/selfsubjectreviews": "SelfSubjectReview",
}


def is_review(method: str, path: str) -> bool:
    """Whether a request is one of the reviews."""
    return method == "POST" and path in _KINDS


def answer(path: str, body: bytes, *, username: str, forbids: Callable[[Call], bool]) -> Json:
    """The review with its status; raises ApiError 400 and 422. `forbids` knows the faults."""
    kind = _KINDS[path]
    version = _AUTHENTICATION if kind == "SelfSubjectReview" else _AUTHORIZATION
    try:
        document = json.loads(body)
        given = (document.get("apiVersion"), document.get("kind"))
    except (ValueError, AttributeError):
        raise exceptions.bad_request("the body is no JSON object") from None
    if given != (version, kind):
        raise exceptions.bad_request(f"the object is no {kind} of {version}")
    if kind == "SelfSubjectReview":
        return {**document, "status": {"userInfo": {"username": username}}}
    spec = document.get("spec") or {}
    asked = spec.get("resourceAttributes")
    if not isinstance(asked, dict):
        raise exceptions.bad_request("spec.resourceAttributes is required")
    if kind == "SubjectAccessReview" and not (spec.get("user") or spec.get("groups")):
        raise exceptions.bad_request("spec.user or spec.groups is required")
    call = Call(
        verb=asked.get("verb", ""),
        resource=asked.get("resource", ""),
        subresource=asked.get("subresource", ""),
        namespace=asked.get("namespace", ""),
        name=asked.get("name", ""),
    )
    return {**document, "status": {"allowed": not forbids(call)}}
