"""The check of the stored files: its progress, and the problems that it has found."""

import sqlalchemy as sa
from alembic import op

revision = "v0012"
down_revision = "v0011"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "storage_checks",
        sa.Column("check_id", sa.Integer(), nullable=False),
        sa.Column("next_part", sa.Integer(), nullable=False),
        sa.Column("files_so_far", sa.BigInteger(), nullable=False),
        sa.Column("bytes_so_far", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("repairs", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("check_id = 1", name="ck_storage_checks_one_row"),
        sa.PrimaryKeyConstraint("check_id", name="pk_storage_checks"),
    )
    op.create_table(
        "storage_problems",
        sa.Column("folder", sa.String(length=16), nullable=False),
        sa.Column("file_name", sa.String(length=160), nullable=False),
        sa.Column("fault", sa.String(length=16), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("folder", "file_name", name="pk_storage_problems"),
    )
