"""What the emulated company sells: credit types, billable metrics, plans and contract rates.

A machine-learning cloud that prices some plans in US cents, some in euros and one in its own
Compute Credits, because those three are counted in different units on the wire.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from metronome_salesforce.sandbox.metronome.values import (
    Charge,
    ContractRate,
    CreditType,
    Metric,
    Plan,
    Tier,
    stable_id,
)

USD = CreditType("2714e483-4ff1-48e4-9e25-ac732e8f24f2", "USD (cents)", is_currency=True)
_OTHER_FIAT = "AUD BRL CAD CHF CZK EUR GBP INR MXN NGN NOK PLN SEK TRY ZAR NZD SGD"
_FIAT = {
    name: CreditType(stable_id("fiat", name), name, is_currency=True)
    for name in _OTHER_FIAT.split()
}
EUR = _FIAT["EUR"]
COMPUTE_CREDITS = CreditType(
    stable_id("unit", "Compute Credits"), "Compute Credits", is_currency=False
)
CREDIT_TYPES = (USD, *_FIAT.values(), COMPUTE_CREDITS)

# Each entity's custom-field keys as the company declared them; setting another key is refused.
CUSTOM_FIELD_KEYS = (
    ("customer", "tier", False),
    ("customer", "salesforce_account_id", False),
    ("customer", "sfdc_account_id", True),
    ("customer", "region", False),
    ("customer_plan", "order_form", False),
    ("plan", "family", False),
    ("contract", "sfdc_opportunity_id", False),
    ("credit_grant", "campaign", False),
    ("invoice", "po_number", False),
    ("charge", "gl_code", False),
)

_SUPPORT_SEATS = (Decimal(5), Decimal(5))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that exists once per company."""

    metrics: tuple[Metric, ...]
    plans: tuple[Plan, ...]
    products: dict[str, str]
    """Ids by product name."""

    def metric(self, name: str) -> Metric:
        """Return the metric of that name."""
        return next(metric for metric in self.metrics if metric.name == name)

    def plan(self, name: str) -> Plan:
        """Return the plan of that name."""
        return next(plan for plan in self.plans if plan.name == name)


def make_catalogue(seed: int, *, light: bool, opened: datetime) -> Catalogue:
    """Return the company's catalogue; a light one has two metrics and two plans."""
    metrics = [
        Metric(stable_id(seed, "metric", 0), "API calls", "COUNT", 0, (5, 400)),
        Metric(
            stable_id(seed, "metric", 1),
            "GPU hours",
            "SUM",
            2,
            (1, 40),
            key="gpu_seconds",
            group_keys=(("region",), ("region", "instance")),
        ),
    ]
    if not light:
        metrics += [
            Metric(stable_id(seed, "metric", 2), "Storage GB", "MAX", 3, (300, 30_000), key="gb"),
            Metric(stable_id(seed, "metric", 3), "Active users", "UNIQUE", 0, (1, 2), key="user"),
            Metric(
                stable_id(seed, "metric", 4), "Egress GB", "SUM", 4, (1_000, 80_000), key="bytes"
            ),
            Metric(stable_id(seed, "metric", 5), "Queue depth", "LATEST", 0, (1, 3), key="depth"),
            Metric(
                stable_id(seed, "metric", 6),
                "Training runs (old)",
                "COUNT",
                0,
                (1, 2),
                archived_at=opened,
            ),
        ]
    names = ("Platform", "Usage", "API calls", "GPU hours", "Storage", "Egress", "Support hours")
    products = {name: stable_id(seed, "product", name) for name in names}
    by_name = {metric.name: metric for metric in metrics}
    plans = _light_plans(seed, by_name, products) if light else _plans(seed, by_name, products)
    return Catalogue(tuple(metrics), plans, products)


def contract_rates(
    catalogue: Catalogue, credit_type: CreditType, *, light: bool
) -> tuple[ContractRate, ...]:
    """Return the usage products of a contract, priced in cents or in whole euros."""
    scale = Decimal("0.01") if credit_type is EUR else Decimal(1)
    api, gpu = catalogue.metric("API calls"), catalogue.metric("GPU hours")
    products = catalogue.products
    by_region = ((6, (("region", "eu"),)), (4, (("region", "us"),)))
    calls = ContractRate(api.id, products["API calls"], "API calls", Decimal("0.0213") * scale)
    if light:
        return (
            calls,
            ContractRate(gpu.id, products["GPU hours"], "GPU hours", Decimal(249) * scale),
        )
    egress = catalogue.metric("Egress GB")
    return (
        calls,
        ContractRate(gpu.id, products["GPU hours"], "GPU hours", Decimal(249) * scale, by_region),
        # Two lines that nothing but their quantity tells apart.
        ContractRate(
            egress.id, products["Egress"], "Egress", Decimal("0.875") * scale, ((7, ()), (3, ()))
        ),
    )


def _plans(seed: int, metrics: dict[str, Metric], products: dict[str, str]) -> tuple[Plan, ...]:
    eur_calls = (("0", "0.0004"), ("500000", "0.00025"))
    return (
        Plan(
            stable_id(seed, "plan", "Starter"),
            "Starter",
            "Platform fee and metered API calls",
            USD,
            (
                _fixed(seed, "Starter", "Platform fee", products, "4900"),
                _metered(seed, "Starter", metrics["API calls"], products, (("0", "0.04"),)),
            ),
            minimum=Decimal(9900),
            custom_fields=(("family", "self-serve"),),
        ),
        Plan(
            stable_id(seed, "plan", "Growth"),
            "Growth",
            "Tiered API calls, GPU hours, storage and support",
            USD,
            (
                _fixed(seed, "Growth", "Platform fee", products, "49900"),
                _fixed(seed, "Growth", "Support seats", products, "2500", _SUPPORT_SEATS),
                _metered(
                    seed,
                    "Growth",
                    metrics["API calls"],
                    products,
                    (("0", "0.035"), ("1000000", "0.0225"), ("5000000", "0.018")),
                ),
                _metered(seed, "Growth", metrics["GPU hours"], products, (("0", "212.5"),)),
                _metered(seed, "Growth", metrics["Storage GB"], products, (("0", "2.3"),)),
            ),
            minimum=Decimal(250_000),
            custom_fields=(("family", "sales-led"),),
        ),
        Plan(
            stable_id(seed, "plan", "Europe"),
            "Growth Europe",
            "Growth, in euros",
            EUR,
            (
                _fixed(seed, "Europe", "Platform fee", products, "459"),
                _metered(seed, "Europe", metrics["API calls"], products, eur_calls),
                _metered(seed, "Europe", metrics["GPU hours"], products, (("0", "1.985"),)),
            ),
        ),
        Plan(
            stable_id(seed, "plan", "Credits"),
            "Compute Credits",
            "Everything is paid from Compute Credits",
            COMPUTE_CREDITS,
            (
                _metered(seed, "Credits", metrics["GPU hours"], products, (("0", "1.25"),)),
                _metered(seed, "Credits", metrics["Egress GB"], products, (("0", "0.0125"),)),
            ),
            custom_fields=(("family", "credits"),),
        ),
        Plan(
            stable_id(seed, "plan", "Legacy"),
            "Legacy 2023",
            "",
            USD,
            (_fixed(seed, "Legacy", "Platform fee", products, "10000"),),
        ),
    )


def _light_plans(
    seed: int, metrics: dict[str, Metric], products: dict[str, str]
) -> tuple[Plan, ...]:
    def priced(name: str, credit_type: CreditType, fee: str, call: str, hour: str) -> Plan:
        charges = (
            _fixed(seed, name, "Platform fee", products, fee, product="Usage"),
            _metered(seed, name, metrics["API calls"], products, (("0", call),), product="Usage"),
            _metered(seed, name, metrics["GPU hours"], products, (("0", hour),), product="Usage"),
        )
        return Plan(stable_id(seed, "plan", name), name, "", credit_type, charges)

    return (
        priced("Growth", USD, "49900", "0.035", "212.5"),
        priced("Growth Europe", EUR, "459", "0.0004", "1.985"),
    )


def _fixed(
    seed: int,
    plan: str,
    name: str,
    products: dict[str, str],
    price: str,
    quantities: tuple[Decimal, ...] = (Decimal(1),),
    product: str = "Platform",
) -> Charge:
    return Charge(
        stable_id(seed, "charge", plan, name),
        name,
        "fixed" if len(quantities) == 1 else "seat",
        products[product],
        product,
        (Tier(Decimal(0), Decimal(price)),),
        quantities=quantities,
    )


def _metered(
    seed: int,
    plan: str,
    metric: Metric,
    products: dict[str, str],
    tiers: tuple[tuple[str, str], ...],
    product: str = "",
) -> Charge:
    product = product or metric.name.removesuffix(" GB")
    return Charge(
        stable_id(seed, "charge", plan, metric.name),
        metric.name,
        "usage",
        products[product],
        product,
        tuple(Tier(Decimal(start), Decimal(price)) for start, price in tiers),
        metric_id=metric.id,
    )
