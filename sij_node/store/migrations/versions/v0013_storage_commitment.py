"""Storage commitment: requests of the node, and requests of its peers."""

import sqlalchemy as sa
from alembic import op

revision = "v0013"
down_revision = "v0012"


def upgrade() -> None:
    """Make the tables; earlier deliveries are not confirmed."""
    op.add_column("deliveries", sa.Column("committed_at", sa.DateTime(timezone=True)))
    op.create_table(
        "commitments",
        sa.Column("commitment_id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("objects", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_commitments_job_id"),
        sa.PrimaryKeyConstraint("commitment_id", name="pk_commitments"),
        sa.UniqueConstraint("transaction_uid", name="uq_commitments_transaction_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_commitments_job_id", "commitments", ["job_id"])
    op.create_table(
        "peer_commitments",
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=16), nullable=False),
        sa.Column("objects", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_peer_commitments"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "one_peer_commitment", "peer_commitments", ["peer", "transaction_uid"], unique=True
    )
    op.create_table(
        "committed_studies",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", name="pk_committed_studies"),
    )
