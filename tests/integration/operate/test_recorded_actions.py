"""Every user action, by page, API or command line, is in the change log and the audit trail."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from xml.etree import ElementTree as ET

import httpx
import pytest
from typer.testing import CliRunner

from models.findings import POSITIONS, Finding
from sij_node.audit.messages import HumanUser
from sij_node.cli import commands
from sij_node.config.routing import Recipient
from sij_node.config.user_roles import Role
from sij_node.domain.analysis_record import AnalysisRecord, KeyPicture
from sij_node.domain.users import AdminChange
from sij_node.errors import PairMissing
from sij_node.operate.admin import Admin
from tests.support.busy_node import undelivered
from tests.support.job_tables import analysing, made, queued
from tests.support.running_web import RunningWeb, running_web

PNG, RESULT = "ab" * 32 + ".png", b"a result"
STUDIES = (f"1.2.840.7.{number}" for number in itertools.count())
NAMES = (f"colleague{number}" for number in itertools.count())


@dataclass(frozen=True)
class Recorded:
    """An action, the ways to it, and what must be recorded of it.

    Parameters
    ----------
    prepare
        Makes what it is done to; returns what stands for ``{0}`` in the ways.
    page, api
        Method, path and form or JSON body; None where there is no such way.
    command
        Arguments of the command line; empty where there is no such way.
    noted
        The action in the change log.
    audited
        In the audit trail.
    """

    prepare: Callable[[RunningWeb], object]
    noted: str
    audited: str
    page: tuple[str, str, Mapping[str, object]] | None = None
    api: tuple[str, str, Mapping[str, object] | None] | None = None
    command: tuple[str, ...] = ()
    role: Role = Role.OPERATOR

    @property
    def ways(self) -> tuple[str, ...]:
        given = {"page": self.page, "api": self.api, "cli": self.command}
        return tuple(way for way, one in given.items() if one)


def empty(web: RunningWeb) -> None:
    """Leave nothing in the queue that a worker could claim next."""
    while (job := web.table.claim("test")) is not None:
        web.table.reject(job, PairMissing("over"), [], "PACS", "test")


def a_queued(web: RunningWeb) -> int:
    empty(web)
    return queued(web.table, next(STUDIES)).job_id


def a_rejected(web: RunningWeb) -> int:
    empty(web)
    job = analysing(web.table, next(STUDIES))
    return web.table.reject(job, PairMissing("No T1."), [], "PACS", "w").job_id


def a_waiting(web: RunningWeb) -> int:
    empty(web)
    return undelivered(web.table, AnalysisRecord(), next(STUDIES)).job_id


def a_withheld(web: RunningWeb) -> int:
    empty(web)
    study = next(STUDIES)
    kinds = ("summary", "scores", "seg t1")
    job, results = analysing(web.table, study), [made(kind, study) for kind in kinds]
    shadowed = (Recipient("PACS", withheld=True),)
    return web.table.store_results(job, results, shadowed, "w", "c 1.0").job_id


def its_destination(web: RunningWeb) -> str:
    a_withheld(web)
    return "PACS"


def an_analysed(web: RunningWeb) -> str:
    """The job and its result, whose file and key image are stored."""
    empty(web)
    study = next(STUDIES)
    result = made(study_uid=study)
    result = replace(result, sha256=hashlib.sha256(RESULT).hexdigest())
    web.store.spool.keep_result(RESULT, result.file_name)
    web.store.spool.keep_result(b"an image", PNG)
    record = AnalysisRecord(pictures=(KeyPicture(1, "T1", "7", (), PNG),))
    job = analysing(web.table, study)
    web.table.store_results(job, [result], "PACS", "w", "c 1.0", record=record)
    return f"{job.job_id}/results/{result.sop_instance_uid}"


def a_scored(web: RunningWeb) -> int:
    empty(web)
    study = next(STUDIES)
    record = AnalysisRecord(findings=tuple(Finding(one, 0.1, 0.5) for one in POSITIONS))
    job = analysing(web.table, study)
    web.table.store_results(job, [made(study_uid=study)], "PACS", "w", "c 1.0", record=record)
    return job.job_id


def a_file_for_scores(web: RunningWeb) -> str:
    """Where to export to; there is a study with scores."""
    a_scored(web)
    return str(web.config.node.data_folder.parent / "scores.csv")


def its_key_image(web: RunningWeb) -> str:
    return f"{an_analysed(web).partition('/')[0]}/pictures/{PNG}"


def released(web: RunningWeb) -> str:
    if any(one.hold for one in mia(web).destinations()):
        mia(web).release_hold("PACS")
    return "PACS"


def held(web: RunningWeb) -> str:
    if not any(one.hold for one in mia(web).destinations()):
        mia(web).hold("PACS", "upgrade")
    return "PACS"


def mia(web: RunningWeb) -> Admin:
    return web.parts.admin(HumanUser("mia"))


def a_colleague(web: RunningWeb) -> str:
    name = next(NAMES)
    web.add_user(name, Role.VIEWER)
    return name


def a_disabled_colleague(web: RunningWeb) -> str:
    name = a_colleague(web)
    web.access.disable(name, "test")
    return name


def of_job(action: str, **body: str) -> dict[str, object]:
    return {
        "page": ("POST", f"/jobs/{{0}}/{action}", body),
        "api": ("POST", f"/jobs/{{0}}/{action}", body),
        "command": ("jobs", action, "{0}", *body.values()),
    }


def of_peer(action: str, command: str = "", **body: str) -> dict[str, object]:
    options = [word for name, value in body.items() for word in (f"--{name}", value)]
    return {
        "page": ("POST", f"/peers/{{0}}/{action}", body),
        "api": ("POST", f"/peers/{{0}}/{action}", body),
        "command": ("destinations", command or action, "{0}", *options),
    }


def of_user(action: str, command: str, **body: str) -> dict[str, object]:
    return {
        "page": ("POST", f"/users/{{0}}/{action}", body),
        "command": ("users", command, "{0}", *body.values()),
        "role": Role.ADMINISTRATOR,
    }


RECORDED = {
    "retry": Recorded(a_rejected, "retried", "retry, job", **of_job("retry")),
    "cancel": Recorded(a_queued, "cancelled", "cancel, job", **of_job("cancel")),
    "priority": Recorded(
        a_queued, "priority set", "set priority, job", **of_job("priority", priority="8")
    ),
    "try now": Recorded(a_waiting, "try now", "try now, job", **of_job("try-now")),
    "redeliver": Recorded(
        a_withheld,
        "delivery asked for",
        "redeliver, job",
        **of_job("redeliver"),
    ),
    "reanalyse": Recorded(
        a_rejected, "reanalysis asked for", "reanalyse, job", **of_job("reanalyse")
    ),
    "hold": Recorded(released, "hold", "hold PACS: upgrade", **of_peer("hold", reason="upgrade")),
    "release": Recorded(held, "release", "release PACS", **of_peer("release")),
    "send withheld": Recorded(
        its_destination,
        "delivery asked for",
        "redeliver, job",
        **of_peer("send-withheld"),
    ),
    "search for a patient": Recorded(
        a_queued,
        "search patient",
        "jobs found",
        page=("POST", "/patient", {"patient_id": "P1"}),
        api=("POST", "/jobs/search", {"patient_id": "P1"}),
    ),
    "search in vain": Recorded(
        a_queued,
        "search patient",
        "0 jobs found",
        page=("POST", "/patient", {"patient_id": "nobody"}),
        api=("POST", "/jobs/search", {"patient_id": "nobody"}),
    ),
    "reveal a patient": Recorded(
        a_queued,
        "reveal patient",
        "patient revealed",
        page=("POST", "/jobs/{0}/patient", {}),
        api=("POST", "/jobs/{0}/patient", None),
    ),
    "download a result": Recorded(
        an_analysed, "download result", "scores downloaded", api=("GET", "/jobs/{0}", None)
    ),
    "export scores": Recorded(
        a_file_for_scores,
        "export scores",
        "scores exported for research",
        api=("GET", "/exports/scores.csv", None),
        command=("export-scores", "--out", "{0}"),
        role=Role.ADMINISTRATOR,
    ),
    "give verdicts": Recorded(
        a_scored,
        "give verdicts",
        "verdicts, job",
        page=("POST", "/jobs/{0}/verdicts", {"stated": ["present"] * 28}),
        api=("POST", "/jobs/{0}/verdicts", {"accept_others": True}),
    ),
    "view key images": Recorded(
        its_key_image,
        "view key images",
        "key images viewed",
        page=("GET", "/jobs/{0}", {}),
    ),
    "open a study with key images": Recorded(
        lambda web: an_analysed(web).partition("/")[0],
        "view key images",
        "key images viewed",
        page=("GET", "/jobs/{0}", {}),
    ),
    "add a user": Recorded(
        lambda web: next(NAMES),
        "add user",
        "add user",
        page=("POST", "/users", {"name": "{0}", "role": "viewer"}),
        command=("users", "add", "{0}"),
        role=Role.ADMINISTRATOR,
    ),
    "invite a user again": Recorded(
        a_colleague, "invite user", "invite user", **of_user("invite", "reset")
    ),
    "set a role": Recorded(
        a_colleague, "set role", "set role", **of_user("role", "role", role="operator")
    ),
    "disable a user": Recorded(
        a_colleague, "disable user", "disable user", **of_user("disable", "disable")
    ),
    "enable a user": Recorded(
        a_disabled_colleague, "enable user", "enable user", **of_user("enable", "enable")
    ),
    "add a token": Recorded(
        lambda web: "",
        "add token",
        "add token",
        page=("POST", "/account/tokens", {"label": "x", "role": "viewer"}),
        api=("POST", "/me/tokens", {"label": "x"}),
    ),
}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeb]:
    with running_web(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture(scope="module")
def browsers(web: RunningWeb) -> Iterator[Mapping[Role, httpx.Client]]:
    with web.browser(Role.OPERATOR) as operator, web.browser(Role.ADMINISTRATOR) as administrator:
        yield {Role.OPERATOR: operator, Role.ADMINISTRATOR: administrator}


@pytest.mark.parametrize(
    ("name", "way"), [(name, way) for name, one in RECORDED.items() for way in one.ways]
)
def test_every_action_is_in_the_change_log_and_the_audit_trail(
    web: RunningWeb,
    browsers: Mapping[Role, httpx.Client],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    way: str,
):
    monkeypatch.setenv("SUDO_USER", "meier")
    recorded = RECORDED[name]
    thing = str(recorded.prepare(web))
    trail, changes = len(trail_of(web)), len(changes_of(web))

    who = DO[way](web, browsers[recorded.role], recorded, thing)

    new = changes_of(web)[: len(changes_of(web)) - changes]
    assert [(one.who, one.action) for one in new] == [(who, recorded.noted)]
    messages = trail_of(web)[trail:]
    assert recorded.audited in " ".join(map(described, messages))
    assert {user_of(one) for one in messages} == {who}
    assert not any(patient in str(new) for patient in ("P1", "nobody"))


def through_the_page(web: RunningWeb, browser: httpx.Client, recorded: Recorded, thing: str) -> str:
    method, path, form = recorded.page
    filled = {
        key: value.format(thing) if isinstance(value, str) else value for key, value in form.items()
    }
    answer = browser.request(method, path.format(thing), data=filled or None)
    assert answer.status_code in (200, 303), answer.text
    return name_of(browser)


def through_the_api(web: RunningWeb, browser: httpx.Client, recorded: Recorded, thing: str) -> str:
    method, path, body = recorded.api
    answer = browser.request(method, f"/api/v1{path.format(thing)}", json=body)
    assert answer.status_code in (200, 201), answer.text
    return name_of(browser)


def on_the_command_line(
    web: RunningWeb, browser: httpx.Client, recorded: Recorded, thing: str
) -> str:
    arguments = [word.format(thing) for word in recorded.command]
    config = web.config.node.data_folder.parent / "config.toml"
    done = CliRunner().invoke(commands.app, [*arguments, "--config", str(config)])
    assert done.exit_code == 0, done.output
    return "meier"


DO = {"page": through_the_page, "api": through_the_api, "cli": on_the_command_line}


def name_of(browser: httpx.Client) -> str:
    return browser.get("/api/v1/me").json()["name"]


def changes_of(web: RunningWeb) -> tuple[AdminChange, ...]:
    """The newest first."""
    return mia(web).changes(10_000)


def trail_of(web: RunningWeb) -> list[ET.Element]:
    files = sorted((web.config.node.data_folder / "audit").glob("*"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [ET.fromstring(line[line.index("<AuditMessage") :]) for line in lines]


def described(message: ET.Element) -> str:
    return message.findtext("EventIdentification/EventOutcomeDescription", "")


def user_of(message: ET.Element) -> str:
    return message.find("ActiveParticipant").get("UserID")
