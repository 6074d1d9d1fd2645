"""SOQL: what is returned, in which shape, and what is refused where."""

# ruff: noqa: S608 -- the queries are what is tested
# ruff: noqa: ARG001 -- the rows of the fixture `data` are used by being there

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metronome_salesforce.sandbox.salesforce import ADMIN, SalesforceError, SalesforceOrg
from metronome_salesforce.sandbox.salesforce.date_literals import date_range
from tests.sandbox.salesforce.conftest import Clock, Rest
from tests.sandbox.salesforce.test_rows import error


@pytest.fixture
def data(org: SalesforceOrg, clock: Clock) -> dict[str, str]:
    """Two Accounts, a customer on the first, four invoices a day apart; ids by name."""
    org.sessions.idle_timeout = timedelta(days=365)
    ids: dict[str, str] = {}
    for name in ("Acme", "beta"):
        ids[name] = org.insert("Account", {"Name": name})
    ids["c1"] = org.insert(
        "T_Customer__c", {"Customer_ID__c": "c1", "Name": "Cust", "Account__c": ids["Acme"]}
    )
    rows: list[tuple[str, dict[str, Any]]] = [
        ("i1", {"Total__c": 10, "Status__c": "Draft", "Start__c": "2026-01-31",
                "Customer__c": ids["c1"], "Closed__c": True}),
        ("i2", {"Total__c": -5.5, "Status__c": "Finalized", "Start__c": "2026-01-30",
                "Customer__c": ids["c1"], "Group_ID__c": "Group"}),
        ("i3", {"Total__c": None, "Status__c": None, "Start__c": "2025-12-31"}),
        ("I3", {"Total__c": 30, "Status__c": "draft", "Start__c": None,
                "Group_ID__c": "50% off_x'\\"}),
    ]  # fmt: skip
    for number, (key, values) in enumerate(rows):
        clock.advance(days=1 if number else 0)
        ids[key] = org.insert("T_Invoice__c", {"Invoice_ID__c": key, "Name": f"N {key}", **values})
    for amount in (1, 2.5):
        org.insert(
            "T_Line__c",
            {"Line_ID__c": str(amount), "Name": str(amount), "Invoice__c": ids["i1"],
             "Amount__c": amount},
        )  # fmt: skip
    return ids


CONDITIONS = [
    ("Invoice_ID__c = 'i3'", ["i3"]),  # a case-sensitive key
    ("Status__c = 'DRAFT'", ["i1", "I3"]),  # other text ignores case
    ("Status__c != 'Draft'", ["i2", "i3"]),  # != returns nulls
    ("Status__c = null", ["i3"]),
    ("Status__c != null", ["i1", "i2", "I3"]),
    ("Total__c > 5", ["i1", "I3"]),
    ("Total__c >= 10 AND Total__c < 30", ["i1"]),
    ("Total__c <= -5.5", ["i2"]),
    ("Total__c = 10.0 OR Total__c = 3e1", ["i1", "I3"]),
    ("Closed__c = TRUE", ["i1"]),
    ("Closed__c = false AND Total__c != null", ["i2", "I3"]),
    ("Start__c = 2026-01-31", ["i1"]),
    ("Start__c < 2026-01-01", ["i3"]),
    ("Name LIKE 'n I%'", ["i1", "i2", "i3", "I3"]),
    ("Name LIKE '%_1'", ["i1"]),
    (r"Group_ID__c LIKE '50\% off\_%'", ["I3"]),
    (r"Group_ID__c LIKE '5\%%'", []),
    (r"Group_ID__c = '50% off_x\'\\'", ["I3"]),
    ("Status__c IN ('Draft', 'Void')", ["i1", "I3"]),
    ("Status__c NOT IN ('Draft', 'Void')", ["i2", "i3"]),
    ("Invoice_ID__c IN ('i3', 'i1')", ["i1", "i3"]),
    ("Status__c IN ('Finalized', null)", ["i2", "i3"]),
    ("NOT Status__c = 'Draft'", ["i2", "i3"]),
    ("(NOT Total__c > 5) AND Total__c != null", ["i2"]),
    ("(Status__c = 'Draft' AND Total__c = 10) OR Total__c = null", ["i1", "i3"]),
    ("Customer__r.Name = 'cust'", ["i1", "i2"]),
    ("Customer__r.Account__r.Name = 'ACME'", ["i1", "i2"]),
    ("Customer__c = null", ["i3", "I3"]),
    ("Customer__c IN (SELECT Id FROM T_Customer__c WHERE Name = 'Cust')", ["i1", "i2"]),
    ("Customer__c NOT IN (SELECT Id FROM T_Customer__c WHERE Name = 'Cust')", ["i3", "I3"]),
    ("Id IN (SELECT Invoice__c FROM T_Line__c WHERE Amount__c > 2)", ["i1"]),
    ("Is_Draft__c = true", ["i1"]),
    ("Line_Count__c = 2", ["i1"]),
    ("Line_Total__c > 3", ["i1"]),
    ("CreatedDate = TODAY", ["I3"]),
    ("CreatedDate = YESTERDAY", ["i3"]),
    ("CreatedDate = LAST_N_DAYS:2", ["i2", "i3", "I3"]),
    ("CreatedDate < THIS_MONTH", ["i1"]),
    ("CreatedDate != THIS_MONTH", ["i1"]),
    ("Start__c = LAST_MONTH", ["i1", "i2"]),
    ("Start__c <= LAST_YEAR", ["i3"]),
    ("SystemModstamp >= 2026-02-02T12:00:00Z", ["i1", "i3", "I3"]),  # i1: by its roll-up
    ("SystemModstamp > 2026-02-02T13:00:00+01:00", ["i1", "I3"]),
    ("LastModifiedDate > 2026-02-02T12:00:00Z", ["I3"]),
    ("CALENDAR_MONTH(CreatedDate) = 1", ["i1"]),
]


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_conditions(rest: Rest, data: dict[str, str], condition: str, expected: list[str]) -> None:
    """Each operator on each kind of field."""
    text = f"SELECT Invoice_ID__c FROM T_Invoice__c WHERE {condition} ORDER BY CreatedDate"
    assert rest.values(text, "Invoice_ID__c") == expected


ORDERS = [
    ("Total__c", ["i3", "i2", "i1", "I3"]),
    ("Total__c ASC NULLS LAST", ["i2", "i1", "I3", "i3"]),
    ("Total__c DESC", ["i3", "I3", "i1", "i2"]),
    ("Total__c DESC NULLS LAST", ["I3", "i1", "i2", "i3"]),
    ("Customer__r.Name NULLS LAST, Total__c DESC", ["i1", "i2", "i3", "I3"]),
    ("Total__c DESC NULLS LAST LIMIT 2", ["I3", "i1"]),
    ("Total__c DESC NULLS LAST LIMIT 2 OFFSET 1", ["i1", "i2"]),
]


@pytest.mark.parametrize(("order", "expected"), ORDERS)
def test_order(rest: Rest, data: dict[str, str], order: str, expected: list[str]) -> None:
    """Nulls come first whatever the direction, unless said otherwise."""
    text = f"SELECT Invoice_ID__c FROM T_Invoice__c ORDER BY {order}"
    assert rest.values(text, "Invoice_ID__c") == expected


def test_records_echo_the_schema_and_nest_parents(rest: Rest, data: dict[str, str]) -> None:
    found = rest.soql(
        "select id, NAME, customer__r.name, Customer__r.Account__r.Id, account__r.Name "
        "from t_invoice__c i where i.invoice_id__c = 'i1'"
    )
    invoice, customer = data["i1"], data["c1"]
    root = "/services/data/v66.0/sobjects"
    assert found == {
        "totalSize": 1,
        "done": True,
        "records": [
            {
                "attributes": {"type": "T_Invoice__c", "url": f"{root}/T_Invoice__c/{invoice}"},
                "Id": invoice,
                "Name": "N i1",
                "Customer__r": {
                    "attributes": {
                        "type": "T_Customer__c",
                        "url": f"{root}/T_Customer__c/{customer}",
                    },
                    "Name": "Cust",
                    "Account__r": {
                        "attributes": {
                            "type": "Account",
                            "url": f"{root}/Account/{data['Acme']}",
                        },
                        "Id": data["Acme"],
                    },
                },
                "Account__r": None,
            }
        ],
    }
    assert list(found["records"][0])[:2] == ["attributes", "Id"]


def test_ids_are_found_by_15_characters(rest: Rest, data: dict[str, str]) -> None:
    text = f"SELECT Name FROM T_Invoice__c WHERE Id = '{data['i2'][:15]}'"
    assert rest.values(text) == ["N i2"]


def test_ids_have_an_order(rest: Rest, data: dict[str, str]) -> None:
    """Reading on after a known id is how large tables are read in pieces."""
    ids = rest.values("SELECT Id FROM T_Invoice__c ORDER BY Id", "Id")
    for place, id_ in enumerate(ids):
        text = f"SELECT Id FROM T_Invoice__c WHERE Id > '{id_}' ORDER BY Id"
        assert rest.values(text, "Id") == ids[place + 1 :]


def test_child_subqueries(rest: Rest, data: dict[str, str]) -> None:
    found = rest.soql(
        "SELECT Name, (SELECT Amount__c FROM Lines__r WHERE Amount__c > 0 "
        "ORDER BY Amount__c DESC LIMIT 1) FROM T_Invoice__c ORDER BY Invoice_ID__c"
    )
    lines = [each["Lines__r"] for each in found["records"]]
    assert lines[0] is None
    assert lines[1]["totalSize"] == 1
    assert lines[1]["done"] is True
    assert lines[1]["records"][0]["Amount__c"] == 2.5


AGGREGATES: list[tuple[str, list[dict[str, Any]]]] = [
    ("COUNT(Id)", [{"expr0": 4}]),
    ("COUNT(Total__c) n, SUM(Total__c) s, MIN(Total__c), MAX(Total__c), AVG(Total__c)",
     [{"n": 3, "s": 34.5, "expr0": -5.5, "expr1": 30.0, "expr2": 11.5}]),
    ("COUNT_DISTINCT(Customer__c) n", [{"n": 1}]),
]  # fmt: skip


@pytest.mark.parametrize(("select", "expected"), AGGREGATES)
def test_aggregates(
    rest: Rest, data: dict[str, str], select: str, expected: list[dict[str, Any]]
) -> None:
    found = rest.soql(f"SELECT {select} FROM T_Invoice__c")
    assert found["totalSize"] == len(expected)
    attributes = {"attributes": {"type": "AggregateResult"}}
    assert found["records"] == [{**attributes, **each} for each in expected]


def test_counting_only(rest: Rest, data: dict[str, str]) -> None:
    found = rest.soql("SELECT COUNT() FROM T_Invoice__c WHERE Total__c > 0")
    assert found == {"totalSize": 2, "done": True, "records": []}


def test_grouping(rest: Rest, data: dict[str, str]) -> None:
    found = rest.soql(
        "SELECT Customer__r.Name, COUNT(Id) n, SUM(Total__c) FROM T_Invoice__c "
        "GROUP BY Customer__r.Name HAVING COUNT(Id) > 1 ORDER BY Customer__r.Name"
    )
    rows = [{key: value for key, value in each.items() if key != "attributes"}
            for each in found["records"]]  # fmt: skip
    assert rows == [
        {"Name": None, "n": 2, "expr0": 30.0},
        {"Name": "Cust", "n": 2, "expr0": 4.5},
    ]


def test_deleted_rows_are_seen_by_query_all_only(
    rest: Rest, org: SalesforceOrg, data: dict[str, str]
) -> None:
    org.delete("T_Invoice__c", data["i2"])
    text = "SELECT Invoice_ID__c FROM T_Invoice__c WHERE IsDeleted = true"
    assert rest.values(text, "Invoice_ID__c") == []
    assert rest.soql(text, "queryAll")["records"][0]["Invoice_ID__c"] == "i2"
    assert rest.soql("SELECT COUNT() FROM T_Invoice__c", "queryAll/")["totalSize"] == 4


REFUSED = [
    ("SELECT Nope FROM Account", "INVALID_FIELD", 8, "No such column 'Nope' on entity 'Account'."),
    ("SELECT Id FROM Nope", "INVALID_TYPE", 16, "sObject type 'Nope' is not supported."),
    ("SELECT Nope__r.Name FROM T_Invoice__c", "INVALID_FIELD", 8,
     "Didn't understand relationship 'Nope__r' in field path."),
    ("SELECT Customer__r.Nope FROM T_Invoice__c", "INVALID_FIELD", 8,
     "No such column 'Nope' on entity 'T_Customer__c'."),
    ("SELECT Id, (SELECT Id FROM Nope__r) FROM Account", "INVALID_TYPE", 28,
     "Didn't understand relationship 'Nope__r' in FROM part of query call."),
    ("SELECT Id FROM Account WHERE Nope = 1", "INVALID_FIELD", 30, "No such column 'Nope'"),
    ("SELECT * FROM Account", "MALFORMED_QUERY", 8, "unexpected token: '*'"),
    ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY", 29, "unexpected token: '<EOF>'"),
    ("SELECT Id FROM Account WHERE Id IN ()", "MALFORMED_QUERY", 37, "unexpected token: ')'"),
    ("SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY",
     56, "unexpected token: 'OR'"),
    ('SELECT Id FROM Account WHERE Name = "a"', "MALFORMED_QUERY", 37, "unexpected token: '\"'"),
    ("SELECT Id FROM Account WHERE Name = 'it's'", "MALFORMED_QUERY", 41, "unexpected token"),
    (r"SELECT Id FROM Account WHERE Name = 'a\qb'", "MALFORMED_QUERY", 37,
     "Invalid string literal"),
    ("SELECT Id FROM T_Invoice__c WHERE Total__c = '1'", "INVALID_FIELD", 46,
     ("value of filter criterion for field 'Total__c' must be of type double and should not be "
     "enclosed in quotes")),
    ("SELECT Id FROM T_Invoice__c WHERE CreatedDate > '2026-01-01T00:00:00Z'", "INVALID_FIELD",
     49, "value of filter criterion for field 'CreatedDate' must be of type dateTime"),
    ("SELECT Id FROM T_Invoice__c WHERE Start__c = 2026-01-01T00:00:00Z", "INVALID_FIELD", 46,
     "value of filter criterion for field 'Start__c' must be of type date"),
    ("SELECT Id FROM T_Invoice__c WHERE Name = 5", "INVALID_FIELD", 42,
     "value of filter criterion for field 'Name' must be of type string and should be enclosed"),
    ("SELECT Id FROM T_Invoice__c WHERE Closed__c = 'true'", "INVALID_FIELD", 47,
     "value of filter criterion for field 'Closed__c' must be of type boolean"),
    ("SELECT Id FROM T_Invoice__c WHERE Notes__c = 'x'", "INVALID_FIELD", 35,
     "field 'Notes__c' can not be filtered in a query call"),
    ("SELECT Id FROM T_Invoice__c ORDER BY Notes__c", "INVALID_FIELD", 38,
     "field 'Notes__c' can not be sorted in a query call"),
    ("SELECT Notes__c FROM T_Invoice__c GROUP BY Notes__c", "INVALID_FIELD", 44,
     "field 'Notes__c' can not be grouped in a query call"),
    ("SELECT Name, COUNT(Id) FROM T_Invoice__c GROUP BY Status__c", "MALFORMED_QUERY", 8,
     "Field must be grouped or aggregated: Name"),
    ("SELECT SUM(Name) FROM T_Invoice__c", "INVALID_FIELD", 8,
     "field Name does not support aggregate operator SUM"),
    ("SELECT Id, Id FROM Account", "INVALID_FIELD", 12, "duplicate field selected: Id"),
    ("SELECT Name n FROM Account", "MALFORMED_QUERY", 8,
     "only aggregate expressions use field aliasing"),
    ("SELECT Id FROM Account WHERE Id = 'xyz'", "INVALID_QUERY_FILTER_OPERATOR", 35,
     "invalid ID field: xyz"),
    ("SELECT Id FROM Account WHERE Name IN (SELECT Id FROM T_Customer__c)", "INVALID_FIELD", 30,
     "semi join sub-selects can only be used with ID and reference fields"),
    ("SELECT Id FROM Account WHERE CreatedDate = SOMEDAY", "MALFORMED_QUERY", 44,
     "unexpected token: 'SOMEDAY'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "column", "problem"), REFUSED)
def test_refused_queries(rest: Rest, text: str, code: str, column: int, problem: str) -> None:
    """The code, the place and the sentence."""
    status, found, message = error(rest.call("GET", "query", params={"q": text}))
    assert (status, found) == (400, code)
    place = message.partition("ERROR at ")[2].partition("\n")
    assert (place[0], place[2][: len(problem)]) == (f"Row:1:Column:{column}", problem)


def test_the_excerpt_shows_the_place(rest: Rest) -> None:
    answer = rest.call("GET", "query", params={"q": "SELECT Id\nFROM Nope"})
    assert error(answer)[2].startswith("\nFROM Nope\n     ^\nERROR at Row:2:Column:6\n")


def test_an_offset_has_an_end(rest: Rest) -> None:
    answer = rest.call("GET", "query", params={"q": "SELECT Id FROM Account OFFSET 2001"})
    assert error(answer)[1:] == (
        "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000",
    )  # fmt: skip


def test_every_field_needs_a_small_limit(rest: Rest, data: dict[str, str]) -> None:
    text = "SELECT FIELDS(ALL) FROM T_Line__c"
    assert error(rest.call("GET", "query", params={"q": text}))[:2] == (400, "MALFORMED_QUERY")
    record = rest.soql(f"{text} LIMIT 200")["records"][0]
    assert {"Id", "Name", "Line_ID__c", "Amount__c", "SystemModstamp"} <= set(record)


def many(org: SalesforceOrg, count: int) -> None:
    with org.state.storage.transaction():
        for number in range(count):
            org.insert("Account", {"Name": f"A{number:05d}"})


def test_pages_follow_one_another(rest: Rest, admin: Rest, org: SalesforceOrg) -> None:
    """Pages by locator: complete, in order, bound to the user, and stable while rows change."""
    many(org, 450)
    path: str | None = "query?q=SELECT Name FROM Account ORDER BY Name DESC"
    names: list[str] = []
    sizes = []
    headers = {"Sforce-Query-Options": "batchSize=200"}
    while path is not None:
        page = rest.call("GET", path, headers=headers).json()
        sizes.append(len(page["records"]))
        names += [each["Name"] for each in page["records"]]
        assert page["totalSize"] == 450
        assert page["done"] == ("nextRecordsUrl" not in page)
        if len(sizes) == 1:
            org.insert("Account", {"Name": "ZZZ"})
            first = page["nextRecordsUrl"]
            assert first.endswith("-200")
            assert first.startswith("/services/data/v66.0/query/01g")
            refused = admin.call("GET", first)
            assert error(refused)[:2] == (400, "INVALID_QUERY_LOCATOR")
        path = page.get("nextRecordsUrl")
    assert sizes == [200, 200, 50]
    assert names == [f"A{number:05d}" for number in reversed(range(450))]
    org.queries.expire()
    assert error(rest.call("GET", first))[1] == "INVALID_QUERY_LOCATOR"


def test_small_batches_are_200_and_the_default_2000(rest: Rest, org: SalesforceOrg) -> None:
    many(org, 2001)
    asked = {"Sforce-Query-Options": "batchSize=10"}
    text = {"q": "SELECT Id FROM Account"}
    small = rest.call("GET", "query", params=text, headers=asked).json()
    assert len(small["records"]) == 200
    plain = rest.call("GET", "query", params=text).json()
    assert len(plain["records"]) == 2000
    assert plain["done"] is False


def test_only_ten_cursors_stay_open(rest: Rest, org: SalesforceOrg) -> None:
    many(org, 201)
    headers = {"Sforce-Query-Options": "batchSize=200"}
    opened = [
        rest.call("GET", "query?q=SELECT Id FROM Account", headers=headers).json()
        for _ in range(11)
    ]
    assert error(rest.call("GET", opened[0]["nextRecordsUrl"]))[1] == "INVALID_QUERY_LOCATOR"
    assert rest.call("GET", opened[1]["nextRecordsUrl"]).json()["done"] is True


def test_addresses_have_a_length(rest: Rest) -> None:
    """414 for the address alone, 431 with the headers; composite takes the long query."""
    listed = ",".join("'" + "x" * 40 + "'" for _ in range(400))
    text = f"SELECT Id FROM Account WHERE Name IN ({listed})"
    assert rest.call("GET", "query", params={"q": text}).status_code == 414
    headers = {"X-Padding": "x" * 8000, "X-More": "y" * 8000}
    short = rest.call("GET", f"query?q=SELECT Id FROM Account WHERE Name = '{'z' * 500}'",
                      headers=headers)  # fmt: skip
    assert short.status_code == 431
    body = {
        "compositeRequest": [
            {"method": "GET", "url": f"/services/data/v66.0/query?q={text}", "referenceId": "q"}
        ]
    }
    answer = rest.call("POST", "composite", json=body).json()["compositeResponse"][0]
    assert answer["httpStatusCode"] == 200


def test_columns_of_a_query(rest: Rest, data: dict[str, str]) -> None:
    """What the CLI asks after each query."""
    found = rest.call(
        "GET", "query",
        params={"q": "SELECT Id, Total__c, Customer__r.Account__r.Name FROM T_Invoice__c",
                "columns": "true"},
    ).json()  # fmt: skip
    assert (found["entityName"], found["idSelected"]) == ("T_Invoice__c", True)
    names = [(each["columnName"], each["joinColumns"]) for each in found["columnMetadata"]]
    assert names == [
        ("Id", []),
        ("Total__c", []),
        ("Customer__r",
         [{"columnName": "Account__r", "joinColumns": [{"columnName": "Name",
                                                        "joinColumns": []}]}]),
    ]  # fmt: skip
    assert found["columnMetadata"][1]["numberType"] is True
    counted = rest.call(
        "GET", "query", params={"q": "SELECT COUNT(Id) FROM Account", "columns": "true"}
    ).json()["columnMetadata"][0]
    assert (counted["aggregate"], counted["columnName"], counted["displayName"]) == (
        True, "expr0", "count(Id)",
    )  # fmt: skip


TEXTS = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF),
    min_size=1, max_size=30,
).filter(lambda value: value.strip() == value)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=TEXTS, other=TEXTS)
def test_any_text_is_found_by_its_quoted_form(org: SalesforceOrg, wanted: str, other: str) -> None:
    """A quoted key finds exactly its row, whatever characters it holds."""
    quoted = wanted.replace("\\", "\\\\").replace("'", "\\'")
    user = org.users[ADMIN]
    ids = [org.insert("T_Customer__c", {"Customer_ID__c": each}) for each in {wanted, other}]
    text = f"SELECT Customer_ID__c FROM T_Customer__c WHERE Customer_ID__c = '{quoted}'"
    found = org.queries.run(text, user, "66.0")["records"]
    for each in ids:
        org.delete("T_Customer__c", each)
    assert [each["Customer_ID__c"] for each in found] == [wanted]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_no_text_crashes_the_parser(org: SalesforceOrg, text: str) -> None:
    """Whatever arrives is a query or a refusal with a code."""
    code = "MALFORMED_QUERY"
    try:
        org.queries.run(f"SELECT Id FROM Account WHERE {text}", org.users[ADMIN], "66.0")
    except SalesforceError as refusal:
        code = refusal.code
    assert code in {
            "MALFORMED_QUERY", "INVALID_FIELD", "INVALID_TYPE", "INVALID_QUERY_FILTER_OPERATOR",
        }  # fmt: skip


@given(
    day=st.dates(date(1990, 1, 1), date(2090, 1, 1)),
    word=st.sampled_from(["TODAY", "LAST_WEEK", "THIS_WEEK", "THIS_MONTH", "LAST_QUARTER",
                          "THIS_YEAR", "NEXT_MONTH"]),
)  # fmt: skip
def test_date_literals_are_whole_periods(day: date, word: str) -> None:
    """THIS_x holds today, LAST_x ends before it, NEXT_x begins after it."""
    found = date_range(word, None, day)
    assert found is not None
    start, end = found
    assert start < end
    if word.startswith("LAST"):
        assert end <= day
    elif word.startswith("NEXT"):
        assert start > day
    else:
        assert start <= day < end
    if word.endswith("WEEK"):
        assert (end - start, start.weekday()) == (timedelta(days=7), 6)
