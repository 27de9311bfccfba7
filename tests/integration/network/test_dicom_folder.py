"""A folder of two studies, sent in each of the ways in which archives divide their associations."""

from pathlib import Path

import numpy as np
import pytest

from sij_node.network.dicom_folder import AssociationPer, contents_of, divided, send_contents
from tests.support.mr_series import classic_series
from tests.support.running_listener import listening

PIXELS = np.zeros((3, 4, 4), np.uint16)
SERIES = {"1.2.3.1": "1.2.3", "1.2.3.2": "1.2.3", "9.9.9.1": "9.9.9"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for series_uid, study_uid in SERIES.items():
        for number, image in enumerate(classic_series(PIXELS, series_uid)):
            image.StudyInstanceUID = study_uid
            image.save_as(tmp_path / f"{series_uid}.{number}.dcm", enforce_file_format=True)
    return tmp_path


WAYS = {
    AssociationPer.FOLDER: [9],
    AssociationPer.STUDY: [6, 3],
    AssociationPer.SERIES: [3, 3, 3],
    AssociationPer.IMAGE: [1] * 9,
    AssociationPer.INTERLEAVED: [9],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_image_is_sent_once_in_the_associations_of_a_way(folder, way):
    groups = divided(contents_of(folder).objects, way)

    assert [len(one) for one in groups] == WAYS[way]
    assert len({one.file for objects in groups for one in objects}) == 9


def test_interleaved_studies_take_turns(folder):
    (objects,) = divided(contents_of(folder).objects, AssociationPer.INTERLEAVED)

    studies = [one.file.name[0] for one in objects]
    assert studies == ["1", "9", "1", "9", "1", "9", "1", "1", "1"]


@pytest.mark.parametrize("way", WAYS)
def test_the_listener_takes_every_image_whichever_way_it_is_sent(folder, tmp_path_factory, way):
    with listening(tmp_path_factory.mktemp("node")) as node:
        to = f"127.0.0.1:{node.listener.port}"
        sent = send_contents(contents_of(folder), to, "SIJ", "MODALITY", association_per=way)

        assert all(one.acknowledged for one in sent)
        assert len(node.register.rows) == 9
