"""What the description of a series says, in the languages and spellings of daily practice.

Descriptions are typed by people. They count only where acquisition parameters leave a question
open, and to exclude a series that its description calls contrast-enhanced, fat-suppressed, derived
or a localiser.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

_MARKS = re.compile("[\u0300-\u036f]")
_SEPARATORS = re.compile(r"[\s_\-./,:;()\[\]|\\]+")


class DescribedContrast(StrEnum):
    """The weighting that a description names."""

    T1 = "T1"
    T2 = "T2"
    PROTON_DENSITY = "proton density"
    STIR = "STIR"
    NONE = ""


@dataclass(frozen=True)
class DescriptionWords:
    """What a series description says.

    Parameters
    ----------
    contrast
        Weighting; STIR before all others.
    fat_suppressed, dixon_leftover, contrast_enhanced, localiser, derived
        Whether the description says so. A Dixon leftover is a fat or opposed-phase image.
    """

    contrast: DescribedContrast
    fat_suppressed: bool
    dixon_leftover: bool
    contrast_enhanced: bool
    localiser: bool
    derived: bool


def _word(*alternatives: str) -> re.Pattern[str]:
    """Any of the alternatives, not inside a longer word of Latin letters."""
    return re.compile(rf"(?<![a-z])(?:{'|'.join(alternatives)})(?![a-z])")


_LOCALISER = _word(
    r"locali[sz](?:er|ers|ador|ateur|ation)|lokali[sz]\w*|loc|scout|survey|pilot|planscan|reperage",
    r"3 ?pl(?:ane)?|ubersicht\w*|topogramm?|位置決め\w*|ロケータ\w*",
)
_DERIVED = _word(
    r"mip|minip|mpr|adc|dwi|sub|subtr\w*|substr\w*|soustr\w*|sustr\w*|reformat\w*",
    r"rekonstruktion|差分\w*|サブトラクション",
)
_NEGATION = (
    r"(?:ohne|without|w o|wo|no|non|not|none|sin|sans|pre|prae|pra|vor|before|avant|antes de(?:l)?"
    r"|kein|keine|senza|zonder) ?(?:i ?v ?)?"
)
_AGENT = (
    r"(?:km|kontrast\w*|contrast\w*|gad\w*|gd|c|cm|ce|injection|inj|agent|mdc|pdc|given|dotarem)"
)
_NATIVE = re.compile(rf"(?<![a-z]){_NEGATION}{_AGENT}(?![a-z])|造影前|非造影|造影なし|造影剤なし")
_CONTRAST = re.compile(
    rf"\+ ?{_AGENT}(?![a-z])|(?<![a-z])c ?\+|造影"
    r"|(?<![a-z])(?:km|gd|ga[dt]ol?\w*|gad|gadavist|dotarem|magnevist|prohance|multihance|clariscan"
    r"|omniscan|elucirem|contrast\w*|kontrast\w*|ce|post|postcontrast|postgad\w*|postkm"
    r"|injecte\w*|apres injection|enhanced)(?![a-z])"
)
_NOT_SUPPRESSED = re.compile(
    r"(?<![a-z])(?:ohne|without|w o|no|non|sin|sans) ?(?:fs|fat ?sat\w*|fettsat\w*|sat)(?![a-z])"
)
_FAT_SUPPRESSED = re.compile(
    r"(?<![a-z])(?:fs|fatsat\w*|fat sat\w*|fat ?sup\w*|fsat|chess|spir|spair|aspir|proset"
    r"|water ?exc?\w*|fett ?ges\w*|fett ?s\w*|fett ?unter\w*|sat(?:uration)? ?(?:de )?(?:la )?"
    r"(?:graisse|grasa)|satgraisse|suppression (?:de )?(?:la )?graisse|sup(?:r|presion) (?:de )?"
    r"(?:la )?grasa|saturacion (?:de )?(?:la )?grasa|sat gras\w*|supr gras\w*|vet ?onder\w*"
    r"|vet ?sat\w*|water|wasser|agua|eau)(?![a-z])|脂肪抑制|水画像|水励起"
)
_DIXON = r"(?:m?dixon|q ?dixon|ideal|flex|wfi|wfs|wfop|fatsep)"
_DIXON_WATER = re.compile(rf"(?<![a-z]){_DIXON}.*(?<![a-z])w(?![a-z])")
_DIXON_LEFTOVER = re.compile(
    rf"(?<![a-z]){_DIXON}.*(?<![a-z])(?:f|fat|fett|opp|op|out|ff)(?![a-z])"
    r"|(?<![a-z])(?:out ?(?:of ?)?phase|opp(?:osed)? ?(?:phase)?|fat fraction|fat only)(?![a-z])"
    r"|^fat (?!sat|sup)|脂肪画像"
)
_STIR = re.compile(r"stir|tirm|(?<![a-z])(?:t2 ?)?ir(?![a-z])|tir2d|(?<![a-z])fir(?![a-z])")
_T1 = re.compile(r"(?<![a-z])t1(?!\d)")
_T2 = re.compile(r"(?<![a-z])t2(?!\d)")
_PROTON_DENSITY = re.compile(r"(?<![a-z])(?:pd|dp|rho|proton)(?:w|fs)?(?![a-z])")


def words_of(description: str) -> DescriptionWords:
    """Read a series description.

    Examples
    --------
    >>> words_of("T1_TSE_cor + KM fs").contrast_enhanced
    True
    >>> words_of("T1 cor ohne KM").contrast_enhanced
    False
    """
    said = _plain(description)
    fat = bool(_FAT_SUPPRESSED.search(_NOT_SUPPRESSED.sub(" ", said)) or _DIXON_WATER.search(said))
    return DescriptionWords(
        contrast=_contrast(said),
        fat_suppressed=fat,
        dixon_leftover=bool(_DIXON_LEFTOVER.search(said)),
        contrast_enhanced=bool(_CONTRAST.search(_NATIVE.sub(" ", said))),
        localiser=bool(_LOCALISER.search(said)),
        derived=bool(_DERIVED.search(said)),
    )


def says_no_agent(stated: str) -> bool:
    """Whether Contrast/Bolus Agent says that none was given, or says nothing.

    Examples
    --------
    >>> says_no_agent("None given"), says_no_agent("ohne KM"), says_no_agent("Gadovist 7 ml")
    (True, True, False)
    """
    said = _plain(stated)
    left = _NATIVE.sub(" ", said).split()
    return said in _NO_AGENT or (
        _NATIVE.search(said) is not None and _SAYS_NOTHING.issuperset(left)
    )


_NO_AGENT = {
    *("", "0", "no", "none", "n", "n a", "na", "null", "nil", "ohne", "without", "sans", "sin"),
    *("non", "not given", "none given", "keine", "keins", "kein", "nativ", "native", "plain"),
    *("nein", "false", "unknown", "undefined", "なし", "aucun", "ninguno", "no agent", "0 ml"),
}
_SAYS_NOTHING = {"agent", "medium", "media", "given", "administered", "used", "gegeben", "mittel"}


def _plain(text: str) -> str:
    """Lower case without accents; full width letters and separators made plain."""
    marked = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    bare = unicodedata.normalize("NFC", _MARKS.sub("", marked))
    return _SEPARATORS.sub(" ", bare).strip()


def _contrast(said: str) -> DescribedContrast:
    if _STIR.search(said):
        return DescribedContrast.STIR
    found = [
        contrast
        for pattern, contrast in (
            (_T1, DescribedContrast.T1),
            (_T2, DescribedContrast.T2),
            (_PROTON_DENSITY, DescribedContrast.PROTON_DENSITY),
        )
        if pattern.search(said)
    ]
    return found[0] if len(found) == 1 else DescribedContrast.NONE
