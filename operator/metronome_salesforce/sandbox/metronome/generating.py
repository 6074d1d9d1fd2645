"""Invent the customers of a tenant: the first twelve are the odd ones, the rest are the crowd.

Each of the first twelve shows something that a reader of the API must survive; a tenant with at
least twelve customers has all of it, whatever the seed.
"""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from metronome_salesforce.sandbox.metronome.catalogue import (
    COMPUTE_CREDITS,
    EUR,
    USD,
    Catalogue,
    contract_rates,
)
from metronome_salesforce.sandbox.metronome.values import (
    Assignment,
    Contract,
    CreditType,
    Customer,
    Grant,
    Plan,
    Rate,
    Scheduled,
    midnight,
    month_start,
    plain,
    stable_id,
)

_FIRST = (
    "Alder",
    "Amber",
    "Basalt",
    "Beacon",
    "Birch",
    "Cobalt",
    "Copper",
    "Coral",
    "Delta",
    "Ember",
    "Fathom",
    "Granite",
    "Harbor",
    "Helix",
    "Indigo",
    "Juniper",
    "Keystone",
    "Lattice",
    "Lumen",
    "Maple",
    "Meridian",
    "Nimbus",
    "Northwind",
    "Opal",
    "Orbit",
    "Pine",
    "Quarry",
    "Raven",
    "Ridge",
    "Saffron",
    "Sable",
    "Sierra",
    "Summit",
    "Tandem",
    "Tidal",
    "Umber",
    "Vector",
    "Verdant",
    "Willow",
    "Zephyr",
)
_SECOND = (
    "Analytics",
    "Biotech",
    "Cartography",
    "Commerce",
    "Diagnostics",
    "Dynamics",
    "Energy",
    "Foods",
    "Freight",
    "Games",
    "Health",
    "Imaging",
    "Insurance",
    "Labs",
    "Logistics",
    "Media",
    "Mobility",
    "Networks",
    "Optics",
    "Payments",
    "Pharma",
    "Research",
    "Robotics",
    "Security",
    "Semiconductors",
    "Software",
    "Studios",
    "Systems",
    "Telecom",
    "Vision",
)
_FORM = ("Inc.", "GmbH", "Ltd", "LLC", "AG", "S.A.", "BV", "Oy")
_LONG_NAME = (
    "The Consolidated Research and Development Company for Distributed Inference, Retrieval and "
    "Simulation Services of the Greater Northern Metropolitan Area, Holding"
)
_ODD_NAME = "Fjord \"Deep\" Water & Söhne 🌊🚢\nTrading, as 'O'Neil' <AG>"
_HOURS_OF_ONBOARDING = 9


def make_customers(
    catalogue: Catalogue, *, customers: int, seed: int, now: datetime, months: int, light: bool
) -> list[Customer]:
    """Return the customers with their plans, contracts, grants and rates of usage."""
    opened = month_start(now, -months)
    return [_customer(catalogue, index, seed, now, opened, light) for index in range(customers)]


def _customer(
    catalogue: Catalogue, index: int, seed: int, now: datetime, opened: datetime, light: bool
) -> Customer:
    rng = random.Random(f"customer:{seed}:{index}")
    name = f"{rng.choice(_FIRST)} {rng.choice(_SECOND)} {rng.choice(_FORM)}"
    slug = re.sub(r"[^a-z]+", "-", name.lower()).strip("-")
    created = opened - timedelta(days=rng.randint(3, 300), hours=rng.randint(0, 23))
    customer = Customer(
        id=stable_id(seed, "customer", index),
        index=index,
        name=name,
        ingest_aliases=(f"{slug}-{index}",),
        created_at=created,
        updated_at=created,
        rates=(),
    )
    customer.rates = _rates(catalogue, rng, index, opened, light)
    shape = _SHAPES[index] if index < len(_SHAPES) else _crowd(rng)
    shape(customer, _World(catalogue, rng, seed, now, opened, light))
    return customer


class _World:
    """What the shapes need to know, and the things that they all make."""

    def __init__(
        self,
        catalogue: Catalogue,
        rng: random.Random,
        seed: int,
        now: datetime,
        opened: datetime,
        light: bool,
    ) -> None:
        self.catalogue = catalogue
        self.rng = rng
        self.seed = seed
        self.now = now
        self.opened = opened
        self.light = light

    def plan(self, name: str) -> Plan:
        if self.light:
            return self.catalogue.plan("Growth Europe" if name == "Growth Europe" else "Growth")
        return self.catalogue.plan(name)

    def assign(
        self, customer: Customer, plan: Plan, start: datetime, end: datetime | None = None
    ) -> None:
        number = len(customer.assignments)
        made = Assignment(
            stable_id(self.seed, "assignment", customer.index, number),
            plan,
            start,
            end,
            terms_days=30 if customer.index % 2 else None,
            trial_end=start + timedelta(days=14) if customer.index % 12 == 4 else None,
            custom_fields=(("order_form", f"OF-{customer.index:05d}-{number}"),),
        )
        customer.assignments = (*customer.assignments, made)

    def grant(
        self,
        customer: Customer,
        name: str,
        amount: Decimal,
        months: tuple[int, int],
        *,
        unit: CreditType = USD,
        paid: Decimal = Decimal(0),
        paid_type: CreditType | None = None,
    ) -> None:
        number = len(customer.grants)
        start = month_start(self.opened, months[0])
        made = Grant(
            stable_id(self.seed, "grant", customer.index, number),
            name,
            amount,
            unit,
            paid,
            paid_type or unit,
            max(start, midnight(customer.created_at)),
            month_start(self.opened, months[1]),
            priority=number + 1,
            kind="trial" if not paid else None,
            reason="Onboarding" if number == 0 else None,
            custom_fields=(("campaign", "spring"),) if number else (),
        )
        customer.grants = (*customer.grants, made)

    def contract(
        self,
        customer: Customer,
        unit: CreditType,
        *,
        commit: bool,
        scheduled: bool,
        after_months: int = 0,
    ) -> None:
        seed, index = self.seed, customer.index
        first = month_start(self.opened, after_months)
        scale = Decimal("0.01") if unit is EUR else Decimal(1)
        items: list[Scheduled] = []
        amount = plain(Decimal(self.rng.randrange(2_000_000, 4_000_000, 500_000)) * scale)
        if commit:
            issue = first + timedelta(hours=_HOURS_OF_ONBOARDING)
            items.append(Scheduled("Prepaid commit 1/1", "commit_purchase", amount, issue))
        if scheduled:
            for month in (1, 4, 7, 10):
                # Before, around and after the present: future ones exist as drafts already.
                issue = month_start(first, month) + timedelta(days=14)
                fee = plain(Decimal(125_000) * scale)
                items.append(Scheduled("Quarterly success fee", "scheduled", fee, issue))
        if "odd type" in customer.traits:
            issue = month_start(first, 1) + timedelta(days=2)
            items.append(
                Scheduled(
                    "Rounding", "scheduled", plain(Decimal("0.8") * scale), issue, "ROUNDING_FIX"
                )
            )
        customer.contract = Contract(
            stable_id(seed, "contract", index),
            unit,
            first,
            contract_rates(self.catalogue, unit, light=self.light),
            tuple(items),
            stable_id(seed, "commit", index) if commit else None,
            amount if commit else Decimal(0),
            (("sfdc_opportunity_id", f"006Hs0000{index:06d}"),),
        )


def _upgraded(customer: Customer, world: _World) -> None:
    """Ended plan, then an active one; a grant; two adjustments that look the same."""
    customer.traits = frozenset({"twin adjustments"})
    customer.provider = "stripe"
    customer.custom_fields = {"tier": "gold", "region": "eu"}
    customer.ingest_aliases = (*customer.ingest_aliases, f"prod-{customer.index}")
    changed = month_start(world.opened, 1)
    world.assign(customer, world.plan("Starter"), month_start(world.opened), changed)
    world.assign(customer, world.plan("Growth"), changed)
    world.grant(customer, "Welcome credit", Decimal(2_500_000), (0, 12))
    world.grant(
        customer, "Migration credit", Decimal("6000000.5"), (0, 18), paid=Decimal(5_000_000)
    )


def _committed(customer: Customer, world: _World) -> None:
    """Contract with a prepaid commit that runs out, and scheduled invoices up to the future."""
    customer.provider = "netsuite"
    world.contract(customer, USD, commit=True, scheduled=True)


def _european(customer: Customer, world: _World) -> None:
    """Plan and grant in euros, which come in whole units; unknown keys in the documents."""
    customer.traits = frozenset({"unknown keys"})
    world.assign(customer, world.plan("Growth Europe"), month_start(world.opened))
    world.grant(customer, "Startup programme", Decimal("64000.75"), (0, 12), unit=EUR)


def _unit_priced(customer: Customer, world: _World) -> None:
    """Plan in a custom pricing unit; the grant is in that unit but was paid in cents."""
    world.assign(customer, world.plan("Compute Credits"), month_start(world.opened))
    if not world.light:
        world.grant(
            customer,
            "50,000 Compute Credits",
            Decimal(50_000),
            (0, 12),
            unit=COMPUTE_CREDITS,
            paid=Decimal(4_000_000),
            paid_type=USD,
        )


def _changing(customer: Customer, world: _World) -> None:
    """The longest name that Metronome stores; one plan ends where an upcoming one starts."""
    customer.name = (_LONG_NAME + " " + "Group " * 12)[:159].rstrip().ljust(160, ".")
    changes = month_start(world.now, 1)
    start = month_start(world.opened) + timedelta(days=9)
    world.assign(customer, world.plan("Starter"), start, changes)
    world.assign(customer, world.plan("Growth"), changes)


def _oddly_named(customer: Customer, world: _World) -> None:
    """Emoji, quotes and a newline in the name; an invoice type that no client knows."""
    customer.name = _ODD_NAME
    customer.traits = frozenset({"odd type", "unknown keys"})
    world.contract(customer, USD, commit=False, scheduled=False)


def _archived(customer: Customer, world: _World) -> None:
    """Archived two weeks ago: its invoices are void, its grants are still listed."""
    world.assign(customer, world.plan("Starter"), month_start(world.opened))
    world.grant(customer, "Welcome credit", Decimal(50_000), (0, 12))
    customer.archived_at = midnight(world.now) - timedelta(days=14) + timedelta(hours=16)
    customer.updated_at = customer.archived_at


def _disputed(customer: Customer, world: _World) -> None:
    """The first invoice was voided and regenerated (the tenant does it once it exists)."""
    customer.traits = frozenset({"regenerated"})
    customer.provider = "stripe"
    world.assign(customer, world.plan("Growth"), month_start(world.opened))
    world.grant(customer, "Welcome credit", Decimal(100_000), (0, 12))


def _churned(customer: Customer, world: _World) -> None:
    """Hardly any use, so the minimum applied; plan ended, grant expired with something left."""
    customer.rates = tuple(replace(rate, base=1) for rate in customer.rates)
    end = month_start(world.opened, 1)
    world.assign(customer, world.plan("Starter"), month_start(world.opened), end)
    world.grant(customer, "Trial credit", Decimal(2_000_000), (0, 1))


def _european_contract(customer: Customer, world: _World) -> None:
    """Contract in euros with a commit, on a marketplace bill."""
    customer.provider = "aws_marketplace"
    world.contract(customer, EUR, commit=True, scheduled=True)


def _unpriced(customer: Customer, world: _World) -> None:
    """Usage only: no plan, no contract, no invoice; no alias either."""
    del world
    customer.ingest_aliases = ()


def _hybrid(customer: Customer, world: _World) -> None:
    """Moved from a plan to a contract, so both kinds of invoices exist."""
    customer.traits = frozenset({"odd type"})
    customer.provider = "stripe"
    world.assign(
        customer, world.plan("Growth"), month_start(world.opened), month_start(world.opened, 1)
    )
    world.grant(customer, "Welcome credit", Decimal(40_000), (0, 12))
    world.contract(customer, USD, commit=True, scheduled=False, after_months=1)


def _on_plan(customer: Customer, world: _World) -> None:
    name = world.rng.choice(("Starter", "Growth", "Growth", "Growth Europe"))
    plan = world.plan(name)
    customer.provider = world.rng.choice((None, "stripe"))
    start = month_start(world.opened) + timedelta(days=world.rng.choice((0, 0, 0, 11)))
    world.assign(customer, plan, start)
    if world.rng.random() < 0.35:
        amount = Decimal(25_000) if plan.credit_type is EUR else Decimal(3_000_000)
        world.grant(customer, "Welcome credit", amount, (0, 12), unit=plan.credit_type)


def _on_contract(customer: Customer, world: _World) -> None:
    customer.provider = world.rng.choice((None, "stripe", "workday"))
    world.contract(
        customer,
        USD,
        commit=not world.light and world.rng.random() < 0.5,
        scheduled=world.rng.random() < 0.2,
    )


_Shape = Callable[[Customer, _World], None]
_SHAPES: tuple[_Shape, ...] = (
    _upgraded,
    _committed,
    _european,
    _unit_priced,
    _changing,
    _oddly_named,
    _archived,
    _disputed,
    _churned,
    _european_contract,
    _unpriced,
    _hybrid,
)


def _crowd(rng: random.Random) -> _Shape:
    roll = rng.random()
    if roll < 0.01:
        return _archived
    if roll < 0.04:
        return _churned
    if roll < 0.06:
        return _unpriced
    return _on_plan if roll < 0.75 else _on_contract


def _rates(
    catalogue: Catalogue, rng: random.Random, index: int, opened: datetime, light: bool
) -> tuple[Rate, ...]:
    live = [metric for metric in catalogue.metrics if metric.archived_at is None]
    if not light and index >= len(_SHAPES):
        # Everybody calls the API and uses GPUs; who uses the rest differs.
        live = live[:2] + [one for one in live[2:] if rng.random() < 0.6]
    return tuple(
        Rate(
            metric,
            rng.randint(*metric.typical),
            7 * rng.randrange(585),
            opened.toordinal() + rng.choice((0, 0, 0, 5)),
            ("zero", "null", "absent")[(index + number) % 3],
        )
        for number, metric in enumerate(live)
    )
