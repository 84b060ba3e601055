"""How long the disk will do, and how long the archiver may be away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from archiver.amounts import size
from archiver.cli import words

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.queries import Reader
    from archiver.signs import Space


LONG = 3650.0  # days


class Foresight(NamedTuple):
    """`outrun`: by flow its name, and the days after which the Integrator would drop what nobody has read."""

    space: Space
    outrun: Mapping[int, tuple[str, float]]

    def of(self, flow_key: int | None) -> dict[str, Any]:
        """What a flow's row says of it; the numbers of the archive are the same for all."""
        growth, days = self.space.growth, self.space.days_left
        outrun = None if flow_key is None else self.outrun.get(flow_key)
        return {
            "archive_bytes": self.space.size,
            "archive_bytes_per_day": None if growth is None else round(growth),
            "disk_days_left": None if days is None else round(days, 1),
            "outrun_in_days": None if outrun is None else round(outrun[1], 2),
        }

    def told(self) -> str:
        """In a line or two for people."""
        text = f"the archive has {size(self.space.size)}"
        if self.space.growth is not None:
            text += f", and {size(round(self.space.growth))} more a day"
        if self.space.free is not None:
            text += f"; {size(self.space.free)} are free"
            text += "" if self.space.days_left is None else f", enough for {_days(self.space.days_left)}"
        if self.outrun:
            name, days = min(self.outrun.values(), key=lambda one: one[1])
            left = words.span(max(0.0, days) * 86_400)
            text += f"\nwithout a poll the Integrator would drop unread runs after {left} ({name} first)"
        return text


def _days(days: float) -> str:
    return f"{days:,.0f} days" if days < LONG else "more than ten years"


def foresight(reader: Reader, config: Config) -> Foresight:
    """How the archive grows, and how long its flows could go without a poll."""
    from archiver.database import folder
    from archiver.queries.space import outrun, space

    return Foresight(space(reader, folder(config)), outrun(reader))
