"""Runs by the beginning of their id: the index that finds them by the whole of it does, whatever the collation is."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP INDEX archive.run_flow_key_filename_uuid_idx")
    op.execute("CREATE INDEX run_flow_key_filename_uuid_idx ON archive.run (flow_key, filename_uuid text_pattern_ops)")


def downgrade() -> None:
    op.execute("DROP INDEX archive.run_flow_key_filename_uuid_idx")
    op.execute("CREATE INDEX run_flow_key_filename_uuid_idx ON archive.run (flow_key, filename_uuid)")
