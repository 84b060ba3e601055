"""What people call the numbers of the wire, as the views do; and how large an id may be."""

from __future__ import annotations

from archiver.logs import State, Status

STATUSES = {one.name.lower(): int(one) for one in Status}
STATES = {one.name.lower(): int(one) for one in State}
LARGEST_ID = 2**63 - 1
