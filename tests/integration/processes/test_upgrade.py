"""An existing installation upgrades: its database, its spool and its config.toml.

`installation_v0008` was written by the code of that schema: rows in every table, five results in
the spool, its config.toml, and another config.toml that sets every key there was.
"""

import hashlib
import shutil
import sqlite3
import threading
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from sij_node.cli import commands
from sij_node.config.renamed_keys import RENAMED_KEYS, with_current_names
from sij_node.config.settings import Config, PeerConfig, load_config
from sij_node.deliver.delivery_worker import DeliveryWorker
from sij_node.domain.job import DeliveryState, State
from sij_node.domain.job_list import JobFilter
from sij_node.errors import ConfigurationInvalid
from sij_node.network.store_scu import OutgoingObject, SendResult
from sij_node.operate.admin import Admin
from sij_node.processes.assembly import (
    migrate,
    open_admin,
    open_authentication,
    open_store,
    retry_policy,
)
from tests.support.unrecorded_events import no_events

BEFORE = Path(__file__).parent / "installation_v0008"
DELIVERED, DELIVERING, WITHHELD = 1, 4, 6
STATES = {
    1: State.DELIVERED,
    2: State.REJECTED,
    3: State.FAILED,
    4: State.DELIVERING,
    5: State.ANALYSING,
    6: State.NOT_SENT,
    7: State.QUEUED,
    8: State.CANCELLED,
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The configuration of an installation as the previous version left it."""
    shutil.copy(BEFORE / "config.toml", tmp_path)
    shutil.copytree(BEFORE / "results", tmp_path / "data" / "spool" / "results")
    with closing(sqlite3.connect(tmp_path / "data" / "jobs.sqlite")) as database:
        database.executescript((BEFORE / "database.sql").read_text())
    return load_config(tmp_path / "config.toml")


@pytest.fixture
def admin(config: Config) -> Iterator[Admin]:
    with open_admin(config, "anna") as opened:
        yield opened


def rows(config: Config) -> dict[str, int]:
    """How many rows each table has."""
    with closing(sqlite3.connect(config.node.data_folder / "jobs.sqlite")) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        count = "SELECT count(*) FROM {}"
        return {name: database.execute(count.format(name)).fetchone()[0] for (name,) in names}


def test_migrating_keeps_every_row(config: Config, capsys, monkeypatch):
    before = rows(config)
    file = config.node.data_folder.parent / "config.toml"
    monkeypatch.setattr("sys.argv", ["sij-node", "migrate", "--config", str(file)])

    with pytest.raises(SystemExit) as ended:
        commands.run_command()

    assert ended.value.code in (0, None), capsys.readouterr().err
    assert all(before.values())
    assert {name: count for name, count in rows(config).items() if name in before} == before


def test_migrating_twice_changes_nothing(config: Config):
    schema = migrate(config)

    assert migrate(config) == schema
    assert schema.current == schema.newest


def test_every_job_is_read_in_the_state_that_it_had(admin: Admin):
    assert {job.job_id: job.state for job in admin.jobs(JobFilter()).jobs} == STATES
    assert all(admin.history(job_id).steps for job_id in STATES)


def test_findings_series_and_key_images_are_read(admin: Admin):
    study = admin.study(DELIVERED)

    assert len(study.record.findings) == 28
    assert len(study.record.series) == 4
    assert admin.key_image(DELIVERED, study.record.pictures[0].file_name).is_file()


def test_deliveries_are_read_with_what_became_of_them(admin: Admin):
    acknowledged = {
        (one.result.kind, one.destination, one.state) for one in admin.history(DELIVERED).deliveries
    }

    assert acknowledged == {
        (kind, "PACS", DeliveryState.ACKNOWLEDGED) for kind in ("seg t1", "seg stir", "scores")
    }
    (withheld,) = admin.history(WITHHELD).deliveries
    assert withheld.state is DeliveryState.WITHHELD


def test_refusals_holds_and_the_change_log_are_read(admin: Admin):
    by_reason = {one.reason.partition(" <")[0]: one.source_ae for one in admin.refusals()}
    (pacs,) = admin.destinations()

    assert by_reason == {"pixels differ": "PACS", "unknown title": "<b>EVIL</b>"}
    assert (pacs.hold.reason, pacs.withheld) == ("migration of the archive", 1)
    assert {"hold", "reveal patient", "add user"} <= {one.action for one in admin.changes()}


def test_users_sign_in_with_the_password_they_had(config: Config):
    with open_authentication(config) as accounts:
        session = accounts.sign_in("anna", "correct horse battery", "127.0.0.1")
        users = {user.name: user.role.value for user in accounts.users()}

        assert accounts.person_of_session(session).name == "anna"
    assert users == {"anna": "operator", "ben": "viewer"}


def test_a_delivered_study_is_redelivered_byte_for_byte(config: Config, admin: Admin):
    sent: dict[str, str] = {}

    def send(peer: PeerConfig, objects: Sequence[OutgoingObject]) -> Iterator[SendResult]:
        for one in objects:
            sent[one.sop_instance_uid] = hashlib.sha256(one.file.read_bytes()).hexdigest()
            yield SendResult(one.sop_instance_uid, 0, "")

    admin.cancel(DELIVERING)  # another study that waits for the same destination
    admin.release_hold("PACS")
    admin.redeliver(DELIVERED)
    with open_store(config) as store:
        DeliveryWorker(
            "worker 1",
            store.table,
            store.spool,
            send,
            config.peer_titled,
            config.profile_for,
            retry_policy(config.retry, 1),
            lease_s=20,
            stop=threading.Event(),
            events=no_events(),
        ).deliver_next()

    assert admin.history(DELIVERED).job.state is State.DELIVERED
    assert sent == {one.sop_instance_uid: one.sha256 for one in admin.results(DELIVERED)}
    assert len(sent) == 3


def test_every_key_of_the_previous_config_is_known_or_named_as_renamed():
    settings = tomllib.loads((BEFORE / "every_key.toml").read_text())

    current, messages = with_current_names(settings)

    Config.model_validate(current)
    named = {message.partition(":")[0] for message in messages}
    assert named == {old for old in RENAMED_KEYS if not old.startswith("alerts.")}


def test_the_previous_config_is_refused_with_every_new_name_at_once(tmp_path: Path):
    file = Path(shutil.copy(BEFORE / "every_key.toml", tmp_path / "config.toml"))

    with pytest.raises(ConfigurationInvalid) as raised:
        load_config(file)

    told = str(raised.value)
    assert all(
        f"{old}: {old.rpartition('.')[2]} has been renamed to {new}" in told
        for old, new in RENAMED_KEYS.items()
        if not old.startswith("alerts.")
    )
