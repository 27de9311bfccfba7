"""Find the jobs of a patient, and the newest of a state or sender, without reading all."""

from alembic import op

revision = "v0007"
down_revision = "v0006"


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("ix_instances_patient_id", "instances", ["patient_id"])
    op.create_index("ix_jobs_state_job_id", "jobs", ["state", "job_id"])
    op.create_index("ix_jobs_source_ae_job_id", "jobs", ["source_ae", "job_id"])
