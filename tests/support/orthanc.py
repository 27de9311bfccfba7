"""Debian's Orthanc as the PACS that sends the study and receives its results.

It takes studies from a scanner and routes each MR series to the node once it is stable. It cannot
be told an address to bind to, so the configuration keeps everybody else out: HTTP answers this
machine only, and DICOM only systems that are named here and call from loopback.
"""

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from deploy.trial import free_port
from sij_node.config.settings import PeerConfig
from tests.support.required_programs import program, said_by
from tests.support.waiting import PATIENCE_S, wait_for

ORTHANC, SCANNER = "ARCHIVE", "SCANNER"
STABLE_S = 2
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ROUTING = """\
function OnStableSeries(series, tags, metadata)
    local first = ParseJson(RestApiGet('/series/' .. series))['Instances'][1]
    local sender = RestApiGet('/instances/' .. first .. '/metadata/RemoteAET')
    if tags['Modality'] == 'MR' and sender ~= '{node}' then
        RestApiPost('/modalities/node/store', series)
    end
end
"""


class Orthanc:
    """An Orthanc with its own folder and ports that routes to one node.

    Parameters
    ----------
    ports
        Free ports for DICOM and HTTP.
    password
        Of the user "node", whom HTTP then requires.
    dicomweb
        Further settings of its DICOMweb plugin.
    """

    def __init__(
        self,
        folder: Path,
        node: PeerConfig,
        ports: tuple[int, int],
        password: str = "",
        dicomweb: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._dicomweb = {"Enable": True, "Root": "/dicom-web/", **dicomweb}
        self.port, self._http_port = ports
        self._password = password
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._configuration = folder / "orthanc.json"
        routing = folder / "routing.lua"
        routing.write_text(ROUTING.format(node=node.ae_title), encoding="utf-8")
        self._configuration.write_text(
            json.dumps(self._settings(node, routing), indent=2), encoding="utf-8"
        )

    def _settings(self, node: PeerConfig, routing: Path) -> dict[str, Any]:
        storage = str(self._folder / "storage")
        return {
            "Name": "PACS",
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "Plugins": [str(DICOMWEB)],
            "DicomWeb": self._dicomweb,
            "LuaScripts": [str(routing)],
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(self._password),
            "RegisteredUsers": {"node": self._password} if self._password else {},
            "DicomAet": ORTHANC,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomCheckModalityHost": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomModalities": {
                "node": {
                    "AET": node.ae_title,
                    "Host": node.host,
                    "Port": node.port,
                    "AllowStorageCommitment": True,
                },
                "scanner": {"AET": SCANNER, "Host": "127.0.0.1", "Port": 104},
            },
            "OverwriteInstances": False,
            "StableAge": STABLE_S,
            "HttpVerbose": False,
        }

    @property
    def http_port(self) -> int:
        """Base URL of its REST API and DICOMweb."""
        return self._http_port

    def start(self) -> None:
        """Start it and wait until it responds."""
        if not DICOMWEB.exists():
            raise RuntimeError(f"No {DICOMWEB}. Install it with: sh deploy/install-test-servers.sh")
        with (self._folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("Orthanc", "orthanc"), str(self._configuration)], stdout=log, stderr=log
            )
        wait_for(self._answers, "answer of Orthanc")

    def stop(self) -> None:
        """Stop it and wait until it has exited."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def receive(self, files: list[Path]) -> None:
        """Send files to it with DCMTK storescu, as a scanner would."""
        to = ["-R", "-aet", SCANNER, "-aec", ORTHANC, "127.0.0.1", str(self.port)]
        said = said_by("storescu", "dcmtk", *to, *files)
        if any(line.startswith(("E:", "F:")) for line in said):
            raise RuntimeError("storescu: " + "; ".join(said))

    def add(self, file: bytes) -> Any:
        """Add a file by its REST API."""
        return json.loads(self._fetch("/instances", file))

    def send_study(self, study_uid: str) -> None:
        """Send all instances of a study to the node; returns when all are acknowledged."""
        self.ask("/modalities/node/store", self._study(study_uid))

    def files_of(self, study_uid: str) -> list[bytes]:
        """Every instance of a study, as a file."""
        instances = self.ask(f"/studies/{self._study(study_uid)}/instances")
        return [self._fetch(f"/instances/{instance['ID']}/file") for instance in instances]

    def result_files_of(self, study_uid: str) -> list[bytes]:
        """The instances of a study other than MR images, as files."""
        return [file for file in self.files_of(study_uid) if _read(file).Modality != "MR"]

    def results_of(self, study_uid: str) -> list[Dataset]:
        """The instances of a study other than MR images."""
        return [_read(file) for file in self.result_files_of(study_uid)]

    def ask(self, path: str, body: Any = None) -> Any:
        """A GET request to its REST API, or a POST with a body."""
        return json.loads(self._fetch(path, body))

    def upload(self, dataset: Dataset) -> None:
        """Store a dataset by its REST API."""
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = BytesIO()
        dcmwrite(file, dataset, enforce_file_format=True)
        self._fetch("/instances", file.getvalue())

    def delete(self, path: str) -> None:
        """A DELETE request to its REST API."""
        self._fetch(path, method="DELETE")

    def _study(self, study_uid: str) -> str:
        """Its internal id of a study."""
        (found,) = self.ask(
            "/tools/find", {"Level": "Study", "Query": {"StudyInstanceUID": study_uid}}
        )
        return str(found)

    def _fetch(self, path: str, body: Any = None, method: str | None = None) -> bytes:
        """Text and bytes are sent unchanged, everything else as JSON."""
        sent = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        basic = b64encode(f"node:{self._password}".encode()).decode()
        request = Request(
            f"http://127.0.0.1:{self._http_port}{path}",
            sent.encode() if isinstance(sent, str) else sent,
            {"Authorization": f"Basic {basic}"} if self._password else {},
            method=method,
        )
        with urlopen(request, timeout=PATIENCE_S) as answer:
            return bytes(answer.read())

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            log = (self._folder / "orthanc.log").read_text(encoding="utf-8")
            raise RuntimeError(f"Orthanc did not start: {log[-2000:]}")
        try:
            return bool(self.ask("/system"))
        except (URLError, ConnectionError):
            return False


def _read(file: bytes) -> Dataset:
    return dcmread(BytesIO(file))


@contextmanager
def running_orthanc(
    folder: Path,
    node: PeerConfig,
    ports: tuple[int, int],
    password: str = "",
    dicomweb: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Orthanc]:
    """An Orthanc within a ``with`` block."""
    orthanc = Orthanc(folder, node, ports, password, dicomweb)
    try:
        orthanc.start()
        yield orthanc
    finally:
        orthanc.stop()


def two_ports() -> tuple[int, int]:
    """Free ports for DICOM and HTTP."""
    return free_port(), free_port()
