"""A stuck run is open for longer than its flow's `stuck_after`, whatever that is."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

BEFORE, NOW = "open for more than a week", "open for longer than `stuck_after`"


def _view(words: str) -> str:
    """The view of 0008 with other words for it."""
    said = (Path(__file__).parent / "0008_gap.sql").read_text(encoding="utf-8")
    view = said[said.index("CREATE VIEW") :].replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    return view.replace(BEFORE, words).replace(":", r"\:")


def upgrade() -> None:
    op.execute(_view(NOW))


def downgrade() -> None:
    op.execute(_view(BEFORE))
