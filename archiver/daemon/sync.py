"""One go over everything that is due or left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from archiver.alerts import Rounds
from archiver.archive import FlowReport, archive_flow
from archiver.config import Flow
from archiver.daemon.passes import log_pass, numbered
from archiver.daemon.place import Workplace
from archiver.errors import ArchiverError


def sync(
    place: Workplace,
    flows: Sequence[Flow],
    *,
    progress: Callable[[FlowReport], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[FlowReport]:
    """A turn without end for each flow, several at a time; pauses between tries are ignored, leases are waited for.

    Raises the database's errors, once all turns have ended; what goes wrong with one flow is in its report.
    """

    def turn(flow: Flow) -> FlowReport | None:
        lease = place.store.leases.wait(place.keys[flow], stopping)
        if lease is None:
            return None
        with numbered(flow, lease):
            report = archive_flow(
                flow,
                place.clients[flow.integrator],
                place.store,
                lease,
                helpers=place.helpers,
                eager=True,
                stopping=stopping,
                progress=progress,
            )
            log_pass(report)
        return report

    with ThreadPoolExecutor(place.config.workers, thread_name_prefix="flow") as pool:
        turns = [pool.submit(turn, flow) for flow in flows]
        return _reports(turns)


def _reports(turns: Iterable[Future[FlowReport | None]]) -> list[FlowReport]:
    """What all turns did that had a lease. Waits for each of them, before it raises the last error."""
    reports: list[FlowReport] = []
    failure: ArchiverError | None = None
    for one in turns:
        try:
            report = one.result()
        except ArchiverError as exc:
            failure = exc
        else:
            reports += [report] if report is not None else []
    if failure is not None:
        raise failure
    return reports


def tell(place: Workplace) -> bool:
    """One round of alerts over all flows of the configuration, for those who have no daemon; whether all could be
    sent."""
    rounds = Rounds(place.engine, lambda: place.config, lambda: {key: flow for flow, key in place.keys.items()})
    rounds.decide()
    rounds.beat()
    return rounds.send()
