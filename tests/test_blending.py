"""Training-time manipulations and augmentation."""

import cv2
import numpy as np
import pytest

from deepfake_detector.training.augmentation import reencode
from deepfake_detector.training.blending import blend_other, blend_self

RNG = np.random.default_rng


def noise(seed, low=60, high=120):
    return RNG(seed).integers(low, high, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("manipulate", [blend_other, blend_self])
def test_blend_changes_the_inner_face_only(manipulate):
    face, donor = noise(0), noise(1, 120, 180)
    changed = np.abs(manipulate(face, lambda: donor, 0.5, RNG(1)).astype(int) - face).sum(axis=2)
    assert changed[20:40, 20:44].mean() > 3
    assert changed[-3:, :8].max() <= 3 and changed[-3:, -8:].max() <= 3  # the softest edges reach the corners


def test_some_self_blends_change_only_one_part_of_the_face():
    face = noise(0)
    fakes = [blend_self(face, lambda: face, 0.3, RNG(seed)) for seed in range(40)]
    share = np.sort([(np.abs(fake.astype(int) - face).max(axis=2) > 3).mean() for fake in fakes])
    assert share[8] < 0.15 and share[-8] > 0.25


def test_donors_often_stay_as_sharp_as_they_were_and_the_own_face_is_softer():
    face, donor = noise(0), noise(1)
    inside = slice(24, 40), slice(24, 40)

    def detail(crop):
        return float(cv2.Laplacian(crop[inside], cv2.CV_32F).std())

    def share_as_sharp(manipulate, source):
        """Of the blends that change all of `inside`, the share that keeps the detail of `source`."""
        fakes = [manipulate(face, lambda: donor, 0.3, RNG(seed)) for seed in range(100)]
        changed = [fake for fake in fakes if (cv2.absdiff(fake, face)[inside].max(axis=2) > 3).mean() > 0.9]
        assert len(changed) > 30
        return float(np.mean([detail(fake) > 0.9 * detail(source) for fake in changed]))

    assert 0.3 < share_as_sharp(blend_other, donor) < 0.6
    assert share_as_sharp(blend_self, face) < 0.1


@pytest.mark.parametrize("side", [64, 65])
def test_reencoded_crop_keeps_its_shape_and_loses_detail(side):
    crop = cv2.GaussianBlur(RNG(0).integers(0, 255, (side, side, 3), dtype=np.uint8), (0, 0), 1)
    fine, coarse = (np.abs(reencode(crop, qp).astype(int) - crop).mean() for qp in (10, 40))
    again = reencode(crop, 40)
    reencode(cv2.flip(crop, 1), 40)
    assert again.shape == crop.shape and 0 < fine < coarse
    np.testing.assert_array_equal(reencode(crop, 40), again)  # whatever was encoded in between
