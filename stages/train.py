"""Train a detector on the faces of the train partition, and calibrate it on those of val.

    python -m stages.train
    python -m stages.train --epochs 30 --batch-size 32 --lr 1e-4
    torchrun --nproc-per-node=4 -m stages.train         # four GPUs (or processes) share each batch

A training that was killed resumes from train.state and gives the same bytes. Learning curves: dvc plots show, or
tensorboard --logdir runs.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pandas as pd
import torch
from dvclive import Live
from torch.utils.tensorboard import SummaryWriter

from deepfake_detector.code_fingerprint import code_fingerprint
from deepfake_detector.corpora.face_table import corpus_fingerprint, load_face_table, read_visual_links, videos_of
from deepfake_detector.corpora.identity_graph import links
from deepfake_detector.corpora.labels import LabelsError
from deepfake_detector.corpora.leakage import link_digests
from deepfake_detector.faces.archive import ArchiveError
from deepfake_detector.faces.extraction import FaceIndexError, read_geometry
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.files import delete_partial_files, file_sha256
from deepfake_detector.training.augmentation import augmentation
from deepfake_detector.training.checkpoint import DetectorConfig, save_detector
from deepfake_detector.training.dataset import FaceDataset, make_loader
from deepfake_detector.training.detector_config import CheckpointError, read_safetensors_config
from deepfake_detector.training.device import computes_in_bfloat16, make_deterministic
from deepfake_detector.training.distributed import DistributedContext, init_process_group
from deepfake_detector.training.model import FaceClassifier, ModelError, create_model, weights_file
from deepfake_detector.training.pair_pictures import pair_pictures
from deepfake_detector.training.samplers import PairedBatchSampler, add_originals
from deepfake_detector.training.temporal_heads import fit_temporal_head
from deepfake_detector.training.trainer import EpochMetrics, Schedule, TrainingState, fit
from deepfake_detector.training.validation import Validation, calibrate, most_prominent
from deepfake_detector.version import VERSION
from stages.params import Params, fail, parse, say

NO_HYPERPARAMETERS = {
    "workers",
    "checkpoint",
    "state",
    "logs",
}  # keys of the section train that the weights do not depend on
SAMPLE = (
    "trained on the sample corpus: grey photographs of 40 people, with faces swapped by three simple methods. It flags "
    "genuine recordings of other kinds. Use it to try things out, never to judge a real video"
)
PAIRS_SHOWN = 8  # as pictures in TensorBoard
LIBRARIES = ("av", "numpy", "opencv-python", "timm", "torch")


def main() -> None:
    params = parse("train", __doc__ or "")
    cv2.setNumThreads(1)  # faces are prepared beside the network, which needs all cores
    context = init_process_group()
    try:
        faces = load_face_table(params.data.index, params.data.labels, params.data.videos, params.data.splits)
        geometry = read_geometry(params.data.index)
        check_trainable(faces, geometry, params, context)
        make_deterministic(params.train.seed, context.device)
        model = create_model(
            params.model.backbone, params.model.weights, geometry.size, patch_head=params.train.localization_weight > 0
        )
    except (LabelsError, FaceIndexError, ModelError) as error:
        fail(str(error))
    model.to(context.device)
    max_people, aggregation = params.train.max_people, params.train.aggregation
    val = select_partition(faces, "val")
    validation = Validation(val, max_people, aggregation, Path(params.data.faces), params.model.temporal, context)
    faces = most_prominent(faces, max_people)
    try:
        state = train(model, add_originals(select_partition(faces, "train")), validation, geometry, params, context)
        calibrate_and_save(model, state, validation, faces, geometry, params, context)
    except FloatingPointError as error:
        fail(str(error))
    except ArchiveError as error:
        fail(str(error).rpartition("ArchiveError: ")[2].strip())  # a loading process puts its traceback in front
    context.shut_down()


def select_partition(faces: pd.DataFrame, partition: str) -> pd.DataFrame:
    return faces[faces["partition"] == partition].reset_index(drop=True)


def check_trainable(faces: pd.DataFrame, geometry: Geometry, params: Params, context: DistributedContext) -> None:
    """End the stage where nothing can be learnt, or nothing true."""
    if geometry.align == "box" and any(params.train.manipulations.values()):
        fail(
            f"train.manipulations changes faces where landmarks lie, and those of {params.data.index} are cut by their "
            "boxes; set its shares to 0, or extract.align to landmarks and extract the faces again"
        )
    if params.train.batch_size % (2 * context.world_size):
        fail(
            f"train.batch_size = {params.train.batch_size} cannot be shared as whole pairs among {context.world_size} "
            f"processes; it must be a multiple of {2 * context.world_size}"
        )
    for name in ("train", "val"):
        for label, word in ((0, "real"), (1, "fake")):
            if not ((faces["partition"] == name) & (faces["label"] == label)).any():
                fail(
                    f"the {name} partition has no {word} video with a face; "
                    f"see {params.data.extract_report} and split.val_fraction"
                )


def train(
    model: FaceClassifier,
    faces: pd.DataFrame,
    validation: Validation,
    geometry: Geometry,
    params: Params,
    context: DistributedContext,
) -> TrainingState:
    """Train `model` on `faces` of the train partition; the final state of training."""
    settings = params.train
    dataset = training_set(faces, geometry, params)
    sampler = PairedBatchSampler(
        faces,
        settings.batch_size,
        settings.seed,
        settings.manipulations,
        settings.paired_batches,
        context.rank,
        context.world_size,
    )
    schedule = Schedule(**{name: getattr(settings, name) for name in Schedule.__dataclass_fields__})
    fingerprint = training_fingerprint(params, geometry, context)
    pictures = pair_pictures(model, dataset, next(iter(sampler))[: 2 * PAIRS_SHOWN])
    with epoch_logger(params, context, fingerprint[:8], pictures) as report:
        return fit(
            model,
            (settings.ranking_weight, settings.localization_weight),
            make_loader(dataset, sampler, settings.workers),
            sampler,
            lambda network: validation.measure(network, settings.precision),
            schedule,
            context,
            Path(settings.state),
            fingerprint,
            report,
        )


def training_set(faces: pd.DataFrame, geometry: Geometry, params: Params) -> FaceDataset:
    return FaceDataset(faces, Path(params.data.faces), augmentation(params.train.augment), geometry.margin)


def training_fingerprint(params: Params, geometry: Geometry, context: DistributedContext) -> str:
    """A digest of all that shapes the weights: data, params, code, libraries, and how sums are computed."""
    data = corpus_fingerprint(params.data.labels, params.data.index, params.data.splits)
    parts = {
        "data": data,
        "params": shaping_params(params),
        "geometry": vars(geometry),
        "code": code_fingerprint(["stages.train"], LIBRARIES),
        "device": [context.device.type, context.world_size, computes_in_bfloat16(context.device)],
        "weights": file_sha256(params.model.weights) if Path(params.model.weights).is_file() else "",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def shaping_params(params: Params) -> dict[str, dict[str, object]]:
    """The params that shape a detector."""
    return {"model": params.model.model_dump(), "train": params.train.model_dump(exclude=NO_HYPERPARAMETERS)}


@contextmanager
def epoch_logger(
    params: Params, context: DistributedContext, name: str, pictures: torch.Tensor
) -> Iterator[Callable[[int, EpochMetrics], None]]:
    """What the main process calls after each epoch: it writes the learning curves and prints a line.

    `pictures`: of training pairs, uint8 RGB (n, 3, height, width), for TensorBoard.
    """
    if not context.is_main:
        yield lambda epoch, scores: None
        return
    folder = Path(params.data.plots) / "train"
    with (
        Live(str(folder), dvcyaml=False, save_dvc_exp=False) as live,
        SummaryWriter(f"{params.train.logs}/{name}", purge_step=0) as board,
    ):
        board.add_images("pairs: fake, original, localization target", pictures)

        def report(epoch: int, scores: EpochMetrics) -> None:
            for key, value in scores.items():
                live.log_metric(key, value)
                board.add_scalar(key, value, epoch)
            live.next_step()
            shown = (f"{key} {value:.4f}" for key, value in scores.items() if key == "loss" or key.startswith("val_"))
            say(f"epoch {epoch + 1}: " + ", ".join(shown))

        yield report


def describe(videos: pd.DataFrame, params: Params) -> str:
    """What the detector was trained on, for people: `videos` of train and val."""
    fakes = int(videos["label"].sum())
    return f"trained on {len(videos) - fakes} real and {fakes} fake videos of {Path(params.data.labels).stem}"


def seen_videos(videos: pd.DataFrame, params: Params) -> dict[str, list[str]]:
    """Digests of `videos`, of train and val, and of all that the detector saw from which training started."""
    seen = link_digests(links(videos, read_visual_links(params.data.split_report)))
    start = weights_file(params.model.backbone, params.model.weights)
    try:
        before = read_safetensors_config(start).seen if start else {}
    except CheckpointError:  # a backbone alone
        before = {}
    return {kind: sorted({*seen.get(kind, []), *before.get(kind, [])}) for kind in seen | before}


def add_temporal_head(
    model: FaceClassifier, kind: str, faces: pd.DataFrame, geometry: Geometry, params: Params, device: torch.device
) -> None:
    """Give `model` a temporal head of `kind` that learns from `faces` of the train partition."""
    settings = params.train
    fit_temporal_head(
        model,
        kind,
        faces,
        training_set(faces, geometry, params),
        seed=settings.seed,
        weight_decay=settings.weight_decay,
        ranking_weight=settings.ranking_weight,
        manipulations=settings.manipulations,
        paired=settings.paired_batches,
        device=device,
    )


def calibrate_and_save(
    model: FaceClassifier,
    state: TrainingState,
    validation: Validation,
    faces: pd.DataFrame,
    geometry: Geometry,
    params: Params,
    context: DistributedContext,
) -> None:
    """Calibrate the detector of the best epoch and write it with its metrics. Then the state of training goes.

    All processes call it, since they share the validation faces. The main process writes.
    """
    settings = params.train
    model.load_state_dict(state.best)
    scores = state.history[state.best_epoch]
    if params.model.temporal != "mean":
        add_temporal_head(
            model, params.model.temporal, select_partition(faces, "train"), geometry, params, context.device
        )
        scores |= validation.measure(model, settings.precision)[0]
    scored = validation.score(model, "float32")
    calibration = calibrate(scored, settings.operating_point, settings.aggregation, settings.max_people)
    if not context.is_main:
        return
    learnt_from = videos_of(faces[faces["partition"].isin(["train", "val"])])
    config = DetectorConfig(
        description=SAMPLE if params.is_sample else describe(learnt_from, params),
        backbone=params.model.backbone,
        geometry=geometry,
        calibration=calibration,
        version=VERSION,
        params=shaping_params(params),
        corpus=corpus_fingerprint(params.data.labels, params.data.index, params.data.splits),
        seen=seen_videos(learnt_from, params),
        epoch=state.best_epoch + 1,
        val_auc=scores["val_auc"],
    )
    save_detector(Path(settings.checkpoint), model.cpu(), config)
    Path(settings.state).unlink(missing_ok=True)
    delete_partial_files(settings.checkpoint, settings.state)
    metrics = {"best_epoch": config.epoch, "val_auc": round(config.val_auc, 6)}
    folder = Path(params.data.metrics)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text(json.dumps(metrics, indent=2) + "\n")
    say(f"{settings.checkpoint}: epoch {config.epoch} of {state.epoch}, video AUC {config.val_auc:.3f} on validation")


if __name__ == "__main__":
    main()
