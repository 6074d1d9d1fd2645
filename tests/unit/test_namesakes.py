"""How alike names are, and by what patterns Accounts are searched for."""

import re

import pytest

from metronome_salesforce.namesakes import (
    Candidates,
    beyond_doubt,
    search_patterns,
    suggestions,
)


def score(customer: str, account: str) -> int:
    """How alike the two are; 0 for not at all."""
    found = suggestions(customer, Candidates.of({"a": account}))
    return found[0].score if found else 0


SAME = [
    ("Acme", "ACME"),
    ("Acme Robotics", "acme  robotics"),
    ("Acme-Robotics", "Acme Robotics"),
    ("Acme, Inc.", "Acme Incorporated"),
    ("Acme S.A.", "Acme SA"),
    ("Moody's Corp", "Moodys Corporation"),
    ("Müller Söhne", "Muller Sohne"),
    ("Mærsk A/S", "Maersk AS"),
    ("Straßen AG", "Strassen AG"),
    ("Élan S.A. de C.V.", "Elan SA de CV"),
    ("Café de Paris", "Cafe de Paris"),
    ("Foo Sp. z o.o.", "FOO SP Z OO"),
    ("Müller GmbH & Co. KG", "Muller GmbH and Co KG"),
    ("Tiffany & Co.", "Tiffany and Company"),
    ("Procter & Gamble", "Procter and Gamble"),
    ("The Acme Company", "Acme Co"),
    ("Robotics Acme", "Acme Robotics"),
    ("株式会社アクメ", "株式会社アクメ"),
]

# A search begins with the first letter as it is written, and counts on one letter for one.
ONE_WAY = {"Robotics Acme", "Élan S.A. de C.V.", "Mærsk A/S"}


@pytest.mark.parametrize(("customer", "account"), SAME)
def test_the_same_name_scores_100(customer: str, account: str) -> None:
    assert (score(customer, account), score(account, customer)) == (100, 100)


@pytest.mark.parametrize(
    ("customer", "account", "least", "most"),
    [
        ("Acme Robotics", "Acme Robotics Ltd", 99, 99),  # who knows which of them it is
        ("Acme Robotics GmbH", "Acme Robotics Inc", 85, 85),  # two companies
        ("Acme Robotics", "Acme Robotcs", 90, 99),
        ("Lumen Labs", "LumenLabs", 90, 99),
        ("Müller", "Mueller", 90, 99),
        ("Acme Robotics", "Acme Robotics Europe", 50, 85),  # a subsidiary is another Account
        ("Acme Robotics", "Acme", 0, 70),
        ("Acme Robotics", "Globex", 0, 0),
        ("!!!", "!!!", 0, 0),
        ("", "Acme", 0, 0),
    ],
)
def test_other_names_score_less(customer: str, account: str, least: int, most: int) -> None:
    assert least <= score(customer, account) <= most


def test_the_best_comes_first_and_ties_are_in_order() -> None:
    names = {"3": "Acme Robotics", "1": "Acme Robotics", "2": "Acme Robotica", "4": "Globex"}
    found = suggestions("Acme Robotics", Candidates.of(names))

    assert [(one.account_id, one.account_name) for one in found] == [
        ("1", "Acme Robotics"),
        ("3", "Acme Robotics"),
        ("2", "Acme Robotica"),
    ]


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (["Acme Robotics", "Globex"], "Acme Robotics"),
        (["Acme Robotics", "Acme Robotics"], None),
        (["Acme Robotics", "Acme Robotics Inc."], None),
        (["Acme Robotics", "Acme Rubber"], "Acme Robotics"),
        (["Acme Robots Intl"], None),
        ([], None),
    ],
)
def test_doubt(names: list[str], best: str | None) -> None:
    accounts = {str(number): name for number, name in enumerate(names)}
    found = beyond_doubt(suggestions("Acme Robotics", Candidates.of(accounts)), 90)

    assert (found.account_name if found else None) == best


def finds(customer: str, account: str) -> bool:
    """Whether a search for the customer finds the Account, by LIKE as Salesforce reads it."""
    for pattern in search_patterns(customer):
        assert pattern[0] not in "%_"  # which no index helps with
        expression = re.escape(pattern).replace("%", ".*").replace("_", ".")
        if re.fullmatch(expression, account, re.IGNORECASE | re.DOTALL):
            return True
    return False


@pytest.mark.parametrize(
    ("customer", "account"),
    [
        *(pair for pair in SAME if pair[0] != "Robotics Acme"),
        *((account, customer) for customer, account in SAME if customer not in ONE_WAY),
        ("Acme", "The Acme Company"),
        ("The Acme Company", "acme"),
        ("A.P. Moller", "AP Møller"),
        ("Data Dog", "Datadog"),
        ("Datadog", "Data Dog"),
        ("Acme Robotics", "Ahme Robotics"),
        ("Élan", "elan"),
        ("3M", "3M Company"),
        ("Go GmbH", "GO"),
    ],
)
def test_a_search_finds_who_is_called_alike(customer: str, account: str) -> None:
    assert finds(customer, account)


@pytest.mark.parametrize("account", ["Globex", "Roadrunner", "Ac", "Acutex", "Ack Ltd"])
def test_a_search_leaves_out_whom_it_can(account: str) -> None:
    assert not finds("Acme Robotics", account)


@pytest.mark.parametrize("name", ["", "!!!", "  "])
def test_who_has_no_letters_is_not_searched_for(name: str) -> None:
    assert search_patterns(name) == []


@pytest.mark.parametrize("name", ["100% Pure_Water", "O'Neil \\ Sons", "a%_'\\\"b", "''''x"])
def test_patterns_hold_nothing_that_needs_escaping(name: str) -> None:
    assert all(re.fullmatch(r"[\w%]( ?[\w%])*", pattern) for pattern in search_patterns(name))
