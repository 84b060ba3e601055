"""A flow whose last poll failed has failed once, not 1 times in a row."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

BEFORE = "failures_in_a_row || ' times in a row: ' ||"
NOW = "CASE failures_in_a_row WHEN 1 THEN 'once: ' ELSE failures_in_a_row || ' times in a row: ' END ||"


def _view(words: str) -> str:
    """The view as 0018 left it, with other words for it."""
    said = (Path(__file__).parent / "0008_gap.sql").read_text(encoding="utf-8")
    view = said[said.index("CREATE VIEW") :].replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    view = view.replace("open for more than a week", "open for longer than `stuck_after`")
    return view.replace(BEFORE, words).replace(":", r"\:")


def upgrade() -> None:
    op.execute(_view(NOW))


def downgrade() -> None:
    op.execute(_view(BEFORE))
