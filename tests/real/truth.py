"""What is in the archive, as its owner sees it: what others have to find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import psycopg
from psycopg import sql

from archiver.bi import View, views
from archiver.store import connect
from tests.real.place import Place, must


def truth(place: Place) -> Mapping[str, View]:
    """The views as the catalog has them."""
    engine = connect(place.owner)
    try:
        return views(engine)
    finally:
        engine.dispose()


def count(place: Place, view: str) -> int:
    """The rows of a view."""
    with psycopg.connect(place.owner) as connection:
        row = connection.execute(sql.SQL("SELECT count(*) FROM reporting.{}").format(sql.Identifier(view))).fetchone()
    return int(row[0]) if row else 0


# Names that drivers have for the types of the contract.
SAME = {
    "int4": "integer",
    "int8": "bigint",
    "int2": "smallint",
    "float8": "double precision",
    "bool": "boolean",
    "timestamptz": "timestamp with time zone",
}


def compare(place: Place, found: Iterable[tuple[str, str, str, str]]) -> str:
    """What a driver says of the columns (view, column, type, comment), against the catalog."""
    said = {(view, column): (SAME.get(kind, kind), comment) for view, column, kind, comment in found}
    have = {
        (view.name, column.name): (column.type, column.comment)
        for view in truth(place).values()
        for column in view.columns
    }
    wrong = [f"{'.'.join(key)}: {said.get(key)} for {have[key]}" for key in have if said.get(key) != have[key]]
    must(not wrong, "; ".join(wrong[:5]))
    must(said.keys() == have.keys(), f"more than there is: {sorted(said.keys() - have.keys())[:5]}")
    return f"{len(have)} columns with their types and comments"
