"""Losses: which patches changed, and that every weight of the detector learns."""

import pytest
import torch

from deepfake_detector.training.losses import ClassifierWithLoss, localization_target
from deepfake_detector.training.model import create_model

ALIGNED = torch.ones(4, dtype=torch.bool)


def test_localization_target_marks_the_patches_where_a_fake_differs_from_its_original():
    crops = torch.full((4, 3, 32, 32), 100, dtype=torch.uint8)
    crops[0, :, 8:24, 8:24] += 50
    target, weight = localization_target(crops, ALIGNED, (4, 4))
    assert target[0, 0].sum() == 4 and target[0, 0, 1:3, 1:3].all() and not target[1:].any() and weight.all()


def test_where_little_is_changed_the_most_changed_patch_is_marked():
    crops = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)
    crops[0, :, 8:16, 8:16] += 2
    target, _ = localization_target(crops, ALIGNED[:2], (4, 4))
    assert target[0, 0, 1, 1] == 1 and target.sum() == 1


def test_noise_of_compression_is_no_change():
    """Every patch differs by about 3 of 255, the face by 40."""
    torch.manual_seed(1)
    crops = torch.full((2, 3, 96, 96), 100, dtype=torch.uint8)
    crops[0] = (crops[0] + torch.randn(3, 96, 96) * 3.5).clamp(0, 255).byte()
    crops[0, :, 32:64, 32:64] += 40
    target, _ = localization_target(crops, ALIGNED[:2], (6, 6))
    assert target[0, 0, 2:4, 2:4].all() and target.sum() == 4


def test_fake_beside_a_face_that_was_not_cut_like_it_has_no_localization_target():
    crops = torch.full((6, 3, 32, 32), 100, dtype=torch.uint8)
    crops[2] += 50  # another moment, whatever the labels say
    aligned = torch.tensor([True, False, True, False, False, False])
    assert localization_target(crops, aligned, (4, 4))[1].ravel().tolist() == [1, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("patch_head", [False, True])
def test_loss_reaches_every_weight_of_the_classifier(patch_head):
    torch.manual_seed(0)
    model = create_model("resnet10t", patch_head=patch_head)
    learner = ClassifierWithLoss(model, ranking_weight=0.5, localization_weight=1.0)
    crops = torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8)
    loss, terms = learner(crops, torch.tensor([1.0, 0.0] * 4), torch.ones(8, dtype=torch.bool))
    torch.testing.assert_close(loss.detach(), 0.5 * terms[0] + 0.5 * terms[1] + terms[2])
    assert (terms[2] > 0) == patch_head
    loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert {name.removeprefix("model.") for name in learner.state_dict()} == set(model.state_dict())
