"""A metadata deploy over REST: send the zip, look until it is done, and what each component said.

Salesforce works it off by itself and keeps all of it or nothing (Metadata API, Deploying with REST;
`rollbackOnError`). A deploy that was sent twice does the same thing twice: nothing.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from metronome_salesforce.errors import ProductError, RetriableError
from metronome_salesforce.salesforce.session import Session

logger = logging.getLogger(__name__)

_RESOURCE = "metadata/deployRequest"
_LONGEST = 1800.0
_CANCELED = "Canceled"
_FIRST_PAUSE, _LONGEST_PAUSE, _SLOWER = 0.5, 5.0, 1.5

Progress = Callable[[str, int, int], None]
"""Told the status, how many components are done, and of how many; may raise to stop waiting."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one component was refused, or what the org warns of; `line` 0 when it is not told."""

    type: str
    name: str
    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class DeployReport:
    """How a deploy ended: `status` in Salesforce's word, problems as they were listed."""

    id: str
    status: str
    succeeded: bool
    components: int
    total: int
    changed: int
    problems: tuple[Problem, ...]
    message: str

    @property
    def canceled(self) -> bool:
        """Whether somebody in the org has stopped it."""
        return self.status == _CANCELED


def deploy(
    session: Session,
    content: bytes,
    *,
    check_only: bool = False,
    progress: Progress = lambda _status, _done, _total: None,
    sleep: Callable[[float], None] = time.sleep,
) -> DeployReport:
    """Deploy a zip, or (`check_only`) let the org say what it would do.

    Raises ConfigError (RefusedError when the user may not deploy) and RetriableError, also when the
    org is not done after half an hour. Nobody waits for it then, nor when `progress` raises, and
    the org is asked to give it up: it works off one deploy after the other.
    """
    options = {
        "allowMissingFiles": False,
        "autoUpdatePackage": False,
        "checkOnly": check_only,
        "ignoreWarnings": True,
        "performRetrieve": False,
        "purgeOnDelete": False,
        "rollbackOnError": True,
        "singlePackage": True,
    }
    settings = RequestField("json", json.dumps({"deployOptions": options}))
    settings.make_multipart(content_type="application/json")
    file = RequestField("file", content, filename="package.zip")
    file.make_multipart(content_type="application/zip")
    body, content_type = encode_multipart_formdata([settings, file])
    started = session.call(_RESOURCE, method="POST", content=(content_type, body))
    deploy_id = str(started["id"])
    try:
        return _ended(session, deploy_id, progress, sleep)
    except ProductError:
        raise
    except BaseException:
        _cancel(session, deploy_id)
        raise


def _ended(
    session: Session, deploy_id: str, progress: Progress, sleep: Callable[[float], None]
) -> DeployReport:
    """Wait for the end of a deploy, and tell how it ended."""
    pause, waited = _FIRST_PAUSE, 0.0
    while True:
        result = _look(session, deploy_id)
        progress(
            str(result["status"]),
            int(result.get("numberComponentsDeployed") or 0),
            int(result.get("numberComponentsTotal") or 0),
        )
        if result.get("done") is True:
            # Hundreds of components, each with a line of its own: asked for once.
            return _report(deploy_id, _look(session, deploy_id, includeDetails="true"))
        if waited >= _LONGEST:
            _cancel(session, deploy_id)
            raise RetriableError(
                "PackageDeploySlow",
                f"the org has not finished the deploy {deploy_id} of the Metronome package after "
                f"{_LONGEST / 60:.0f} minutes, and was asked to give it up; look at it in Setup, "
                "Deployment Status",
            )
        sleep(pause)
        waited += pause
        pause = min(pause * _SLOWER, _LONGEST_PAUSE)


def _look(session: Session, deploy_id: str, **params: str) -> Mapping[str, Any]:
    answer = session.call(f"{_RESOURCE}/{deploy_id}", params=params)
    result: Mapping[str, Any] = answer["deployResult"]
    return result


def _cancel(session: Session, deploy_id: str) -> None:
    """Ask the org, once, to give a deploy up (Metadata API, Cancel a Deployment with REST)."""
    policy, session.policy = session.policy, replace(session.policy, attempts=1)
    try:
        body = {"deployResult": {"status": "Canceling"}}
        session.call(f"{_RESOURCE}/{deploy_id}", method="PATCH", body=body)
    except ProductError as error:  # it has ended meanwhile, or nobody answers
        logger.warning("the deploy %s may go on in the org: %s", deploy_id, error.message)
    finally:
        session.policy = policy


def _report(deploy_id: str, result: Mapping[str, Any]) -> DeployReport:
    details = result.get("details") or {}
    changes = _listed(details.get("componentSuccesses"))
    return DeployReport(
        id=deploy_id,
        status=str(result["status"]),
        succeeded=result.get("success") is True,
        components=int(result.get("numberComponentsDeployed") or 0),
        total=int(result.get("numberComponentsTotal") or 0),
        changed=sum(
            1
            for one in changes
            if one.get("componentType") and (one.get("changed") or one.get("created"))
        ),
        problems=tuple(
            Problem(
                str(one.get("componentType") or ""),
                str(one.get("fullName") or ""),
                str(one.get("fileName") or ""),
                int(one.get("lineNumber") or 0),
                " ".join(str(one.get("problem") or "").split()),
            )
            for one in (*_listed(details.get("componentFailures")), *changes)
            if one.get("problem")
        ),
        message=" ".join(str(result.get("errorMessage") or "").split()),
    )


def _listed(value: Any) -> list[Mapping[str, Any]]:
    """A list that the API writes as one object when it has one entry."""
    if isinstance(value, dict):
        return [value]
    return [one for one in value or [] if isinstance(one, dict)]
