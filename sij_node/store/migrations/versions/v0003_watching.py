"""What the node knows of itself: its processes, its contacts with peers, what it has counted."""

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"

_IS_PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    """Make the tables, and find what is pending without reading all deliveries."""
    _processes()
    _contacts()
    op.create_table(
        "tallies",
        sa.Column("counted", sa.String(length=32), nullable=False),
        sa.Column("peer", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("counted", "peer", "outcome", name="pk_tallies"),
    )
    op.create_index(
        "ix_deliveries_pending",
        "deliveries",
        ["destination", "job_id"],
        sqlite_where=_IS_PENDING,
        postgresql_where=_IS_PENDING,
    )


def _processes() -> None:
    op.create_table(
        "processes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beaten_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("gpu_used_mb", sa.Float(), nullable=True),
        sa.Column("gpu_total_mb", sa.Float(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("weights", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_processes"),
    )


def _contacts() -> None:
    op.create_table(
        "contacts",
        sa.Column("peer", sa.String(length=16), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_because", sa.Text(), nullable=False),
        sa.Column("echo_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("echo_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("echo_out_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("peer", name="pk_contacts"),
    )
