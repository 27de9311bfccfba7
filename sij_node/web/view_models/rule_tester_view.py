"""How the node would treat an uploaded image: role of its series, priority, destination.

The file is not stored, and nothing about the patient is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from sij_node.config.settings import Config, PeerConfig, PriorityRule
from sij_node.dicom.acquisition_facts import AcquisitionFacts, acquisition_facts
from sij_node.dicom.headers import text, texts
from sij_node.dicom.series_roles import SequenceRole, role_of
from sij_node.queue.completeness import rule_applies
from sij_node.web.view_models.display_text import Tone

_PATIENT_GROUP = 0x0010


@dataclass(frozen=True)
class Fact:
    """A header value; empty if absent."""

    name: str
    value: str


@dataclass(frozen=True)
class RuleLine:
    """A priority rule tested on the file."""

    words: str
    found: str
    applies: bool
    priority: int


@dataclass(frozen=True)
class Ruling:
    """How the node would treat the file."""

    role: str
    tone: Tone
    verdict: str
    reason: str
    facts: tuple[Fact, ...]
    priority: int
    why_priority: str
    rules: tuple[RuleLine, ...]
    way: str


def ruling(header: Dataset, peer: PeerConfig, config: Config) -> Ruling:
    """Apply the configured rules to the header of an image.

    Parameters
    ----------
    peer
        The sender.
    """
    facts = acquisition_facts(header)
    found = role_of(facts)
    lines = tuple(_rule_line(rule, header) for rule in config.priority_rule)
    priority, why = _priority(lines, peer)
    return Ruling(
        role=found.role.value,
        tone=_tone(found.role),
        verdict=_VERDICTS[found.role],
        reason=found.reason,
        facts=_facts(facts, header),
        priority=priority,
        why_priority=why,
        rules=lines,
        way=_way(peer),
    )


_VERDICTS = {
    SequenceRole.T1: "This series would be used as T1.",
    SequenceRole.STIR: "This series would be used as STIR.",
    SequenceRole.T2_FAT_SAT: "This series would be used instead of STIR if the study has none.",
    SequenceRole.OTHER: "This series would be stored but not analysed.",
}


def _tone(role: SequenceRole) -> Tone:
    if role is SequenceRole.OTHER:
        return Tone.QUIET
    return Tone.WARN if role is SequenceRole.T2_FAT_SAT else Tone.GOOD


def _rule_line(rule: PriorityRule, header: Dataset) -> RuleLine:
    return RuleLine(
        words=f"{rule.keyword} contains “{rule.contains}”",
        found=_shown(header, rule.keyword),
        applies=rule_applies(rule, header),
        priority=rule.priority,
    )


def _shown(header: Dataset, keyword: str) -> str:
    """The value in the file, unless it is about the patient."""
    element = header.get(keyword) and header[keyword]
    if element is not None and element.tag.group == _PATIENT_GROUP:
        return "(hidden: patient data)"
    return "\\".join(texts(header, keyword))[:80]


def _priority(lines: Sequence[RuleLine], peer: PeerConfig) -> tuple[int, str]:
    """As `sij_node.queue.completeness` and the listener do it."""
    applying = [line for line in lines if line.applies]
    if not applying:
        return peer.priority, f"the priority of peer {peer.ae_title}; no rule matches"
    highest = max(applying, key=lambda line: line.priority)
    return highest.priority, f"the highest matching rule: {highest.words}"


def _way(peer: PeerConfig) -> str:
    return (
        f"Results would be sent to {peer.ae_title} at {peer.host}:{peer.port}, "
        f"profile {peer.profile}{', over TLS' if peer.tls else ''}."
    )


def _facts(facts: AcquisitionFacts, header: Dataset) -> tuple[Fact, ...]:
    known = {
        "Modality": facts.modality,
        "Series description": text(header, "SeriesDescription"),
        "Protocol name": text(header, "ProtocolName"),
        "Repetition time": _ms(facts.repetition_time_ms),
        "Echo time": _ms(facts.echo_time_ms),
        "Inversion time": _ms(facts.inversion_time_ms),
        "Pulse sequence": ", ".join(facts.scanning_sequence),
        "Scan options": ", ".join(facts.scan_options),
        "Image type": ", ".join(facts.image_type),
        "Body part": facts.body_part,
        "Plane": _plane(facts),
        "Contrast agent": "given" if facts.contrast_agent else "none",
    }
    return tuple(Fact(name, value[:120]) for name, value in known.items())


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:g} ms"


def _plane(facts: AcquisitionFacts) -> str:
    if facts.normal is None:
        return ""
    names = ("sagittal", "coronal", "axial")
    nearest = max(range(3), key=lambda axis: abs(facts.normal[axis]) if facts.normal else 0)
    oblique = "" if abs(facts.normal[nearest]) > 0.985 else "oblique "
    return f"{oblique}{names[nearest]}"
