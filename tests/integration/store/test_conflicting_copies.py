"""A second copy of an image with other content: handling by listener and job table."""

import pytest

from sij_node.store.job_table import JobTable
from sij_node.store.refusals import conflicts_of
from tests.support.raw_peer import encoded
from tests.support.running_listener import listening, mr_image


@pytest.mark.parametrize("change", [{"EchoTime": 90}, {"pixels": b"\1" * 128}])
def test_a_copy_with_other_content_makes_its_study_doubtful(table: JobTable, tmp_path, change):
    image = mr_image("1.2.3")

    with (
        listening(
            tmp_path, register=lambda one: table.register(one, priority=5, opens_job=True)
        ) as node,
        node.associated() as peer,
    ):
        statuses = [
            peer.store("1.2.3", encoded(copy)) for copy in (image, mr_image("1.2.3", **change))
        ]

    assert statuses == [0x0000, 0xC001]
    (conflict,) = conflicts_of(table.database, image.StudyInstanceUID)
    assert conflict.sop_instance_uid == "1.2.3"
    assert node.refusals[0].quarantined_as
