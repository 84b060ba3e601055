"""The archive's tables, and the first reporting views.

The statements stand in .sql files beside this one, in the order: tables, views.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    for name in ("0001_tables.sql", "0001_views.sql"):
        op.execute((HERE / name).read_text(encoding="utf-8").replace(":", r"\:"))


def downgrade() -> None:
    # The schema itself stays: Alembic's own table lives in it.
    op.execute((HERE / "0001_down.sql").read_text(encoding="utf-8"))
