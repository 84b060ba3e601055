"""The seeded world: what the make-believe Integrator shows is a function of (seed, now), made on demand.

The rows that a test holds against the archive come from `main_logs`, `line_logs` and `download`; the server shows the
same rows through `listing` and `file`. Pages that can no longer change are kept rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock

import orjson

from archiver.demo.flows import FlowShape, brand_flows
from archiver.demo.listing import (
    Ask,
    Clock,
    Listing,
    Order,
    Place,
    Recent,
    Row,
    arrange,
    cut,
    matches,
    render,
    scatter,
)
from archiver.demo.rows import file_of, line_row, main_row, step_row
from archiver.demo.runs import FIRST_LINE, Run, line_created, line_visible, microseconds, plan, visible_lines

_FIRST_ID = 100_000


class World:
    """A make-believe Integrator's data. `start` is the time of the first runs; `clock` is the world's time.

    Ids grow with the runs of a flow and are unique in the world over all log types. `cache_bytes` bounds the rendered
    pages that are kept; `prerender` keeps its pages beyond that.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        start: datetime,
        flows: Sequence[FlowShape] | None = None,
        seed: int = 1,
        products: int = 900,
        cache_bytes: int = 256 * 2**20,
    ) -> None:
        self.clock = clock
        self.seed = seed
        self.start = microseconds(start)
        self.flows = tuple(brand_flows() if flows is None else flows)
        self._products = products
        self._by_id = {flow.flow_id: flow for flow in self.flows}
        self._stride = FIRST_LINE + max((flow.most_lines for flow in self.flows), default=0)
        self._runs: dict[str, list[Run]] = {flow.flow_id: [] for flow in self.flows}
        self._by_uuid: dict[tuple[str, str], Run] = {}
        self._growing = Lock()
        self._pages = Recent(cache_bytes)
        self._pinned: dict[object, Listing] = {}
        self._orders = Recent(4_000_000)  # places, of runs in an order that has to be sorted
        self._requests = count(1)  # unstable ties swap at every request

    def at(self, now: datetime) -> World:
        """The same world with its clock stopped at `now`."""
        return World(lambda: now, start=self._start_time(), flows=self.flows, seed=self.seed, products=self._products)

    def main_logs(self, flow_id: str, now: datetime | None = None) -> list[Row]:
        """All main logs that the source shows, in the flow's order, as they come on the wire."""
        moment = self._moment(now)
        return _wire(main_row(place.key, moment) for place in self._main_places(self._by_id[flow_id], moment))

    def line_logs(self, flow_id: str, run_id: str, now: datetime | None = None) -> list[Row]:
        """All line logs of a run (named by its execution id) that the source shows, in the flow's order."""
        moment = self._moment(now)
        run = self._run(flow_id, run_id, moment)
        if run is None:
            return []
        return _wire(line_row(run, index, moment) for index in self._line_order(run, moment))

    def download(self, log_id: int, now: datetime | None = None) -> bytes | None:
        """The base64 text of the log's file, or None where there is none (yet, or any more)."""
        moment = self._moment(now)
        block, part = divmod(log_id - _FIRST_ID, self._stride)
        if block < 0:
            return None
        number, flow_index = divmod(block, len(self.flows))
        runs = self._runs_until(self.flows[flow_index], moment)
        if number >= len(runs) or not runs[number].is_shown(moment):
            return None
        return file_of(runs[number], part, moment)

    def listing(self, ask: Ask) -> Listing:
        """The page that was asked for; an unknown flow or project shows nothing."""
        flow = self._by_id.get(ask.flow_id)
        if flow is None or flow.project.project_id != ask.project_id:
            return Listing(0, 0, b"")
        now = microseconds(self.clock())
        if ask.log_type == 1 and ask.filename_uuid is None and ask.original_filename_uuid is None:
            places = self._main_places(flow, now)
            first = (ask.page - 1) * ask.limit
            page = [self._main_bytes(place.key, now) for place in places[first : first + ask.limit]]
            return Listing(len(places), len(page), b",".join(page))
        if ask.log_type == 3 and ask.original_filename_uuid and ask.filename_uuid is None and not ask.search:
            run = self._run(flow.flow_id, ask.original_filename_uuid, now)
            return Listing(0, 0, b"") if run is None else self._line_page(run, ask.limit, ask.page, now)
        return cut([row for row in self._candidates(flow, ask, now) if matches(row, ask)], ask)

    def file(self, project_id: str, project_slug: str, flow_id: str, log_id: int) -> bytes | None:
        """The file of a log of that flow; None where the flow, the project or the file does not exist."""
        flow = self._by_id.get(flow_id)
        if flow is None or flow.project != (project_id, project_slug):
            return None
        owner = (log_id - _FIRST_ID) // self._stride % len(self.flows)
        return self.download(log_id) if self.flows[owner] is flow else None

    def prerender(self, limit: int = 100) -> int:
        """Renders every page of lines that can no longer change and keeps it; the number of bytes kept."""
        now, kept = microseconds(self.clock()), 0
        for flow in self.flows:
            for run in self._runs_until(flow, now):
                for page in range(1, -(-run.lines // limit) + 1):
                    if self._is_still(run, now):
                        listing = self._line_page(run, limit, page, now)
                        self._pinned[run.uuid, limit, page] = listing
                        kept += len(listing.rows)
        return kept

    def _start_time(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.start)

    def _moment(self, now: datetime | None) -> int:
        return microseconds(self.clock() if now is None else now)

    def _runs_until(self, flow: FlowShape, now: int) -> list[Run]:
        """The flow's runs, at least those created until now; the list only grows."""
        runs, every = self._runs[flow.flow_id], microseconds(flow.every)
        wanted = max(0, (now - self.start) // every + 1)
        wanted += -wanted % flow.equal_created  # those that share one `created` come together, none of them late
        if flow.runs is not None:
            wanted = min(wanted, flow.runs)
        if len(runs) < wanted:
            with self._growing:
                for number in range(len(runs), wanted):
                    runs.append(self._planned(flow, number))
        return runs

    def _planned(self, flow: FlowShape, number: int) -> Run:
        log_id = _FIRST_ID + (number * len(self.flows) + self.flows.index(flow)) * self._stride
        run = plan(self.seed, flow, number, start=self.start, log_id=log_id, products=self._products)
        self._by_uuid[flow.flow_id, run.uuid] = run
        return run

    def _run(self, flow_id: str, run_id: str, now: int) -> Run | None:
        self._runs_until(self._by_id[flow_id], now)
        run = self._by_uuid.get((flow_id, run_id))
        return run if run is not None and run.created <= now else None

    def _main_places(self, flow: FlowShape, now: int) -> list[Place]:
        shown = [run for run in self._runs_until(flow, now) if run.is_shown(now)]
        places = (Place(run.created, run.visible, run.log_id, run) for run in shown)
        return arrange(places, flow.order, self._salt(flow))

    def _main_bytes(self, run: Run, now: int) -> bytes:
        if now < run.still:
            return render(main_row(run, now))
        row: bytes | None = self._pages.get(run.log_id)
        if row is None:
            row = render(main_row(run, now))
            self._pages.put(run.log_id, row, len(row))
        return row

    def _is_still(self, run: Run, now: int) -> bool:
        return now >= run.still and run.lasts and run.flow.order is not Order.NEWEST_FIRST_UNSTABLE_TIES

    def _line_page(self, run: Run, limit: int, page: int, now: int) -> Listing:
        key, still = (run.uuid, limit, page), self._is_still(run, now)
        found: Listing | None = (self._pinned.get(key) or self._pages.get(key)) if still else None
        if found is not None:
            return found
        order = self._line_order(run, now)
        rows = [render(line_row(run, index, now)) for index in order[(page - 1) * limit : page * limit]]
        listing = Listing(len(order), len(rows), b",".join(rows))
        if still:
            self._pages.put(key, listing, len(listing.rows))
        return listing

    def _line_order(self, run: Run, now: int) -> Sequence[int]:
        """The numbers of the shown lines in the flow's order."""
        shown, order = visible_lines(run, now), run.flow.order
        if isinstance(shown, range) and order in {Order.NEWEST_FIRST, Order.INSERTION, Order.OLDEST_FIRST}:
            return shown if order is Order.OLDEST_FIRST else shown[::-1]
        key = (run.uuid, "order")
        kept: list[int] | None = self._orders.get(key) if self._is_still(run, now) else None
        if kept is None:
            places = (_line_place(run, index) for index in shown)
            kept = [place.key for place in arrange(places, order, self._salt(run.flow))]
            if self._is_still(run, now):
                self._orders.put(key, kept, len(kept))
        return kept

    def _salt(self, flow: FlowShape) -> int:
        if flow.order is not Order.NEWEST_FIRST_UNSTABLE_TIES:
            return 0
        return scatter(next(self._requests), self.seed)

    def _candidates(self, flow: FlowShape, ask: Ask, now: int) -> Iterator[Row]:
        """The rows of the asked type in the flow's order, before the filters; a run's uuid narrows them early."""
        if ask.log_type == 1:
            yield from (main_row(place.key, now) for place in self._main_places(flow, now))
            return
        named = ask.original_filename_uuid
        runs = self._runs_until(flow, now) if named is None else [self._run(flow.flow_id, named, now)]
        if ask.log_type == 2:
            shown = [run for run in runs if run is not None and run.is_shown(now)]
            steps = (step_row(run, part, now) for run in shown for part in range(len(flow.steps)))
            yield from _arranged_steps([row for row in steps if row is not None], flow, self._salt(flow))
            return
        places = [_line_place(run, index, run) for run in runs if run is not None for index in visible_lines(run, now)]
        for place in arrange(places, flow.order, self._salt(flow)):
            run, index = place.key
            yield line_row(run, index, now)


def _line_place(run: Run, index: int, owner: Run | None = None) -> Place:
    key = index if owner is None else (owner, index)
    return Place(line_created(run, index), line_visible(run, index), run.log_id + FIRST_LINE + index, key)


def _arranged_steps(rows: list[Row], flow: FlowShape, salt: int) -> list[Row]:
    def created(row: Row) -> int:
        return microseconds(datetime.fromisoformat(row["created"]))

    places = (Place(created(row), created(row), row["id"], row) for row in rows)
    return [place.key for place in arrange(places, flow.order, salt)]


def _wire(rows: Iterator[Row]) -> list[Row]:
    """Rows as a reader of the wire gets them: through JSON, so that nothing differs by a Python type."""
    return [orjson.loads(render(row)) for row in rows]


def demo_world(clock: Clock, *, days: int = 7, seed: int = 1) -> World:
    """The demo's brand with a history of so many whole days before today, going on as time passes."""
    midnight = clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return World(clock, start=midnight - timedelta(days=days), seed=seed)
