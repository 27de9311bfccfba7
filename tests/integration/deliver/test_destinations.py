"""Results go to every destination that is configured for their sender, each by its own means."""

import json
from pathlib import Path

from fhir.resources.R4B.bundle import Bundle

from sij_node.config.routing import Recipient
from sij_node.config.settings import PeerConfig
from sij_node.domain.job import DeliveryState, State
from sij_node.store.deliveries import deliveries_of, results_sent_before
from sij_node.store.job_table import JobTable
from tests.integration.queue.test_incomplete_studies import STUDY, stir, t1
from tests.support.http_destination import Answer, Received, http_destination
from tests.support.job_tables import analysing, made
from tests.support.mllp_receiver import hl7_receiver
from tests.support.node_in_process import ARCHIVE, NodeInProcess, node_in_process
from tests.support.orthanc import running_orthanc, two_ports

TITLES = (ARCHIVE, "WEB")
NODE = PeerConfig(ae_title="SIJ", networks=("127.0.0.1",), host="127.0.0.1", port=104)


def states(node: NodeInProcess) -> dict[tuple[str, str], DeliveryState]:
    job = node.jobs(STUDY)[-1]
    found = deliveries_of(node.table.database, job.job_id)
    return {(one.destination, one.result.kind): one.state for one in found}


def stow(url: str, **more: object) -> dict[str, object]:
    return {"name": "WEB", "kind": "stow-rs", "url": url, **more}


def test_an_archive_holds_what_it_was_sent_by_dicomweb(tmp_path: Path):
    ports, secret = two_ports(), tmp_path / "secret"
    secret.write_text("open sesame")
    (tmp_path / "orthanc").mkdir()
    web = stow(f"http://127.0.0.1:{ports[1]}/dicom-web", user="node", password_file=secret)
    with (
        running_orthanc(tmp_path / "orthanc", NODE, ports, "open sesame") as orthanc,
        node_in_process(tmp_path / "node", destination=[web], peer={"send_results": False}) as node,
    ):
        assert node.admin.echo("WEB") == ""
        assert node.take(*t1(), *stir()) == []
        first = node.jobs(STUDY)[-1]
        sent = sorted(orthanc.files_of(STUDY))
        node.admin.redeliver(first.job_id)
        node.work()
        again = sorted(orthanc.files_of(STUDY))
        results = deliveries_of(node.table.database, first.job_id)
        kept = [node.spool.path_of_result(one.result.file_name).read_bytes() for one in results]

    assert first.state is State.DELIVERED
    assert sent == again == sorted(kept)
    assert {one.result.kind for one in results} >= {"seg t1", "seg stir", "scores"}


def test_a_wrong_password_keeps_the_results_until_it_is_corrected(tmp_path: Path):
    ports, secret = two_ports(), tmp_path / "secret"
    secret.write_text("guess")
    (tmp_path / "orthanc").mkdir()
    web = stow(f"http://127.0.0.1:{ports[1]}/dicom-web", user="node", password_file=secret)
    with (
        running_orthanc(tmp_path / "orthanc", NODE, ports, "open sesame") as orthanc,
        node_in_process(tmp_path / "node", destination=[web]) as node,
    ):
        back = node.take(*t1(), *stir())
        job = node.jobs(STUDY)[-1]
        assert "WEB" in job.reason
        assert "HTTP 401" in job.reason
        assert "guess" not in job.reason
        secret.write_text("open sesame")
        node.table.release(job)
        node.work()
        assert len(orthanc.files_of(STUDY)) == len(back) > 0

    assert job.state is State.DELIVERING


def test_each_destination_gets_the_objects_it_is_configured_for(tmp_path: Path):
    web = stow("http://127.0.0.1:9/web", objects=["scores", "pdf"])
    with node_in_process(tmp_path, destination=[web]) as node:
        back = node.take(*t1(), *stir())

        assert {one.Modality for one in back} >= {"SEG", "SR"}
        assert "DOC" not in {one.Modality for one in back}
        kinds = {title: {kind for one, kind in states(node) if one == title} for title in TITLES}
        assert kinds["WEB"] == {"scores", "pdf"}
        assert kinds[ARCHIVE] >= {"seg t1", "seg stir", "scores"}
        assert "pdf" not in kinds[ARCHIVE]


def test_a_destination_that_is_down_delays_no_other(tmp_path: Path):
    """The first by name is down; the peer comes after it."""
    web = stow("http://127.0.0.1:9/web", name="A_WEB")
    with node_in_process(tmp_path, destination=[web]) as node:
        assert node.take(*t1(), *stir())

        found = states(node)
        assert {state for (title, _), state in found.items() if title == ARCHIVE} == {
            "acknowledged"
        }
        assert {state for (title, _), state in found.items() if title == "A_WEB"} == {"pending"}
        assert "A_WEB at http://127.0.0.1:9/web cannot be reached" in node.jobs(STUDY)[-1].reason


def test_a_destination_for_other_peers_gets_nothing(tmp_path: Path):
    web = stow("http://127.0.0.1:9/web", peers=["MODALITY"])
    with node_in_process(tmp_path, destination=[web]) as node:
        node.take(*t1(), *stir())

        assert {title for title, _ in states(node)} == {ARCHIVE}
        assert node.jobs(STUDY)[-1].state is State.DELIVERED


def test_a_destination_in_shadow_mode_gets_its_results_only_on_request(tmp_path: Path):
    web = stow("http://127.0.0.1:9/web", shadow=True)
    with node_in_process(tmp_path, destination=[web]) as node:
        assert node.take(*t1(), *stir())

        found = states(node)
        assert node.jobs(STUDY)[-1].state is State.DELIVERED
        assert {state for (title, _), state in found.items() if title == "WEB"} == {"kept back"}


def test_a_study_of_a_peer_in_shadow_mode_goes_nowhere(tmp_path: Path):
    web = stow("http://127.0.0.1:9/web")
    with node_in_process(tmp_path, destination=[web], peer={"shadow": True}) as node:
        assert node.take(*t1(), *stir()) == []

        assert set(states(node).values()) == {"kept back"}
        assert node.jobs(STUDY)[-1].state is State.NOT_SENT


def test_results_that_only_a_destination_got_are_named_by_a_revision(table: JobTable):
    scores, seg = made("scores"), made("seg t1")
    job = analysing(table)
    recipients = [Recipient("WEB"), Recipient("ALSO", ("scores",))]
    table.store_results(job, [scores, seg], recipients, "worker 1")

    later = table.reanalyse(table.get(job.job_id), "ada")

    assert results_sent_before(table.database, later) == ((scores, seg),)


def test_what_one_destination_refuses_for_good_is_retried_while_another_is_down(tmp_path: Path):
    with http_destination(lambda request: (400, b"")) as web:
        both = [stow(web.url), stow("http://127.0.0.1:9/web", name="DOWN")]
        with node_in_process(tmp_path, destination=both) as node:
            assert node.take(*t1(), *stir())
            job = node.jobs(STUDY)[-1]

    assert job.state is State.DELIVERING
    assert "DOWN at" in job.reason


def test_what_a_destination_refuses_for_good_fails_and_says_what_to_do(tmp_path: Path):
    with (
        http_destination(lambda request: (413, b"Muster^Erika")) as web,
        node_in_process(tmp_path, destination=[stow(web.url)]) as node,
    ):
        assert node.take(*t1(), *stir())
        job = node.jobs(STUDY)[-1]

    assert job.state is State.FAILED
    assert " objects were refused: " in job.reason
    assert "raise the size limit" in job.reason
    assert "Muster" not in job.reason


def test_the_report_reaches_the_hospitals_systems_as_fhir_and_hl7(tmp_path: Path):
    bundles = []

    def take(request: Received) -> Answer:
        bundles.append(Bundle.model_validate_json(request.body))
        entries = [{"response": {"status": "201 Created"}} for _ in bundles[-1].entry]
        return 200, json.dumps({"entry": entries}).encode()

    with http_destination(take) as server, hl7_receiver() as ris:
        fhir = {"name": "FHIR", "kind": "fhir", "url": server.url}
        hl7 = {"name": "RIS", "kind": "hl7", "url": ris.url}
        with node_in_process(tmp_path, destination=[fhir, hl7]) as node:
            back = node.take(*t1(), *stir())
            assert (node.admin.echo("FHIR") != "", node.admin.echo("RIS")) == (True, "")
            job = node.jobs(STUDY)[-1]
            lonely = t1()
            for one in lonely:
                one.StudyInstanceUID = "1.2.99"
                one.SOPInstanceUID += ".9"
                one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
            assert node.take(*lonely)

    (scores,) = [one for one in back if "scores" in one.SeriesDescription]
    (summary,) = [
        one.TextValue
        for one in scores.ContentSequence
        if one.ConceptNameCodeSequence[0].CodeMeaning == "Summary"
    ]
    conclusion = bundles[0].entry[-1].resource.conclusion
    assert job.state is State.DELIVERED
    assert conclusion.splitlines() == summary.splitlines()
    assert [one.entry[-1].resource.status for one in bundles] == ["final", "cancelled"]
    assert len(ris.messages) == 2
    assert conclusion.splitlines()[0] in ris.messages[0]
