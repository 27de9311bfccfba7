"""Figures of each analysed study, by which drift is seen."""

import sqlalchemy as sa
from alembic import op

revision = "v0005"
down_revision = "v0004"


def upgrade() -> None:
    """Add the figures; analyses from before have none."""
    op.add_column(
        "analyses",
        sa.Column("figures", sa.JSON(), nullable=False, server_default=sa.text("'{}'")),
    )
