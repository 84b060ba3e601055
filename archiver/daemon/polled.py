"""The flows that a daemon polls, and what belongs to each. Replaced as a whole where the configuration changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from archiver.client import Client
from archiver.config import Config, Flow
from archiver.daemon.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Polled:
    """By flow key: the flow, its schedule, the name of its integrator; by that name: its client."""

    flows: Mapping[int, Flow]
    schedules: Mapping[int, Schedule]
    integrators: Mapping[int, str]
    clients: Mapping[str, Client]

    @classmethod
    def of(cls, keys: Mapping[Flow, int], clients: Mapping[str, Client]) -> Self:
        """From the flows' keys in the database, and the clients by the names of their integrators."""
        flows = {key: flow for flow, key in keys.items()}
        return cls(
            flows,
            {key: Schedule(flow, seed=key) for key, flow in flows.items()},
            {key: flow.integrator for key, flow in flows.items()},
            clients,
        )


class FlowChanges(NamedTuple):
    """How the flows of one configuration differ from those of another, each as a line for people."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def flow_changes(old: Config, new: Config) -> FlowChanges:
    """What becomes of the flows where `new` takes the place of `old`."""
    before = {(flow.integrator, flow.project_id, flow.flow_id): flow for flow in old.flows}
    after = {(flow.integrator, flow.project_id, flow.flow_id): flow for flow in new.flows}
    return FlowChanges(
        [flow.name for key, flow in after.items() if key not in before],
        [flow.name for key, flow in before.items() if key not in after],
        [
            flow.name if flow.name == before[key].name else f"{before[key].name} → {flow.name}"
            for key, flow in after.items()
            if key in before and flow != before[key]
        ],
    )


# What a daemon takes over only when it starts.
AT_START = ("database", "data_dir", "workers", "web", "reporting", "logging")


def waits_for_start(old: Config, new: Config) -> list[str]:
    """The names of changed settings that hold from the next start on."""
    return [name for name in AT_START if getattr(old, name) != getattr(new, name)]
