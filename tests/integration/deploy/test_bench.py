"""Basis of the benchmarks: correct footprints, new UIDs, and visible gaps."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

import models
from deploy.bench import ingest, servers
from deploy.bench.analysis_stages import NETWORKS, measure_study
from deploy.bench.benchmarks_page import ingest_section, objects_section
from deploy.bench.footprint import footprint_of, tree_of
from deploy.bench.ingest import Ingest, Sample, compared_with_storescp
from deploy.bench.instances import PER_STUDY, make_instances
from deploy.bench.result_costs import measure_objects
from deploy.bench.servers import MeasurementFailed, listener, running, started, storescp
from tests.support.phantom_studies import small_case
from tests.support.waiting import wait_for

WEIGHTS = Path(models.__file__).parent / "weights"
PARENT_OF_A_BUSY_CHILD = """
import subprocess, sys, time
busy = "import time; begin = time.process_time()\\nwhile time.process_time() - begin < 0.3: pass"
subprocess.run([sys.executable, "-c", busy])
print("done", flush=True)
time.sleep(60)
"""


def test_the_time_of_a_child_that_has_ended_counts_for_its_parent():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_A_BUSY_CHILD], stdout=subprocess.PIPE
    ) as parent:
        parent.stdout.readline()
        spent = footprint_of(parent.pid)
        parent.kill()

    assert spent.cpu_s >= 0.3
    assert spent.rss_mb > 1


def test_whatever_a_program_has_started_ends_with_it(tmp_path):
    child = f"import subprocess, sys; subprocess.run([{sys.executable!r}, '-c', 'input()'])"
    tree = []

    with started([sys.executable, "-c", child], tmp_path / "log") as process:
        while len(tree) < 2:
            tree = tree_of(process.pid)

    wait_for(lambda: not any(map(lives, tree)), "end of all that was started")


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_renewed_images_have_uids_of_their_own_and_studies_of_forty(tmp_path):
    images = make_instances(tmp_path / "images", PER_STUDY + 2)
    before = {dcmread(file).SOPInstanceUID for file in images.files}

    images.renew()

    after = [dcmread(file) for file in images.files]
    assert len(before | {image.SOPInstanceUID for image in after}) == 2 * len(images.files)
    assert len({image.StudyInstanceUID for image in after}) == 2
    assert all(
        image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID for image in after
    )


def test_an_image_is_as_long_and_as_detailed_as_one_of_a_scanner(tmp_path):
    image = dcmread(make_instances(tmp_path / "images", 1).files[0])

    assert image.pixel_array.shape == (512, 512)
    assert 110 <= len(image) <= 130


SAMPLE = Sample(servers.STORESCP, 4, nodelay=True, cpu_ms=0.5, per_s=1000.0, peak_mb=20.0)


def test_ratios_are_to_storescp_in_the_same_round():
    node = replace(SAMPLE, server=servers.NODE, cpu_ms=1.0, per_s=500.0)

    rows = compared_with_storescp([SAMPLE, node])

    assert [(row.cpu_ratio, row.speed_ratio) for row in rows] == [(1.0, 1.0), (2.0, 0.5)]


def test_a_peer_that_is_not_installed_is_named_in_the_table():
    rows = tuple(compared_with_storescp([replace(SAMPLE, server=servers.NODE)]))
    measured = Ingest(rows, rows, (), (), (servers.STORESCP,), 580_000, 1)

    text = ingest_section(measured)

    assert f"**{servers.STORESCP}** | **NOT INSTALLED**" in text
    assert "no storescp" in text


def test_each_kind_of_result_is_measured_and_reported(tmp_path):
    costs = measure_objects(tmp_path, WEIGHTS, small_case(), 1, lambda words: None)
    rows = objects_section(costs)

    assert [(one.name, one.count) for one in costs] == [
        *(("seg", 2), ("findings", 2), ("scores", 1), ("presentation", 2)),
        *(("summary", 1), ("pdf", 1), ("summary, JPEG-LS", 1)),
    ]
    assert all(min(one.made_s, one.checked_s, one.size_bytes) > 0 for one in costs)
    assert all(f"| {one.name} | {one.count} |" in rows for one in costs)


def test_without_a_sender_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MeasurementFailed, match="NOT INSTALLED"):
        ingest.measure_ingest(tmp_path, 1, print)


@pytest.mark.acceptance
def test_every_image_sent_is_counted_at_the_node_and_storescp(tmp_path):
    images = make_instances(tmp_path / "images", 8)

    for server in (listener(tmp_path / "node"), storescp(tmp_path / "storescp", nodelay=True)):
        with running(server, tmp_path / "log") as one:
            sample = ingest.send_all(one, images, associations=4, nodelay=True)

        assert sample.per_s > 0
        assert sample.peak_mb > 0


def test_the_benchmark_times_each_stage_and_counts_each_networks_flops(tmp_path):
    times = measure_study(tmp_path, WEIGHTS, small_case(), repeats=1, report=lambda _: None)

    assert all(seconds > 0 for seconds in times.seconds.values())
    assert set(times.floor_s) == set(NETWORKS) < set(times.seconds)
    assert all(floor_s > 0 for floor_s in times.floor_s.values())
