"""What customers spend, by currency: bounded, and never added across units."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from metronome_salesforce.spending import LINKED, ORPHANED, totals


def test_spend_is_summed_by_state_and_currency() -> None:
    found = totals(
        [
            (LINKED, {"USD": Decimal("10.005"), "EUR": Decimal(1)}),
            (LINKED, {"USD": Decimal("2.50")}),
            (ORPHANED, {"USD": Decimal(0)}),
        ]
    )

    assert found == {"linked": {"EUR": "1.00", "USD": "12.50"}, "orphaned": {"USD": "0.00"}}


def test_units_that_are_no_currency_are_left_out() -> None:
    """One may be called after a customer."""
    units = {"Acme credits": Decimal(7), "tokens": Decimal(9), "usd": Decimal(1), "": Decimal(1)}

    assert totals([(ORPHANED, units)]) == {"linked": {}, "orphaned": {}}


def test_of_too_many_currencies_those_of_most_customers_are_kept() -> None:
    rare = [(ORPHANED, {f"A{letter}X": Decimal(1_000_000)}) for letter in "ABCDEFGHIJKL"]
    often = [(LINKED, {"ZZZ": Decimal(1)})] * 2

    found = totals([*rare, *often])

    assert found["linked"] == {"ZZZ": "2.00"}
    assert list(found["orphaned"]) == [f"A{letter}X" for letter in "ABCDEFGHI"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([LINKED, ORPHANED]),
            st.dictionaries(
                st.text("ABC", min_size=3, max_size=3) | st.text(max_size=5),
                st.decimals(-1000, 1000, places=2),
            ),
        )
    )
)
def test_it_is_bounded_whatever_customers_there_are(
    customers: list[tuple[str, dict[str, Decimal]]],
) -> None:
    found = totals(customers)

    assert set(found) == {LINKED, ORPHANED}
    currencies = {currency for of_state in found.values() for currency in of_state}
    assert len(currencies) <= 10
    assert all(len(currency) == 3 for currency in currencies)
