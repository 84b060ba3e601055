"""Runs by the beginning of their id: the index that finds them by the whole of it does, whatever the collation is."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _put("filename_uuid text_pattern_ops")


def downgrade() -> None:
    _put("filename_uuid")


def _put(column: str) -> None:
    """Another index in its place: made before the old one goes, for from then on nobody can read runs."""
    op.execute(f"CREATE INDEX run_other_idx ON archive.run (flow_key, {column})")
    op.execute("DROP INDEX archive.run_flow_key_filename_uuid_idx")
    op.execute("ALTER INDEX archive.run_other_idx RENAME TO run_flow_key_filename_uuid_idx")
