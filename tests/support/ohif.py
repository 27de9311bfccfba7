"""The OHIF viewer (release build) in Debian's Chromium, reading from an Orthanc.

The viewer is served from loopback together with Orthanc's DICOMweb, so that the browser sees one
origin; it can reach nothing else. What is drawn is read from the viewer's own state, and whether
anything is to be seen at all from the pixels of the screen: its failures are silent.
"""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, sync_playwright

from tests.support.required_programs import program
from tests.support.waiting import PATIENCE_S, wait_for

BUILT = Path(__file__).parents[2] / ".cache" / "ohif" / "3.13.2"
ARCHIVE_PATHS = ("/dicom-web", "/wado")
SETTINGS = {
    "routerBasename": "/",
    "showStudyList": True,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "investigationalUseDialog": {"option": "never"},
    "showLoadingIndicator": True,
    "strictZSpacingForVolumeViewport": True,
    "defaultDataSourceName": "archive",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "archive",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "archive",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "wadoUriRoot": "/wado",
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "qidoSupportsIncludeField": False,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "enableStudyLazyLoad": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}
BROWSER = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-dev-shm-usage",
]
ONLY_LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
SCREEN = {"width": 1440, "height": 900}
VIEWER_PATIENCE_S = 90.0
SETTLED_MS = 700
"""The viewer does not signal that rendering is finished; this is several times what it needs."""
KEPT = Path(__file__).parents[2] / "test-artefacts"

VIEWPORT = (
    "services.cornerstoneViewportService.getCornerstoneViewport("
    "services.viewportGridService.getActiveViewportId())"
)
DRAWN = """
() => {
  const measured = services.displaySetService.getActiveDisplaySets()
    .flatMap(shown => shown.measurements || []);
  const names = Object.fromEntries(
    measured.map(one => [one.TrackingUniqueIdentifier, one.TrackingIdentifier]));
  return cornerstoneTools.annotation.state.getAllAnnotations()
    .filter(one => one.metadata.toolName === 'DICOMSRDisplay')
    .map(one => ({
      kind: one.metadata.graphicType,
      image: one.metadata.referencedImageId,
      uid: one.data.TrackingUniqueIdentifier,
      name: names[one.data.TrackingUniqueIdentifier],
      labels: one.data.labels.flatMap(label => [label.label, label.value]),
      points: one.data.handles.points,
    }));
}
"""
SEGMENTS = """
cornerstoneTools.segmentation.state.getSegmentations()
  .flatMap(one => Object.values(one.segments).map(segment => segment.label))
"""
DOCUMENT = """
async () => {
  const shown = document.querySelector("object[type='application/pdf']");
  return [...new Uint8Array(await (await fetch(shown.data)).arrayBuffer())];
}
"""


class _Front(SimpleHTTPRequestHandler):
    """The viewer's files, its settings, and Orthanc behind them."""

    protocol_version = "HTTP/1.1"
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".wasm": "application/wasm"}
    archive_port: int

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(ARCHIVE_PATHS):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(f"window.config = {json.dumps(SETTINGS)};".encode(), "text/javascript")
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"
            super().do_GET()

    def _pass_on(self) -> None:
        archive = http.client.HTTPConnection("127.0.0.1", self.archive_port, timeout=PATIENCE_S)
        try:
            # Orthanc accepts only literal commas in a list of fields.
            asked = self.path.replace("%2C", ",")
            archive.request("GET", asked, headers={**self.headers, "Accept-Encoding": "identity"})
            answer = archive.getresponse()
            content = answer.read()
        finally:
            archive.close()
        self._answer(content, answer.getheader("Content-Type", ""), answer.status)

    def _answer(self, content: bytes, kind: str, status: int = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Do not log requests."""


@contextmanager
def served(archive_port: int) -> Iterator[str]:
    """Serves the viewer on loopback within a ``with`` block; yields its URL."""
    if not (BUILT / "index.html").exists():
        raise RuntimeError(f"No OHIF in {BUILT}. Install it: sh deploy/install-test-viewer.sh")
    front = type("Front", (_Front,), {"archive_port": archive_port})
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *given: front(*given, directory=str(BUILT))
    )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Viewer:
    """A browser showing the viewer.

    Parameters
    ----------
    address
        Where the viewer is served.
    """

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser, self._address = browser, address
        self._page = browser.new_page()
        self.faults: list[str] = []
        """Uncaught errors in the viewer since a study was opened."""

    @property
    def viewport(self) -> Locator:
        """The viewport of a series."""
        return self._page.locator("[data-cy=viewport-pane]")

    def open_study(self, study_uid: str) -> None:
        """Open a study as a new user; returns once its first series is rendered."""
        self._page.close()
        self._page = self._browser.new_page(viewport=SCREEN)
        self._page.set_default_timeout(1000 * VIEWER_PATIENCE_S)
        self.faults.clear()
        self._page.on("pageerror", lambda error: self.faults.append(str(error)))
        self._page.goto(f"{self._address}/viewer?StudyInstanceUIDs={study_uid}")
        self._page.wait_for_selector("canvas.cornerstone-canvas")
        # The viewer shows new users a tour.
        self._page.get_by_text("Skip all").click()

    def open_series(self, description: str) -> None:
        """Open a series with a double click in the study browser, like a user."""
        self.listed(description).dblclick()

    def listed(self, description: str) -> Locator:
        """A series in the study browser."""
        named = self._page.get_by_text(description, exact=True)
        return self._page.locator("[data-cy^=study-browser-thumbnail]").filter(has=named)

    def listed_series(self) -> list[str]:
        """The descriptions of all series in the study browser."""
        return self._page.locator("[data-cy=series-description-label]").all_inner_texts()

    def agree(self) -> None:
        """Confirm the viewer's question."""
        self._page.get_by_text("Yes", exact=True).click()

    def show_image(self, sop_instance_uid: str) -> None:
        """Go to one image of the series in the viewport."""
        shown = f"{VIEWPORT}.getCurrentImageId().includes('{sop_instance_uid}')"
        images = wait_for(
            lambda: self._page.evaluate(f"{VIEWPORT}?.getImageIds()"), "images", VIEWER_PATIENCE_S
        )
        (index,) = [at for at, image in enumerate(images) if sop_instance_uid in image]
        # A stack counts its images from one end, a volume its slices from the other.
        places = cycle((index, len(images) - 1 - index))

        def go() -> bool:
            self._page.evaluate(
                f"cornerstone.utilities.jumpToSlice({VIEWPORT}.element, "
                f"{{imageIndex: {next(places)}}})"
            )
            self._page.wait_for_timeout(SETTLED_MS)
            return bool(self._page.evaluate(shown))

        wait_for(go, f"image {sop_instance_uid} in the viewport", VIEWER_PATIENCE_S)

    def drawn(self, count: int) -> list[dict[str, Any]]:
        """The report annotations in the viewport, once there are at least `count`."""

        def look() -> list[dict[str, Any]]:
            found = self._page.evaluate(DRAWN)
            return found if len(found) >= count else []

        return wait_for(look, f"report with {count} drawings", VIEWER_PATIENCE_S)

    def segments(self) -> list[str]:
        """The labels of the segmentation in the viewport, once there is one."""
        return wait_for(lambda: self._page.evaluate(SEGMENTS), "segmentation", VIEWER_PATIENCE_S)

    def open_list_of_segments(self) -> Locator:
        """Open the segmentation panel; returns its list of segments."""
        self._page.locator("[data-cy=panelSegmentation-btn]").click()
        return self._page.locator("body")

    def text(self) -> str:
        """The viewport's text."""
        return self.viewport.inner_text()

    def document(self) -> bytes:
        """The document in the viewport, once there is one."""
        self._page.wait_for_selector("object[type='application/pdf'][data^='blob:']")
        return bytes(self._page.evaluate(DOCUMENT))

    def picture(self) -> NDArray[np.int16]:
        """The pixels of the viewport, shape ``(rows, columns, 3)``."""
        shot = Image.open(BytesIO(self.viewport.screenshot())).convert("RGB")
        return np.asarray(shot, np.int16)

    def wait_until_lit(self, patience_s: float = VIEWER_PATIENCE_S) -> None:
        """Wait for an image in the viewport; a black viewport is a failure."""
        wait_for(lambda: is_lit(self.picture()), "picture but black", patience_s)
        self._page.wait_for_timeout(SETTLED_MS)

    def keep(self, name: str) -> None:
        """Save a screenshot of the window for review."""
        KEPT.mkdir(exist_ok=True)
        self._page.screenshot(path=KEPT / f"ohif-{name}.png")


def is_lit(picture: NDArray[np.int16]) -> bool:
    """Whether there is an image: neither mostly black nor uniform."""
    grey = picture.mean(axis=-1)
    return bool((grey > 25).mean() > 0.1 and grey.std() > 15)


def near(picture: NDArray[np.int16], colour: tuple[int, int, int]) -> NDArray[np.int64]:
    """Rows and columns of the pixels close to a colour, shape ``(n, 2)``."""
    return np.argwhere((abs(picture - np.array(colour, np.int16)) < 30).all(axis=-1))


@contextmanager
def running_viewer(archive_port: int) -> Iterator[Viewer]:
    """A browser with the viewer on an Orthanc at a loopback port."""
    chromium = program("chromium", "chromium")
    with (
        served(archive_port) as address,
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=chromium, args=[*BROWSER, ONLY_LOOPBACK]) as browser,
    ):
        yield Viewer(browser, address)
