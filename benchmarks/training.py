"""Cost of data loading: milliseconds of a training step, against the same steps on batches that are in memory.

    python -m benchmarks.training

On the faces of the train partition (dvc repro split), the second of two epochs: a row for each precision and number of
loading processes.
"""

import time
from collections.abc import Iterable

import torch

from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.faces.extraction import read_geometry
from deepfake_detector.training.dataset import Batch, make_loader, prefetch
from deepfake_detector.training.device import autocast, pick_device
from deepfake_detector.training.losses import ClassifierWithLoss
from deepfake_detector.training.model import create_model
from deepfake_detector.training.samplers import PairedBatchSampler
from stages.params import Params, parse
from stages.train import select_partition, training_set


def seconds(batches: Iterable[Batch], precision: str, params: Params) -> float:
    """Seconds of a training step, mean over the second pass through `batches`: the first warms up."""
    device = pick_device()
    settings = params.train
    model = create_model(params.model.backbone, patch_head=settings.localization_weight > 0)
    learner = ClassifierWithLoss(model, settings.ranking_weight, settings.localization_weight).to(device).train()
    optimizer = torch.optim.AdamW(learner.parameters(), fused=True)
    for _ in range(2):
        started, steps = time.perf_counter(), 0
        for batch in prefetch(batches, device):
            crops, labels, aligned = (part.to(device) for part in batch)
            with autocast(device, precision):
                loss, _ = learner(crops, labels.float(), aligned)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


def main() -> None:
    params = parse("train", __doc__ or "")
    settings = params.train
    faces = load_face_table(params.data.index, params.data.labels, params.data.videos, params.data.splits)
    train = select_partition(faces, "train")
    dataset = training_set(train, read_geometry(params.data.index), params)
    sampler = PairedBatchSampler(
        train, settings.batch_size, settings.seed, settings.manipulations, settings.paired_batches
    )

    def loader(workers: int) -> Iterable[Batch]:
        return make_loader(dataset, sampler, workers)

    memory = [batch for batch, _ in zip(loader(0), range(8), strict=False)] * 8  # a few, again and again
    base = seconds(memory, "bfloat16", params)
    rows = [("bfloat16, in memory", base), ("float32, in memory", seconds(memory, "float32", params))]
    rows += [(f"bfloat16, {n} loading processes", seconds(loader(n), "bfloat16", params)) for n in (0, 1, 2)]
    print("| batches | ms a step | images a second | against bfloat16 in memory |\n|---|---|---|---|")
    for name, step in rows:
        print(f"| {name} | {step * 1e3:.0f} | {settings.batch_size / step:.0f} | {step / base:.2f} |")


if __name__ == "__main__":
    main()
