"""What a configuration would change in the archive that there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from archiver.amounts import many
from archiver.cli.call import Call, database

if TYPE_CHECKING:
    from archiver.config import Config, Flow
    from archiver.queries import FlowRow


def changes(call: Call) -> Iterator[tuple[str, str, str]]:
    """A line for each flow that would be new, renamed, moved or polled no more: what, level, message."""
    from archiver import queries

    config = call.config(logins=False)
    with database(config) as engine, queries.reading(engine) as reader:
        known = queries.flows(reader)
    found = list(_of_flows(config, known))
    yield from found
    if not found:
        yield "flows", "ok", f"{many(len(config.flows), 'flow')}, as the archive knows them"


def _of_flows(config: Config, known: list[FlowRow]) -> Iterator[tuple[str, str, str]]:
    have = {(row.integrator, row.project_id, row.flow_id): row for row in known}
    want = {(flow.integrator, flow.project_id, flow.flow_id): flow for flow in config.flows}
    for key, flow in want.items():
        what, row = f"flow {flow.name}", have.get(key)
        if row is None:
            yield (what, *_new(flow, [one for one in known if one.flow_id == flow.flow_id]))
        elif row.flow_name != flow.name:
            yield what, "ok", f"renamed, it was {row.flow_name}; its history goes with it"
        elif row.project_slug != flow.project_slug:
            yield what, "ok", f"the project's slug becomes {flow.project_slug}, it was {row.project_slug}"
    for key, row in have.items():
        if key not in want:
            yield f"flow {row.flow_name}", "ok", f"no longer polled (project {row.project_id}); its history is kept"


def _new(flow: Flow, like: list[FlowRow]) -> tuple[str, str]:
    """A flow that the archive has not met, though perhaps one of the same id elsewhere."""
    if not like:
        return "ok", f"new, of project {flow.project_slug}; its history is read back to {flow.since:%Y-%m-%d}"
    other = like[0]
    if other.project_id != flow.project_id:
        where = f"project {other.project_id} to {flow.project_id}"
    else:
        where = f"integrator {other.integrator} to {flow.integrator}"
    return "warning", f"moved from {where}: it is archived anew from there, and what is archived stays where it is"
