"""The command line: what it prints, and the exit status that a script can rely on."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.trial import free_port, set_up
from sij_node.cli import commands as cli
from sij_node.cli.output import print_table
from sij_node.cli.renamed_commands import RENAMED_COMMANDS, RENAMED_DESTINATION_COMMANDS
from sij_node.config.settings import load_config
from sij_node.doctor.study_round_trip import STUDY
from sij_node.domain.job import State
from sij_node.domain.study import Refusal
from sij_node.processes.assembly import open_store
from sij_node.store.job_queries import steps_of
from sij_node.store.refusals import add_refusal
from tests.support.command_line import sij_node, sij_node_process
from tests.support.job_tables import NOON, analysing, made, queued, received
from tests.support.running_listener import listening


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configured(tmp_path)


def configured(folder: Path, port: int = 0, **sections: dict[str, object]) -> Path:
    """The configuration of a node whose archive is nowhere."""
    return set_up(folder, "PACS", 104, port, **sections).config


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line in which an error is told."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("sij-node:")]
    assert "Traceback" not in done.stderr
    return line


def test_jobs_are_listed_for_people_and_for_scripts(config: Path):
    with open_store(load_config(config)) as store:
        queued(store.table, "1.2.3")

    for_people = sij_node("jobs", "list", "--config", config)
    for_scripts = sij_node_process(
        "jobs", "list", "--config", config, "--json", "--state", "queued"
    )

    assert "queued" in for_people.stdout
    (job,) = json.loads(for_scripts.stdout)
    assert (job["state"], job["study_uid"], job["source_ae"]) == ("queued", "1.2.3", "PACS")


def test_the_weights_that_analysed_the_jobs_are_listed(config: Path):
    with open_store(load_config(config)) as store:
        store.table.store_results(analysing(store.table), [made()], "PACS", "worker 1", "own 2")

    for_people = sij_node("jobs", "weights", "--config", config)
    for_scripts = sij_node("jobs", "weights", "--config", config, "--json")

    assert "own 2" in for_people.stdout
    (one,) = json.loads(for_scripts.stdout)
    assert (one["weights"], one["jobs"]) == ("own 2", 1)


def test_the_environment_names_the_configuration_and_who_called_sudo(config: Path):
    with open_store(load_config(config)) as store:
        job = queued(store.table, "1.2.3")

    done = sij_node("jobs", "cancel", job.job_id, SIJ_NODE_CONFIG=str(config), SUDO_USER="anna")

    assert done.returncode == 0, done.stderr
    with open_store(load_config(config)) as store:
        assert steps_of(store.table.database, job.job_id)[-1].who == "anna"


def test_files_that_are_not_dicom_are_reported_without_failing(tmp_path: Path):
    with zipfile.ZipFile(STUDY) as study:
        study.extractall(tmp_path / "study")
    (tmp_path / "study" / "truth.json").write_text("{}")
    with listening(tmp_path / "destination") as destination:
        to = f"127.0.0.1:{destination.listener.port}"
        titles = ("--called", "SIJ", "--calling", "MODALITY")
        done = sij_node("send", tmp_path / "study", "--to", to, *titles)

    assert done.returncode == 0, done.stderr
    assert "truth.json: skipped" in done.stdout
    assert len(destination.kept_files()) > 10


def test_a_job_is_shown_with_its_steps(config: Path):
    with open_store(load_config(config)) as store:
        job = queued(store.table, "1.2.3")
        image = store.spool.path_of(received(1).file_name)
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(b"not DICOM")

    shown = sij_node("jobs", "show", str(job.job_id), "--config", config, "--json")

    history = json.loads(shown.stdout)
    assert [step["step"] for step in history["steps"]] == ["opened", "settled"]
    assert [one["reason"] for one in history["series"]] == ["not used: first image unreadable"]
    assert "First image" in sij_node("jobs", "show", str(job.job_id), "--config", config).stdout


def test_what_images_state_cannot_control_the_terminal(capsys):
    print_table(["description"], [["[/red]t1\x1b[2J"], ["[bold]stir"]])

    shown = capsys.readouterr().out
    assert "[/red]t1\ufffd[2J" in shown
    assert "[bold]stir" in shown


def test_a_table_fits_100_columns_and_a_wide_one_has_a_line_per_row(capsys):
    row = ["1", "The archive rejected the association. " * 8]

    print_table(["job", "reason"], [row])
    narrow = capsys.readouterr().out.splitlines()
    print_table(["job", "reason"], [row], is_wide=True)
    wide = capsys.readouterr().out.splitlines()

    assert max(map(len, narrow)) <= 100
    assert len(narrow) > len(wide)
    assert any(row[1].strip() in line for line in wide)


def test_a_job_is_cancelled_under_the_name_of_who_did_it(config: Path):
    with open_store(load_config(config)) as store:
        job = queued(store.table, "1.2.3")

        done = sij_node("jobs", "cancel", str(job.job_id), "--config", config)

        assert done.returncode == 0
        assert store.table.get(job.job_id).state is State.CANCELLED
        assert steps_of(store.table.database, job.job_id)[-1].who


def test_an_action_that_the_state_does_not_allow_is_refused_in_words(config: Path):
    with open_store(load_config(config)) as store:
        job = queued(store.table, "1.2.3")

    done = sij_node("jobs", "retry", str(job.job_id), "--config", config)

    assert done.returncode == 65
    assert "queued" in only_line(done)
    assert f"Possible now: `sij-node jobs cancel {job.job_id}`" in only_line(done)


def test_a_held_destination_is_listed_with_the_reason_until_it_is_released(config: Path):
    held = sij_node("destinations", "hold", "PACS", "--reason", "migration", "--config", config)
    listed = sij_node("destinations", "list", "--config", config, "--json")
    released = sij_node("destinations", "release", "PACS", "--config", config)
    again = sij_node("destinations", "release", "PACS", "--config", config)

    assert "migration" in held.stdout
    (pacs,) = json.loads(listed.stdout)
    assert (pacs["ae_title"], pacs["hold"]["reason"]) == ("PACS", "migration")
    assert "no longer held" in released.stdout
    assert (again.returncode, only_line(again)) == (
        65,
        "sij-node: PACS is not on hold; there is nothing to release.",
    )


def test_a_study_is_prioritised_and_analysed_again_by_command(config: Path):
    with open_store(load_config(config)) as store:
        job = queued(store.table, "1.2.3")
        number = str(job.job_id)

        assert sij_node("jobs", "priority", number, "9", "--config", config).returncode == 0
        assert sij_node("jobs", "cancel", number, "--config", config).returncode == 0
        again = sij_node("jobs", "reanalyse", number, "--config", config)
        unknown = sij_node("jobs", "reanalyse", number, "--weights", "x", "--config", config)

        assert "Job 2 is queued" in again.stdout
        assert store.table.get(2).priority == 9
    assert unknown.returncode == 66
    assert "has no [[weights]] named x" in only_line(unknown)


@pytest.mark.parametrize(
    ("command", "new"),
    [
        *(([old], new) for old, new in RENAMED_COMMANDS.items()),
        *((["destinations", old], new) for old, new in RENAMED_DESTINATION_COMMANDS.items()),
    ],
)
def test_a_renamed_command_is_refused_with_its_new_name(command, new, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sij-node", *command, "PACS", "--config", "nowhere"])

    with pytest.raises(SystemExit) as ended:
        cli.run_command()

    said = capsys.readouterr()
    assert ended.value.code == 64
    assert said.err == f"sij-node: {command[-1]} has been renamed to {new}.\n"


def test_a_renamed_command_is_not_offered_any_more(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sij-node", "--help"])

    with pytest.raises(SystemExit):
        cli.run_command()

    offered = capsys.readouterr().out
    assert not [old for old in RENAMED_COMMANDS if f" {old} " in offered]
    assert all(f" {new} " in offered for new in RENAMED_COMMANDS.values())


def test_a_crash_dumps_no_memory_and_files_are_for_this_user_only(tmp_path: Path):
    script = (
        "import os, resource, runpy, sys; from sij_node.cli import commands\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "commands.run_command = lambda: (open('made', 'w').close(), os.abort())\n"
        "commands.main()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=os.environ)
    _, status = os.waitpid(child.pid, 0)
    child.returncode = status

    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_an_unknown_job_is_exit_66(config: Path):
    done = sij_node_process("jobs", "show", "41", "--config", config)

    assert done.returncode == 66
    assert "no job 41" in only_line(done)


def test_what_was_not_accepted_is_listed_with_the_reason(config: Path):
    refusal = Refusal(NOON, "PACS", "10.0.0.1", "1.2.3.4", "1.2.3", 0xA900, "UIDs differ")
    with open_store(load_config(config)) as store:
        add_refusal(store.table.database, refusal)

    (row,) = json.loads(sij_node("rejected", "--config", config, "--json").stdout)

    assert (row["status"], row["reason"]) == (0xA900, "UIDs differ")
    assert "0xA900" in sij_node("rejected", "--config", config).stdout
    assert "10.0.0.1" in sij_node("rejected", "--wide", "--config", config).stdout


def test_a_usable_configuration_is_exit_0_and_a_wrong_one_78(tmp_path: Path, config: Path):
    assert sij_node("check-config", "--config", config).returncode == 0

    done = sij_node("check-config", "--config", configured(tmp_path, listner={}))

    assert done.returncode == 78
    assert "listner" in done.stderr


def test_everything_that_keeps_the_node_from_starting_is_reported_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    config = configured(
        tmp_path,
        node={"ae_title": "SIJNODE", "data_folder": str(tmp_path / "file" / "data")},
        worker={"weights_folder": str(tmp_path / "none")},
        metrics={"token_file": str(tmp_path / "token")},
        audit={"syslog": "tls://log.example:6514", "syslog_ca": str(tmp_path / "ca.pem")},
        listener={"host": "192.0.2.1", "port": 104},
    )

    done = sij_node("check-config", "--config", config)

    assert done.returncode == 78
    for words in (
        "5 problems",
        f"{tmp_path / 'file'} is not a folder",
        f"[worker] weights: {tmp_path / 'none' / 'contour' / 'card.json'} does not exist",
        f"metrics.token_file: {tmp_path / 'token'} does not exist",
        f"[audit] syslog_ca: {tmp_path / 'ca.pem'} does not exist",
        "192.0.2.1:104: it is not an address of this machine",
    ):
        assert words in done.stderr
    assert not re.search("Errno|Traceback|SSL", done.stderr)


def test_a_database_that_may_return_is_exit_75(tmp_path: Path):
    url = f"postgresql+psycopg://sij:secret@127.0.0.1:{free_port()}/sij"

    done = sij_node("check-config", "--config", configured(tmp_path, database={"url": url}))

    assert done.returncode == 75
    assert "secret" not in done.stderr


@pytest.mark.parametrize("command", ["listen", "run"])
def test_a_port_in_use_is_one_clear_line(tmp_path: Path, command: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = sij_node_process(
            command, "--config", configured(tmp_path, port, worker={"processes": 0})
        )

    assert done.returncode == 78
    assert str(port) in only_line(done)


def test_an_unreachable_database_is_one_clear_line_without_its_password(tmp_path: Path):
    url = f"postgresql+psycopg://sij:secret@127.0.0.1:{free_port()}/sij"
    done = sij_node_process("listen", "--config", configured(tmp_path, database={"url": url}))

    assert done.returncode == 75
    assert "127.0.0.1" in only_line(done)
    assert "secret" not in done.stderr


def test_the_node_s_processes_load_no_torch_until_one_analyses():
    assert loaded(
        "processes.listener_process", "processes.worker_process", "web.app", "processes.web_process"
    ) == {"web"}


def test_listener_and_worker_load_no_web_server():
    assert loaded("processes.listener_process", "processes.worker_process") == set()


def loaded(*modules: str) -> set[str]:
    """What the command line has loaded of what is large, together with some modules."""
    names = ", ".join(f"sij_node.{one}" for one in ("cli.commands", *modules))
    asked = f"import sys, {names}; print(*{{'torch', 'fastapi'}} & set(sys.modules))"
    said = subprocess.check_output([sys.executable, "-c", asked], text=True)
    return {{"fastapi": "web"}.get(one, one) for one in said.split()}


@pytest.mark.parametrize("command", ["work", "run"])
def test_missing_weights_end_the_node_with_one_clear_line_and_no_link(tmp_path: Path, command: str):
    weights = {"weights_folder": "nowhere"}
    done = sij_node_process(
        command, "--config", configured(tmp_path, web={"port": free_port()}, worker=weights)
    )

    assert done.returncode == 78
    assert "nowhere/contour/card.json" in only_line(done)
    assert "http" not in done.stdout


def test_sending_without_a_receiver_is_one_clear_line(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no DICOM")

    nothing = sij_node("send", tmp_path)
    wrong = sij_node("send", tmp_path, "--to", "somewhere")

    assert nothing.returncode == wrong.returncode == 78
    assert "no DICOM file" in only_line(nothing)
    assert "HOST:PORT" in only_line(wrong)


def test_jobs_are_listed_while_a_study_is_being_received(config: Path):
    with open_store(load_config(config)) as store:
        store.table.register(received(1), 5, opens_job=True)

    (job,) = json.loads(sij_node("jobs", "list", "--config", config, "--json").stdout)

    assert job["instances"] == 1


def test_a_refusal_that_names_no_file_is_not_explained_away(monkeypatch):
    def refused():
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cli, "app", refused)

    with pytest.raises(PermissionError):
        cli.run_command()


def test_a_folder_that_may_not_be_written_is_named_with_the_user(monkeypatch, capsys):
    def refused():
        raise PermissionError(13, "Permission denied", "/root/out")

    monkeypatch.setattr(cli, "app", refused)

    with pytest.raises(SystemExit) as ended:
        cli.run_command()

    assert ended.value.code == 77
    assert "has no access to /root/out" in capsys.readouterr().err
