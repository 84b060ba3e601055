"""Lines without a foreign key of their own.

It asked for the same flow again for every line, a fifth of what it costs Postgres to store one. Lines are only written
in a transaction that locks the flow's checkpoint, and together with counts of their run: both refer to the flow.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE archive.line DROP CONSTRAINT line_flow_key_fkey")


def downgrade() -> None:
    op.execute(
        "ALTER TABLE archive.line ADD CONSTRAINT line_flow_key_fkey"
        " FOREIGN KEY (flow_key) REFERENCES archive.flow (flow_key)"
    )
