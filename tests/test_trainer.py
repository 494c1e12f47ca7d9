"""A training repeats and resumes exactly, stops in time, and keeps the right epoch."""

import dataclasses

import numpy as np
import pytest
import torch
from training_data import MANIPULATIONS, SCHEDULE

from deepfake_detector.training.augmentation import augment
from deepfake_detector.training.dataset import FaceDataset, make_loader
from deepfake_detector.training.distributed import DistributedContext
from deepfake_detector.training.model import create_model
from deepfake_detector.training.samplers import PairedBatchSampler
from deepfake_detector.training.trainer import fit

ALONE = DistributedContext(0, 1, torch.device("cpu"))


def train(faces, path, interrupt_after=0, schedule=SCHEDULE, workers=0, fingerprint="f", losses=None, dropout=0.0):
    """The final state; None if training is interrupted after so many epochs. `losses`: two people's in each epoch."""
    table, folder = faces
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(3)
    model = create_model("resnet10t", size=32)
    model.backbone.drop_rate = dropout
    sampler = PairedBatchSampler(table, 4, 3, MANIPULATIONS)
    loader = make_loader(FaceDataset(table, folder, augment, 0.5), sampler, workers)
    given = iter(losses or [])

    def validate(model):
        chance = float(next(model.parameters()).sum().item() % 1)
        people = np.array(next(given, [chance, chance]))
        scores = {"val_auc": 0.5, "val_frame_auc": 0.5, "val_loss": float(people.mean())}
        return scores, (people - people.mean()) / len(people)

    def stop_after(epoch, scores):
        if epoch + 1 == interrupt_after:
            raise KeyboardInterrupt

    try:
        return fit(model, (0.5, 1.0), loader, sampler, validate, schedule, ALONE, path, fingerprint, stop_after)
    except KeyboardInterrupt:
        return None


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a) and a.keys() == b.keys()


def test_training_repeats_exactly_whatever_the_number_of_workers(small_faces, tmp_path):
    one = train(small_faces, tmp_path / "one.pt")
    two = train(small_faces, tmp_path / "two.pt", workers=2)
    assert same(one.model, two.model) and same(one.best, two.best) and one.history == two.history


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_interrupted_training_resumes_to_the_same_weights(small_faces, tmp_path, dropout):
    whole = train(small_faces, tmp_path / "whole.pt", dropout=dropout)
    assert train(small_faces, tmp_path / "cut.pt", interrupt_after=1, dropout=dropout) is None
    resumed = train(small_faces, tmp_path / "cut.pt", dropout=dropout)
    assert same(whole.model, resumed.model) and same(whole.best, resumed.best) and whole.history == resumed.history


def test_state_of_another_training_is_not_continued(small_faces, tmp_path, caplog):
    train(small_faces, tmp_path / "a.pt", interrupt_after=1)
    other = train(small_faces, tmp_path / "a.pt", fingerprint="other")
    assert "belongs to other params" in caplog.text
    assert len(other.history) == SCHEDULE.epochs


def test_damaged_state_is_reported_and_replaced(small_faces, tmp_path, caplog):
    (tmp_path / "a.pt").write_bytes(b"not a state")
    assert len(train(small_faces, tmp_path / "a.pt").history) == SCHEDULE.epochs
    assert "cannot be resumed" in caplog.text


def test_training_stops_when_validation_gets_no_better(small_faces, tmp_path):
    schedule = dataclasses.replace(SCHEDULE, epochs=10, patience=2)
    losses = [[0.5, 0.5], [0.2, 0.4], [0.3, 0.5], [0.2, 0.42], [0.4, 0.5], [0.5, 0.5]]
    state = train(small_faces, tmp_path / "a.pt", schedule=schedule, losses=losses)
    assert state.epoch == 6 and state.best_epoch == 3


def test_epoch_that_is_worse_for_everybody_is_not_chosen_however_much_people_differ(small_faces, tmp_path):
    schedule = dataclasses.replace(SCHEDULE, epochs=2)
    state = train(small_faces, tmp_path / "a.pt", schedule=schedule, losses=[[0.1, 0.9], [0.15, 0.96]])
    assert state.best_epoch == 0


def test_loss_that_is_no_number_ends_the_training_with_advice(small_faces, tmp_path):
    schedule = dataclasses.replace(SCHEDULE, lr=1e30, ema_decay=0)
    with pytest.raises(FloatingPointError, match=r"lower train\.lr"):
        train(small_faces, tmp_path / "a.pt", schedule=schedule)


def test_norms_and_biases_have_no_weight_decay(small_faces, tmp_path):
    state = train(small_faces, tmp_path / "a.pt")
    decays = dict.fromkeys((0.0, SCHEDULE.weight_decay), 0)
    for group in state.optimizer["param_groups"]:
        decays[group["weight_decay"]] += len(group["params"])
    weights = list(create_model("resnet10t").parameters())
    vectors = sum(parameter.ndim <= 1 for parameter in weights)
    assert decays == {0.0: vectors, SCHEDULE.weight_decay: len(weights) - vectors}


def test_history_has_the_terms_of_the_loss_the_gradient_and_the_learning_rate(small_faces, tmp_path):
    history = train(small_faces, tmp_path / "a.pt").history
    for scores in history:
        assert scores["loss"] == pytest.approx(
            0.5 * scores["classification_loss"] + 0.5 * scores["ranking_loss"] + scores["localization_loss"], rel=1e-5
        )
        assert scores["gradient_norm"] > 0 and 0 < scores["lr"] <= SCHEDULE.lr
    assert history[-1]["lr"] < history[0]["lr"]


@pytest.mark.parametrize(("trainable", "learning"), [(0, {"fc"}), (1, {"fc", "layer4"}), ("norm", None)])
def test_what_is_frozen_keeps_its_weights_and_statistics(small_faces, tmp_path, trainable, learning):
    torch.manual_seed(3)
    before = create_model("resnet10t", size=32).state_dict()
    schedule = dataclasses.replace(SCHEDULE, trainable=trainable, ema_decay=0)
    after = train(small_faces, tmp_path / "a.pt", schedule=schedule).model
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if learning is None:
        assert {name for name in changed if before[name].ndim > 1} == {"backbone.fc.weight"}
        assert "backbone.layer1.0.bn1.weight" in changed and "backbone.layer1.0.bn1.running_mean" in changed
    else:
        assert {name.split(".")[1] for name in changed} == learning


def test_lower_layers_learn_more_slowly(small_faces, tmp_path):
    schedule = dataclasses.replace(SCHEDULE, layer_decay=0.5)
    groups = train(small_faces, tmp_path / "a.pt", schedule=schedule).optimizer["param_groups"]
    rates = [group["lr"] / groups[-1]["lr"] for group in groups]
    assert rates == sorted(rates) and rates[-1] == 1
    assert rates[0] == pytest.approx(0.5**5)  # the stem, below four blocks and the classifier
