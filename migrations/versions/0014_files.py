"""The files of the newest runs of all flows, by an index: what dashboards of `reporting.detail` ask for."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX detail_run_created_idx ON archive.detail (run_created)")


def downgrade() -> None:
    op.execute("DROP INDEX archive.detail_run_created_idx")
