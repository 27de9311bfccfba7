"""What people ask for: priorities and weights of a job, destinations that are held."""

import sqlalchemy as sa
from alembic import op

revision = "v0006"
down_revision = "v0005"

_LASTS = sa.text("released_at IS NULL")


def upgrade() -> None:
    """Add two columns to the jobs, and the table of holds."""
    for name in ("priority_by", "weights_wanted"):
        op.add_column("jobs", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("held_by", sa.Text(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_by", sa.Text(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name="pk_holds"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "one_hold",
        "holds",
        ["destination"],
        unique=True,
        sqlite_where=_LASTS,
        postgresql_where=_LASTS,
    )
