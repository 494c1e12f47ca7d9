"""Milliseconds of a training step: timm's own, this project's, and what loading its batches costs.

    python -m benchmarks.training

On the faces of the train partition (dvc repro split), the second of two epochs. timm's step is its ClassificationTask
with its AdamW, on the same batches in memory. The project's step has a ranking loss and a localization head besides.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from timm import create_model as create_timm_model
from timm.optim import create_optimizer_v2
from timm.task import ClassificationTask

from benchmarks.command import need
from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.faces.extraction import read_geometry
from deepfake_detector.training.dataset import Batch, make_loader, prefetch
from deepfake_detector.training.device import autocast, pick_device
from deepfake_detector.training.losses import ClassifierWithLoss
from deepfake_detector.training.model import create_model
from deepfake_detector.training.samplers import PairedBatchSampler
from stages.params import Params, parse
from stages.train import select_partition, training_set

Step = Callable[[Batch], torch.Tensor]  # from a batch on the device to its loss


def our_step(precision: str, params: Params, device: torch.device) -> tuple[Step, torch.nn.Module]:
    settings = params.train
    model = create_model(params.model.backbone, patch_head=settings.localization_weight > 0)
    learner = ClassifierWithLoss(model, settings.ranking_weight, settings.localization_weight).to(device).train()

    def step(batch: Batch) -> torch.Tensor:
        crops, labels, aligned = batch
        with autocast(device, precision):
            return learner(crops, labels.float(), aligned)[0]

    return step, learner


def timm_step(precision: str, params: Params, device: torch.device) -> tuple[Step, torch.nn.Module]:
    """The step of timm's training script; pixels are normalised as its loader does on the device."""
    model: Any = create_timm_model(params.model.backbone, num_classes=2).to(device).train()
    task = ClassificationTask(model, device=device, verbose=False)
    mean, std = (torch.tensor(model.default_cfg[key], device=device).view(1, 3, 1, 1) * 255 for key in ("mean", "std"))

    def step(batch: Batch) -> torch.Tensor:
        crops, labels, _ = batch
        with autocast(device, precision):
            loss: torch.Tensor = task((crops.float() - mean) / std, labels.long())["loss"]
        return loss

    return step, model


def seconds(batches: Iterable[Batch], made: tuple[Step, torch.nn.Module]) -> float:
    """Seconds of a training step, mean over the second pass through `batches`: the first warms up."""
    device, (step, model) = pick_device(), made
    optimizer = create_optimizer_v2(model, "adamw", lr=1e-4, fused=device.type != "mps")
    for _ in range(2):
        started, steps = time.perf_counter(), 0
        for batch in prefetch(batches, device):
            crops, labels, aligned = (part.to(device) for part in batch)
            loss = step((crops, labels, aligned))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


def main() -> None:
    params, device = parse("train", __doc__ or ""), pick_device()
    settings = params.train
    need(params.data.index, params.data.labels, params.data.splits)
    faces = load_face_table(params.data.index, params.data.labels, params.data.videos, params.data.splits)
    train = select_partition(faces, "train")
    dataset = training_set(train, read_geometry(params.data.index), params)
    sampler = PairedBatchSampler(
        train, settings.batch_size, settings.seed, settings.manipulations, settings.paired_batches
    )

    def loader(workers: int) -> Iterable[Batch]:
        return make_loader(dataset, sampler, workers)

    memory = [batch for batch, _ in zip(loader(0), range(8), strict=False)] * 8  # a few, again and again
    rows = [
        (f"{name}, {precision}, in memory", seconds(memory, make(precision, params, device)))
        for precision in ("bfloat16", "float32")
        for name, make in (("timm", timm_step), ("this project", our_step))
    ]
    for workers in (0, 1, 2):
        step = seconds(loader(workers), our_step("bfloat16", params, device))
        rows.append((f"this project, bfloat16, {workers} loading processes", step))
    print(f"Batches of {settings.batch_size} faces, {params.model.backbone}.\n")
    print("| step | milliseconds | images a second | against timm, bfloat16 |\n|---|---|---|---|")
    for name, step in rows:
        print(f"| {name} | {step * 1e3:.0f} | {settings.batch_size / step:.0f} | {step / rows[0][1]:.2f} |")


if __name__ == "__main__":
    main()
