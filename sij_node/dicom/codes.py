"""Every coded concept the node writes, with its source.

Codes of DCM, SCT, LN and UCUM are as in DICOM PS3.16. Where no public code could be verified, the
private scheme 99SIJNODE is used, and every object that uses it declares it.
"""

from collections.abc import Mapping

from pydicom.sr.coding import Code

from models.burden_scores import BurdenChange, BurdenName
from models.findings import Lesion, OperatingPoint, Presence, Region, Side
from sij_node.domain.prior_comparison import LesionChange

SCHEME = "99SIJNODE"
SCHEME_NAME = "sij_node codes for sacroiliac joint MRI"
SCHEME_UID = "2.25.221786473890475312658834178212480871911"


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


# Root titles and headings
SCORES_TITLE = _own("sij-scores", "Sacroiliac joint lesion scores")
NOT_ANALYSED_TITLE = _own("sij-not-analysed", "Sacroiliac joints not analysed")
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
SUMMARY = Code("55112-7", "LN", "Summary")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
COMMENT = Code("121106", "DCM", "Comment")
REASON = _own("reason", "Reason for not analysing")

# Language, procedure and observer: TID 1204, 1001, 1004
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE = Code("121007", "DCM", "Device")
OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
OBSERVER_NAME = Code("121013", "DCM", "Device Observer Name")
OBSERVER_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
OBSERVER_MODEL = Code("121015", "DCM", "Device Observer Model Name")
OBSERVER_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")

# One finding: TID 1501, 4019
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
FINDING = Code("121071", "DCM", "Finding")
FINDING_CATEGORY = Code("276214006", "SCT", "Finding category")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
LATERALITY = Code("272741003", "SCT", "Laterality")
TOPOGRAPHICAL_MODIFIER = Code("106233006", "SCT", "Topographical modifier")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
ALGORITHM_MANUFACTURER = Code("122405", "DCM", "Algorithm Manufacturer")
PROBABILITY = Code("122157", "DCM", "Probability")
THRESHOLD = _own("threshold", "Threshold: present from this probability")
PERCENT = Code("%", "UCUM", "Percent")
OPERATING_POINT = _own("operating-point", "Operating point of the threshold")
OPERATING_POINTS: Mapping[OperatingPoint, Code] = {
    OperatingPoint.BALANCED: _own("balanced", "Highest balanced accuracy"),
    OperatingPoint.SENSITIVE: _own("sensitive", "High sensitivity"),
    OperatingPoint.SPECIFIC: _own("specific", "High specificity"),
}
PRESENCE = Code("121052", "DCM", "Presence of property")
PRESENCES: Mapping[Presence, Code] = {
    Presence.PRESENT: Code("121053", "DCM", "Present"),
    Presence.ABSENT: Code("121054", "DCM", "Absent"),
    Presence.UNDETERMINED: Code("121059", "DCM", "Presence Undetermined"),
}

# Since the prior: CID 7001, 3407, 3235
PREVIOUS_FINDINGS = Code("18834-2", "LN", "Previous Findings")
PRIOR_REPORT = Code("122075", "DCM", "Prior report for current patient")
STUDY_DATE = Code("111060", "DCM", "Study Date")
CHANGE_TABLE = _own("change-table", "Changes since the prior study")
CHANGE = _own("change", "Change since the prior study")
PRIOR_PROBABILITY = _own("prior-score", "Probability in the prior study")
PRIOR_THRESHOLD = _own("prior-threshold", "Threshold in the prior study")
PRIOR_WEIGHTS = _own("prior-weights", "Weights of the prior scores")
SAME_WEIGHTS = _own("same-weights", "Same weights")
OTHER_WEIGHTS = _own("other-weights", "Other weights")
CHANGES: Mapping[LesionChange, Code] = {
    LesionChange.NEW: _own("new", "New since the prior study"),
    LesionChange.RESOLVED: _own("gone", "No longer present"),
    LesionChange.UNCHANGED: Code("260388006", "SCT", "No status change"),
    LesionChange.NOT_COMPARABLE: _own("not-comparable", "Not comparable"),
}

# Scores of lesion burden
BURDEN_SCORES = _own("burden-scores", "Scores of lesion burden, for research")
BURDENS: Mapping[BurdenName, Code] = {
    BurdenName.SPARCC_INFLAMMATION: _own(
        "sparcc-inflamm", "SPARCC SIJ inflammation, without depth and intensity"
    ),
    BurdenName.SSS_FAT: _own("sss-fat", "SPARCC SIJ structural score, fat metaplasia"),
    BurdenName.SSS_EROSION: _own("sss-erosion", "SPARCC SIJ structural score, erosion"),
    BurdenName.BERLIN_OEDEMA: _own("berlin-oedema", "Berlin score of oedema, both joints"),
    BurdenName.BERLIN_FAT: _own("berlin-fat", "Berlin score of fatty lesions, both joints"),
}
BURDEN_VALUE = _own("burden-value", "Score")
BURDEN_LOW = _own("burden-low", "Lower limit of the 95 % band")
BURDEN_HIGH = _own("burden-high", "Upper limit of the 95 % band")
BURDEN_MOST = _own("burden-most", "Largest possible score")
PRIOR_BURDEN = _own("prior-burden", "Score in the prior study")
SCORE_UNIT = Code("{score}", "UCUM", "score")
BURDEN_CHANGES: Mapping[BurdenChange, Code] = {
    BurdenChange.INCREASED: _own("increased", "Increased beyond measurement error"),
    BurdenChange.DECREASED: _own("decreased", "Decreased beyond measurement error"),
    BurdenChange.WITHIN_ERROR: _own("within-error", "Within measurement error"),
}

# Results under a former identity: CID 7011, TID 2010
INCORRECT_WORKLIST_ENTRY = Code("113038", "DCM", "Incorrect Modality Worklist Entry")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")

# Where it is drawn: TID 320, 1410, CID 219
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
SOURCE_IMAGE = Code("121324", "DCM", "Source image")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
GEOMETRIC_PURPOSE = Code("130400", "DCM", "Geometric purpose of region")
CENTERLINE = Code("130490", "DCM", "Centerline")

# Why a number is missing: CID 42
INDETERMINATE = Code("114011", "DCM", "Value indeterminate")

LESIONS: Mapping[Lesion, Code] = {
    Lesion.OEDEMA: _own("oedema", "Bone marrow oedema"),
    Lesion.EROSION: _own("erosion", "Erosion of bone"),
    Lesion.FATTY_LESION: _own("fatty-lesion", "Fatty lesion of bone marrow"),
    Lesion.SCLEROSIS: _own("sclerosis", "Sclerosis of bone"),
    Lesion.ANKYLOSIS: _own("ankylosis", "Ankylosis of sacroiliac joint"),
}
"""Private: the SNOMED CT codes could not be verified."""

# Anatomy: verified in the SNOMED CT subset of DICOM
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
ILIUM = Code("22356005", "SCT", "Ilium")
SACRUM = Code("54735007", "SCT", "Sacrum")
SACROILIAC_JOINT = Code("39723000", "SCT", "Sacroiliac joint")
UPPER = Code("264217000", "SCT", "Superior")
LOWER = Code("261089000", "SCT", "Inferior")
SITES: Mapping[Region, tuple[Code, Code | None]] = {
    Region.UPPER_ILIUM: (ILIUM, UPPER),
    Region.LOWER_ILIUM: (ILIUM, LOWER),
    Region.UPPER_SACRUM: (SACRUM, UPPER),
    Region.LOWER_SACRUM: (SACRUM, LOWER),
    Region.JOINT: (SACROILIAC_JOINT, None),
}
"""Bone or joint, and the part of it."""
SIDES: Mapping[Side, Code] = {
    Side.LEFT: Code("7771000", "SCT", "Left"),
    Side.RIGHT: Code("24028007", "SCT", "Right"),
}

# Algorithm and equipment: CID 7162, CID 7005
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

REASONS: Mapping[str, str] = {
    "pair-missing": "No usable pair of T1 and STIR series",
    "mixed-patients": "Images of more than one patient",
    "mixed-frames-of-reference": "No common frame of reference",
    "geometry-unusable": "Slices do not form a volume",
    "pixels-unusable": "Pixel data cannot be decoded",
    "conflicting-copies": "One instance with different contents",
    "dataset-unreadable": "An object that cannot be read",
    "joint-not-found": "No sacroiliac joint seen",
}
"""Meanings of the reason codes of `sij_node.errors`; a test keeps the two together."""


def reason_for(reason_code: str) -> Code:
    """The coded reason why a study was not analysed."""
    return _own(reason_code, REASONS.get(reason_code, "The study cannot be analysed"))
