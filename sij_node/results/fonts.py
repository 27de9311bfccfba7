"""The font of all reports: FiraGO, independent of the fonts installed on a machine.

Latin, Greek, Cyrillic, Arabic, Hebrew, Thai, Georgian and Devanagari; a text with other letters is
drawn in Noto Sans CJK.
"""

from functools import cache
from io import BytesIO

import noto_cjk_sans_jp_regular
import pymupdf_fonts
from fontTools.ttLib import TTFont
from PIL import ImageFont

_NAMES = {"regular": "figo", "bold": "figbo"}


@cache
def font_file(style: str) -> bytes:
    """The TrueType file; `style` is regular or bold."""
    return bytes(pymupdf_fonts.myfont(_NAMES[style]))


@cache
def pixel_font(
    size_px: int, style: str = "regular", has_cjk: bool = False
) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels, for drawing with Pillow."""
    file = str(noto_cjk_sans_jp_regular.FONT_PATH) if has_cjk else BytesIO(font_file(style))
    return ImageFont.truetype(file, size_px)


def needs_cjk(words: str) -> bool:
    """Whether a text has letters that FiraGO lacks."""
    return any(letter.isprintable() and ord(letter) not in _known() for letter in words)


@cache
def _known() -> frozenset[int]:
    return frozenset(TTFont(BytesIO(font_file("regular"))).getBestCmap())
