"""Previews of the key images for the study page.

The same slices as in the summary, each as a separate picture without text.
"""

from collections.abc import Iterator
from io import BytesIO

from sij_node.domain.analysis_record import KeyPicture
from sij_node.results.build import AnalysedStudy
from sij_node.results.key_images import KeyLocation, SeriesView, cameras, key_places
from sij_node.results.language import ENGLISH

WIDTH_PX, HEIGHT_PX = 480, 340


def key_pictures(study: AnalysedStudy, named: str) -> tuple[KeyPicture, ...]:
    """List the pictures without drawing them.

    Parameters
    ----------
    named
        Prefix of the file names, hex digits.
    """
    shots = _shots(study)
    return tuple(
        KeyPicture(
            place=number,
            sequence=str(study.series[which].sequence),
            image=study.series[which].image_number(slice_index),
            seen=tuple(ENGLISH.comment(one.finding) for one in place.seen),
            file_name=f"{named}-{order:x}.png",
            labels=tuple(one.label for one in place.seen),
        )
        for order, (number, place, which, slice_index) in enumerate(shots, 1)
    )


def drawn(study: AnalysedStudy) -> Iterator[bytes]:
    """Draw the pictures as PNG files, in the order of `key_pictures`."""
    looking = cameras(study.series, WIDTH_PX, HEIGHT_PX)
    for _, place, which, slice_index in _shots(study):
        yield _png(looking[which], place, slice_index)


def _shots(study: AnalysedStudy) -> list[tuple[int, KeyLocation, int, int]]:
    """Number of the location, the location, index of the series, and its slice."""
    return [
        (number, place, which, slice_index)
        for number, place in enumerate(key_places(study.series, study.findings), 1)
        for which, slice_index in enumerate(place.slices)
        if slice_index is not None
    ]


def _png(camera: SeriesView, place: KeyLocation, slice_index: int) -> bytes:
    file = BytesIO()
    camera.picture(slice_index, place.seen, WIDTH_PX, HEIGHT_PX).save(file, "PNG")
    return file.getvalue()
