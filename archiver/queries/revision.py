"""The schema that the database has."""

from __future__ import annotations

from typing import Any

import psycopg


def revision(driver: psycopg.Connection[Any]) -> str | None:
    """The revision of the database; None where the archiver never was."""
    try:
        found = driver.execute("SELECT version_num FROM archive.alembic_version").fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return None
    return found and str(found[0])
