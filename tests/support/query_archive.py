"""A query/retrieve archive that can also fail in several ways."""

import ssl
import threading
from collections.abc import Iterator, Sequence
from io import BytesIO
from types import TracebackType
from typing import Self

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

MODELS = {
    "find": StudyRootQueryRetrieveInformationModelFind,
    "get": StudyRootQueryRetrieveInformationModelGet,
    "move": StudyRootQueryRetrieveInformationModelMove,
}
REPORTS = (Comprehensive3DSRStorage, ComprehensiveSRStorage)
RETURNED = {
    "STUDY": ("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "StudyDate", "StudyTime"),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "Manufacturer"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"),
}


class QueryArchive:
    """Stores files and serves C-FIND, C-GET and C-MOVE.

    Parameters
    ----------
    offers
        Of find, get and move.
    move_to
        Host and port of the one destination that it can send to.
    silent_on
        The question, of find, get and move, that it never answers.
    status
        What it answers to a fetch in place of the file, if not success.
    instead
        What it gives for whatever is asked.
    finds_all
        Whether it ignores what it is asked for, as some archives do with what they do not know.
    tls
        How associations with it are encrypted, if they are.
    """

    def __init__(
        self,
        files: Sequence[bytes],
        *,
        offers: Sequence[str] = ("find", "get", "move"),
        move_to: tuple[str, int] | None = None,
        silent_on: str = "",
        status: int = 0x0000,
        instead: bytes | None = None,
        finds_all: bool = False,
        knows: str = "SIJNODE",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.held = [dcmread(BytesIO(file)) for file in files]
        self.asked: list[str] = []
        self._offers, self._move_to, self._silent_on = offers, move_to, silent_on
        self._status, self._finds_all = status, finds_all
        self._instead = None if instead is None else dcmread(BytesIO(instead))
        self._knows, self._tls = knows, tls
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        entity = AE("PACS")
        entity.require_calling_aet = [self._knows]
        for name in self._offers:
            entity.add_supported_context(MODELS[name])
        for sop_class in REPORTS:
            entity.add_supported_context(
                sop_class, ExplicitVRLittleEndian, scu_role=True, scp_role=True
            )
            entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        handlers = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_C_MOVE, self._move),
        ]
        self._server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=self._tls
        )
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()

    @property
    def port(self) -> int:
        """Its address as a peer on loopback."""
        return int(self._server.server_address[1])

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        level = wanted.QueryRetrieveLevel
        self.asked.append(f"find {level}")
        self._maybe_stay_silent("find")
        told = set()
        for one in self.held:
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            for keyword in RETURNED[level]:
                if keyword in one:
                    setattr(answer, keyword, one[keyword].value)
            if (self._finds_all or _matches(one, wanted)) and str(answer) not in told:
                told.add(str(answer))
                yield 0xFF00, answer

    def _get(self, event: evt.Event) -> Iterator[object]:
        self.asked.append("get")
        self._maybe_stay_silent("get")
        found = self._wanted(event.identifier)
        yield len(found)
        yield from self._sent(found)

    def _move(self, event: evt.Event) -> Iterator[object]:
        self.asked.append("move")
        self._maybe_stay_silent("move")
        found = self._wanted(event.identifier)
        if self._move_to is None or event.move_destination != "SIJNODE":
            yield None, None
            return
        yield (*self._move_to, {"ae_title": "SIJNODE"})
        yield len(found)
        yield from self._sent(found)

    def _wanted(self, identifier: Dataset) -> list[Dataset]:
        found = [one for one in self.held if _matches(one, identifier)]
        return [self._instead] if self._instead is not None and found else found

    def _sent(self, found: list[Dataset]) -> Iterator[tuple[int, Dataset | None]]:
        for one in found:
            if self._status:
                yield self._status, None
                return
            yield 0xFF00, one

    def _maybe_stay_silent(self, question: str) -> None:
        if question == self._silent_on:
            self._closing.wait(60)


def _matches(one: Dataset, wanted: Dataset) -> bool:
    keys = ("PatientID", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return all(not wanted.get(key) or str(wanted.get(key)) == str(one.get(key)) for key in keys)
