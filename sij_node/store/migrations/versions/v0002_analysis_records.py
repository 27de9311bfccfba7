"""What analyses leave for people: series with reasons, findings, networks, pictures."""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"


def upgrade() -> None:
    """Make the tables; analyses from before have no row in them."""
    op.create_table(
        "analyses",
        _job_id("analyses"),
        sa.Column("networks", sa.JSON(), nullable=False),
        sa.Column("remarks", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_analyses"),
    )
    op.create_table(
        "analysis_series",
        _job_id("analysis_series"),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("series_uid", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "place", name="pk_analysis_series"),
    )
    op.create_table(
        "analysis_findings",
        _job_id("analysis_findings"),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("lesion", sa.String(length=16), nullable=False),
        sa.Column("region", sa.String(length=16), nullable=False),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "place", name="pk_analysis_findings"),
    )
    op.create_table(
        "analysis_pictures",
        _job_id("analysis_pictures"),
        sa.Column("file_name", sa.String(length=96), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.String(length=8), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("seen", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "file_name", name="pk_analysis_pictures"),
    )
    op.create_index("ix_job_steps_at", "job_steps", ["at"])


def _job_id(table: str) -> sa.Column[int]:
    return sa.Column(
        "job_id",
        sa.Integer(),
        sa.ForeignKey("jobs.job_id", name=f"fk_{table}_job_id"),
        nullable=False,
    )
