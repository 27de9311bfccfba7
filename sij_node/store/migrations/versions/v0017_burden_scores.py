"""The scores of lesion burden of an analysis, and the operating point of each finding."""

import sqlalchemy as sa
from alembic import op

revision = "v0017"
down_revision = "v0016"


def upgrade() -> None:
    """Add the columns; both are unknown for earlier analyses."""
    op.add_column("analyses", sa.Column("burden", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("analysis_findings", sa.Column("operating_point", sa.String(16), nullable=True))
