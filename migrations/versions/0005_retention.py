"""What retention and erasure have to remember."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    op.execute((HERE / "0005_tables.sql").read_text(encoding="utf-8").replace(":", r"\:"))


def downgrade() -> None:
    op.execute("DROP TABLE archive.tombstone")
    op.execute("ALTER TABLE archive.run DROP COLUMN lines_pruned, DROP COLUMN details_pruned")
    op.execute("ALTER TABLE archive.checkpoint DROP COLUMN kept_from, DROP COLUMN pruned, DROP COLUMN tombstones")
