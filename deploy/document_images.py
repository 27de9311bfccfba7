"""Converts screenshots of the browser tests into the images of the documentation.

`make pictures` takes new screenshots and runs this.
"""

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
KEPT, SHOWN = ROOT / "test-artefacts", ROOT / "docs" / "images"
WIDTH, TALLEST = 900, 1.9
"""Width in pixels, and greatest ratio of height to width; the rest is cropped."""
COLOURS, ROUNDS = 256, 3
"""Palette size and k-means rounds, so that large areas keep their own colour."""
PICTURES = {
    "queue.png": "page-queue-desktop-dark.png",
    "study.png": "page-live-study-desktop-light.png",
    "health.png": "page-health-desktop-light.png",
    "report.png": "report.png",
}
"""Image name in the documentation: name of the screenshot."""


def small(picture: Image.Image) -> Image.Image:
    """The image cropped, resized and reduced to a palette of its own."""
    top = picture.convert("RGB").crop(
        (0, 0, picture.width, min(picture.height, round(picture.width * TALLEST)))
    )
    width = min(WIDTH, top.width)
    resized = top.resize((width, round(top.height * width / top.width)), Image.Resampling.LANCZOS)
    covering = Image.Quantize.MAXCOVERAGE
    return resized.quantize(COLOURS, covering, kmeans=ROUNDS, dither=Image.Dither.NONE)


def main() -> None:
    """Write all images and print their sizes."""
    for name, kept in PICTURES.items():
        with Image.open(KEPT / kept) as picture:
            small(picture).save(SHOWN / name, optimize=True)
        print(f"{SHOWN / name} {(SHOWN / name).stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
