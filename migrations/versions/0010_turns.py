"""A pass may stand for several turns: those of an hour in which a flow had no news become one row."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE archive.pass ADD turns integer DEFAULT 1 NOT NULL, ADD seconds double precision")


def downgrade() -> None:
    op.execute("ALTER TABLE archive.pass DROP turns, DROP seconds")
