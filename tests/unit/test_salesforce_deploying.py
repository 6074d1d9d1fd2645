"""A deploy over REST: what is sent, and what becomes of the answers an org may give."""

import json
from email.parser import BytesParser
from typing import Any

import pytest

from metronome_salesforce.errors import RetriableError
from metronome_salesforce.salesforce.deploying import DeployReport, Problem, deploy
from metronome_salesforce.salesforce.failures import RefusedError
from metronome_salesforce.salesforce.installing import is_older
from metronome_salesforce.stepping import CycleStoppedError
from tests.unit.salesforce_server import Answer, Asked, ScriptedSalesforce, refusal
from tests.unit.test_salesforce_session import session_of

DEPLOY_ID = "0AfAx0000000001KAA"
STARTED = Answer({"id": DEPLOY_ID, "deployResult": {"status": "Pending"}}, status=201)


def looked(status: str, *, done: bool = False, **more: Any) -> Answer:
    """What a look at the deploy answers."""
    result = {"id": DEPLOY_ID, "status": status, "done": done, **more}
    return Answer({"id": DEPLOY_ID, "deployResult": result})


def counted(number: int) -> Answer:
    """A look at a deploy of nine components that is under way."""
    return looked("InProgress", numberComponentsDeployed=number, numberComponentsTotal=9)


def deployed(*answers: Answer, waits: list[float] | None = None) -> DeployReport:
    # The end is looked at twice: that it has come, and then in detail.
    script = (STARTED, *answers, answers[-1])
    with ScriptedSalesforce(*script) as server, session_of(server.url) as session:
        return deploy(session, b"PK", sleep=(waits if waits is not None else []).append)


def test_the_zip_and_the_options_are_two_parts_of_one_request() -> None:
    end = looked("Succeeded", done=True, success=True)
    with ScriptedSalesforce(STARTED, end, end) as server, session_of(server.url) as session:
        deploy(session, b"PK\x03\x04\r\n", check_only=True, sleep=lambda _: None)
        start, look, detailed = server.asked

    assert (start.method, start.path) == ("POST", "/services/data/v66.0/metadata/deployRequest")
    header = f"Content-Type: {start.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(header + start.body)
    assert message.get_content_type() == "multipart/form-data"
    settings, file = (part for part in message.walk() if not part.is_multipart())
    assert settings.get_content_type() == "application/json"
    options = json.loads(str(settings.get_payload()))["deployOptions"]
    wanted = {"rollbackOnError": True, "checkOnly": True, "singlePackage": True}
    assert {name: options[name] for name in wanted} == wanted
    assert "testLevel" not in options, "without Apex there is nothing to test"
    assert file.get_content_type() == "application/zip"
    assert b"PK\x03\x04\r\n" in start.body
    assert (look.path, look.query) == (f"{start.path}/{DEPLOY_ID}", {})
    assert (detailed.path, detailed.query) == (look.path, {"includeDetails": "true"})


def test_it_is_looked_at_less_and_less_often_and_told_each_time() -> None:
    waits: list[float] = []
    told: list[tuple[str, int, int]] = []
    answers = [
        looked("Pending"),
        *[
            looked("InProgress", numberComponentsDeployed=n, numberComponentsTotal=9)
            for n in (3, 6)
        ],
        looked("Succeeded", done=True, success=True, numberComponentsDeployed=9),
    ]
    script = (STARTED, *answers, answers[-1])
    with ScriptedSalesforce(*script) as server, session_of(server.url) as session:
        report = deploy(
            session, b"PK", progress=lambda *step: told.append(step), sleep=waits.append
        )

    assert (report.succeeded, report.components) == (True, 9)
    assert told == [
        ("Pending", 0, 0),
        ("InProgress", 3, 9),
        ("InProgress", 6, 9),
        ("Succeeded", 9, 0),
    ]
    assert waits == sorted(waits)
    assert len(set(waits)) == 3


def test_an_org_that_does_not_come_to_an_end_is_left_after_half_an_hour() -> None:
    waits: list[float] = []
    with (
        ScriptedSalesforce(by=never_done) as server,
        session_of(server.url) as session,
        pytest.raises(RetriableError) as raised,
    ):
        deploy(session, b"PK", sleep=waits.append)

    assert raised.value.reason == "PackageDeploySlow"
    assert DEPLOY_ID in raised.value.message
    assert 1700 < sum(waits) < 1900
    assert [one.method for one in server.asked].count("PATCH") == 1
    assert_cancelled(server.asked[-1])


@pytest.mark.parametrize("how", [KeyboardInterrupt, CycleStoppedError])
def test_who_stops_waiting_asks_the_org_to_give_it_up(how: type[BaseException]) -> None:
    def stopping(_status: str, _done: int, _total: int) -> None:
        raise how

    with (
        ScriptedSalesforce(by=never_done) as server,
        session_of(server.url) as session,
        pytest.raises(how),
    ):
        deploy(session, b"PK", progress=stopping)

    assert_cancelled(server.asked[-1])


def test_an_org_that_cannot_be_asked_any_more_is_asked_once() -> None:
    """Who is stopped has little time."""

    def broken(call: Asked) -> Answer:
        return Answer(status=503) if call.method == "PATCH" else never_done(call)

    with (
        ScriptedSalesforce(by=broken) as server,
        session_of(server.url) as session,
        pytest.raises(RetriableError) as raised,
    ):
        deploy(session, b"PK", sleep=lambda _: None)

    assert raised.value.reason == "PackageDeploySlow"
    assert [one.method for one in server.asked].count("PATCH") == 1


def never_done(call: Asked) -> Answer:
    """An org that has other deploys to work off first."""
    return STARTED if call.method == "POST" else looked("Pending")


def assert_cancelled(call: Asked) -> None:
    """That was the call by which a deploy is given up (Metadata API, REST)."""
    assert (call.method, call.path.rpartition("/")[2]) == ("PATCH", DEPLOY_ID)
    assert call.json == {"deployResult": {"status": "Canceling"}}


def test_problems_are_told_whether_one_or_many() -> None:
    """The API writes a list of one entry as an object at times."""
    problem = {
        "componentType": "Layout", "fullName": "A-B", "fileName": "layouts/A-B.layout",
        "lineNumber": 7, "problem": "In field:\n field", "problemType": "Error", "success": False,
    }  # fmt: skip
    expected = Problem("Layout", "A-B", "layouts/A-B.layout", 7, "In field: field")
    for failures in (problem, [problem]):
        details = {"componentFailures": failures, "componentSuccesses": None}
        end = looked("Failed", done=True, success=False, details=details, errorMessage="a\nb")
        report = deployed(end)
        assert (report.succeeded, report.status, report.message) == (False, "Failed", "a b")
        assert report.problems == (expected,)


def test_what_was_new_or_changed_is_counted_without_the_manifest() -> None:
    successes = [
        {"componentType": "", "fullName": "package.xml", "changed": True},
        {"componentType": "Layout", "fullName": "A", "changed": True, "created": False},
        {"componentType": "Layout", "fullName": "B", "changed": False, "created": False},
        {"componentType": "Layout", "fullName": "C", "changed": True, "created": True},
    ]
    details = {"componentSuccesses": successes}
    report = deployed(looked("Succeeded", done=True, success=True, details=details))

    assert report.changed == 2


def test_a_user_who_may_not_deploy_is_refused_at_once() -> None:
    with (
        ScriptedSalesforce(refusal("INSUFFICIENT_ACCESS", status=403)) as server,
        session_of(server.url) as session,
        pytest.raises(RefusedError) as raised,
    ):
        deploy(session, b"PK")

    assert raised.value.code == "INSUFFICIENT_ACCESS"


@pytest.mark.parametrize(
    ("version", "other", "older"),
    [
        ("0.1.0", "0.1.0", False),
        ("0.9.0", "0.10.0", True),
        ("0.10.0", "0.9.0", False),
        ("1.0.0", "0.9.9", False),
        (None, "0.0.1", True),
        ("0.1", "0.1.0", True),
    ],
)
def test_versions_are_compared_by_their_numbers(
    version: str | None, other: str, *, older: bool
) -> None:
    assert is_older(version, other) is older
