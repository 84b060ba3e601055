"""What an audit of one flow works with."""

from __future__ import annotations

from typing import NamedTuple

from archiver.config import Flow
from archiver.queries.holdings import Holdings
from archiver.verify.notebook import Notebook
from archiver.verify.repair import Mender
from archiver.verify.walker import Source


class Case(NamedTuple):
    """`mender`: mends what is found, where that is wanted."""

    flow: Flow
    holdings: Holdings
    source: Source
    book: Notebook
    mender: Mender | None = None
