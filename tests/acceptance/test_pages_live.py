"""From the first start to a delivered study, as an administrator sees it in a browser."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from deploy.trial import free_port
from sij_node.domain.job import State
from tests.integration.cli.test_commands import sij_node
from tests.support.browser import DESKTOP, KEPT, PHONE, Window, chromium, invitation_in, window
from tests.support.orthanc import Orthanc, running_orthanc, two_ports
from tests.support.phantom_studies import PATIENT_ID, written
from tests.support.running_node import ANALYSIS, WORKER, RunningNode, running_node
from tests.support.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.acceptance

PASSWORD = "a long enough password"
ORDER = (
    State.RECEIVING,
    State.QUEUED,
    State.ANALYSING,
    State.DELIVERING,
    State.DELIVERED,
)
STATES_SEEN = """
() => {
  window.seen = [];
  const look = () => {
    const chip = document.querySelector("h1 + .chip");
    if (chip && window.seen.at(-1) !== chip.innerText) window.seen.push(chip.innerText);
  };
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
  look();
}
"""


@dataclass
class LivePages:
    """A PACS, the node beside it, and a window with its page."""

    orthanc: Orthanc
    node: RunningNode
    url: str
    browser: Browser
    seen: Window


@pytest.fixture(scope="module")
def live_pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePages]:
    ports, page = two_ports(), free_port()
    folder = tmp_path_factory.mktemp("node")
    with (
        running_node(folder, ports[0], page_port=page) as node,
        running_orthanc(tmp_path_factory.mktemp("orthanc"), node.peer, ports) as orthanc,
        chromium() as browser,
        window(browser, f"http://127.0.0.1:{page}", DESKTOP) as seen,
    ):
        yield LivePages(orthanc, node, f"http://127.0.0.1:{page}", browser, seen)


@pytest.fixture(scope="module")
def first_start(live_pages: LivePages) -> list[str]:
    """Follow the link of the first start, set a password, sign out and in; what was seen."""
    page = live_pages.seen.page
    link = wait_for(lambda: _link(live_pages.node), "link of the first start")
    page.goto(link)
    titles = [page.title()]
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Set password").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · sij_node")
    titles.append(page.title())
    live_pages.seen.sign_in("admin", PASSWORD)
    return [*titles, page.title()]


def _link(node: RunningNode) -> str:
    try:
        return invitation_in(node.log())
    except LookupError:
        return ""


@pytest.fixture(scope="module")
def watched(live_pages: LivePages, first_start: list[str], case, tmp_path_factory) -> list[str]:
    """Watch a study from its first image on, without a click; the states that were seen."""
    study, page = written(case, tmp_path_factory.mktemp("study")), live_pages.seen.page
    chip = page.locator("h1 + .chip")
    live_pages.seen.open("/")
    # The node waits until the browser, which may be slow, has seen each state.
    with live_pages.node.held_still(ANALYSIS):
        with live_pages.node.held_still(WORKER):
            live_pages.orthanc.receive(study.files)
            # The list shows it without being asked again.
            page.get_by_role("link", name="1", exact=True).click(timeout=1000 * PATIENCE_S)
            chip.wait_for()
            page.evaluate(STATES_SEEN)
        expect(chip).to_have_text("analysing")
    expect(chip).to_have_text("delivered", timeout=1000 * PATIENCE_S)
    return list(page.evaluate("window.seen"))


def test_the_first_start_leads_to_a_password_and_then_to_the_queue(first_start: list[str]):
    assert first_start == ["Set a password · sij_node", "Sign in · sij_node", "Queue · sij_node"]


def test_the_link_of_the_first_start_works_once(live_pages: LivePages, first_start: list[str]):
    with window(live_pages.browser, live_pages.url) as other:
        other.page.goto(invitation_in(live_pages.node.log()))

        assert other.page.get_by_label("Password").count() == 0
        other.faults.clear()  # the browser notes the status


def test_a_study_is_watched_from_receiving_to_delivered(watched: list[str]):
    places = [ORDER.index(State(state)) for state in watched]

    assert places == sorted(places)
    assert {State.ANALYSING, State.DELIVERED} <= set(watched)
    assert watched[0] in (State.RECEIVING, State.QUEUED)


def test_its_page_shows_what_was_found_and_where_it_went(live_pages: LivePages, watched: list[str]):
    page = live_pages.seen.page
    live_pages.seen.open("/jobs/1")

    folded = page.locator("details:not([open]) > summary")
    while folded.count():
        folded.first.click()
    expect(page.get_by_role("table", name="Probability of each lesion")).to_contain_text("%")
    assert page.locator(".scores tbody tr").count() == 14
    pictures = page.locator(".pair img")
    assert pictures.count() >= 2
    for number in range(pictures.count()):
        pictures.nth(number).scroll_into_view_if_needed()
    wait_for(
        lambda: all(page.evaluate("[...document.images].map((one) => one.naturalWidth === 480)")),
        "pictures",
    )
    expect(page.get_by_role("table", name="Results for ARCHIVE")).to_contain_text("0x0000: stored")
    expect(page.get_by_role("table", name="Series of the study")).to_contain_text("used as STIR")
    assert PATIENT_ID not in live_pages.seen.text()


def test_the_real_processes_and_the_peer_are_in_order(live_pages: LivePages, watched: list[str]):
    page = live_pages.seen.page
    live_pages.seen.open("/health")
    expect(page.locator("main")).to_contain_text("All systems OK")
    expect(page.get_by_role("table", name="Processes")).to_contain_text("worker")

    live_pages.seen.open("/peers")
    page.get_by_role("button", name="Send C-ECHO").click()
    expect(page.get_by_role("status").first).to_contain_text("ARCHIVE responded.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_pictures_of_the_pages_are_kept(live_pages: LivePages, watched: list[str], scheme, size):
    sizes = {"desktop": DESKTOP, "phone": PHONE}
    with window(live_pages.browser, live_pages.url, sizes[size], scheme) as seen:
        seen.sign_in("admin", PASSWORD)
        for name, path in {
            "queue": "/",
            "study": "/jobs/1",
            "charts": "/charts",
            "peers": "/peers",
            "health": "/health",
        }.items():
            seen.open(path)
            seen.page.wait_for_load_state("networkidle")
            seen.keep(f"live-{name}-{size}-{scheme}")
            assert seen.overflow_px() == 0
        assert seen.flaws() == []

    assert seen.faults == []


def test_a_picture_of_the_radiologists_page_is_kept(live_pages, watched, tmp_path: Path):
    study = live_pages.node.table.get(1).study_uid
    config = live_pages.node.folder / "config.toml"

    done = sij_node("pictures", study, "--out", tmp_path, "--config", config)

    assert done.returncode == 0, done.stderr
    shutil.copy(tmp_path / "pdf.png", KEPT / "report.png")


def test_nothing_went_wrong_in_the_browser(live_pages: LivePages, watched: list[str]):
    assert live_pages.seen.faults == []
