"""Train a detector on the faces of the train partition, and calibrate it on those of val.

    python -m stages.train
    python -m stages.train --epochs 30 --batch-size 32 --lr 1e-4
    torchrun --nproc-per-node=4 -m stages.train         # four GPUs (or processes) share each batch

Killed and started again, it goes on from checkpoints/last.pt to the same bytes. Learning curves: dvc plots show, or
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

from deepfake_detector import corpora, evaluation, training
from deepfake_detector.corpora.face_table import corpus_fingerprint, load_face_table, read_visual_links
from deepfake_detector.corpora.identity_graph import links
from deepfake_detector.corpora.labels import LabelsError
from deepfake_detector.corpora.leakage import link_digests
from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration, calibrated_loss, fit_calibration
from deepfake_detector.evaluation.metrics import video_auc
from deepfake_detector.faces.extraction import Geometry
from deepfake_detector.training.augmentation import augment, mirror
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.checkpoint import DetectorConfig, save_detector
from deepfake_detector.training.dataset import FaceDataset, PairedBatchSampler, SequentialBatches, make_loader
from deepfake_detector.training.device import make_deterministic
from deepfake_detector.training.distributed import ProcessGroup, init_process_group
from deepfake_detector.training.model import FaceClassifier, ModelError, create_model
from deepfake_detector.training.scoring import predict_logits
from deepfake_detector.training.temporal_heads import fit_temporal_head
from deepfake_detector.training.trainer import Scores, TrainingState, fit
from stages.params import Evaluate, Params, fail, parse

CHECKPOINT = Path("checkpoints/best.safetensors")
STATE = Path("checkpoints/last.pt")
SHAPING = ("extract", "model", "train")  # sections of params.yaml that a training depends on


class Validation:
    """The faces of the val partition, decoded once, and what a model makes of them."""

    def __init__(self, faces: pd.DataFrame, folder: Path, device: torch.device, temporal: str) -> None:
        self._faces = faces
        self._device = device
        lengths = batch_lengths(track_ids(faces), 64, temporal)
        self._batches = [crops for crops, _ in make_loader(FaceDataset(faces, folder), SequentialBatches(lengths), 0)]
        self._labels = faces.groupby("video_id", sort=False)["label"].first()

    def videos(self, model: FaceClassifier, precision: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Tables of videos (`label,logit`) and of faces (`label,logit`)."""
        faces = self._faces.assign(logit=predict_logits(model, self._batches, self._device, precision))
        videos = aggregate_videos(faces)
        return videos.assign(label=self._labels), faces

    def __call__(self, model: FaceClassifier, precision: str) -> Scores:
        videos, faces = self.videos(model, precision)
        loss, error = calibrated_loss(faces["label"], faces["logit"], faces["group"])
        return {
            "val_auc": video_auc(videos["label"], videos["logit"]),
            "val_face_auc": video_auc(faces["label"], faces["logit"]),
            "val_loss": loss,
            "val_loss_error": error,
        }

    def calibrate(self, model: FaceClassifier, settings: Evaluate) -> Calibration:
        faces = self.videos(model, "float32")[1]
        videos = aggregate_videos(faces, settings.aggregate).join(faces.groupby("video_id")[["label", "group"]].first())
        return fit_calibration(
            videos["label"], videos["logit"], videos["group"], settings.operating_point, settings.aggregate
        )


def check_partitions(faces: pd.DataFrame) -> None:
    for name in ("train", "val"):
        for label, word in ((0, "real"), (1, "fake")):
            if not ((faces["partition"] == name) & (faces["label"] == label)).any():
                fail(f"the {name} partition has no {word} video with a face; see data/extract_report.csv and split.val")


def training_fingerprint(params: Params) -> str:
    """Of everything that the weights depend on: data, params, and the code of the rooms."""
    digest = hashlib.sha256(corpus_fingerprint(params.data).encode())
    digest.update(json.dumps(shaping_params(params), sort_keys=True).encode())
    digest.update(torch.__version__.encode())
    code = [path for room in (corpora, training) for path in sorted(Path(room.__path__[0]).glob("*.py"))]
    code += [
        Path(evaluation.__path__[0]) / name for name in ("aggregation.py", "calibration.py", "metrics.py", "pooling.py")
    ]
    for path in code:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def shaping_params(params: Params) -> dict[str, dict[str, object]]:
    """The params that shape a detector; how many processes help makes no difference to it."""
    return {name: getattr(params, name).model_dump(exclude={"workers"}) for name in SHAPING}


@contextmanager
def journal(team: ProcessGroup, name: str) -> Iterator[Callable[[int, Scores], None]]:
    """What the leader of the team calls after each epoch: it draws the learning curves and prints a line."""
    if not team.is_main:
        yield lambda epoch, scores: None
        return
    with (
        Live("plots/train", dvcyaml=False, save_dvc_exp=False) as live,
        SummaryWriter(f"runs/{name}", purge_step=0) as board,
    ):

        def report(epoch: int, scores: Scores) -> None:
            for key, value in scores.items():
                live.log_metric(key, value)
                board.add_scalar(key, value, epoch)
            live.next_step()
            print(f"epoch {epoch + 1}: " + ", ".join(f"{key} {value:.4f}" for key, value in scores.items()))

        yield report


def main() -> None:
    params = parse("train", __doc__ or "")
    settings = params.train
    cv2.setNumThreads(1)  # faces are prepared beside the network, which wants all cores
    try:
        faces = load_face_table(params.data)
        check_partitions(faces)
        make_deterministic(settings.seed)
        model = create_model(params.model.backbone, params.model.weights, places=settings.mask > 0)
    except (LabelsError, ModelError) as error:
        fail(str(error))
    team, folder = init_process_group(), Path(params.data.faces)
    if settings.batch_size % (2 * team.size):
        fail(f"train.batch_size = {settings.batch_size} cannot be shared as whole pairs among {team.size} processes")
    model.to(team.device)
    train = faces[faces["partition"] == "train"].reset_index(drop=True)
    held = faces[faces["partition"] == "val"].reset_index(drop=True)
    validation = Validation(held, folder, team.device, params.model.temporal)
    dataset = FaceDataset(train, folder, augment if settings.augment else mirror, params.extract.margin)
    sampler = PairedBatchSampler(train, settings, team.rank, team.size)
    fingerprint = training_fingerprint(params)
    with journal(team, fingerprint[:8]) as report:
        state = fit(
            model,
            make_loader(dataset, sampler, settings.workers),
            sampler,
            lambda model: validation(model, settings.precision),
            settings,
            team,
            STATE,
            fingerprint,
            report,
        )
    team.shut_down()
    if team.is_main:
        model.load_state_dict(state.best)
        scores = state.history[state.best_epoch]
        if params.model.temporal != "mean":
            fit_temporal_head(model, params.model.temporal, train, dataset, settings, team.device)
            scores |= validation(model, settings.precision)
        finish(model, state, scores, validation, faces, params)


def finish(
    model: FaceClassifier,
    state: TrainingState,
    scores: Scores,
    validation: Validation,
    faces: pd.DataFrame,
    params: Params,
) -> None:
    """Write `model`, the detector of the best epoch, calibrated, and its metrics."""
    learnt_from = faces[faces["partition"].isin(["train", "val"])].drop_duplicates("video_id")
    config = DetectorConfig(
        backbone=params.model.backbone,
        geometry=Geometry.of(params.extract),
        calibration=validation.calibrate(model, params.evaluate),
        params=shaping_params(params),
        corpus=corpus_fingerprint(params.data),
        seen=link_digests(links(learnt_from, read_visual_links(params.data))),
        epoch=state.best_epoch + 1,
        val_auc=scores["val_auc"],
    )
    save_detector(CHECKPOINT, model.cpu(), config)
    metrics = {
        "epochs": state.epoch,
        "best_epoch": state.best_epoch + 1,
        **{name: round(value, 6) for name, value in scores.items()},
    }
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/train.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"{CHECKPOINT}: epoch {config.epoch} of {state.epoch}, video AUC {config.val_auc:.3f} on validation")


if __name__ == "__main__":
    main()
