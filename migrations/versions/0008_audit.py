"""What audits found, what is known to be missing, who accepted it, and who shares an Integrator's request rate."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    for name in ("0008_tables.sql", "0008_gap.sql"):
        op.execute((HERE / name).read_text(encoding="utf-8").replace(":", r"\:"))


def downgrade() -> None:
    op.execute("DROP VIEW archive.gap")
    op.execute("DROP FUNCTION archive.gap_id(integer, text, text)")
    op.execute("DROP TABLE archive.audit, archive.finding, archive.acknowledgement, archive.rate_share")
