"""Date, description and accession number of the stored studies, for the list of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "v0015"
down_revision = "v0014"


def upgrade() -> None:
    """Make the table; studies that arrived earlier have no details until they are reanalysed."""
    op.create_table(
        "study_attributes",
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("study_date", sa.String(length=10), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_uid", name="pk_study_attributes"),
    )
    op.create_index(
        "ix_study_attributes_accession_number", "study_attributes", ["accession_number"]
    )
