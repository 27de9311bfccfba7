"""A profile that was changed after a study was sent: a redelivery adds what is missing."""

from pathlib import Path

from sij_node.domain.job import State
from tests.integration.analyse.test_corrections import study
from tests.support.node_in_process import node_in_process


def test_a_redelivery_sends_what_the_profile_lists_by_now(tmp_path: Path):
    images = study()
    with node_in_process(tmp_path) as node:
        before = node.take(*images)
    with node_in_process(tmp_path, peer={"profile": "orthanc"}) as node:
        (job,) = node.jobs(images[0].StudyInstanceUID)
        missing = node.admin.history(job.job_id).missing
        node.admin.redeliver(job.job_id)
        after = node.finish()
        states = {one.state for one in node.jobs(images[0].StudyInstanceUID)}

    sent_before, sent_now = ({one.SOPInstanceUID for one in those} for those in (before, after))
    assert missing == ("findings", "pdf")
    assert {one.Modality for one in before} == {"OT", "SR", "SEG"}
    assert sent_before < sent_now
    assert "DOC" in {one.Modality for one in after if one.SOPInstanceUID not in sent_before}
    assert states == {State.DELIVERED}
    assert not any("revision" in one.SeriesDescription for one in after)
