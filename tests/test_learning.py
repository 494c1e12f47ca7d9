"""Network, data, blending, checkpoint, and a training that repeats and resumes exactly."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.archive import encode_crop, write_archive
from deepfake_detector.faces.extraction import Geometry
from deepfake_detector.training import dataset, trainer
from deepfake_detector.training.augmentation import augment, reencode
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.blending import blend
from deepfake_detector.training.checkpoint import CheckpointError, DetectorConfig, load_detector, save_detector
from deepfake_detector.training.dataset import (
    FaceDataset,
    PairedBatchSampler,
    SequentialBatches,
    make_loader,
    nearest_originals,
    to_tensor,
)
from deepfake_detector.training.distributed import ProcessGroup
from deepfake_detector.training.losses import ClassifierWithLoss, localization_target
from deepfake_detector.training.model import ModelError, SmallMapConv, create_model
from deepfake_detector.training.scoring import batch_crops, predict_logits
from stages.params import Train

SETTINGS = Train(
    seed=3, epochs=3, batch_size=4, lr=1e-3, weight_decay=0.01, warmup=0.1, ema=0.9, patience=9, precision="float32",
    pairs=True, augment=True, blend=0.3, self_blend=0.2, rank=0.5, mask=1.0, workers=0,
)  # fmt: skip
CPU = torch.device("cpu")
ALONE = ProcessGroup(0, 1, CPU)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Two real and two fake videos with four random crops each: a table and the folder of archives."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    rows = []
    for video, label, source in (("r1", 0, ""), ("r2", 0, ""), ("f1", 1, "r1"), ("f2", 1, "r2")):
        members = [(f"{i}.jpg", encode_crop(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))) for i in range(4)]
        write_archive(folder / f"{video}.zip", members)
        rows += [(video, 0, name, i / 10, label, source) for i, (name, _) in enumerate(members)]
    return pd.DataFrame(rows, columns=["video_id", "track", "member", "time", "label", "source_video"]), folder


def make_config(**changes):
    values = {
        "backbone": "resnet10t",
        "geometry": Geometry(4, 32, 0.5, "centerface", 0.5),
        "calibration": Calibration(scale=1, bias=0, threshold=0.5, low=0.4, high=0.6),
        "params": {"train": {"seed": 1}},
        "corpus": "abc",
        "epoch": 1,
        "val_auc": 0.5,
    }
    return DetectorConfig(**values | changes)


def train(faces, state, epochs=3, settings=SETTINGS, workers=0, fingerprint="f"):
    table, folder = faces
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(settings.seed)
    model = create_model("resnet10t")
    sampler = PairedBatchSampler(table, settings)
    dataset = FaceDataset(table, folder, augment, 0.5)

    def validate(model):
        loss = float(next(model.parameters()).sum().item() % 1)
        return {"val_auc": 0.5, "val_face_auc": 0.5, "val_loss": loss, "val_loss_error": 0.01}

    def stop_after(epoch, scores):
        if epoch + 1 == epochs < settings.epochs:
            raise KeyboardInterrupt

    loader = make_loader(dataset, sampler, workers)
    try:
        return trainer.fit(model, loader, sampler, validate, settings, ALONE, state, fingerprint, stop_after)
    except KeyboardInterrupt:
        return None


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a) and a.keys() == b.keys()


def test_training_repeats_exactly_whatever_the_number_of_workers(faces, tmp_path):
    one = train(faces, tmp_path / "one.pt")
    two = train(faces, tmp_path / "two.pt", workers=2)
    assert same(one.lesson, two.lesson) and same(one.best, two.best) and one.history == two.history


def test_interrupted_training_resumes_to_the_same_weights(faces, tmp_path):
    whole = train(faces, tmp_path / "whole.pt")
    assert train(faces, tmp_path / "cut.pt", epochs=1) is None
    resumed = train(faces, tmp_path / "cut.pt")
    assert same(whole.lesson, resumed.lesson) and same(whole.best, resumed.best) and whole.history == resumed.history


def test_state_of_another_training_is_not_continued(faces, tmp_path, capsys):
    train(faces, tmp_path / "a.pt", epochs=1)
    other = train(faces, tmp_path / "a.pt", fingerprint="other")
    assert "belongs to other params" in capsys.readouterr().out
    assert len(other.history) == SETTINGS.epochs


def test_damaged_state_is_said_and_replaced(faces, tmp_path, capsys):
    (tmp_path / "a.pt").write_bytes(b"not a state")
    assert len(train(faces, tmp_path / "a.pt").history) == SETTINGS.epochs
    assert "cannot be resumed" in capsys.readouterr().out


def test_training_stops_when_validation_gets_no_better(faces, tmp_path):
    table, folder = faces
    settings = SETTINGS.model_copy(update={"epochs": 10, "patience": 2})
    model, sampler = create_model("resnet10t"), PairedBatchSampler(table, settings)
    losses = iter([0.5, 0.3, 0.4, 0.34, 0.4, 0.4])  # the fourth is within an error of the lowest, the second
    loader = make_loader(FaceDataset(table, folder), sampler, 0)
    state = trainer.fit(
        model, loader, sampler,
        lambda m: {"val_auc": 0.5, "val_face_auc": 0.5, "val_loss": next(losses), "val_loss_error": 0.05},
        settings, ALONE, tmp_path / "a.pt", "f", lambda e, s: None,
    )  # fmt: skip
    assert state.epoch == 6 and state.best_epoch == 3


def test_batches_put_each_fake_beside_its_original_at_the_same_moment(faces):
    table, _ = faces
    settings = SETTINGS.model_copy(update={"blend": 0.0, "self_blend": 0.0})
    sampler = PairedBatchSampler(table, settings)
    seen = []
    for batch in sampler:
        for (fake, fake_seed, _), (real, real_seed, _) in zip(batch[::2], batch[1::2], strict=True):
            assert table["label"][fake] == 1 and table["label"][real] == 0
            assert table["source_video"][fake] == table["video_id"][real] and table["time"][fake] == table["time"][real]
            assert fake_seed == real_seed
            seen.append(fake)
    assert sorted(seen) == table.index[table["label"] == 1].tolist()


def test_fake_without_its_original_is_put_beside_some_real_face(faces):
    table = faces[0].drop(columns="source_video")
    assert (nearest_originals(table) == -1).all()
    for sampler in (
        PairedBatchSampler(table, SETTINGS),
        PairedBatchSampler(faces[0], SETTINGS.model_copy(update={"pairs": False})),
    ):
        for batch in sampler:
            assert all(table["label"][row] == 0 for row, _, _ in batch[1::2])


def test_real_video_without_a_fake_is_learnt_from_too(faces):
    table = faces[0][faces[0]["video_id"] != "f2"].reset_index(drop=True)
    settings = SETTINGS.model_copy(update={"blend": 0.0, "self_blend": 0.0})
    batches = list(PairedBatchSampler(table, settings))
    assert {table["video_id"][row] for batch in batches for row, _, _ in batch[1::2]} == {"r1", "r2"}
    assert all(table["label"][row] == 1 for batch in batches for row, _, _ in batch[::2])


def test_processes_share_the_pairs_of_a_batch(faces):
    whole = list(PairedBatchSampler(faces[0], SETTINGS))
    shards = [list(PairedBatchSampler(faces[0], SETTINGS, rank, 2)) for rank in (0, 1)]
    for batch, one, two in zip(whole, *shards, strict=True):
        assert len(one) == len(two) == len(batch) // 2 and sorted(one + two) == sorted(batch)


def test_blended_faces_are_labelled_fake_and_differ_inside_only(faces):
    rng = np.random.default_rng(0)
    base, donor = (
        np.full((64, 64, 3), value, np.uint8) + rng.integers(0, 60, (64, 64, 3), dtype=np.uint8) for value in (60, 120)
    )
    for other in (donor, None):
        changed = np.abs(blend(base, other, 0.5, np.random.default_rng(1)).astype(int) - base).sum(axis=2)
        assert changed[20:40, 20:44].mean() > 3
        assert (
            changed[-3:, :8].max() <= 3 and changed[-3:, -8:].max() <= 3
        )  # the softest edges breathe as far as the corners
    dataset = FaceDataset(*faces, None, 0.5)
    assert [dataset[key][1] for key in ((0, 1, -1), (0, 1, 0), (0, 1, 4), (8, 1, -1))] == [0, 1, 1, 1]


def test_some_self_blends_change_only_what_is_around_a_landmark():
    base = np.random.default_rng(0).integers(60, 120, (64, 64, 3), dtype=np.uint8)
    fakes = [blend(base, None, 0.3, np.random.default_rng(seed)) for seed in range(40)]
    share = np.sort([(np.abs(fake.astype(int) - base).max(axis=2) > 3).mean() for fake in fakes])
    assert share[8] < 0.15 and share[-8] > 0.25


def test_faces_of_others_often_stay_as_sharp_as_they_were_and_ones_own_is_softer():
    base, donor = (np.random.default_rng(seed).integers(60, 120, (64, 64, 3), dtype=np.uint8) for seed in (0, 1))
    inside = slice(24, 40), slice(24, 40)

    def detail(face: np.ndarray) -> float:
        return float(cv2.Laplacian(face[inside], cv2.CV_32F).std())

    def as_sharp(other: np.ndarray | None) -> float:
        """Share of the blends that are new all over `inside` in which detail is kept."""
        fakes = [blend(base, other, 0.3, np.random.default_rng(seed)) for seed in range(100)]
        new = [fake for fake in fakes if (cv2.absdiff(fake, base)[inside].max(axis=2) > 3).mean() > 0.9]
        assert len(new) > 30
        return float(np.mean([detail(fake) > 0.9 * detail(base if other is None else other) for fake in new]))

    assert 0.3 < as_sharp(donor) < 0.6
    assert as_sharp(None) < 0.1


@pytest.mark.parametrize("backbone", ["resnet10t", "mobilenetv2_050", "vit_tiny_patch16_224"])
def test_new_network_is_sure_of_nothing(backbone):
    crops = torch.randint(0, 255, (2, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        assert create_model(backbone)(crops).abs().max() < 1


def test_augmentation_is_drawn_from_its_seed_alone(faces):
    dataset = FaceDataset(*faces, augment, 0.5)
    assert torch.equal(dataset[(0, 5, -1)][0], dataset[(0, 5, -1)][0])
    assert not torch.equal(dataset[(0, 5, -1)][0], dataset[(0, 6, -1)][0])


def test_network_is_asked_where_a_fake_differs_from_its_original():
    crops = torch.full((4, 3, 32, 32), 100, dtype=torch.uint8)
    crops[0, :, 8:24, 8:24] += 50
    places, weight = localization_target(crops, (4, 4))
    assert places[0, 0].sum() == 4 and places[0, 0, 1:3, 1:3].all() and not places[1:].any() and weight.all()


def test_where_little_is_changed_the_most_changed_place_is_one():
    crops = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)
    crops[0, :, 8:16, 8:16] += 2
    places, _ = localization_target(crops, (4, 4))
    assert places[0, 0, 1, 1] == 1 and places.sum() == 1


def test_network_is_not_asked_about_a_fake_beside_some_other_face():
    crops = torch.full((4, 3, 32, 32), 100, dtype=torch.uint8)
    crops[2] += 50
    assert localization_target(crops, (4, 4))[1].ravel().tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_lesson_teaches_the_classifier_that_is_kept(mask):
    torch.manual_seed(0)
    model = create_model("resnet10t", places=mask > 0)
    lesson = ClassifierWithLoss(model, SETTINGS.model_copy(update={"mask": mask}))
    crops = torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8)
    lesson(crops, torch.tensor([1.0, 0.0] * 4)).backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert {name.removeprefix("model.") for name in lesson.state_dict()} == set(model.state_dict())


@pytest.mark.parametrize("side", [64, 65])
def test_recompressed_crop_keeps_its_shape_and_loses_detail(side):
    crop = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8), (0, 0), 1)
    fine, coarse = (np.abs(reencode(crop, crf).astype(int) - crop).mean() for crf in (10, 40))
    again = reencode(crop, 40)
    reencode(cv2.flip(crop, 1), 40)
    assert 0 < fine < coarse and np.array_equal(reencode(crop, 40), again)  # whatever was encoded in between


def test_score_does_not_depend_on_the_batch_or_on_the_way_there(faces):
    """A crop from an archive in training order and the same crop in memory give one logit: same code, same colours."""
    table, folder = faces
    model = create_model("resnet10t").eval()
    loader = make_loader(FaceDataset(table, folder), SequentialBatches(batch_lengths(track_ids(table), 3, "mean")), 0)
    trained = predict_logits(model, (crops for crops, _ in loader), CPU)
    from deepfake_detector.faces.archive import read_crops

    crops = [read_crops(folder / f"{v}.zip", [m])[0] for v, m in zip(table["video_id"], table["member"], strict=True)]
    np.testing.assert_allclose(predict_logits(model, batch_crops(crops, [len(crops)]), CPU), trained, atol=1e-4)


def test_faces_are_kept_in_memory_up_to_a_limit_and_stay_the_same(faces, monkeypatch):
    table, folder = faces
    monkeypatch.setattr(dataset, "KEPT", 3 * 32 * 32 * 3)
    data = FaceDataset(table, folder, augment, 0.5)
    keys = [(row, row, row - 1) for row in range(len(table))]
    first, again = [data[key] for key in keys], [data[key] for key in keys]
    for (crop, label), (repeated, same_label) in zip(first, again, strict=True):
        assert torch.equal(crop, repeated) and label == same_label
    assert len(data._kept) == 3


@pytest.mark.parametrize(("stride", "side"), [(1, 3), (2, 8), (2, 7), (1, 1)])
def test_convolution_of_a_small_map_as_a_product_gives_the_same_result_and_gradients(stride, side, monkeypatch):
    monkeypatch.setattr(SmallMapConv, "NARROWEST", 8)
    plain = torch.nn.Conv2d(6, 8, 3, stride, 1)
    other = torch.nn.Sequential(torch.nn.Conv2d(6, 8, 3, stride, 1), torch.nn.Conv2d(6, 8, 1))
    other[0].load_state_dict(plain.state_dict())
    SmallMapConv.take_over(other)
    assert [type(layer) for layer in other] == [SmallMapConv, torch.nn.Conv2d]
    images, results = torch.randn(5, 6, side, side), []
    for layer in (plain, other[0]):
        image = images.clone().requires_grad_()
        answer = layer(image)
        (answer**2).sum().backward()
        results.append((answer, image.grad, layer.weight.grad, layer.bias.grad))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_tensor_is_red_green_blue():
    crop = np.zeros((2, 2, 3), np.uint8)
    crop[..., 0] = 255  # blue in OpenCV's order
    assert to_tensor(crop)[:, 0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("places", [False, True])
def test_face_and_its_mirror_image_are_judged_alike(places):
    model = create_model("resnet10t", places=places).eval()
    crops = torch.randint(0, 255, (3, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(model(crops), model(crops.flip(3)))
    assert not torch.allclose(model.forward_features(crops)[0], model.forward_features(crops.flip(3))[0])


def test_answer_for_a_face_is_the_mean_of_its_places_and_one_for_all():
    model = create_model("resnet10t", places=True).eval()
    crops = torch.randint(0, 255, (3, 3, 64, 64), dtype=torch.uint8)
    before, places, _ = model.forward_features(crops)
    assert places.shape == (3, 1, 4, 4)
    model.places.bias.data += 1
    torch.testing.assert_close(model.forward_features(crops)[0], before + 1)


@pytest.mark.parametrize("places", [False, True])
def test_checkpoint_gives_back_the_detector_and_the_same_bytes(tmp_path, places):
    model, config = create_model("resnet10t", places=places).eval(), make_config()
    save_detector(tmp_path / "a.safetensors", model, config)
    save_detector(tmp_path / "b.safetensors", model, config)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded, read = load_detector(tmp_path / "a.safetensors")
    crops = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    assert read == config and torch.equal(loaded(crops), model(crops))


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    save_detector(tmp_path / "a.safetensors", create_model("resnet10t"), make_config(backbone="resnet18"))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_detector(tmp_path / "a.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle"])
def test_what_is_no_checkpoint_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_detector(path)


def test_weights_without_metadata_are_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="metadata"):
        load_detector(tmp_path / "x.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "y.safetensors", {"detector": json.dumps({"backbone": "resnet18"})})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_detector(tmp_path / "y.safetensors")


def test_unknown_backbone_names_near_ones():
    with pytest.raises(ModelError, match="resnet18"):
        create_model("resnet1")


def save_backbone(path):
    state = create_model("resnet10t").backbone.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def test_backbone_starts_from_a_weights_file_of_any_head(tmp_path):
    save_backbone(tmp_path / "w.safetensors")
    started = create_model("resnet10t", str(tmp_path / "w.safetensors")).backbone.state_dict()
    read = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(started[name], read[name]) for name in read if not name.startswith("fc."))


def test_weights_of_another_backbone_are_refused(tmp_path):
    save_backbone(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"model\.weights"):
        create_model("resnet18", str(tmp_path / "w.safetensors"))


def test_imagenet_out_of_reach_is_an_error_that_says_what_to_do(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("deepfake_detector.training.model.timm.create_model", unreachable)
    with pytest.raises(ModelError, match=r"cannot be fetched.*\.safetensors"):
        create_model("resnet18", "imagenet")
