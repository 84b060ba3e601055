"""Alerts: who works on the archive, what is not well, and what was told of it.

The statements stand in the .sql file beside this one.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    op.execute((HERE / "0009_tables.sql").read_text(encoding="utf-8").replace(":", r"\:"))


def downgrade() -> None:
    op.execute("DROP TABLE archive.alert_message, archive.alert, archive.daemon")
