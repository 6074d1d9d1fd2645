"""The series of a MetronomeSync are as many with one customer as with thirty, and name nobody."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families

from metronome_salesforce.sandbox.kubernetes import KubernetesSandbox
from tests.e2e.suite import Cluster, Company, Operator, Space, company
from tests.monitoring.files import vocabulary
from tests.monitoring.tools import promtool

pytestmark = pytest.mark.monitoring

SIZES = {"small": 1, "large": 30}
_LOOKS = 3.0
"""Seconds in which the operator has looked for changes in both orgs, which it does each second."""
Series = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture(name="companies", scope="module")
def _companies() -> Iterator[dict[str, Company]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(company(customers=customers))
            for name, customers in SIZES.items()
        }


@pytest.fixture(name="scraped", scope="module")
def _scraped(
    companies: dict[str, Company], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """What /metrics says after two cycles of each company, a day apart."""
    folder = tmp_path_factory.mktemp("series")
    sandbox = KubernetesSandbox()
    with sandbox.serve() as served:
        kubeconfig = sandbox.write_kubeconfig(folder / "kubeconfig", served.url)
        cluster = Cluster("embedded", kubeconfig, folder)
        try:
            cluster.install_crds()
            with (
                Operator(cluster, folder / "log", quick=True) as operator,
                Space.new(cluster, operator) as space,
            ):
                for name, one in companies.items():
                    space.start(one, name, linking={"watchSalesforceEvery": "1s"})
                    space.wait_for_run(1, name)
                    space.request("again", name)
                time.sleep(_LOOKS)
                yield operator.probe("/metrics")[1]
        finally:
            cluster.close()


def series(text: str) -> dict[str, set[Series]]:
    """The series of each MetronomeSync, without its namespace and name."""
    found: dict[str, set[Series]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            if "name" in labels:
                name = labels.pop("name")
                del labels["namespace"]
                found.setdefault(name, set()).add((sample.name, tuple(sorted(labels.items()))))
    return found


def test_promtool_has_nothing_against_the_metrics(scraped: str) -> None:
    done = promtool("check", "metrics", given=scraped.encode())

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_metrics_are_all_in_the_vocabulary(scraped: str) -> None:
    """So that what is said of the vocabulary holds for what is scraped."""
    known = vocabulary()
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            assert set(sample.labels) <= known[sample.name], sample.name


def test_thirty_customers_have_as_many_series_as_one(scraped: str) -> None:
    found = series(scraped)
    small, large = (
        {one for one in found[name] if one[0] != "metronome_salesforce_current_spend"}
        for name in SIZES
    )

    assert small == large
    assert len(small) < 200


def test_spend_has_no_more_series_than_ten_currencies(scraped: str) -> None:
    """It is what a tenant's size decides: by the currencies that it has."""
    spend = Counter(
        (dict(labels)["state"], dict(labels)["currency"])
        for name, labels in series(scraped)["large"]
        if name == "metronome_salesforce_current_spend"
    )

    assert 1 < len(spend) <= 2 * 10
    assert {state for state, _ in spend} == {"linked", "orphaned"}
    assert all(re.fullmatch("[A-Z]{3}", currency) for _, currency in spend)


def test_no_id_and_no_name_of_a_customer_is_told(
    scraped: str, companies: dict[str, Company]
) -> None:
    for one in companies.values():
        for customer in one.tenant.customers():
            assert customer["id"] not in scraped
            assert customer["name"] not in scraped
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", scraped) is None
