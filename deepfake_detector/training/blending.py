"""Fakes made on the fly from real crops, so that a detector learns what blending leaves behind, not who is who.

Two ways: a face of another person (blended images of Face X-ray, Li et al. 2020, arXiv:1912.13458), or the same face slightly
changed (self-blended images, Shiohara & Yamasaki 2022, arXiv:2204.08376), as a whole or around one landmark, as where only an
expression was altered. Crops are aligned by landmarks, so the mask follows from the template of the alignment and needs no
landmarks of its own.
"""

import cv2
import numpy as np

from deepfake_detector.faces.alignment import landmark_template

CLONED = 0.5  # share of blends with another person's face that are made in the gradient domain
PARTS = 0.5  # share of self-blends that change only what is around one landmark
RECOLOURED = 0.7  # share of self-blends in other light
SHIFTED = 0.5  # share of other people's faces that are moved by whole pixels only
BREAKS = 24  # corners of the mask's outline


def blend(base: np.ndarray, donor: np.ndarray | None, margin: float, rng: np.random.Generator) -> np.ndarray:
    """`base` with the face of `donor`, both aligned uint8 BGR (size, size, 3); without donor, with its own face changed."""
    size, eyes = base.shape[0], _eye_distance(base.shape[0], margin)
    face = _moved((base if donor is None else donor).astype(np.float32), donor is not None, rng)
    hard = random_mask(size, margin, rng)
    if donor is None and rng.random() < PARTS:
        hard, face = _part(face, margin, rng)
    if donor is None and rng.random() < RECOLOURED:
        face = _recoloured(face, rng)
    if rng.random() < (0.6 if donor is None else 0.3):
        face = _softened(face, rng)
    if donor is not None:
        face = match_colour(face, base.astype(np.float32), hard)
        if rng.random() < CLONED:
            face = _cloned(face, base, hard)
    soft = cv2.GaussianBlur(hard.astype(np.float32), (0, 0), eyes * rng.uniform(0.01, 0.3))
    soft = soft[..., None] * (rng.uniform(0.6, 1.0) if rng.random() < 0.2 else 1.0)
    return np.clip(base + soft * (face - base), 0, 255).astype(np.uint8)


def _eye_distance(size: int, margin: float) -> float:
    points = landmark_template(size, margin)
    return float(points[1, 0] - points[0, 0])


def random_mask(size: int, margin: float, rng: np.random.Generator) -> np.ndarray:
    """The inner face with an irregular outline: uint8 0/1 (size, size)."""
    points, eyes = landmark_template(size, margin), _eye_distance(size, margin)
    centre = (points[:2].mean(axis=0) + points[3:].mean(axis=0)) / 2 + rng.uniform(-0.08, 0.08, 2) * eyes
    axes = np.array([rng.uniform(0.7, 1.15), rng.uniform(0.85, 1.5)]) * eyes
    angle = np.linspace(0, 2 * np.pi, BREAKS, endpoint=False)
    waves = np.sum([rng.normal(0, 0.05) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4)], axis=0)
    outline = centre + (1 + waves)[:, None] * axes * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1)
    return mask


def _part(face: np.ndarray, margin: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is around one of the five landmarks, uint8 0/1 (size, size), and `face` stretched or squeezed there.

    As where a part only is drawn anew: another expression, another mouth to other words.
    """
    size, eyes = face.shape[0], _eye_distance(face.shape[0], margin)
    centre = landmark_template(size, margin)[rng.integers(5)] + rng.uniform(-0.25, 0.25, 2) * eyes
    axes = rng.uniform(0.25, 0.7, 2) * eyes
    mask = np.zeros((size, size), np.uint8)
    cv2.ellipse(mask, (centre.tolist(), (2 * axes).tolist(), rng.uniform(-20, 20)), 1, -1)
    matrix = np.diag(rng.uniform(0.8, 1.25, 2))
    matrix = np.hstack([matrix, (centre - matrix @ centre)[:, None]])
    return mask, cv2.warpAffine(face, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def match_colour(face: np.ndarray, base: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`face` with mean and spread of each channel of `base` within `mask` (Reinhard et al. 2001)."""
    (mean, spread), (base_mean, base_spread) = cv2.meanStdDev(face, mask=mask), cv2.meanStdDev(base, mask=mask)
    gain = np.clip(base_spread / np.maximum(spread, 1), 0.4, 2.5)
    return cv2.transform(face, np.hstack([np.diag(gain.ravel()), base_mean - gain * mean]))


def _moved(face: np.ndarray, other: bool, rng: np.random.Generator) -> np.ndarray:
    """Out of place, as swapped faces are. Resampling softens: faces of others stay sharp in part, one's own is drawn anew."""
    size, matrix = face.shape[0], np.eye(2, 3)
    shift = rng.uniform(-0.025, 0.025, 2) * size
    if other and rng.random() < SHIFTED:
        shift = shift.round()
    else:
        matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-2, 2), rng.uniform(0.95, 1.05))
    matrix[:, 2] += shift
    resampling = cv2.INTER_CUBIC if other else cv2.INTER_LINEAR
    return cv2.warpAffine(face, matrix, (size, size), flags=resampling, borderMode=cv2.BORDER_REFLECT_101)


def _recoloured(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lighter or darker, of other contrast, and tinted as far as it has colour: on grey footage a tint would give all away."""
    colour = min(1.0, float(np.abs(face - face.mean(axis=2, keepdims=True)).mean()) / 5)
    return face * rng.uniform(0.85, 1.15) + rng.uniform(-14, 14) + rng.uniform(-5, 5, 3) * colour


def _softened(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of lower resolution, or sharpened."""
    if rng.random() < 0.3:
        return face + rng.uniform(0.2, 0.8) * (face - cv2.GaussianBlur(face, (0, 0), 1.5))
    size, small = face.shape[0], round(face.shape[0] * rng.uniform(0.4, 0.9))
    return cv2.resize(
        cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_CUBIC
    )


def _cloned(face: np.ndarray, base: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Gradient-domain blending (Pérez et al. 2003), its correction limited so that one dark edge bleaches nothing.

    The correction is smooth, so it is solved for at half the size, at a quarter of the cost.
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
