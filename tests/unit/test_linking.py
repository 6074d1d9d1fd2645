"""The link rules, case by case, and the record id's checksum."""

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_salesforce.linking import (
    Accounts,
    Decision,
    LinkReason,
    LinkRequest,
    LinkSource,
    LinkState,
    Refusal,
    account_id,
    decide,
    target_of,
    to_id18,
)

A, B, C = "001000000000001AAA", "001000000000002AAA", "001000000000003AAA"
MERGED, DELETED = "001000000000007AAA", "001000000000008AAA"
METRONOME, SALESFORCE, LINK = LinkSource.METRONOME, LinkSource.SALESFORCE, LinkSource.CUSTOMER_LINK


@pytest.mark.parametrize(
    ("link", "metronome", "record", "expected", "reason"),
    [
        (None, None, None, Decision(None, None), "nothing is given: orphaned"),
        (C, A, LinkState(B, B, "Salesforce"), Decision(C, LINK), "a CustomerLink comes first"),
        (None, A, LinkState(B, B, "Salesforce"), Decision(A, METRONOME), "then Metronome"),
        (None, A[:15], None, Decision(A, METRONOME), "15 characters name the same Account"),
        (None, None, LinkState(B, A, "Metronome"), Decision(B, SALESFORCE), "a person chose B"),
        (None, None, LinkState(None, A, "Salesforce"), Decision(None, None), "a person cleared it"),
        (None, None, LinkState(B, B, "Salesforce"), Decision(B, SALESFORCE), "a person's choice"),
        (None, None, LinkState(A, A, "Metronome"), Decision(None, None), "the id is gone there"),
        (None, None, LinkState(A, A, "CustomerLink"), Decision(None, None), "the link is gone"),
        (
            None,
            "001-what",
            LinkState(A, A, "Metronome"),
            Decision(A, METRONOME, Refusal.MALFORMED),
            "a malformed id keeps the former place",
        ),
        (
            None,
            "003000000000001AAA",
            None,
            Decision(None, None, Refusal.NOT_AN_ACCOUNT),
            "a Contact is no Account",
        ),
        (
            None,
            "001000000000009AAA",
            LinkState(B, B, "Salesforce"),
            Decision(B, SALESFORCE, Refusal.UNKNOWN),
            "an unknown Account does not undo a person's choice",
        ),
        (
            None,
            "001-what",
            LinkState(None, "001000000000009AAA", "Metronome"),
            Decision(None, None, Refusal.MALFORMED),
            "the former Account is gone too",
        ),
        (
            None,
            "001000000000009AAA",
            LinkState("001000000000009AAA", "001000000000009AAA", "Metronome"),
            Decision("001000000000009AAA", METRONOME, Refusal.UNKNOWN),
            "an Account that is hidden from us is not deleted",
        ),
        (
            None,
            "001-what",
            LinkState(A, A, "CustomerLink"),
            Decision(None, None, Refusal.MALFORMED),
            "a refused id keeps what Metronome decided, not what a deleted CustomerLink did",
        ),
        (None, "  ", None, Decision(None, None), "blank is nothing"),
        (None, MERGED, None, Decision(B, METRONOME), "a merged Account stands for its master"),
        (
            None,
            None,
            LinkState(B, MERGED, "Salesforce"),
            Decision(B, SALESFORCE),
            "the platform moved it with the merge",
        ),
        (
            None,
            MERGED,
            LinkState(B, MERGED, "Metronome"),
            Decision(B, METRONOME),
            "a merge is nobody's new choice",
        ),
        (
            None,
            "001-what",
            LinkState(B, MERGED, "Metronome"),
            Decision(B, METRONOME, Refusal.MALFORMED),
            "the former place was merged",
        ),
        (
            None,
            None,
            LinkState(None, DELETED, "Salesforce"),
            Decision(None, None),
            "the Account was deleted",
        ),
    ],
)
def test_first_match_wins(
    link: str | None,
    metronome: str | None,
    record: LinkState | None,
    expected: Decision,
    reason: str,
) -> None:
    known = Accounts({A: None, B: None, C: None}, merged={MERGED: B})

    decision = decide(record=record, metronome=metronome, resolve=known.resolve, link=link)

    assert replace(decision, overruled=()) == expected, reason


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("001A0000006Vm9r", "001A0000006Vm9rIAC"),
        ("001000000000001", "001000000000001AAA"),
        ("00D000000000062", "00D000000000062EAA"),
    ],
)
def test_fifteen_characters_become_eighteen(short: str, long: str) -> None:
    """Ids with their checksums as Salesforce publishes them."""
    assert to_id18(short) == long
    assert to_id18(long) == long
    assert to_id18(f" {long} ") == long


@pytest.mark.parametrize(
    "text", ["", "001", "001A0000006Vm9rIAD", "001a0000006Vm9rIAC", "001A0000006Vm9é", "0" * 17]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    assert account_id(text) is Refusal.MALFORMED


@given(st.from_regex(r"001[A-Za-z0-9]{12}", fullmatch=True))
def test_changing_the_case_of_a_letter_is_noticed(short: str) -> None:
    long = to_id18(short)
    for position, character in enumerate(short):
        if character.isalpha():
            broken = short[:position] + character.swapcase() + long[position + 1 :]
            assert account_id(broken) is Refusal.MALFORMED


def test_values_that_differ_in_case_alone_are_told_apart_where_the_org_does() -> None:
    """Which is where it was asked for both; a field that ignores case has one answer for all."""
    sensitive = Accounts(
        {A: None, B: None}, by_external_id={("K", "Abc"): (A,), ("K", "abc"): (B,)}
    )
    alike = Accounts({A: None}, by_external_id={("K", "abc"): (A,)})
    nobody = Accounts(by_external_id={("K", "ABC"): (), ("K", "abc"): (A,)})

    def found(value: str, accounts: Accounts) -> object:
        return target_of(LinkRequest("x", external_id=("K", value)), accounts)

    assert [found(value, sensitive) for value in ("Abc", "abc")] == [A, B]
    assert found("ABC", alike) == A
    reason, _ = cast("tuple[LinkReason, str]", found("ABC", nobody))
    assert reason is LinkReason.ACCOUNT_NOT_FOUND
