"""The runs whose lines were pruned, by index: the replayed Logs API counts lines down to the newest of them."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX run_lines_pruned_idx ON archive.run (flow_key, created) WHERE lines_pruned IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX archive.run_lines_pruned_idx")
