"""By which rules the class of a kind of errors was told: the next turns tell it anew where they are older."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE archive.error_group ADD COLUMN class_version SMALLINT DEFAULT 1 NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE archive.error_group DROP COLUMN class_version")
