"""The reporting views as the database itself describes them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine, text

from archiver.store import translated


class Column(NamedTuple):
    """A column of a view: its SQL type, and its comment."""

    name: str
    type: str
    comment: str


class View(NamedTuple):
    """A view of schema `reporting`."""

    name: str
    comment: str
    columns: tuple[Column, ...]


_COLUMNS = text("""
    SELECT c.relname AS view, coalesce(obj_description(c.oid, 'pg_class'), '') AS view_comment, a.attname AS name,
        format_type(a.atttypid, a.atttypmod) AS type, coalesce(col_description(c.oid, a.attnum), '') AS comment
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'reporting'::regnamespace AND c.relkind IN ('v', 'm')
    ORDER BY c.relname, a.attnum
""")


def views(engine: Engine) -> dict[str, View]:
    """All reporting views, by name."""
    found: dict[str, View] = {}
    with translated(), engine.connect() as connection:
        for row in connection.execute(_COLUMNS):
            view = found.get(row.view, View(row.view, row.view_comment, ()))
            found[row.view] = view._replace(columns=(*view.columns, Column(row.name, row.type, row.comment)))
    return found
