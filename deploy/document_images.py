"""Puts pictures that the browser tests have kept among those that documents show.

`make pictures` has them taken anew and runs this.
"""

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
KEPT, SHOWN = ROOT / "test-artefacts", ROOT / "docs" / "images"
WIDTH, TALLEST = 900, 1.9
"""Pixels, and how many times as high as wide; what is below is left out."""
COLOURS, ROUNDS = 256, 3
"""How many, and how often they are moved so that large areas have their own colour too."""
PICTURES = {
    "queue.png": "page-queue-desktop-dark.png",
    "study.png": "page-live-study-desktop-light.png",
    "health.png": "page-health-desktop-light.png",
    "report.png": "report.png",
}
"""By the name that documents know, the one that a test has given."""


def small(picture: Image.Image) -> Image.Image:
    """As a document shows it: not wide, not long, and in few colours that are chosen for it."""
    top = picture.convert("RGB").crop(
        (0, 0, picture.width, min(picture.height, round(picture.width * TALLEST)))
    )
    width = min(WIDTH, top.width)
    resized = top.resize((width, round(top.height * width / top.width)), Image.Resampling.LANCZOS)
    covering = Image.Quantize.MAXCOVERAGE
    return resized.quantize(COLOURS, covering, kmeans=ROUNDS, dither=Image.Dither.NONE)


def main() -> None:
    """Write each of them, and say how large it is."""
    for name, kept in PICTURES.items():
        with Image.open(KEPT / kept) as picture:
            small(picture).save(SHOWN / name, optimize=True)
        print(f"{SHOWN / name} {(SHOWN / name).stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
