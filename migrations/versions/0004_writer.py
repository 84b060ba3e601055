"""A function that makes one partition, so that the archiver can work as a role that may create nothing.

Who may call it is granted by `archiver migrate --writer ROLE`.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    op.execute((HERE / "0004_make_partition.sql").read_text(encoding="utf-8").replace(":", r"\:"))


def downgrade() -> None:
    op.execute("DROP FUNCTION archive.make_partition(date)")
