"""The words that people read, in the language of the destination; codes stay as they are.

The side is always the patient's, and always in words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydicom.sr.coding import Code

from models.doubts import Doubt, ImageQuality
from models.findings import Finding, Head, Lesion, Position, Presence, Region, Side
from models.reading import (
    ACTIVE,
    STRUCTURAL,
    Definition,
    JointReading,
    SlicesSeen,
    any_met,
    definitions,
)
from sij_node.config.profiles import Language, SeriesKind
from sij_node.domain.prior_comparison import LesionChange, SincePrior


@dataclass(frozen=True)
class Wording:
    """One language.

    Parameters
    ----------
    decimal
        Between whole numbers and tenths.
    places
        Of each region, with ``{side}`` in it.
    lesion_at
        A lesion at a place.
    reasons
        Why a study was not analysed, by reason code, where that is not said in this language.
    intended_uses
        What cards say of weights, where that is not said in this language.
    """

    language: Code
    decimal: str
    sides: Mapping[Side, str]
    places: Mapping[Region, str]
    joint: str
    lesions: Mapping[Lesion, str]
    letters: Mapping[Lesion, str]
    regions: Mapping[Region, str]
    lesion_at: str
    contour: str
    present: str
    absent: str
    undetermined: str
    not_evaluable: str
    present_from: str
    present_at: str
    missing_at: str
    not_analysed: str
    stand_in: str
    no_joint_on: str
    doubtful: str
    doubts: Mapping[Doubt, str]
    joint_counts: str
    research_aid: str
    definitions: Mapping[Definition, str]
    met: str
    not_met: str
    heading: str
    scores: str
    image: str
    key_images: str
    side_of_patient: str
    limits: str
    limits_in_full: str
    weights: str
    software: str
    patient: str
    born: str
    study: str
    nothing_here: str
    revision: str
    series: Mapping[SeriesKind, str]
    changes: Mapping[LesionChange, str]
    compared: str
    in_brackets: str
    other_weights: str
    not_compared: str
    without_priors: str
    problems: Mapping[str, str]
    reasons: Mapping[str, str]
    intended_uses: Mapping[str, str]

    def place(self, side: Side, region: Region) -> str:
        """A region of one joint, for instance ``Left lower ilium``."""
        template = self.joint if region is Region.JOINT else self.places[region]
        return _capital(template.format(side=self.sides[side]))

    def position(self, position: Position) -> str:
        """A lesion at its place, for instance ``Left lower ilium oedema``."""
        return _capital(self.named(position))

    def named(self, position: Position) -> str:
        """A lesion at its place, within a sentence."""
        place = self.places[position.head.region].format(side=self.sides[position.side])
        return self.lesion_at.format(place=place, lesion=self.lesions[position.head.lesion])

    def head(self, head: Head) -> str:
        """A lesion and its place, without a side."""
        return _capital(f"{self.lesions[head.lesion]}, {self.regions[head.region]}")

    def presence(self, finding: Finding) -> str:
        """Whether the lesion is there."""
        return {
            Presence.PRESENT: self.present,
            Presence.ABSENT: self.absent,
            Presence.UNDETERMINED: self.undetermined,
        }[finding.presence]

    def comment(self, finding: Finding) -> str:
        """A finding in one line."""
        sure = "" if finding.probability is None else f", {self.percent(finding.probability)}"
        return f"{self.position(finding.position)}: {self.presence(finding)}{sure}"

    def percent(self, part: float) -> str:
        """A probability as a person reads it."""
        return f"{100 * part:.1f} %".replace(".", self.decimal)

    def joint_reading(self, joint: JointReading) -> str:
        """How much of one joint is affected."""
        return self.joint_counts.format(
            side=_capital(self.sides[joint.side]),
            active=joint.active,
            of_active=sum(joint.counts[lesion].evaluable for lesion in ACTIVE),
            structural=joint.structural,
            of_structural=sum(joint.counts[lesion].evaluable for lesion in STRUCTURAL),
        )

    def defined(self, slices: SlicesSeen | None, complete: bool) -> list[str]:
        """Which published definitions are met, in one sentence; none where that is not known.

        Parameters
        ----------
        slices
            On which slices each present lesion shows; None where that is not known.
        complete
            Whether every place was evaluable; otherwise only what is met can be told.
        """
        if slices is None:
            return []
        outcomes = {
            one: any_met(criteria)
            for one, criteria in definitions(slices).items()
            if complete or any_met(criteria)
        }
        if not outcomes:
            return []
        each = (
            f"{self.definitions[one]} {self.met if met else self.not_met}"
            for one, met in outcomes.items()
        )
        return [self.research_aid.format(definitions="; ".join(each))]

    def intended_use(self, stated: Iterable[str]) -> str:
        """What cards say of weights, each once and as a sentence; what is not known as it is."""
        sentences = dict.fromkeys(one.strip().rstrip(".") for one in stated)
        return " ".join(f"{self.intended_uses.get(one, one)}." for one in sentences if one)

    def not_analysed_because(self, reason_code: str, message: str) -> list[str]:
        """That nothing was analysed and why; the message, which has the details, is English."""
        told = self.reasons.get(reason_code)
        return [self.not_analysed, *([f"{told}."] if told else []), message]

    def doubt(self, qualities: Iterable[ImageQuality]) -> list[str]:
        """Why the scores should be doubted, in one sentence; none where nothing speaks for it."""
        found: dict[Doubt, dict[str, None]] = {}
        for quality in qualities:
            for doubt in quality.doubts():
                found.setdefault(doubt, {})[quality.kind] = None
        if not found:
            return []
        each = (f"{self.doubts[doubt]} ({', '.join(kinds)})" for doubt, kinds in found.items())
        return [self.doubtful.format(doubts="; ".join(each))]

    def since(self, since: SincePrior, findings: Iterable[Finding]) -> list[str]:
        """What is known of earlier studies, in whole sentences."""
        said = [
            self.without_priors.format(reason=self.problems[problem]) for problem in since.problems
        ]
        if since.prior is None:
            return said
        counts = since.count(findings)
        counted = ", ".join(f"{counts[each]} {self.changes[each]}" for each in LesionChange)
        networks, dates = (
            ", ".join(since.prior.networks),
            ", ".join(str(other.studied) for other in since.others),
        )
        return [
            self.compared.format(date=since.prior.studied, counts=counted),
            *([self.other_weights.format(networks=networks)] if since.other_weights else []),
            *([self.not_compared.format(dates=dates)] if dates else []),
            *said,
        ]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


ENGLISH = Wording(
    language=Code("en-GB", "RFC5646", "English (United Kingdom)"),
    decimal=".",
    sides={side: str(side) for side in Side},
    places={region: f"{{side}} {region}" for region in Region},
    joint="{side} sacroiliac joint",
    lesions={lesion: str(lesion) for lesion in Lesion},
    letters=dict(zip(Lesion, "OEFSA", strict=True)),
    regions={region: str(region) for region in Region},
    lesion_at="{place} {lesion}",
    contour="{joint}, {sequence} image {image}",
    present="present",
    absent="absent",
    undetermined="undetermined",
    not_evaluable="not evaluable",
    present_from="present from",
    present_at="Lesions present at {present} of {all} places",
    missing_at="Not evaluable: {missing} of {all} places.",
    not_analysed="The sacroiliac joints were not analysed.",
    stand_in="A fat-saturated T2 series stood in for the STIR.",
    no_joint_on="No joint was seen on {sequence}.",
    doubtful="Doubt the scores: {doubts}.",
    doubts={
        Doubt.COARSE_PIXELS: "coarse pixels",
        Doubt.THICK_SLICES: "slices far apart",
        Doubt.FEW_SLICES: "few slices show a joint",
        Doubt.NOISY: "noise",
        Doubt.UNSURE_CONTOURS: "uncertain contours",
        Doubt.UNLIKE_TRAINING: "images unlike those of training",
    },
    joint_counts="{side}: oedema at {active} of {of_active} places, other lesions at {structural} "
    "of {of_structural}.",
    research_aid="Research aid, not a diagnosis, by the slices that show lesions: {definitions}.",
    definitions={definition: str(definition) for definition in Definition},
    met="met",
    not_met="not met",
    heading="Sacroiliac joints: findings of the networks",
    scores="Probability of each lesion",
    image="image {image}",
    key_images="Key images",
    side_of_patient="right and left are the patient's",
    limits="Limits",
    limits_in_full=(
        "Made by software from the T1 and STIR series alone, and not checked by a person. A lesion "
        "counts as present from its threshold, the tick in each bar. A ring shows where a lesion "
        "is seen best, not how large it is."
    ),
    weights="Networks",
    software="Software",
    patient="Patient",
    born="born",
    study="Study",
    nothing_here="No lesion is seen best on this image.",
    revision="{series}, revision {number}",
    series={
        "scores": "SIJ lesion scores",
        "seg t1": "SIJ regions on T1",
        "seg stir": "SIJ regions on STIR",
        "findings t1": "SIJ findings on T1",
        "findings stir": "SIJ findings on STIR",
        "presentation t1": "SIJ contours shown on T1",
        "presentation stir": "SIJ contours shown on STIR",
        "summary": "SIJ summary",
        "pdf": "SIJ report",
        "not analysed": "SIJ not analysed",
    },
    changes={change: str(change) for change in LesionChange},
    compared="Since the prior study of {date}: {counts}.",
    in_brackets="In brackets: the study of {date}",
    other_weights="The prior was scored with other weights ({networks}): a change may be theirs.",
    not_compared="Not compared: earlier results of {dates}.",
    without_priors="Priors could not be fetched: {reason}.",
    problems={
        "unavailable": "they cannot be had",
        "unreachable": "the archive cannot be reached",
        "refused": "the archive refused",
        "late": "the archive did not answer in time",
        "unreadable": "an earlier report cannot be read",
        "another patient": "the archive sent a report of another patient",
    },
    reasons={},
    intended_uses={},
)
GERMAN = Wording(
    language=Code("de-DE", "RFC5646", "German (Germany)"),
    decimal=",",
    sides={Side.RIGHT: "rechts", Side.LEFT: "links"},
    places={
        Region.UPPER_ILIUM: "ISG {side}, Os ilium kranial",
        Region.LOWER_ILIUM: "ISG {side}, Os ilium kaudal",
        Region.UPPER_SACRUM: "ISG {side}, Os sacrum kranial",
        Region.LOWER_SACRUM: "ISG {side}, Os sacrum kaudal",
        Region.JOINT: "ISG {side}",
    },
    joint="ISG {side}",
    lesions={
        Lesion.OEDEMA: "Knochenmarködem",
        Lesion.EROSION: "Erosion",
        Lesion.FATTY_LESION: "Fettläsion",
        Lesion.SCLEROSIS: "Sklerose",
        Lesion.ANKYLOSIS: "Ankylose",
    },
    letters=dict(zip(Lesion, "ÖEFSA", strict=True)),
    regions={
        Region.UPPER_ILIUM: "Ilium kranial",
        Region.LOWER_ILIUM: "Ilium kaudal",
        Region.UPPER_SACRUM: "Sacrum kranial",
        Region.LOWER_SACRUM: "Sacrum kaudal",
        Region.JOINT: "Gelenk",
    },
    lesion_at="{place}: {lesion}",
    contour="{joint}, {sequence} Bild {image}",
    present="vorhanden",
    absent="nicht vorhanden",
    undetermined="nicht beurteilbar",
    not_evaluable="nicht beurteilbar",
    present_from="vorhanden ab",
    present_at="Läsionen an {present} von {all} Orten vorhanden",
    missing_at="Nicht beurteilbar: {missing} von {all} Orten.",
    not_analysed="Die Sakroiliakalgelenke wurden nicht analysiert.",
    stand_in="Eine fettgesättigte T2-Serie wurde anstelle der STIR verwendet.",
    no_joint_on="Auf {sequence} ist kein Gelenk zu sehen.",
    doubtful="Zweifel an den Werten: {doubts}.",
    doubts={
        Doubt.COARSE_PIXELS: "grobe Pixel",
        Doubt.THICK_SLICES: "weit auseinanderliegende Schichten",
        Doubt.FEW_SLICES: "nur wenige Schichten zeigen ein Gelenk",
        Doubt.NOISY: "Rauschen",
        Doubt.UNSURE_CONTOURS: "unsichere Konturen",
        Doubt.UNLIKE_TRAINING: "Bilder anders als die des Trainings",
    },
    joint_counts="{side}: Ödem an {active} von {of_active} Stellen, andere Läsionen an "
    "{structural} von {of_structural}.",
    research_aid="Forschungshilfe, keine Diagnose, nach den Schichten mit Läsionen: {definitions}.",
    definitions={
        Definition.POSITIVE_MRI: "positives MRT nach ASAS 2016",
        Definition.ACTIVE: "aktiv nach Maksymowych 2021",
        Definition.STRUCTURAL: "strukturell nach Maksymowych 2021",
    },
    met="erfüllt",
    not_met="nicht erfüllt",
    heading="Sakroiliakalgelenke: Befunde der Netze",
    scores="Wahrscheinlichkeit jeder Läsion",
    image="Bild {image}",
    key_images="Schlüsselbilder",
    side_of_patient="rechts und links sind die Seiten des Patienten",
    limits="Grenzen",
    limits_in_full=(
        "Von Software allein aus der T1- und der STIR-Serie erstellt und von niemandem geprüft. "
        "Eine Läsion gilt ab ihrem Schwellenwert, dem Strich in jedem Balken, als vorhanden. Ein "
        "Ring zeigt, wo eine Läsion am besten zu sehen ist, nicht wie groß sie ist."
    ),
    weights="Netze",
    software="Software",
    patient="Patient",
    born="geb.",
    study="Untersuchung",
    nothing_here="Auf diesem Bild ist keine Läsion am besten zu sehen.",
    revision="{series}, Revision {number}",
    series={
        "scores": "ISG Läsionen, alle Werte",
        "seg t1": "ISG Regionen auf T1",
        "seg stir": "ISG Regionen auf STIR",
        "findings t1": "ISG Befunde auf T1",
        "findings stir": "ISG Befunde auf STIR",
        "presentation t1": "ISG Konturen, Anzeige auf T1",
        "presentation stir": "ISG Konturen, Anzeige auf STIR",
        "summary": "ISG Zusammenfassung",
        "pdf": "ISG Bericht",
        "not analysed": "ISG nicht analysiert",
    },
    changes={
        LesionChange.NEW: "neu",
        LesionChange.GONE: "verschwunden",
        LesionChange.UNCHANGED: "unverändert",
        LesionChange.NOT_COMPARABLE: "nicht vergleichbar",
    },
    compared="Seit der Voruntersuchung vom {date}: {counts}.",
    in_brackets="In Klammern: Untersuchung vom {date}",
    other_weights=(
        "Die Voruntersuchung wurde mit anderen Gewichten bewertet ({networks}): "
        "eine Änderung kann daran liegen."
    ),
    not_compared="Nicht verglichen: frühere Ergebnisse vom {dates}.",
    without_priors="Voruntersuchungen konnten nicht geholt werden: {reason}.",
    problems={
        "unavailable": "sie sind nicht zu bekommen",
        "unreachable": "das Archiv ist nicht erreichbar",
        "refused": "das Archiv lehnte ab",
        "late": "das Archiv antwortete nicht rechtzeitig",
        "unreadable": "ein früherer Bericht ist nicht lesbar",
        "another patient": "das Archiv sandte den Bericht eines anderen Patienten",
    },
    reasons={
        "pair-missing": "Es fehlt ein brauchbares Paar aus einer T1- und einer STIR-Serie",
        "mixed-patients": "Die Bilder gehören zu mehr als einem Patienten",
        "mixed-frames-of-reference": "Die Serien haben kein gemeinsames Koordinatensystem",
        "geometry-unusable": "Die Schichten bilden kein Volumen",
        "pixels-unusable": "Die Bilddaten lassen sich nicht dekodieren",
        "conflicting-copies": "Ein Bild kam zweimal mit verschiedenem Inhalt",
        "dataset-unreadable": "Ein Objekt ist nicht lesbar",
        "joint-not-found": "Es ist kein Sakroiliakalgelenk zu sehen",
    },
    intended_uses={
        "Trained on phantoms, not for clinical use": "An Phantomen trainiert, nicht für den "
        "klinischen Gebrauch",
        "Trained on a site's own cases, for research, not for clinical use": "An Fällen des "
        "eigenen Hauses trainiert, für die Forschung, nicht für den klinischen Gebrauch",
    },
)
WORDINGS: Mapping[Language, Wording] = {"en": ENGLISH, "de": GERMAN}
