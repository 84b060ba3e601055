"""What supervisors ask: is it alive and does it get on, can it answer, and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson
import psycopg
import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archiver.errors import ArchiverError, SchemaMismatch
from archiver.queries.reader import Reader, transaction
from archiver.queries.vitals import FlowVitals, Vitals, files_by_outcome, flow_vitals, vitals
from archiver.store import require, translated
from archiver.web.room import STATEMENT, Room, endpoint

OVERDUE = 15 * 60.0  # seconds that a flow may be due without anybody working on it
BEHIND = 6 * 60 * 60.0  # seconds that the frontier may be behind after a good turn, lateness aside

log = structlog.get_logger("archiver.web")


def routes() -> list[Route]:
    """Health and readiness are for anybody, for they tell nothing else; metrics need a token where there is one."""
    return [
        Route("/healthz", endpoint(healthz, guarded=False)),
        Route("/readyz", endpoint(readyz, guarded=False)),
        Route("/metrics", endpoint(metrics)),
    ]


def healthz(room: Room, _: Request) -> Response:
    """200 while the archiver gets on; without a daemon in this process, while the database answers.

    An Integrator that is down, or refuses, does not make the archiver ill: restarting it would not help.
    """
    try:
        with translated():
            flows = _flows(room)
    except ArchiverError as exc:
        return _unable("unavailable", exc)
    lateness = max((flow.lateness.total_seconds() for flow in room.config.flows), default=0.0)
    ill = [flow for flow in flows if _is_ill(flow, lateness)] if room.flow_keys is not None else []
    lags = [flow.lag_seconds for flow in flows if flow.lag_seconds is not None]
    return _verdict(
        503 if ill else 200,
        status="stalled" if ill else "ok",
        flows=len(flows),
        stalled=len(ill),
        failing=sum(flow.failures > 0 for flow in flows),
        frontier_lag_seconds=round(max(lags), 1) if lags else None,
    )


def readyz(room: Room, _: Request) -> Response:
    """200 where questions can be answered: the database is there, with the schema of this version."""
    try:
        require(room.engine)
    except ArchiverError as exc:
        return _unable("not ready", exc)
    return _verdict(200, status="ready")


def _unable(status: str, exc: ArchiverError) -> Response:
    """Anybody may ask: where the database is, is for the log alone."""
    log.warning("the archive cannot be asked", error=str(exc))
    reason = str(exc) if isinstance(exc, SchemaMismatch) else "the database does not answer"
    return _verdict(503, status=status, reason=reason)


def metrics(room: Room, _: Request) -> Response:
    """Prometheus's text."""
    pool = room.engine.pool
    in_use = pool.checkedout()  # type: ignore[attr-defined]
    room.meters.connections.labels("in_use").set(in_use)
    room.meters.connections.labels("idle").set(pool.checkedin())  # type: ignore[attr-defined]
    room.meters.under_way.set(room.workers.under_way)
    return Response(room.meters.exposition(), media_type=CONTENT_TYPE_LATEST)


def files(room: Room) -> list[tuple[str, str, int]]:
    """The numbers of files; none where counting them takes too long."""
    try:
        with transaction(room.engine, statement_timeout=f"{STATEMENT * 1000:.0f}") as driver:
            return files_by_outcome(Reader(driver))
    except psycopg.errors.QueryCanceled:
        return []


def look(room: Room, after: datetime | None) -> Vitals:
    """What the metrics ask the database for."""
    with transaction(room.engine, statement_timeout=f"{STATEMENT * 1000:.0f}") as driver:
        return vitals(Reader(driver), after)


def _flows(room: Room) -> Sequence[FlowVitals]:
    with transaction(room.engine, statement_timeout=f"{STATEMENT * 1000:.0f}") as driver:
        flows = flow_vitals(Reader(driver))
    polled = None if room.flow_keys is None else set(room.flow_keys())
    return [flow for flow in flows if polled is None or flow.flow_key in polled]


def _is_ill(flow: FlowVitals, lateness: float) -> bool:
    may_lag = BEHIND + max(lateness, flow.lateness_seconds)
    gets_on = flow.failures > 0 or flow.is_walking or (flow.behind_seconds or 0.0) <= may_lag
    return flow.overdue_seconds > OVERDUE or not gets_on


def _verdict(code: int, **words: object) -> Response:
    return Response(orjson.dumps(words), code, media_type="application/json", headers={"Cache-Control": "no-store"})
