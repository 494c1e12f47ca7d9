"""Training-time manipulations: fakes made from real crops, so that a detector learns the traces of blending.

Crops are aligned by landmarks. So the mask follows from the landmark template of the alignment and needs no landmarks
of its own.
"""

from collections.abc import Callable

import cv2
import numpy as np

from deepfake_detector.faces.alignment import landmark_template

CLONED = 0.5  # share of blends with another person that are made in the gradient domain
PARTS = 0.5  # share of self-blends that change only the neighbourhood of one landmark
RECOLORED = 0.7  # share of self-blends in other light
SHIFTED = 0.5  # share of donors that are shifted by whole pixels only
CORNERS = 24  # of the mask's outline

DrawDonor = Callable[[], np.ndarray]


def blend_other(face: np.ndarray, draw_donor: DrawDonor, margin: float, rng: np.random.Generator) -> np.ndarray:
    """`face` with the inner face of another person, in matched colours (Face X-ray, Li et al. 2020, arXiv:1912.13458).

    Args:
        face: an aligned crop, uint8 BGR (size, size, 3).
        draw_donor: gives the aligned crop of another person.
        margin: of both crops, in face widths.
    """
    donor = _move_donor(draw_donor().astype(np.float32), rng)
    mask = random_mask(len(face), margin, rng)
    if rng.random() < 0.3:
        donor = _resample(donor, rng)
    donor = match_color(donor, face.astype(np.float32), mask)
    if rng.random() < CLONED:
        donor = _clone(donor, face, mask)
    return _composite(face, donor, mask, margin, rng)


def blend_self(face: np.ndarray, draw_donor: DrawDonor, margin: float, rng: np.random.Generator) -> np.ndarray:
    """`face` with its own inner face slightly changed (self-blended images; Shiohara & Yamasaki 2022).

    Half of them change only one part, as where an expression was altered. Arguments as for `blend_other`;
    `draw_donor` is not used.
    """
    donor = _move_self(face.astype(np.float32), rng)
    mask = random_mask(len(face), margin, rng)
    if rng.random() < PARTS:
        mask, donor = _warp_part(donor, margin, rng)
    if rng.random() < RECOLORED:
        donor = _recolor(donor, rng)
    if rng.random() < 0.6:
        donor = _resample(donor, rng)
    return _composite(face, donor, mask, margin, rng)


def _composite(
    face: np.ndarray, donor: np.ndarray, mask: np.ndarray, margin: float, rng: np.random.Generator
) -> np.ndarray:
    """`donor` over `face` within `mask`, its edge softened, sometimes half transparent."""
    sigma = _eye_distance(len(face), margin) * rng.uniform(0.01, 0.3)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
    soft = soft[..., None] * (rng.uniform(0.6, 1.0) if rng.random() < 0.2 else 1.0)
    return np.clip(face + soft * (donor - face), 0, 255).astype(np.uint8)


def _eye_distance(size: int, margin: float) -> float:
    points = landmark_template(size, margin)
    return float(points[1, 0] - points[0, 0])


def random_mask(size: int, margin: float, rng: np.random.Generator) -> np.ndarray:
    """The inner face with an irregular outline: uint8 0/1 (size, size)."""
    points, eyes = landmark_template(size, margin), _eye_distance(size, margin)
    centre = (points[:2].mean(axis=0) + points[3:].mean(axis=0)) / 2 + rng.uniform(-0.08, 0.08, 2) * eyes
    axes = np.array([rng.uniform(0.7, 1.15), rng.uniform(0.85, 1.5)]) * eyes
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    waves = np.sum([rng.normal(0, 0.05) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4)], axis=0)
    outline = centre + (1 + waves)[:, None] * axes * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1)
    return mask


def _warp_part(face: np.ndarray, margin: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The neighbourhood of one landmark, uint8 0/1 (size, size), and `face` stretched or squeezed there.

    This is what a change of expression or of the words on the lips leaves: one part is drawn anew.
    """
    size, eyes = face.shape[0], _eye_distance(face.shape[0], margin)
    centre = landmark_template(size, margin)[rng.integers(5)] + rng.uniform(-0.25, 0.25, 2) * eyes
    axes = rng.uniform(0.25, 0.7, 2) * eyes
    mask = np.zeros((size, size), np.uint8)
    cv2.ellipse(mask, (centre.tolist(), (2 * axes).tolist(), rng.uniform(-20, 20)), 1, -1)
    matrix = np.diag(rng.uniform(0.8, 1.25, 2))
    matrix = np.hstack([matrix, (centre - matrix @ centre)[:, None]])
    return mask, cv2.warpAffine(face, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def match_color(face: np.ndarray, base: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`face` with mean and spread of each channel of `base` within `mask` (Reinhard et al. 2001)."""
    (mean, spread), (base_mean, base_spread) = cv2.meanStdDev(face, mask=mask), cv2.meanStdDev(base, mask=mask)
    gain = np.clip(base_spread / np.maximum(spread, 1), 0.4, 2.5)
    return cv2.transform(face, np.hstack([np.diag(gain.ravel()), base_mean - gain * mean]))


def _move_donor(donor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The donor's face out of place, as swapped faces are.

    Half of them are shifted by whole pixels and so stay sharp.
    """
    size, matrix = donor.shape[0], np.eye(2, 3)
    shift = rng.uniform(-0.025, 0.025, 2) * size
    if rng.random() < SHIFTED:
        shift = shift.round()
    else:
        matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-2, 2), rng.uniform(0.95, 1.05))
    matrix[:, 2] += shift
    return cv2.warpAffine(donor, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def _move_self(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift the face a little. Linear resampling softens it, as a generator does."""
    size = face.shape[0]
    shift = rng.uniform(-0.025, 0.025, 2) * size
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-2, 2), rng.uniform(0.95, 1.05))
    matrix[:, 2] += shift
    return cv2.warpAffine(face, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _recolor(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast and tint.

    Grey faces get no tint, which would give the fake away on grey footage.
    """
    colour = min(1.0, float(np.abs(face - face.mean(axis=2, keepdims=True)).mean()) / 5)
    return face * rng.uniform(0.85, 1.15) + rng.uniform(-14, 14) + rng.uniform(-5, 5, 3) * colour


def _resample(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lower the resolution of the face, or sharpen it."""
    if rng.random() < 0.3:
        return face + rng.uniform(0.2, 0.8) * (face - cv2.GaussianBlur(face, (0, 0), 1.5))
    size, small = face.shape[0], round(face.shape[0] * rng.uniform(0.4, 0.9))
    return cv2.resize(
        cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_CUBIC
    )


def _clone(face: np.ndarray, base: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`face` blended into `base` in the gradient domain (Pérez et al. 2003).

    The correction is limited, so that one dark pixel on the edge does not bleach a cheek. It is smooth, so it is
    solved at half the size and a quarter of the cost.
    """
    half = base.shape[1] // 2, base.shape[0] // 2
    source, target = (
        cv2.resize(np.clip(i, 0, 255).astype(np.uint8), half, interpolation=cv2.INTER_AREA) for i in (face, base)
    )
    inside = cv2.resize(mask, half, interpolation=cv2.INTER_NEAREST)
    x, y, width, height = cv2.boundingRect(inside)
    cloned = cv2.seamlessClone(source, target, inside * 255, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return face + cv2.resize(
        np.clip(cloned - source.astype(np.float32), -30, 30), base.shape[1::-1], interpolation=cv2.INTER_LINEAR
    )
