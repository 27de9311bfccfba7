"""The simulated scanner: slice geometry, acquisition and artefacts.

Slices are sampled at several depths and averaged, for partial volume effects. Then follow coil
inhomogeneity, a limited k-space, decay along the echo train, complex noise, and the modulus.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from models.delineation import Contour, Delineation
from models.findings import Side
from models.volume import Volume
from trainer.phantom.anatomy import Grid, Joint
from trainer.phantom.paint import Painter, Picture, SamplePlane, joint_box

STEP_MM = 0.9
"""Distance between painted points."""
TEXTURE_MM = (3.0, 2.0)
TEXTURE_REACH_MM = 170.0
LEAST_VISIBLE_MM = 7.0
LARGEST_GAP_MM = 20.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pose:
    """Pose of the pelvis frame in the patient: ``LPS = origin + rotation · (x, d, v)``."""

    rotation: Matrix
    origin_mm: Matrix

    def to_pelvis(self, positions_mm: Matrix) -> Matrix:
        """LPS positions, shape (…, 3), in the pelvis frame."""
        return np.asarray((positions_mm - self.origin_mm) @ self.rotation)

    def to_patient(self, points_mm: Matrix) -> Matrix:
        """Points of the pelvis frame, shape (…, 3), in LPS."""
        return np.asarray(points_mm @ self.rotation.T + self.origin_mm)


@dataclass(frozen=True, eq=False)
class Slab:
    """A stack of slices: axes are the unit vectors along (slice, row, column) as columns.

    Parameters
    ----------
    field_of_view_mm, matrix
        Of the reconstructed square.
    shape
        Rows and columns cropped around its centre; None for the whole square.
    """

    axes: Matrix
    centre_mm: Matrix
    slices: int
    thickness_mm: float
    distance_mm: float
    field_of_view_mm: float
    matrix: int
    shape: tuple[int, int] | None = None

    @property
    def rows_columns(self) -> tuple[int, int]:
        """Rows and columns of the delivered images."""
        return self.shape or (self.matrix, self.matrix)

    @property
    def pixel_mm(self) -> float:
        """Distance between neighbouring pixels of the reconstructed image."""
        return self.field_of_view_mm / self.matrix

    def affine(self) -> Matrix:
        """Maps (slice, row, column, 1) to LPS, index-centred."""
        steps = self.axes * np.array([self.distance_mm, self.pixel_mm, self.pixel_mm])
        middle = (np.array([self.slices, *self.rows_columns]) - 1) / 2
        affine = np.eye(4)
        affine[:3, :3] = steps
        affine[:3, 3] = self.centre_mm - steps @ middle
        return affine

    def offsets_mm(self) -> Matrix:
        """Signed distance of each slice from the slab's centre."""
        return np.asarray((np.arange(self.slices) - (self.slices - 1) / 2) * self.distance_mm)


@dataclass(frozen=True)
class Flaws:
    """Artefacts and limits of one acquisition.

    Parameters
    ----------
    measured
        Acquired rows and columns of k-space.
    noise
        Standard deviation relative to bright tissue.
    ghost, ghost_copies
        Strength of the first motion ghost along the phase direction, and number of ghosts.
    phase_rows
        True if phase is encoded along the rows and frequency along the columns.
    chemical_shift_px
        Displacement of fat along the frequency direction, in delivered pixels.
    blur
        Additional blur in both directions.
    spike, spike_at
        Strength and position of one k-space spike, which causes stripes.
    zipper, zipper_at
        Strength and position of one noisy line across the image.
    wrap
        Strength of fold-over at the opposite border.
    most
        Largest stored pixel value.
    """

    measured: tuple[int, int]
    noise: float
    bias: tuple[float, ...]
    echo_blur: float
    apodisation: float
    ghost: float
    ghost_shift: float
    full_scale: float
    phase_rows: bool = True
    ghost_copies: int = 1
    chemical_shift_px: float = 0.0
    blur: float = 0.0
    spike: float = 0.0
    spike_at: tuple[float, float] = (0.0, 0.0)
    zipper: float = 0.0
    zipper_at: float = 0.5
    wrap: float = 0.0
    most: int = 4095

    @property
    def phase_axis(self) -> int:
        """Axis of a stack of slices along which phase is encoded."""
        return 1 if self.phase_rows else 2


@dataclass(frozen=True, eq=False)
class Texture:
    """Coarse and fine noise in the frame of the slab, shared by both sequences."""

    coarse: NDArray[np.float32]
    fine: NDArray[np.float32]

    def at(self, depth_mm: float, along_mm: NDArray[np.float32]) -> tuple[Grid, Grid]:
        """Both noises on a square grid of one slice, shape (len(along_mm), len(along_mm))."""
        coarse = _interpolated(self.coarse, 6.0, TEXTURE_MM[0], depth_mm, along_mm)
        return coarse, _interpolated(self.fine, 6.0, TEXTURE_MM[1], depth_mm, along_mm)


def sample_texture(rng: np.random.Generator) -> Texture:
    """Noise of unit variance, of about 10 mm and 2 mm grain; the coarse one at a third."""
    planes = 31
    fields = []
    for step, grain in zip(TEXTURE_MM, (3.6, 0.75), strict=True):
        size = int(2 * TEXTURE_REACH_MM / step) + 1
        noise = rng.standard_normal((planes, size, size), dtype=np.float32)
        noise = gaussian_filter(noise, (1.0, grain, grain), truncate=2.5)
        fields.append(noise / noise.std())
    return Texture(fields[0] * np.float32(0.36), fields[1])


def _interpolated(
    field: NDArray[np.float32],
    depth_step_mm: float,
    step_mm: float,
    depth_mm: float,
    along_mm: NDArray[np.float32],
) -> Grid:
    planes, size = field.shape[0], field.shape[1]
    at = np.clip(depth_mm / depth_step_mm + (planes - 1) / 2, 0, planes - 1.001)
    low = int(at)
    plane = field[low] * np.float32(low + 1 - at) + field[low + 1] * np.float32(at - low)
    index = np.clip(along_mm / step_mm + (size - 1) / 2, 0, size - 1.001)
    low_index = index.astype(np.intp)
    share = (index - low_index).astype(np.float32)
    rows = plane[low_index] * (1 - share)[:, None] + plane[low_index + 1] * share[:, None]
    return np.asarray(rows[:, low_index] * (1 - share) + rows[:, low_index + 1] * share)


def acquire(ideal: Picture, slab: Slab, *, flaws: Flaws, noise_seed: int) -> Volume:
    """The images that a scanner delivers from ideal slices, float32 with integer values.

    Parameters
    ----------
    ideal
        Signed signal, ``(slices, points, points)``; complex if fat is separate.
    """
    voxels = _measured(ideal, slab, flaws, np.random.default_rng(noise_seed))
    rows, columns = slab.rows_columns
    top, left = (slab.matrix - rows) // 2, (slab.matrix - columns) // 2
    return Volume(voxels[:, top : top + rows, left : left + columns].copy(), slab.affine())


def ideal_slices(
    painter: Painter, slab: Slab, pose: Pose, texture: Texture, step_mm: float = STEP_MM
) -> Picture:
    """The signal in each slice before acquisition, ``(slices, points, points)``."""
    return np.stack(
        [
            _ideal_slice(painter, slab, pose, texture, (index, step_mm))
            for index in range(slab.slices)
        ]
    )


def painted_size(field_of_view_mm: float, step_mm: float = STEP_MM) -> int:
    """Points per side of the painted plane, about 0.9 mm apart."""
    return int(scipy.fft.next_fast_len(round(field_of_view_mm / step_mm)) // 2 * 2)


def _ideal_slice(
    painter: Painter, slab: Slab, pose: Pose, texture: Texture, which: tuple[int, float]
) -> Picture:
    index, step_mm = which
    size = painted_size(slab.field_of_view_mm, step_mm)
    step = slab.field_of_view_mm / size
    along = ((np.arange(size) - (size - 1) / 2) * step).astype(np.float32)
    offset = slab.offsets_mm()[index]
    centre = pose.to_pelvis(slab.centre_mm + slab.axes[:, 0] * offset)
    turned = pose.rotation.T @ slab.axes
    x, d, v = (
        (centre[k] + turned[k, 1] * along[:, None] + turned[k, 2] * along[None, :]).astype(
            np.float32
        )
        for k in range(3)
    )
    grain = np.float32(painter.look.texture)
    plane = SamplePlane(x, d, v, *(grain * noise for noise in texture.at(offset, along)))
    level = int(np.abs(v[:, size // 2]).argmin())
    split = int(np.clip(np.searchsorted(x[level] * np.sign(turned[0, 2]), 0), 8, size - 8))
    thick = (turned[:, 0] * slab.thickness_mm / 3).astype(np.float32)
    halves = [
        _painted_half(painter, plane.cut((slice(None), columns)), side, thick)
        for columns, side in ((slice(split), Side.RIGHT), (slice(split, None), Side.LEFT))
    ]
    return np.concatenate(halves, axis=1)


def _painted_half(
    painter: Painter, plane: SamplePlane, side: Side, thick: NDArray[np.float32]
) -> Picture:
    """Half a slice: the central plane, and around the joint the mean over the thickness."""
    image, banks = painter.paint(plane, side)
    box = joint_box(banks)
    if box is not None:
        piece = plane.cut(box)
        before, _ = painter.paint(piece.moved(-thick), side)
        after, _ = painter.paint(piece.moved(thick), side)
        image[box] = 0.4 * image[box] + 0.3 * (before + after)
    return image


def _measured(
    ideal: Picture, slab: Slab, flaws: Flaws, rng: np.random.Generator
) -> NDArray[np.float32]:
    size, matrix = ideal.shape[1], slab.matrix
    bright = float(np.quantile(np.abs(ideal[:, ::4, ::4]), 0.9)) or 1.0
    lit = _with_shifted_fat(ideal, slab, flaws) * _coil(flaws.bias, *ideal.shape)
    spectrum = scipy.fft.fftshift(scipy.fft.fft2(lit, overwrite_x=True), axes=(1, 2))
    rows, columns = (min(n, size, matrix) // 2 * 2 for n in flaws.measured)
    kept = spectrum[
        :,
        (size - rows) // 2 : (size + rows) // 2,
        (size - columns) // 2 : (size + columns) // 2,
    ]
    grains = rng.standard_normal((*kept.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    kept = kept + np.float32(flaws.noise * bright * size) * grains
    if flaws.spike:
        row, column = (int(at * n) for at, n in zip(flaws.spike_at, (rows, columns), strict=True))
        kept[:, row, column] += np.float32(flaws.spike * bright * size**2)
    kept = kept * _window(rows, columns, slab, size, flaws)
    padded = np.zeros((len(ideal), matrix, matrix), np.complex64)
    top, left = (matrix - rows) // 2, (matrix - columns) // 2
    padded[:, top : top + rows, left : left + columns] = kept
    image = np.abs(scipy.fft.ifft2(scipy.fft.ifftshift(padded, axes=(1, 2)), overwrite_x=True))
    image = image.astype(np.float32) * np.float32((matrix / size) ** 2)
    _add_artefacts(image, flaws, rng)
    brightest = float(np.quantile(image[:, ::4, ::4], 0.995)) or 1.0
    stored = np.clip(np.rint(image * (flaws.full_scale / brightest)), 0, flaws.most)
    return np.asarray(stored, np.float32)


def _with_shifted_fat(ideal: Picture, slab: Slab, flaws: Flaws) -> NDArray[np.float32]:
    """Water plus fat, with fat displaced along the frequency direction."""
    if not np.iscomplexobj(ideal):
        return np.asarray(ideal, np.float32)
    by = flaws.chemical_shift_px * ideal.shape[1] / slab.matrix
    whole = int(np.floor(by))
    part = np.float32(by - whole)
    axis = 3 - flaws.phase_axis
    fat = (1 - part) * np.roll(ideal.imag, whole, axis) + part * np.roll(
        ideal.imag, whole + 1, axis
    )
    return np.asarray(ideal.real + fat, np.float32)


def _add_artefacts(image: NDArray[np.float32], flaws: Flaws, rng: np.random.Generator) -> None:
    """Add ghosts, fold-over and a zipper artefact, in place."""
    size, axis = image.shape[1], flaws.phase_axis
    if flaws.ghost:
        still = image.copy()
        for copy in range(1, flaws.ghost_copies + 1):
            away = int(copy * flaws.ghost_shift * size)
            image += np.float32(flaws.ghost / copy) * np.roll(still, away, axis=axis)
    if flaws.wrap:
        along = np.moveaxis(image, axis, 1)
        strip = size // 10
        far = along[:, -2 * strip : -strip].copy()
        along[:, :strip] += np.float32(flaws.wrap) * far
    if flaws.zipper:
        along = np.moveaxis(image, axis, 1)
        line = along[:, int(flaws.zipper_at * size)]
        line += np.float32(flaws.zipper * image.mean()) * rng.random(line.shape, dtype=np.float32)


def _window(rows: int, columns: int, slab: Slab, size: int, flaws: Flaws) -> NDArray[np.complex64]:
    """Echo decay along the phase direction, apodisation, and the shift between the grids."""
    shift = 0.5 * (1 / slab.matrix - 1 / size)
    factors = []
    for count, is_phase in ((rows, flaws.phase_rows), (columns, not flaws.phase_rows)):
        at = np.arange(count) - count // 2
        far = np.abs(at) / (count / 2)
        weight = np.exp(-(flaws.echo_blur if is_phase else 0.0) * far)
        weight = weight * (1 - flaws.apodisation * far**2) * np.exp(-flaws.blur * far**2)
        factors.append(weight * np.exp(2j * np.pi * at * shift))
    return np.asarray(factors[0][:, None] * factors[1][None, :], np.complex64)


def _coil(bias: tuple[float, ...], slices: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Smooth coil sensitivity, ±20 to 40 %."""
    z, r, c = (np.linspace(-1, 1, n, dtype=np.float32) for n in (slices, rows, columns))
    down, across, deep, bowl_r, bowl_c, twist = (np.float32(b) for b in bias)
    plane = down * r[:, None] + across * c[None, :] + twist * r[:, None] * c[None, :]
    plane = plane - bowl_r * r[:, None] ** 2 - bowl_c * c[None, :] ** 2
    return np.asarray(np.exp(plane)[None] * np.exp(deep * z)[:, None, None])


def trace(joints: dict[Side, Joint], slab: Slab, pose: Pose) -> Delineation:
    """Contours of both joints: where each slice cuts the midsurface within the cartilage."""
    volume_affine = slab.affine()
    contours = []
    for side, joint in joints.items():
        for index, offset in enumerate(slab.offsets_mm()):
            line = visible_line(joint, slab, pose, float(offset))
            points = _pixels(line, volume_affine, slab.rows_columns)
            if points is not None:
                contours.append(Contour(index, side, points, 1.0))
    return Delineation(tuple(contours))


def visible_line(joint: Joint, slab: Slab, pose: Pose, offset_mm: float) -> Matrix:
    """The joint's midline on one slice in LPS, superior to inferior; empty if not visible."""
    v = np.arange(62, -62, -0.5)
    normal = pose.rotation.T @ slab.axes[:, 0]
    through = pose.to_pelvis(slab.centre_mm + slab.axes[:, 0] * offset_mm) @ normal
    d = np.zeros_like(v)
    for _ in range(7):
        x = joint.sign * joint.distance_from_midline(d, v)
        d = (through - normal[2] * v - normal[0] * x) / normal[1]
    inside = joint.outside_cartilage(d, v) < 0
    points = pose.to_patient(np.stack([joint.sign * joint.distance_from_midline(d, v), d, v], -1))
    return _visible_part(points, inside)


def _visible_part(points: Matrix, inside: NDArray[np.bool_]) -> Matrix:
    """The visible part across gaps of up to 20 mm, else the longer one; at least 7 mm."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    runs = [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    runs = [run for run in runs if run.stop - run.start >= 2]
    if not runs:
        return np.zeros((0, 3))
    lengths = [_length(points[run]) for run in runs]
    first, last = runs[0], runs[-1]
    gap = _length(points[first.stop - 1 : last.start + 1]) if len(runs) > 1 else 0.0
    if gap > LARGEST_GAP_MM:
        longest = int(np.argmax(lengths))
        first = last = runs[longest]
        lengths = [lengths[longest]]
    if sum(lengths) < LEAST_VISIBLE_MM:
        return np.zeros((0, 3))
    return points[first.start : last.stop]


def _length(points: Matrix) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _pixels(line_mm: Matrix, affine: Matrix, size: tuple[int, int]) -> Matrix | None:
    """Row and column of points about a pixel apart in the image; None if too short."""
    if len(line_mm) < 2:
        return None
    pixels = np.linalg.solve(affine[:3, :3], (line_mm - affine[:3, 3]).T).T[:, 1:]
    seen = ((pixels >= 0) & (pixels <= np.array(size) - 1)).all(axis=1)
    if _length(line_mm[seen]) < LEAST_VISIBLE_MM:
        return None
    pixels = pixels[seen]
    run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(pixels, axis=0), axis=1))])
    at = np.linspace(0, run[-1], max(2, round(run[-1]) + 1))
    return np.stack([np.interp(at, run, pixels[:, k]) for k in range(2)], axis=1)
