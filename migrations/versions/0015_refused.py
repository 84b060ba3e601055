"""Whether an Integrator refused the login in a flow's last turn, as a fact of its own: alerts need not read it out of
a text."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE archive.checkpoint ADD login_refused boolean DEFAULT false NOT NULL")
    # As versions before said it, so that an alert which is open stays so.
    op.execute(
        "UPDATE archive.checkpoint SET login_refused = true"
        " WHERE last_error ~ '^integrator .+( refused its |: its .+ was refused before)'"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE archive.checkpoint DROP login_refused")
