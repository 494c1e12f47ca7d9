"""Training on several processes: batch norm with its activation, one state for all, validation shared and streamed."""

import numpy as np
import pytest
import torch
from training_data import SCHEDULE

from deepfake_detector.training import device as devices
from deepfake_detector.training import validation as validation_module
from deepfake_detector.training.dataset import FaceDataset, make_loader
from deepfake_detector.training.distributed import DistributedContext, synchronize_batch_norm
from deepfake_detector.training.model import create_model
from deepfake_detector.training.samplers import PairedBatchSampler
from deepfake_detector.training.trainer import TrainingState, fit
from deepfake_detector.training.validation import Validation

CPU = torch.device("cpu")


class OtherProcess(DistributedContext):
    """Process 1 of 2 of which process 0 is played by what the test gives."""

    def __init__(self, broadcast=None, gather=None):
        super().__init__(1, 2, CPU)
        object.__setattr__(self, "answers", (broadcast, gather))

    def broadcast(self, value):
        return self.answers[0]

    def gather(self, value):
        return self.answers[1](value)

    def wrap(self, model):
        return model

    def all_reduce_mean(self, value):
        return value


@pytest.mark.parametrize("backbone", ["efficientnet_b0", "mobilenetv2_050", "densenet121"])
def test_synchronized_batch_norm_keeps_the_activation(backbone):
    model = create_model(backbone, size=64).eval()
    crops = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        before = model(crops)
        converted = synchronize_batch_norm(model).eval()
        assert any("Sync" in type(module).__name__ for module in converted.modules())
        torch.testing.assert_close(converted(crops), before)


def test_all_processes_continue_from_the_state_of_the_main_process(small_faces, tmp_path):
    """On another node there is no state file, or an old one: the epoch that the main process is in counts."""
    table, folder = small_faces
    model = create_model("resnet10t", size=32)
    sampler = PairedBatchSampler(table, 4, 3, {"blend": 0.0}, rank=1, world_size=2)
    scores = {"val_auc": 0.5, "val_frame_auc": 0.5, "val_loss": 0.5, "loss": 1.0}
    optimizer = torch.optim.AdamW(model.parameters())
    state = TrainingState("f", SCHEDULE.epochs, model.state_dict(), {}, optimizer.state_dict(), model.state_dict())
    state.history = [scores] * SCHEDULE.epochs
    loader = make_loader(FaceDataset(table, folder), sampler, 0)
    schedule = type(SCHEDULE)(**{**vars(SCHEDULE), "ema_decay": 0})
    group = OtherProcess(broadcast=state)
    with pytest.raises(ValueError, match="different number of parameter groups"):  # it did take that state
        fit(model, (0.5, 1.0), loader, sampler, lambda m: scores, schedule, group, tmp_path / "no.pt", "f", print)


def test_validation_scores_its_part_of_the_videos_and_gets_all_logits(small_faces):
    table = small_faces[0].assign(group=0)
    model = create_model("resnet10t", size=32).eval()
    alone = Validation(table, 1, "mean_logit", small_faces[1], "mean", DistributedContext(0, 1, CPU)).score(
        model, "float32"
    )["logit"]
    seen = []

    def gather(value):
        seen.append(value[0])
        others = np.setdiff1d(np.arange(len(table)), value[0])
        return [(others, alone.to_numpy()[others]), value]

    shared = Validation(table, 1, "mean_logit", small_faces[1], "mean", OtherProcess(gather=gather)).score(
        model, "float32"
    )["logit"]
    np.testing.assert_allclose(shared, alone, atol=1e-5)
    assert sorted(set(table["video_id"][seen[0]])) == ["f2", "r2"]  # every second video


def test_validation_keeps_no_more_crops_in_memory_than_its_limit(small_faces, monkeypatch):
    made = []

    def limited(faces, folder):
        made.append(FaceDataset(faces, folder, cache_bytes=3 * 32 * 32 * 3))
        return made[0]

    monkeypatch.setattr(validation_module, "FaceDataset", limited)
    table = small_faces[0].assign(group=0)
    validation = Validation(table, 1, "mean_logit", small_faces[1], "mean", DistributedContext(0, 1, CPU))
    validation.score(create_model("resnet10t", size=32), "float32")
    assert len(made[0]._cache) == 3


def test_validation_auc_is_that_of_the_aggregation(small_faces, monkeypatch):
    """One face in four of each fake stands out: its highest quarter tells it, and its mean does not."""
    table = small_faces[0].assign(group=range(16))
    logits = np.where(table["label"] == 0, 0.0, np.where(table["member"] == "0.jpg", 3.0, -2.0))
    monkeypatch.setattr(Validation, "score", lambda *_: table.assign(logit=logits))
    alone = DistributedContext(0, 1, CPU)
    for aggregation, auc in (("mean_logit", 0), ("top_k", 1)):
        validation = Validation(table, 1, aggregation, small_faces[1], "mean", alone)
        assert validation.measure(None, "float32")[0]["val_auc"] == auc


def test_emulated_bfloat16_does_not_count(monkeypatch):
    """T4 and V100 emulate it, and PyTorch says that it is supported."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not devices.computes_in_bfloat16(torch.device("cuda"))


def test_apple_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.pick_device().type == devices.pick_device("mps").type == "mps"


def test_apple_gpu_warns_of_what_has_no_deterministic_kernel_and_goes_on(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda mode, warn_only: asked.update(warn_only=warn_only)
    )
    devices.make_deterministic(1, torch.device("mps"))
    assert asked == {"warn_only": True}
    devices.make_deterministic(1, CPU)
    assert asked == {"warn_only": False}
