"""How many images the archive has of each series."""

import sqlalchemy as sa
from alembic import op

revision = "v0014"
down_revision = "v0013"


def upgrade() -> None:
    """Make the table; nothing is known of earlier studies."""
    op.create_table(
        "series_at_archive",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", "series_uid", name="pk_series_at_archive"),
    )
