"""The text of reports in the language of the destination; coded values are the same in all.

Sides are the patient's and are always written out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydicom.sr.coding import Code

from models.burden_scores import BurdenChange, BurdenName, BurdenScore
from models.findings import (
    ILIUM,
    SACRUM,
    Finding,
    Head,
    Lesion,
    OperatingPoint,
    Position,
    Presence,
    Region,
    Side,
)
from models.lesion_counts import ACTIVE, STRUCTURAL, JointCounts
from models.mri_criteria import Definition, SlicesSeen, any_met, definitions
from models.quality_limits import ImageQuality, LowConfidence
from sij_node.config.profiles import Language, SeriesKind
from sij_node.dicom.series_extent import Incompleteness, Signs
from sij_node.dicom.series_roles import SeriesDoubt
from sij_node.domain.prior_comparison import LesionChange
from sij_node.domain.study import IdentityCorrection

ReportField = Literal["name", "id", "born", "sex", "accession", "date", "description"]


@dataclass(frozen=True)
class Wording:
    """One language.

    Parameters
    ----------
    decimal
        Decimal separator.
    places
        Name of each region, with a ``{side}`` field.
    lesion_at
        Template for a lesion at a site.
    reasons
        Why a study was not analysed, by reason code.
    advice
        What to do then, by reason code.
    series_columns
        Headings of the table of series: number, description, images, and what is known of it.
    intended_uses
        Translations of the intended use stated on model cards; empty for English.
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
    threshold: str
    no_lesion: str
    none: str
    in_all_quadrants: str
    site_groups: Mapping[frozenset[Region], str]
    sites_unknown: str
    asas: str
    burden: str
    burden_scores: Mapping[BurdenName, str]
    burden_value: str
    without_depth: str
    burden_changed: str
    other_scores: str
    burden_changes: Mapping[BurdenChange, str]
    operating_point: str
    operating_points: Mapping[OperatingPoint, str]
    prevalence: str
    other_operating_point: str
    sites_positive: str
    sites_not_evaluable: str
    not_analysed: str
    fat_saturated_t2_used: str
    joint_not_visible: str
    low_confidence: str
    low_confidence_reasons: Mapping[LowConfidence, str]
    identity_corrected: str
    identity_attributes: Mapping[str, str]
    series_doubtful: str
    series_doubts: Mapping[SeriesDoubt, str]
    images_missing: str
    missing_count: str
    missing_signs: Mapping[Incompleteness, str]
    joint_counts: str
    slice_criteria: str
    definitions: Mapping[Definition, str]
    met: str
    not_met: str
    title: str
    scores: str
    image: str
    key_images: str
    side_of_patient: str
    limitations: str
    limitations_text: str
    models: str
    software: str
    fields: Mapping[ReportField, str]
    diagram_names: Mapping[str, str]
    not_shown: str
    no_lesion_best_seen: str
    revision: str
    series: Mapping[SeriesKind, str]
    changes: Mapping[LesionChange, str]
    compared: str
    changes_named: Mapping[LesionChange, str]
    no_lesion_either_time: str
    sites_not_comparable: str
    prior_in_brackets: str
    different_model: str
    other_priors: str
    priors_unavailable: str
    prior_problems: Mapping[str, str]
    not_analysed_title: str
    reasons: Mapping[str, str]
    advice: Mapping[str, str]
    details: str
    series_columns: tuple[str, str, str, str]
    further_series: str
    no_result_is_not_normal: str
    intended_uses: Mapping[str, str]

    def place(self, side: Side, region: Region) -> str:
        """A region of one joint, e.g. ``Left lower ilium``."""
        template = self.joint if region is Region.JOINT else self.places[region]
        return _capital(template.format(side=self.sides[side]))

    def position(self, position: Position) -> str:
        """A lesion at its site, e.g. ``Left lower ilium oedema``."""
        return _capital(self.named(position))

    def named(self, position: Position) -> str:
        """A lesion at its site, within a sentence."""
        place = self.places[position.head.region].format(side=self.sides[position.side])
        return self.lesion_at.format(place=place, lesion=self.lesions[position.head.lesion])

    def head(self, head: Head) -> str:
        """A lesion and its region, without a side."""
        return _capital(f"{self.lesions[head.lesion]}, {self.regions[head.region]}")

    def presence(self, finding: Finding) -> str:
        """The presence of a lesion in words."""
        return {
            Presence.PRESENT: self.present,
            Presence.ABSENT: self.absent,
            Presence.UNDETERMINED: self.undetermined,
        }[finding.presence]

    def comment(self, finding: Finding) -> str:
        """One line: site, lesion, presence and probability."""
        sure = "" if finding.probability is None else f", {self.percent(finding.probability)}"
        return f"{self.position(finding.position)}: {self.presence(finding)}{sure}"

    def labelled(self, finding: Finding) -> str:
        """A present lesion on an image, e.g. ``Left lower ilium oedema 47.3 %``."""
        sure = "" if finding.probability is None else f" {self.percent(finding.probability)}"
        return f"{self.position(finding.position)}{sure}"

    def caption(self, finding: Finding) -> str:
        """A present lesion beside a key image, e.g. ``Left oedema lower ilium, 47.3 %``."""
        side, head = self.sides[finding.position.side], finding.position.head
        region = "" if head.region is Region.JOINT else f" {self.regions[head.region]}"
        sure = "" if finding.probability is None else f", {self.percent(finding.probability)}"
        return _capital(f"{side} {self.lesions[head.lesion]}{region}{sure}")

    def percent(self, part: float) -> str:
        """A probability as a percentage with one decimal."""
        return f"{100 * part:.1f} %".replace(".", self.decimal)

    def joint_summary(self, joint: JointCounts) -> str:
        """How many sites of one joint are positive."""
        return self.joint_counts.format(
            side=_capital(self.sides[joint.side]),
            active=joint.active,
            of_active=sum(joint.counts[lesion].evaluable for lesion in ACTIVE),
            structural=joint.structural,
            of_structural=sum(joint.counts[lesion].evaluable for lesion in STRUCTURAL),
        )

    def criteria_met(self, slices: SlicesSeen | None, complete: bool) -> list[str]:
        """Which published definitions are met, in one sentence; empty where that is unknown.

        Parameters
        ----------
        slices
            The slices that show each present lesion; None if unknown.
        complete
            Whether every site was evaluable; if not, only definitions that are met are listed.
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
        return [self.slice_criteria.format(definitions="; ".join(each))]

    def burden_score(self, score: BurdenScore) -> str:
        """A score of lesion burden, e.g. ``SSS erosion 5 of 40 (2–9)``."""
        return self.burden_value.format(
            name=self.burden_scores[score.name],
            value=score.value,
            most=score.most,
            low=score.low,
            high=score.high,
            note=self.without_depth if score.name is BurdenName.SPARCC_INFLAMMATION else "",
        )

    def chosen_thresholds(self, findings: Iterable[Finding]) -> list[str]:
        """The operating point, in one sentence; the lesions with another one in brackets."""
        points = {one.position.head.lesion: one.operating_point for one in findings}
        if not points:
            return []
        usual = Counter(points.values()).most_common(1)[0][0]
        others = [
            f"{self.lesions[lesion]} {self.operating_points[point]}"
            for lesion, point in points.items()
            if point is not usual
        ]
        said = self.operating_points[usual] + (f" ({', '.join(others)})" if others else "")
        return [self.operating_point.format(point=said)]

    def stated_prevalence(self, prevalence: Mapping[Lesion, float]) -> list[str]:
        """The prevalence that probabilities assume, in one sentence; empty if none is stated."""
        each = [f"{self.lesions[one]} {self.percent(share)}" for one, share in prevalence.items()]
        return [self.prevalence.format(lesions=", ".join(each))] if each else []

    def intended_use(self, stated: Iterable[str]) -> str:
        """The intended use stated on model cards, each once; text without a translation is kept."""
        sentences = dict.fromkeys(one.strip().rstrip(".") for one in stated)
        return " ".join(f"{self.intended_uses.get(one, one)}." for one in sentences if one)

    def not_analysed_because(self, reason_code: str, message: str) -> list[str]:
        """That the study was not analysed, why, and what to do; details are in English."""
        known = (self.reasons.get(reason_code), self.advice.get(reason_code))
        return [self.not_analysed, *filter(None, known), f"{self.details}: {message}"]

    def low_confidence_remark(self, qualities: Iterable[ImageQuality]) -> list[str]:
        """Reasons for low confidence, in one sentence; empty if there are none."""
        sequences: dict[LowConfidence, dict[str, None]] = {}
        for quality in qualities:
            for reason in quality.low_confidence():
                sequences.setdefault(reason, {})[quality.kind] = None
        if not sequences:
            return []
        each = (
            f"{self.low_confidence_reasons[reason]} ({', '.join(kinds)})"
            for reason, kinds in sequences.items()
        )
        return [self.low_confidence.format(reasons="; ".join(each))]

    def series_doubt(self, doubts: Iterable[tuple[SeriesDoubt, str]]) -> list[str]:
        """What is uncertain about the choice of series, in one sentence; empty if nothing is."""
        sequences: dict[SeriesDoubt, list[str]] = {}
        for doubt, sequence in doubts:
            sequences.setdefault(doubt, []).append(sequence)
        each = [f"{self.series_doubts[one]} ({', '.join(on)})" for one, on in sequences.items()]
        return [self.series_doubtful.format(doubts="; ".join(each))] if each else []

    def correction(self, correction: IdentityCorrection | None) -> list[str]:
        """That patient or study was corrected, in one sentence; empty if nothing was sent then."""
        if correction is None or not correction.earlier:
            return []
        names = [self.identity_attributes.get(key, key) for key in correction.differs]
        return [
            self.identity_corrected.format(
                attributes=", ".join(names),
                date=f"{correction.corrected_on:%Y-%m-%d}",
                count=len(correction.earlier),
            )
        ]

    def missing_images(self, signs: Signs) -> list[str]:
        """That a series looks incomplete and why, in one sentence; empty if neither does."""
        each = [
            f"{self.missing_signs[sign]} ({self.missing_count.format(sequence=name, count=count)})"
            for sign, name, count in signs
        ]
        return [self.images_missing.format(signs="; ".join(each))] if each else []


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
    threshold="threshold",
    no_lesion="no lesions",
    none="none",
    in_all_quadrants="{lesion} in all 4 quadrants",
    site_groups={
        frozenset((Region.UPPER_ILIUM,)): "upper ilium",
        frozenset((Region.LOWER_ILIUM,)): "lower ilium",
        frozenset(ILIUM): "upper and lower ilium",
        frozenset((Region.UPPER_SACRUM,)): "upper sacrum",
        frozenset((Region.LOWER_SACRUM,)): "lower sacrum",
        frozenset(SACRUM): "upper and lower sacrum",
    },
    sites_unknown=" ({number} of 14 sites not evaluable)",
    asas="ASAS active sacroiliitis criterion: {outcome} (research).",
    burden="Research scores: {scores}.",
    burden_scores={
        BurdenName.SPARCC_INFLAMMATION: "SPARCC inflammation",
        BurdenName.SSS_FAT: "SSS fat",
        BurdenName.SSS_EROSION: "SSS erosion",
        BurdenName.BERLIN_OEDEMA: "Berlin oedema",
        BurdenName.BERLIN_FAT: "Berlin fatty lesion",
    },
    burden_value="{name} {value} of {most} ({low}–{high}{note})",
    without_depth="; depth and intensity not scored",
    burden_changed="Scores since then: {scores}.",
    other_scores="others",
    burden_changes={one: str(one) for one in BurdenChange},
    operating_point="Operating point: {point}.",
    operating_points={one: str(one) for one in OperatingPoint},
    prevalence="Probabilities assume a prevalence of {lesions}.",
    other_operating_point=(
        "The prior study was scored at another operating point; changes may reflect it."
    ),
    sites_positive="{present} of {all} sites positive",
    sites_not_evaluable="Not evaluable: {missing} of {all} sites.",
    not_analysed="The sacroiliac joints were not analysed.",
    fat_saturated_t2_used="A fat-saturated T2 series was used instead of STIR.",
    joint_not_visible="No sacroiliac joint visible on {sequence}.",
    low_confidence="Low confidence: {reasons}.",
    low_confidence_reasons={
        LowConfidence.COARSE_PIXELS: "coarse in-plane resolution",
        LowConfidence.THICK_SLICES: "large slice spacing",
        LowConfidence.FEW_SLICES: "joint visible on few slices",
        LowConfidence.NOISY: "image noise",
        LowConfidence.UNSURE_CONTOURS: "uncertain contours",
        LowConfidence.UNLIKE_TRAINING: "images differ from the training data",
    },
    identity_corrected="Identification corrected on {date} ({attributes}); replaces the "
    "results sent under the former identification ({count}).",
    identity_attributes={
        "PatientID": "patient ID",
        "IssuerOfPatientID": "issuer of patient ID",
        "PatientName": "patient's name",
        "PatientBirthDate": "birth date",
        "PatientSex": "sex",
        "StudyInstanceUID": "study",
        "SeriesInstanceUID": "series",
        "AccessionNumber": "accession number",
    },
    series_doubtful="Check the choice of series: {doubts}.",
    series_doubts={
        SeriesDoubt.AFTER_CONTRAST: "acquired after a contrast-enhanced series; "
        "contrast enhancement cannot be excluded",
        SeriesDoubt.DESCRIBED_OTHERWISE: "the series description names another sequence",
        SeriesDoubt.UNUSUAL_TILT: "slices tilted slightly across the sacrum; "
        "accepted because the joints converge caudally",
        SeriesDoubt.OTHER_IMAGES_LEFT_OUT: "other images in the same series were left out",
        SeriesDoubt.BY_DESCRIPTION: "recognised by the series description only",
    },
    images_missing="Analysed although images may be missing: {signs}.",
    missing_count="{sequence}, {count} or more",
    missing_signs={one: one.value for one in Incompleteness},
    joint_counts="{side}: oedema {active}/{of_active} quadrants; "
    "structural lesions {structural}/{of_structural}.",
    slice_criteria="Research aid, not a diagnosis; slice-based criteria: {definitions}.",
    definitions={
        Definition.POSITIVE_MRI: "ASAS 2016 positive MRI",
        Definition.ACTIVE: "Maksymowych 2021 active lesion",
        Definition.STRUCTURAL: "Maksymowych 2021 structural lesion",
    },
    met="met",
    not_met="not met",
    title="Sacroiliac joint MRI: AI findings",
    scores="Lesion probabilities",
    image="image {image}",
    key_images="Key images",
    side_of_patient="right and left refer to the patient",
    limitations="Limitations",
    limitations_text=(
        "Generated by software from the T1 and STIR series alone; not reviewed by a radiologist. "
        "A lesion is called present at or above its threshold (tick in each bar). A ring marks "
        "where a lesion is best seen, not its extent."
    ),
    models="Models",
    software="Software",
    fields={
        "name": "Name",
        "id": "Patient ID",
        "born": "Born",
        "sex": "Sex",
        "accession": "Accession",
        "date": "Study date",
        "description": "Study description",
    },
    diagram_names={name: name for name in ("ilium", "sacrum", "upper", "lower")},
    not_shown="Present, without key image: {lesions}.",
    no_lesion_best_seen="No lesion is marked on this image.",
    revision="{series}, revision {number}",
    series={
        "scores": "SIJ lesion scores",
        "seg t1": "SIJ regions (T1)",
        "seg stir": "SIJ regions (STIR)",
        "findings t1": "SIJ findings (T1)",
        "findings stir": "SIJ findings (STIR)",
        "presentation t1": "SIJ contours (T1)",
        "presentation stir": "SIJ contours (STIR)",
        "summary": "SIJ summary",
        "pdf": "SIJ report",
        "not analysed": "SIJ not analysed",
        "not analysed summary": "SIJ not analysed: reason",
        "not analysed pdf": "SIJ not analysed: report",
        "rejection note": "SIJ results rejected",
    },
    changes={
        LesionChange.NEW: "new",
        LesionChange.RESOLVED: "resolved",
        LesionChange.UNCHANGED: "unchanged",
        LesionChange.NOT_COMPARABLE: "not comparable",
    },
    compared="Compared with the prior study of {date}.",
    changes_named={
        LesionChange.NEW: "New",
        LesionChange.RESOLVED: "Resolved",
        LesionChange.UNCHANGED: "Persisting",
    },
    no_lesion_either_time="No lesions then or now.",
    sites_not_comparable="Not comparable: {number} of 28 sites.",
    prior_in_brackets="In brackets: prior study of {date}",
    different_model=(
        "The prior study was scored with a different model ({networks}); "
        "changes may reflect the different model."
    ),
    other_priors="Other prior results, not compared: {dates}.",
    priors_unavailable="Prior studies unavailable: {reason}.",
    prior_problems={
        "unavailable": "cannot be retrieved",
        "unreachable": "archive unreachable",
        "refused": "request refused by the archive",
        "late": "no response from the archive in time",
        "unreadable": "a prior report is unreadable",
        "another patient": "the archive returned a report of another patient",
    },
    not_analysed_title="Sacroiliac joint MRI: not analysed",
    reasons={
        "pair-missing": "There is no usable pair of a T1 and a STIR series.",
        "mixed-patients": "The images belong to more than one patient.",
        "mixed-frames-of-reference": "The series do not share a frame of reference.",
        "geometry-unusable": "The slices do not form a usable volume.",
        "pixels-unusable": "The image data cannot be decoded.",
        "conflicting-copies": "An image was received twice with different content.",
        "dataset-unreadable": "An object is unreadable.",
        "joint-not-found": "No sacroiliac joint is visible.",
    },
    advice={
        "pair-missing": "Send a coronal oblique T1 and a coronal oblique STIR (or fat-saturated "
        "T2) of the sacroiliac joints, both without contrast.",
        "mixed-patients": "Correct the patient at the modality or in the archive, then send the "
        "study again.",
        "mixed-frames-of-reference": "Send a T1 and a STIR of the same examination, as acquired.",
        "geometry-unusable": "Send the complete T1 and STIR series, as acquired.",
        "pixels-unusable": "Send the original images, uncompressed or losslessly compressed.",
        "conflicting-copies": "The administrator of the node decides which one is right.",
        "dataset-unreadable": "Send the study again from where it was acquired.",
        "joint-not-found": "Check that these series show the sacroiliac joints.",
    },
    details="Details",
    series_columns=("Series", "Description", "Images", "Use"),
    further_series="{number} further series",
    no_result_is_not_normal="No result does not mean that the joints are normal.",
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
    threshold="Schwellenwert",
    no_lesion="keine Läsionen",
    none="keine",
    in_all_quadrants="{lesion} in allen 4 Quadranten",
    site_groups={
        frozenset((Region.UPPER_ILIUM,)): "Ilium kranial",
        frozenset((Region.LOWER_ILIUM,)): "Ilium kaudal",
        frozenset(ILIUM): "Ilium kranial und kaudal",
        frozenset((Region.UPPER_SACRUM,)): "Sacrum kranial",
        frozenset((Region.LOWER_SACRUM,)): "Sacrum kaudal",
        frozenset(SACRUM): "Sacrum kranial und kaudal",
    },
    sites_unknown=" ({number} von 14 Lokalisationen nicht beurteilbar)",
    asas="ASAS-Kriterium der aktiven Sakroiliitis: {outcome} (Forschung).",
    burden="Forschungsscores: {scores}.",
    burden_scores={
        BurdenName.SPARCC_INFLAMMATION: "SPARCC Entzündung",
        BurdenName.SSS_FAT: "SSS Fett",
        BurdenName.SSS_EROSION: "SSS Erosion",
        BurdenName.BERLIN_OEDEMA: "Berlin Ödem",
        BurdenName.BERLIN_FAT: "Berlin Fettläsion",
    },
    burden_value="{name} {value} von {most} ({low}–{high}{note})",
    without_depth="; ohne Tiefe und Intensität",
    burden_changed="Scores seither: {scores}.",
    other_scores="übrige",
    burden_changes={
        BurdenChange.INCREASED: "gestiegen",
        BurdenChange.DECREASED: "gesunken",
        BurdenChange.WITHIN_ERROR: "innerhalb des Messfehlers",
    },
    operating_point="Arbeitspunkt: {point}.",
    operating_points={
        OperatingPoint.BALANCED: "ausgewogen",
        OperatingPoint.SENSITIVE: "sensitiv",
        OperatingPoint.SPECIFIC: "spezifisch",
    },
    prevalence="Die Wahrscheinlichkeiten gelten für eine Prävalenz von {lesions}.",
    other_operating_point=(
        "Die Voruntersuchung wurde mit einem anderen Arbeitspunkt bewertet; Veränderungen können "
        "darauf beruhen."
    ),
    sites_positive="{present} von {all} Lokalisationen positiv",
    sites_not_evaluable="Nicht beurteilbar: {missing} von {all} Lokalisationen.",
    not_analysed="Die Sakroiliakalgelenke wurden nicht analysiert.",
    fat_saturated_t2_used="Anstelle der STIR wurde eine fettgesättigte T2-Serie verwendet.",
    joint_not_visible="Auf {sequence} ist kein Sakroiliakalgelenk abgebildet.",
    low_confidence="Geringe Konfidenz: {reasons}.",
    low_confidence_reasons={
        LowConfidence.COARSE_PIXELS: "geringe Ortsauflösung",
        LowConfidence.THICK_SLICES: "großer Schichtabstand",
        LowConfidence.FEW_SLICES: "Gelenk nur auf wenigen Schichten",
        LowConfidence.NOISY: "Bildrauschen",
        LowConfidence.UNSURE_CONTOURS: "unsichere Konturen",
        LowConfidence.UNLIKE_TRAINING: "Bilder weichen von den Trainingsdaten ab",
    },
    identity_corrected="Identifikation am {date} korrigiert ({attributes}); ersetzt die unter "
    "der früheren Identifikation gesendeten Ergebnisse ({count}).",
    identity_attributes={
        "PatientID": "Patienten-ID",
        "IssuerOfPatientID": "Aussteller der Patienten-ID",
        "PatientName": "Patientenname",
        "PatientBirthDate": "Geburtsdatum",
        "PatientSex": "Geschlecht",
        "StudyInstanceUID": "Studie",
        "SeriesInstanceUID": "Serie",
        "AccessionNumber": "Auftragsnummer",
    },
    series_doubtful="Serienauswahl prüfen: {doubts}.",
    series_doubts={
        SeriesDoubt.AFTER_CONTRAST: "nach einer kontrastmittelverstärkten Serie aufgenommen; "
        "Kontrastmittel nicht auszuschließen",
        SeriesDoubt.DESCRIBED_OTHERWISE: "die Serienbeschreibung nennt eine andere Sequenz",
        SeriesDoubt.UNUSUAL_TILT: "Schichten leicht quer zum Sakrum gekippt; "
        "akzeptiert, weil die Gelenke nach kaudal konvergieren",
        SeriesDoubt.OTHER_IMAGES_LEFT_OUT: "weitere Bilder in derselben Serie nicht verwendet",
        SeriesDoubt.BY_DESCRIPTION: "nur an der Serienbeschreibung erkannt",
    },
    images_missing="Ausgewertet, obwohl vermutlich Bilder fehlen: {signs}.",
    missing_count="{sequence}, {count} oder mehr",
    missing_signs={
        Incompleteness.GAP_BETWEEN_SLICES: "Lücke zwischen Schichten",
        Incompleteness.NUMBER_MISSING: "Bildnummer fehlt",
        Incompleteness.FEWER_THAN_STATED: "weniger Bilder als angegeben",
        Incompleteness.FEWER_THAN_AT_ARCHIVE: "weniger Bilder als im Archiv",
        Incompleteness.LESS_COVERAGE: "deckt weniger ab als die andere Serie",
    },
    joint_counts="{side}: Ödem {active}/{of_active} Quadranten; "
    "strukturelle Läsionen {structural}/{of_structural}.",
    slice_criteria="Nur zu Forschungszwecken, keine Diagnose; "
    "schichtbasierte Kriterien: {definitions}.",
    definitions={
        Definition.POSITIVE_MRI: "positives MRT nach ASAS 2016",
        Definition.ACTIVE: "aktive Läsion nach Maksymowych 2021",
        Definition.STRUCTURAL: "strukturelle Läsion nach Maksymowych 2021",
    },
    met="erfüllt",
    not_met="nicht erfüllt",
    title="MRT der Sakroiliakalgelenke: KI-Auswertung",
    scores="Wahrscheinlichkeiten der Läsionen",
    image="Bild {image}",
    key_images="Schlüsselbilder",
    side_of_patient="rechts und links beziehen sich auf den Patienten",
    limitations="Einschränkungen",
    limitations_text=(
        "Automatisch nur aus der T1- und der STIR-Serie erstellt, nicht ärztlich geprüft. "
        "Eine Läsion gilt ab ihrem Schwellenwert (Strich im Balken) als vorhanden. Ein Ring "
        "zeigt, wo eine Läsion am besten zu sehen ist, nicht ihre Ausdehnung."
    ),
    models="Modelle",
    software="Software",
    fields={
        "name": "Name",
        "id": "Patienten-ID",
        "born": "Geboren",
        "sex": "Geschlecht",
        "accession": "Auftragsnummer",
        "date": "Untersuchungsdatum",
        "description": "Untersuchung",
    },
    diagram_names={"ilium": "Ilium", "sacrum": "Sacrum", "upper": "kranial", "lower": "kaudal"},
    not_shown="Vorhanden, ohne Schlüsselbild: {lesions}.",
    no_lesion_best_seen="Auf diesem Bild ist keine Läsion markiert.",
    revision="{series}, Revision {number}",
    series={
        "scores": "ISG-Läsionsscores",
        "seg t1": "ISG-Regionen (T1)",
        "seg stir": "ISG-Regionen (STIR)",
        "findings t1": "ISG-Befunde (T1)",
        "findings stir": "ISG-Befunde (STIR)",
        "presentation t1": "ISG-Konturen (T1)",
        "presentation stir": "ISG-Konturen (STIR)",
        "summary": "ISG-Zusammenfassung",
        "pdf": "ISG-Bericht",
        "not analysed": "ISG nicht analysiert",
        "not analysed summary": "ISG nicht analysiert: Grund",
        "not analysed pdf": "ISG nicht analysiert: Bericht",
        "rejection note": "ISG zurückgezogene Ergebnisse",
    },
    changes={
        LesionChange.NEW: "neu",
        LesionChange.RESOLVED: "rückgebildet",
        LesionChange.UNCHANGED: "unverändert",
        LesionChange.NOT_COMPARABLE: "nicht vergleichbar",
    },
    compared="Im Vergleich zur Voruntersuchung vom {date}.",
    changes_named={
        LesionChange.NEW: "Neu",
        LesionChange.RESOLVED: "Rückgebildet",
        LesionChange.UNCHANGED: "Fortbestehend",
    },
    no_lesion_either_time="Damals wie heute keine Läsionen.",
    sites_not_comparable="Nicht vergleichbar: {number} von 28 Lokalisationen.",
    prior_in_brackets="In Klammern: Voruntersuchung {date}",
    different_model=(
        "Die Voruntersuchung wurde mit einem anderen Modell bewertet ({networks}); "
        "Veränderungen können darauf beruhen."
    ),
    other_priors="Weitere Vorergebnisse, nicht verglichen: {dates}.",
    priors_unavailable="Voruntersuchungen nicht verfügbar: {reason}.",
    prior_problems={
        "unavailable": "kein Abruf möglich",
        "unreachable": "Archiv nicht erreichbar",
        "refused": "Anfrage vom Archiv abgelehnt",
        "late": "keine rechtzeitige Antwort vom Archiv",
        "unreadable": "ein Vorbericht ist nicht lesbar",
        "another patient": "das Archiv lieferte den Bericht eines anderen Patienten",
    },
    not_analysed_title="MRT der Sakroiliakalgelenke: nicht analysiert",
    reasons={
        "pair-missing": "Kein verwendbares Paar aus T1- und STIR-Serie vorhanden.",
        "mixed-patients": "Die Bilder gehören zu mehr als einem Patienten.",
        "mixed-frames-of-reference": "Die Serien haben kein gemeinsames Koordinatensystem.",
        "geometry-unusable": "Die Schichten ergeben kein Volumen.",
        "pixels-unusable": "Die Bilddaten lassen sich nicht dekodieren.",
        "conflicting-copies": "Ein Bild wurde zweimal mit unterschiedlichem Inhalt empfangen.",
        "dataset-unreadable": "Ein Objekt ist nicht lesbar.",
        "joint-not-found": "Kein Sakroiliakalgelenk abgebildet.",
    },
    advice={
        "pair-missing": "Bitte eine schräg koronare T1 und eine schräg koronare STIR (oder "
        "fettgesättigte T2) der Sakroiliakalgelenke senden, beide ohne Kontrastmittel.",
        "mixed-patients": "Bitte den Patienten am Gerät oder im Archiv korrigieren und die Studie "
        "erneut senden.",
        "mixed-frames-of-reference": "Bitte T1 und STIR derselben Untersuchung unverändert senden.",
        "geometry-unusable": "Bitte die vollständigen T1- und STIR-Serien unverändert senden.",
        "pixels-unusable": "Bitte die Originalbilder unkomprimiert oder verlustfrei komprimiert "
        "senden.",
        "conflicting-copies": "Der Administrator des Knotens entscheidet, welches gilt.",
        "dataset-unreadable": "Bitte die Studie erneut von ihrem Ursprung senden.",
        "joint-not-found": "Bitte prüfen, ob diese Serien die Sakroiliakalgelenke zeigen.",
    },
    details="Einzelheiten (englisch)",
    series_columns=("Serie", "Beschreibung", "Bilder", "Verwendung (englisch)"),
    further_series="{number} weitere Serien",
    no_result_is_not_normal="Ein fehlendes Ergebnis ist kein Normalbefund.",
    intended_uses={
        "Trained on phantoms, not for clinical use": "An Phantomen trainiert, nicht für den "
        "klinischen Gebrauch",
        "Trained on a site's own cases, for research, not for clinical use": "An Fällen des "
        "eigenen Hauses trainiert, für die Forschung, nicht für den klinischen Gebrauch",
    },
)
WORDINGS: Mapping[Language, Wording] = {"en": ENGLISH, "de": GERMAN}
