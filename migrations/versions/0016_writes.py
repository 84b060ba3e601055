"""How often a day of a flow was written to: what readers counted of its lines holds while that stands."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE archive.flow_day ADD COLUMN writes bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    op.execute("ALTER TABLE archive.flow_day DROP COLUMN writes")
