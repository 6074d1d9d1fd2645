"""The lines of many MetronomeSyncs, which are written anew only where something changed."""

from prometheus_client.parser import text_string_to_metric_families

from metronome_salesforce.series import Durations, Family, Series

ACME, OTHER = ("billing", "acme"), ("sales", "other")
ODD = 'a "quoted" \\ name\nof two lines'


def test_a_value_is_shown_until_it_changes() -> None:
    series = Series("rows", ("object",))
    series.set(ACME, 1, "Plan")
    series.set(OTHER, 2.5, "Plan")
    assert series.render().splitlines() == [
        'rows{name="acme",namespace="billing",object="Plan"} 1.0',
        'rows{name="other",namespace="sales",object="Plan"} 2.5',
    ]
    series.set(ACME, 3, "Plan")
    assert 'namespace="billing",object="Plan"} 3.0' in series.render()
    assert 'namespace="sales",object="Plan"} 2.5' in series.render()


def test_a_count_begins_at_nought_and_goes_on() -> None:
    series = Series("runs")
    for amount, value in ((0, 0.0), (2, 2.0), (0, 2.0), (1.5, 3.5)):
        series.add(ACME, amount)
        assert series.render() == f'runs{{name="acme",namespace="billing"}} {value}\n'


def test_what_is_replaced_is_gone() -> None:
    series = Series("spend", ("state", "currency"))
    series.replace(ACME, {("linked", "USD"): 1, ("linked", "EUR"): 2})
    series.replace(OTHER, {("linked", "USD"): 3})
    series.replace(ACME, {("linked", "EUR"): 4})
    assert [line.partition(",name=")[0] for line in series.render().splitlines()] == [
        'spend{currency="EUR"',
        'spend{currency="USD"',
    ]
    series.replace(ACME, {})
    assert "acme" not in series.render()


def test_what_is_forgotten_begins_anew() -> None:
    series = Series("runs")
    series.add(ACME, 5)
    series.render()
    series.forget(ACME)
    assert series.render() == ""
    series.add(ACME, 1)
    assert series.render().endswith(" 1.0\n")


def test_any_text_can_be_read_back() -> None:
    """Prometheus' own rules of escaping, as its client library reads them."""
    series = Series("customers", ("state",))
    series.set(ACME, 1, ODD)
    text = Family("customers", "gauge", "Counts\\ \nthem.", ("state",), series).render()
    (family,) = text_string_to_metric_families(text)
    assert (family.type, family.documentation) == ("gauge", "Counts\\ \nthem.")
    assert [sample.labels["state"] for sample in family.samples] == [ODD]


def test_durations_are_a_histogram() -> None:
    """Each bucket counts what is not longer than its bound."""
    durations = Durations("run_seconds", (5, 60))
    for seconds in (1, 5, 30, 100):
        durations.observe(ACME, seconds)
    text = Family("run_seconds", "histogram", "How long.", (), durations).render()
    (family,) = text_string_to_metric_families(text)
    found = {(sample.name, sample.labels.get("le", "")): sample.value for sample in family.samples}
    assert found == {
        ("run_seconds_bucket", "5.0"): 2,
        ("run_seconds_bucket", "60.0"): 3,
        ("run_seconds_bucket", "+Inf"): 4,
        ("run_seconds_count", ""): 4,
        ("run_seconds_sum", ""): 136,
    }
    durations.forget(ACME)
    assert durations.render() == ""
