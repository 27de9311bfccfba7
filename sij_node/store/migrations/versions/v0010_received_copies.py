"""Second copies of stored instances: corrections and conflicts."""

import sqlalchemy as sa
from alembic import op

revision = "v0010"
down_revision = "v0008"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "received_copies",
        sa.Column("copy_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("stored_study_uid", sa.String(length=64), nullable=False),
        sa.Column("offered", sa.JSON(), nullable=False),
        sa.Column("stored", sa.JSON(), nullable=False),
        sa.Column("differs", sa.Text(), nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("stored_identity", sa.String(length=64), nullable=False),
        sa.Column("quarantined_as", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("jobs_before", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("copy_id", name="pk_received_copies"),
        sqlite_autoincrement=True,
    )
    for column in ("sop_instance_uid", "study_uid", "stored_study_uid"):
        op.create_index(f"ix_received_copies_{column}", "received_copies", [column])
