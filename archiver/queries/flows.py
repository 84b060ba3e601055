"""The flows that the archive knows, and finding one by what a person calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archiver.queries.reader import Reader


class FlowRow(NamedTuple):
    """A row of reporting.flow."""

    flow_key: int
    integrator: str
    project_id: str
    project_slug: str | None
    flow_id: str
    flow_name: str


def flows(reader: Reader) -> list[FlowRow]:
    """Every flow of the archive, by name."""
    rows = reader.rows("SELECT * FROM reporting.flow ORDER BY flow_name, project_slug, flow_key")
    return [FlowRow(*(row[name] for name in FlowRow._fields)) for row in rows]


def key_of(known: Sequence[FlowRow], integrator: str, project_id: str, flow_id: str) -> int | None:
    """The key of a flow of the configuration; None where the archive has not met it."""
    wanted = (integrator, project_id, flow_id)
    return next((row.flow_key for row in known if (row.integrator, row.project_id, row.flow_id) == wanted), None)
