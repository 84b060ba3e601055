"""What search asks for besides `fields`: the names of the fields there are, long values, and what jsonb cannot hold.

The statements stand in the .sql file beside this one.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

HERE = Path(__file__).parent


def upgrade() -> None:
    op.execute((HERE / "0003_search.sql").read_text(encoding="utf-8").replace(":", r"\:"))


def downgrade() -> None:
    op.execute(
        "DROP INDEX archive.line_odd_idx, archive.line_rest_idx, archive.run_going_idx, archive.step_created_idx"
    )
    op.execute("DROP TABLE archive.field")
