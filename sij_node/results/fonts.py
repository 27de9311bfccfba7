"""The font of all reports: FiraGO, independent of the fonts installed on a machine.

Latin, Greek, Cyrillic, Arabic, Hebrew, Thai, Georgian and Devanagari.
"""

from functools import cache
from io import BytesIO

import pymupdf_fonts
from PIL import ImageFont

_NAMES = {"regular": "figo", "bold": "figbo"}


@cache
def font_file(style: str) -> bytes:
    """The TrueType file; `style` is regular or bold."""
    return bytes(pymupdf_fonts.myfont(_NAMES[style]))


@cache
def pixel_font(size_px: int, style: str = "regular") -> ImageFont.FreeTypeFont:
    """The font at a size in pixels, for drawing with Pillow."""
    return ImageFont.truetype(BytesIO(font_file(style)), size_px)
