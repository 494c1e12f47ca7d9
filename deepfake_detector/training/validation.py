"""Validation: what a network is worth on the validation faces, after each epoch and for calibration."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration, calibrated_loss, fit_calibration
from deepfake_detector.evaluation.metrics import roc_auc
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.dataset import FaceDataset, make_loader
from deepfake_detector.training.distributed import DistributedContext
from deepfake_detector.training.model import FaceClassifier
from deepfake_detector.training.samplers import SequentialBatches
from deepfake_detector.training.scoring import predict_logits

BATCH_SIZE = 64
MAX_FITS = 50


class Validation:
    """The faces of the val partition, shared among the processes.

    Crops stay in memory up to a limit and are streamed beyond it.
    """

    def __init__(
        self,
        faces: pd.DataFrame,
        max_people: int | str,
        aggregation: str,
        folder: Path,
        temporal: str,
        context: DistributedContext,
    ) -> None:
        """
        Args:
            faces: with the columns `video_id,track,member,label,group`, of all people.
            max_people: `train.max_people`: whose faces are measured one by one, since only theirs bear the label.
            aggregation: `train.aggregation`.
            folder: of the archives.
            temporal: `model.temporal`.
            context: of this process.
        """
        self._faces, self._max_people, self._aggregation, self._context = faces, max_people, aggregation, context
        videos = pd.factorize(faces["video_id"])[0]
        self._own = np.flatnonzero(videos % context.world_size == context.rank)
        own = faces.iloc[self._own].reset_index(drop=True)
        lengths = batch_lengths(track_ids(own), BATCH_SIZE, temporal)
        self._loader = make_loader(FaceDataset(own, folder), SequentialBatches(lengths), 0)

    def score(self, model: FaceClassifier, precision: str) -> pd.DataFrame:
        """The faces with their `logit`. All processes call it together, and all get all logits.

        Raises FloatingPointError if one of these is no finite number.
        """
        logits = predict_logits(model, (crops for crops, *_ in self._loader), self._context.device, precision)
        result = np.empty(len(self._faces), np.float32)
        for rows, values in self._context.gather((self._own, logits)):
            result[rows] = values
        if not np.isfinite(result).all():  # the weights grew beyond measure at a last step, which had a loss still
            raise FloatingPointError("a validation face has a logit that is no finite number; lower train.lr")
        return self._faces.assign(logit=result)

    def measure(self, model: FaceClassifier, precision: str) -> tuple[dict[str, float], np.ndarray]:
        """`val_auc` of videos, `val_frame_auc`, and `val_loss` of calibrated faces; the deviations of the groups from
        that loss, float (groups,) (see calibrated_loss). The videos are scored with all their people.
        """
        faces = self.score(model, precision)
        videos = aggregate_videos(faces, self._aggregation).join(faces.groupby("video_id")["label"].first())
        prominent = most_prominent(faces, self._max_people)
        loss, deviations = calibrated_loss(prominent["label"], prominent["logit"], prominent["group"])
        metrics = {
            "val_auc": roc_auc(videos["label"], videos["logit"]),
            "val_frame_auc": roc_auc(prominent["label"], prominent["logit"]),
            "val_loss": loss,
        }
        return metrics, deviations


def most_prominent(faces: pd.DataFrame, people: int | str) -> pd.DataFrame:
    """The faces of the most prominent `people` of each video, from a table with the column `track`; or of "all"."""
    return faces if people == "all" else faces[faces["track"] < int(people)]


def calibrate(
    faces: pd.DataFrame, operating_point: str, aggregation: str, max_people: int | str = "all"
) -> Calibration:
    """The calibration of videos from validation faces with the columns `video_id,track,time,label,logit`.

    Videos count with all their people, as in evaluation. Single faces count if they are of the most prominent
    `max_people`.

    Odds of several people and of long videos are averaged on the calibrated scale (see aggregation.py). So calibration
    and aggregation are repeated until the logits of the videos stay as they are, MAX_FITS times at most.
    """
    logit = aggregate_videos(faces, aggregation)["logit"]
    label = faces.groupby("video_id")["label"].first().loc[logit.index]
    for _ in range(MAX_FITS):
        fitted = fit_calibration(label, logit, operating_point, aggregation)
        before, logit = logit, aggregate_videos(faces, aggregation, fitted.scale)["logit"]
        if np.allclose(before, logit, rtol=0, atol=1e-6):
            break
    single = most_prominent(faces, max_people)
    single = fit_calibration(single["label"], single["logit"], operating_point, videos=single["video_id"])
    return fitted.model_copy(update={"face_scale": single.scale, "face_bias": single.bias})
