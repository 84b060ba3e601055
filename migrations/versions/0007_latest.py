"""Indexes for what people look at first: the newest runs of all flows, and what failed since a moment, by run."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX run_created_idx ON archive.run (created)")
    op.execute("DROP INDEX archive.line_failed_idx")
    # With the name of the run, so that runs hit can be counted by the index alone.
    op.execute(
        "CREATE INDEX line_failed_idx ON archive.line (flow_key, error_key, created)"
        " INCLUDE (original_filename_uuid) WHERE status = 3"
    )


def downgrade() -> None:
    op.execute("DROP INDEX archive.run_created_idx, archive.line_failed_idx")
    op.execute("CREATE INDEX line_failed_idx ON archive.line (flow_key, error_key, created) WHERE status = 3")
