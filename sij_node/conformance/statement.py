"""The statement itself, in the order of PS3.2 Annex A, from the code and one configuration.

Source: DICOM PS3.2 (Conformance), Annex A.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from textwrap import fill

from pydicom.charset import python_encoding
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from sij_node import __version__
from sij_node.config.profiles import PRESETS, Profile, preset
from sij_node.config.settings import Config
from sij_node.conformance.example import example_results
from sij_node.conformance.objects import Row, attributes, items, own_codes, public_codes
from sij_node.dicom import codes
from sij_node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sij_node.dicom.series_roles import MR_IMAGES
from sij_node.network.dimse import Status
from sij_node.network.query_retrieve import MAX_REPORTS_OF_STUDY, REPORT_CLASSES
from sij_node.network.scu import MAX_CONTEXTS
from sij_node.network.tls import TLS_1_2_CIPHERS
from sij_node.receive.association import STORAGE_CLASSES, TRANSFER_SYNTAXES, VERIFICATION
from sij_node.results.build import ResultObject
from sij_node.results.provenance import COPIED_WHERE_GIVEN, EMPTY_WHERE_UNKNOWN

_STATUS = {
    Status.SUCCESS: "checked, synced to the disk, committed to the database",
    Status.CLASS_NOT_SUPPORTED: "the SOP class is not that of the presentation context",
    Status.OUT_OF_RESOURCES: "too little disk space, or the database does not answer; send again",
    Status.DOES_NOT_MATCH_CLASS: "command and dataset have different UIDs",
    Status.CANNOT_UNDERSTAND: "no dataset, no valid UID, or a malformed dataset",
    Status.CONFLICTING_COPY: "different content under an acknowledged UID; quarantined",
    Status.NODE_FAULT: "a fault of the node; see its log",
}
_READ_WHEN = {
    "seg": "one for each of the T1 and STIR series",
    "findings": "one for each of the two series",
    "presentation": "one for each of the two series",
}
_REPORTS = ("scores", "findings t1", "not analysed")


def statement(config: Config) -> str:
    """The conformance statement of a node with a configuration, as Markdown.

    Parameters
    ----------
    config
        Of the node; names of folders and secrets do not appear.
    """
    examples = example_results(preset("everything"))
    parts = (
        _overview(examples),
        _introduction(),
        _networking(config, examples),
        _media(),
        _character_sets(),
        _security(config),
        _annexes(examples),
    )
    return "\n\n".join(map(_wrapped, chain.from_iterable(parts))) + "\n"


# ---- 1 and 3 -------------------------------------------------------------------------------------


def _overview(examples: Sequence[ResultObject]) -> Iterator[str]:
    yield "# DICOM conformance statement of sij_node"
    yield (
        f"Version {__version__}. Written by `sij-node conformance` from the code and one "
        "configuration; a test fails when it is out of date. "
        "**The weights are trained on phantoms. Not for clinical use.**"
    )
    yield "## 1 Overview"
    yield (
        "sij_node receives MR studies of the sacroiliac joints by C-STORE, analyses a T1 and a "
        "STIR series, and sends the results by C-STORE to the system that sent the study. Where a "
        "peer allows it, earlier reports are looked for by C-FIND and fetched by C-GET or C-MOVE."
    )
    taken = f"{len(STORAGE_CLASSES)} storage SOP classes, see 4.2.1"
    services: list[Row] = [
        ("Verification", VERIFICATION, "Yes", "Yes"),
        ("Storage, anything", taken, "No", "Yes"),
        *((f"Storage, {_name(uid)}", uid, "Yes", "Yes") for uid in _sent_classes(examples)),
        *((_name(uid), uid, "Option", "No") for uid in _queries()),
    ]
    yield _table(("SOP class", "UID", "User (SCU)", "Provider (SCP)"), services)
    yield "Storage Commitment, Modality Worklist, MPPS and media interchange are not supported."


def _introduction() -> Iterator[str]:
    yield "## 3 Introduction"
    yield (
        "For engineers who connect the node to a PACS. It says what the node does on the network; "
        "it does not say that two systems will work together, which has to be tried. Sections are "
        "numbered as in PS3.2 Annex A; section 2 is the table of contents that Markdown viewers "
        "make."
    )


# ---- 4 -------------------------------------------------------------------------------------------


def _networking(config: Config, examples: Sequence[ResultObject]) -> Iterator[str]:
    yield "## 4 Networking"
    yield "### 4.1 Implementation model"
    yield (
        "One application entity. A listener stores what comes; when a study is complete a worker "
        "analyses it, reads every result back and compares it with what was found, and a courier "
        "sends the results in the order of the destination's profile. What cannot be analysed is "
        'answered with a report "not analysed". Results that come back are stored and start '
        "nothing."
    )
    yield "### 4.2 Application entity"
    yield "#### 4.2.1 SOP classes"
    yield from _accepted()
    yield "#### 4.2.2 Association policies"
    yield _association_table(config)
    yield "#### 4.2.3 Association initiation"
    yield from _initiation(config, examples)
    yield "#### 4.2.4 Association acceptance"
    yield (
        "An association is accepted if the called AE title is the node's, the calling AE title is "
        "that of a `[[peer]]`, and the call comes from one of the peer's networks. Others are "
        "rejected for good; too many at one time, a "
        "full disk or a node that stops, are rejected as transient. One proposed transfer syntax "
        "is taken for each context, in the order above. Extended negotiation is not supported."
    )
    yield "Answers to C-STORE:"
    yield _table(("Status", "Meaning"), [(f"0x{one:04X}", _STATUS[one]) for one in sorted(Status)])
    yield (
        "The same object again is answered with success and changes nothing. No attribute is "
        "coerced; the dataset is kept byte for byte as it came (level 2, full)."
    )
    yield "### 4.3 Network interfaces"
    yield "TCP/IP, as the operating system gives it."
    yield "### 4.4 Configuration"
    yield from _configuration(config)


def _accepted() -> Iterator[str]:
    yield "As SCP of Verification and of storage, in these transfer syntaxes, the first that fits:"
    yield _table(("Transfer syntax", "UID"), [(_name(uid), uid) for uid in TRANSFER_SYNTAXES])
    yield (
        "Deflated and big endian are never accepted. Stored is every SOP class below; analysed are "
        f"{', '.join(map(_name, MR_IMAGES))}."
    )
    yield _table(
        ("Storage SOP class", "UID"),
        sorted((_name(uid), uid) for uid in STORAGE_CLASSES),
    )


def _association_table(config: Config) -> str:
    listener, delivery = config.listener, config.delivery
    return _table(
        ("Property", "Value"),
        [
            ("Application context", "1.2.840.10008.3.1.1.1"),
            ("AE title", config.node.ae_title),
            ("Port", str(listener.port)),
            ("Associations at one time, as acceptor", str(listener.max_associations)),
            ("Connections of one address", str(listener.max_connections_per_address)),
            ("Largest PDU received", f"{listener.max_pdu_bytes} bytes"),
            ("Largest object", f"{listener.max_instance_mb} MB"),
            ("Presentation contexts proposed, at most", str(MAX_CONTEXTS)),
            ("Asynchronous operations", "not supported"),
            ("Time for the association request", f"{listener.handshake_timeout_s:g} s"),
            ("Time for a PDU that has begun", f"{listener.pdu_timeout_s:g} s"),
            ("Time without a PDU", f"{listener.idle_timeout_s:g} s"),
            ("Time for a connection that the node opens", f"{delivery.connect_timeout_s:g} s"),
            ("Time for an answer to the node", f"{delivery.response_timeout_s:g} s"),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
        ],
    )


def _initiation(config: Config, examples: Sequence[ResultObject]) -> Iterator[str]:
    yield (
        "To send results, with the transfer syntax of the stored file first and Implicit VR Little "
        "Endian beside Explicit. Success, warnings (0xBxxx) and 0x0111 count as taken. Anything "
        f"else, or no answer, is tried again up to {config.retry.delivery_attempts} times under "
        "the same UIDs."
    )
    yield _table(
        ("Sent", "SOP class", "UID", "Transfer syntax"),
        list(dict.fromkeys(_sent_row(one) for one in examples)),
    )
    yield (
        "A profile may ask for Comprehensive SR in place of Comprehensive 3D SR, for single-frame "
        "secondary captures, and for JPEG-LS Lossless in them."
    )
    yield (
        "To look for earlier results, where a peer's `priors` is `get` or `move` and the node has "
        f"none itself, for at most {config.priors.timeout_s:g} s. Study Root, hierarchical, in "
        f"{_name(ImplicitVRLittleEndian)}; on C-GET the node is SCP of the reports by role "
        "selection."
    )
    yield _table(("SOP class", "UID"), [(_name(uid), uid) for uid in _queries()])
    yield _table(
        ("C-FIND level", "Matched", "Asked for"),
        [
            (
                "STUDY",
                "PatientID, StudyDate (range)",
                "IssuerOfPatientID, StudyInstanceUID, StudyTime",
            ),
            ("SERIES", "StudyInstanceUID, Modality (SR)", "SeriesInstanceUID, Manufacturer"),
            ("IMAGE", "StudyInstanceUID, SeriesInstanceUID", "SOPInstanceUID, SOPClassUID"),
        ],
    )
    yield (
        f"Of the newest {config.priors.max_studies} studies, at most {MAX_REPORTS_OF_STUDY} "
        "reports each are fetched by SOP Instance UID. A C-MOVE names the node's own AE title as "
        "destination. What cannot be had is said in the report and does not hold the study up."
    )
    yield "C-ECHO, when an administrator asks for it."


def _sent_row(one: ResultObject) -> Row:
    name = one.kind.split(maxsplit=1)[0] if one.kind != "not analysed" else one.kind
    uid = str(one.dataset.SOPClassUID)
    return (
        f"{name}: {_READ_WHEN[name]}" if name in _READ_WHEN else name,
        _name(uid),
        uid,
        "Explicit VR Little Endian",
    )


def _configuration(config: Config) -> Iterator[str]:
    yield "Peers. Nobody else may call or is called."
    yield _table(
        ("AE title", "Host", "Port", "TLS", "Profile", "Priors", "Shadow"),
        [
            (
                peer.ae_title,
                peer.host,
                str(peer.port),
                _yes(peer.tls),
                peer.profile,
                peer.priors,
                _yes(peer.shadow),
            )
            for peer in config.peer
        ],
    )
    yield "Profiles: what is sent, in this order, and how."
    profiles = [preset(name) for name in PRESETS] + list(config.profile)
    yield _table(
        ("Profile", "Objects", "Language", "Reports", "Title of the scores", "Secondary capture"),
        [_profile_row(profile) for profile in profiles],
    )


def _profile_row(profile: Profile) -> Row:
    return (
        profile.name,
        ", ".join(profile.objects),
        profile.language,
        profile.report_class,
        profile.scores_title,
        f"{profile.summary_class}, compression {profile.summary_compression}",
    )


# ---- 5 to 7 --------------------------------------------------------------------------------------


def _media() -> Iterator[str]:
    yield "## 5 Media interchange"
    yield "Not supported."


def _character_sets() -> Iterator[str]:
    yield "## 6 Support of character sets"
    yield (
        "Results are written in ISO_IR 192 (UTF-8), whatever the images are in; names, identifiers "
        "and descriptions of patient and study are decoded and written again. Read are:"
    )
    yield ", ".join(f"`{one}`" for one in sorted(python_encoding) if one) + "."


def _security(config: Config) -> Iterator[str]:
    yield "## 7 Security"
    tls = config.listener.tls
    mutual = tls is not None and tls.client_ca is not None
    yield _table(
        ("Property", "Value"),
        [
            ("TLS for those who call (BCP 195, PS3.15 B.12)", _yes(tls is not None)),
            ("Callers must show a certificate", _yes(mutual)),
            ("Versions", "1.3 and 1.2"),
            ("Ciphers of TLS 1.2", f"`{TLS_1_2_CIPHERS}`"),
            ("Digital signatures", "none"),
            (
                "Audit trail (PS3.15 A.5)",
                "in files, and to a repository by syslog where configured",
            ),
        ],
    )
    yield (
        "The node calls a peer over TLS where its `tls` is true: it shows its certificate and "
        "checks the peer's with its host name. User identity negotiation is not supported; callers "
        "are known by AE title and network, and by certificate where one is asked for."
    )


# ---- 8 -------------------------------------------------------------------------------------------


def _annexes(examples: Sequence[ResultObject]) -> Iterator[str]:
    yield "## 8 Annexes"
    yield "### 8.1 Contents of created objects"
    yield (
        "Written into every object as the images have them; type 2 where they have none: "
        + ", ".join(EMPTY_WHERE_UNKNOWN)
        + "."
    )
    yield "Written where the images have them: " + ", ".join(COPIED_WHERE_GIVEN) + "."
    yield (
        "Besides these, each object has what is listed here. A literal value is always that one; "
        "for sequences the attributes of their items are named. Listed is a second revision of an "
        "English result under the profile `everything`; `seg`, `findings` and `presentation` exist "
        "once for T1 and once for STIR."
    )
    for one in examples:
        if not one.kind.endswith(" stir"):
            yield f"#### {_name(str(one.dataset.SOPClassUID))}: {one.kind}"
            yield _table(("Attribute", "Tag", "VR", "Value or items"), attributes(one.dataset))
    yield "### 8.2 Private attributes"
    yield "None."
    yield "### 8.3 Coded terminology and templates"
    yield (
        "Reports follow TID 1500 with TID 1204, 1001 and 1004; groups about lesions TID 1501 with "
        "TID 4019 and 4108, contours TID 1410. Depth is shown by `>`; items that differ in their "
        "values only stand once."
    )
    for one in examples:
        if one.kind in _REPORTS:
            yield f"#### Items of the report: {one.kind}"
            rows = items(one.dataset)
            yield _table(("", "Relationship", "Type", "Concept", "Values"), rows)
    yield f"#### Private scheme {codes.SCHEME}"
    yield f"{codes.SCHEME_NAME}, UID {codes.SCHEME_UID}, declared in every object that uses it."
    yield _table(("Code value", "Meaning"), own_codes())
    yield "#### Public codes"
    yield _table(("Code value", "Scheme", "Meaning"), public_codes())
    yield "### 8.4 Greyscale image consistency"
    yield "Presentation states carry no greyscale transformation; pictures are of true colour."
    yield "### 8.5 Standard extended, specialised and private SOP classes"
    yield "None."
    yield "### 8.6 Private transfer syntaxes"
    yield "None."


# ---- words ---------------------------------------------------------------------------------------


def _wrapped(paragraph: str) -> str:
    return paragraph if paragraph[0] in "#|" else fill(paragraph, 100)


def _queries() -> tuple[str, ...]:
    return (
        str(StudyRootQueryRetrieveInformationModelFind),
        str(StudyRootQueryRetrieveInformationModelGet),
        str(StudyRootQueryRetrieveInformationModelMove),
    )


def _sent_classes(examples: Iterable[ResultObject]) -> list[str]:
    made = [str(one.dataset.SOPClassUID) for one in examples]
    return list(dict.fromkeys([*made, *map(str, REPORT_CLASSES)]))


def _name(uid: str) -> str:
    return UID(uid).name


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _table(heading: Row, rows: Iterable[Row]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join(f"| {' | '.join(_cell(each) for each in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
