"""Rollups for reporting: a row per flow and day, kinds of errors, and the views on them.

The statements stand in .sql files beside this one: tables (with what follows from the rows that are there), views.
The kinds of errors of rows that are there are found by the next turns of their flows, for it takes the archiver's
own rules to recognise them: `archive.flow.error_version` says where that has been done.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    for name in ("0002_tables.sql", "0002_views.sql"):
        op.execute((HERE / name).read_text(encoding="utf-8").replace(":", r"\:"))


def downgrade() -> None:
    # Views that have grown can only be made anew.
    for name in ("0002_down.sql", "0001_views.sql"):
        op.execute((HERE / name).read_text(encoding="utf-8").replace(":", r"\:"))
