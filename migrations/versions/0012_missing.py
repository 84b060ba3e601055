"""Indexes for what is known to be missing, which pages and `status` look up every time: there is little of it."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE INDEX run_missing_idx ON archive.run (flow_key, created) WHERE archive_state IN ('lost', 'stuck')"
    )
    op.execute(
        "CREATE INDEX detail_missing_idx ON archive.detail (flow_key, run_created)"
        " WHERE outcome IN ('missing', 'unreadable', 'too_large')"
    )


def downgrade() -> None:
    op.execute("DROP INDEX archive.run_missing_idx, archive.detail_missing_idx")
