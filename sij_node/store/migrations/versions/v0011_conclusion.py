"""The criterion and the prior findings of an analysis, for the conclusion on the study page."""

import sqlalchemy as sa
from alembic import op

revision = "v0011"
down_revision = "v0010"


def upgrade() -> None:
    """Add the columns; both are unknown for earlier analyses."""
    op.add_column("analyses", sa.Column("asas_met", sa.Boolean(), nullable=True))
    op.add_column("analyses", sa.Column("prior", sa.JSON(none_as_null=True), nullable=True))
    op.add_column(
        "analysis_pictures", sa.Column("labels", sa.JSON(none_as_null=True), nullable=True)
    )
