"""The flows of a make-believe fashion brand: how often they run, how much they move, and how badly they behave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import blake2b
from typing import NamedTuple

from archiver.demo.listing import Order

NEVER = timedelta(0)


class Project(NamedTuple):
    """A brand, as the Integrator knows it."""

    project_id: str
    slug: str


class Step(NamedTuple):
    """A sub flow: its id and title, and the share of the run's time in which it works."""

    step_id: str
    title: str
    begins: float
    ends: float


BRAND = Project("5f0c2b1e-9a47-4d7c-8e53-3b6a1c0d9e42", "defne-moda")

_LOGIN = Step("login", "Login", 0.0, 0.04)
STEPS = {
    "price": (
        _LOGIN,
        Step("read_data_from_erp", "Read Data From ERP", 0.04, 0.14),
        Step("send_price", "Send Price", 0.14, 0.98),
    ),
    "stock": (
        _LOGIN,
        Step("read_data_from_erp", "Read Data From ERP", 0.04, 0.1),
        Step("send_stock", "Send Stock", 0.1, 0.98),
    ),
    "product": (
        _LOGIN,
        Step("read_data_from_erp", "Read Data From ERP", 0.04, 0.2),
        Step("map_attributes", "Map Attributes", 0.2, 0.3),
        Step("send_product", "Send Product", 0.3, 0.98),
    ),
    "order": (
        _LOGIN,
        Step("read_orders", "Read Orders", 0.04, 0.12),
        Step("send_orders_to_erp", "Siparişleri ERP'ye Gönder", 0.12, 0.98),
    ),
}
"""The sub flows by kind of flow; lines belong to the last one."""


@dataclass(frozen=True)
class FlowShape:
    """One flow and its habits. Shares are between 0 and 1; a `timedelta` of zero switches a habit off."""

    flow_id: str
    name: str
    kind: str = "price"  # a key of STEPS
    project: Project = BRAND
    in_bound: bool = True
    every: timedelta = timedelta(hours=1)
    lines: int = 60  # of an average run
    spread: float = 0.5  # runs have lines ± this share
    runs: int | None = None  # no more than these; None: for ever
    failed: float = 0.05  # runs that fail
    partial: float = 0.01  # runs that succeed although lines failed
    empty: float = 0.04  # runs that find nothing to do
    order: Order = Order.NEWEST_FIRST
    equal_created: int = 1  # so many rows in a row share one `created`
    late: timedelta = NEVER  # some rows are visible up to this long after their `created`
    late_share: float = 0.1  # of the rows, where a habit makes rows late
    late_lines: timedelta = NEVER  # some lines are visible up to this long after their run finished
    late_files: timedelta = NEVER  # is_send_S3 turns 1 up to this long after the log finished
    retention: timedelta | None = None  # older rows vanish
    deleted: float = 0.0  # runs that vanish within a day
    unfinished: float = 0.0  # runs that never finish
    vanishing: float = 0.0  # runs that vanish before they finish

    @property
    def steps(self) -> tuple[Step, ...]:
        """The sub flows of every run of this flow."""
        return STEPS[self.kind]

    @property
    def most_lines(self) -> int:
        """No run has more lines than this."""
        return int(self.lines * (1 + self.spread)) + 1

    @property
    def schedule(self) -> str | None:
        """The cron text that the Integrator shows for a flow that reads on a schedule."""
        if not self.in_bound:
            return None
        minutes = max(1, int(self.every.total_seconds()) // 60)
        return f"0 0/{minutes} * * * ?" if minutes < 60 else f"0 0 0/{minutes // 60} * * ?"


def flow_named(name: str, kind: str = "price") -> FlowShape:
    """A flow with the default habits, its id made from its name; change habits with `dataclasses.replace`."""
    digest = blake2b(name.encode(), digest_size=16).hexdigest()
    return FlowShape(uuid_of(digest), name, kind, in_bound=kind != "order")


def uuid_of(digest: str) -> str:
    """32 hex digits in the shape of a UUID."""
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def brand_flows() -> tuple[FlowShape, ...]:
    """The demo's five flows: about 190 runs and 6,000 lines a day."""
    return (
        replace(flow_named("price", "price"), every=timedelta(hours=1), lines=60),
        replace(flow_named("stock", "stock"), every=timedelta(minutes=30), lines=55),
        replace(flow_named("product", "product"), every=timedelta(hours=3), lines=90),
        replace(flow_named("order", "order"), every=timedelta(minutes=20), lines=8, empty=0.15),
        replace(flow_named("stock-marketplace", "stock"), every=timedelta(hours=2), lines=70, in_bound=False),
    )
