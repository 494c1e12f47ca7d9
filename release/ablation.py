"""What the average of the weights and the new last layer are worth, and how their numbers were chosen: a table.

    cd release && PYTHONPATH=.. python -m release.ablation

Nothing is trained; the embeddings of each network are computed once. Writes ablation.md. The rule: the largest mean of
three AUCs, which are those of the validation images, of the sources that were left out, and of the videos of other
origin with all genuine videos.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from deepfake_detector.evaluation.calibration import choose_threshold, fit_calibration
from deepfake_detector.evaluation.metrics import roc_auc
from deepfake_detector.evaluation.scored_videos import ScoreCrops
from deepfake_detector.faces.archive import read_table_crops
from deepfake_detector.files import atomic_path
from deepfake_detector.training.checkpoint import load_detector
from deepfake_detector.training.detector_config import CheckpointError
from deepfake_detector.training.model import FaceClassifier, ModelError
from release.evaluate import families
from release.head import average_with_start, embed, fit_head, read_settings, sample_faces
from release.publish import POINTS, calibration_data
from release.scores import score_corpus, score_left_out, score_partition
from stages.params import Params, fail, parse

ABLATION = Path("ablation.md")
SHRINKAGES = (10.0, 20.0, 50.0, 100.0)
SHOWN = {  # family of fakes, as `release.evaluate` names them, to the head of its column
    "test: dfdc": "DFDC, people never seen",
    "test after H.264: dfdc": "the same after H.264",
    "test: all": "test",
    "test after H.264: all": "test after H.264",
    "test after H.264: gan": "GAN portraits after H.264",
    "left out: all": "left out",
    "left out: flux": "FLUX",
    "dev: all": "dev",
}
CHOOSING = ("validation", "left out", "dev, with all genuine videos")


class Embedded:
    """The faces of all sets as one network embeds them, so that several last layers can score them."""

    def __init__(self, model: FaceClassifier, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        self._embeddings: dict[int, np.ndarray] = {}

    def scores(self, weights: np.ndarray, bias: float) -> ScoreCrops:
        def score(crops: Iterable[np.ndarray], faces: pd.DataFrame) -> np.ndarray:
            key = int(pd.util.hash_pandas_object(faces[["video_id", "member"]].astype(str), index=False).sum())
            if key not in self._embeddings:
                self._embeddings[key] = embed(self._model, crops, faces, self._batch_size)
            return np.asarray(self._embeddings[key] @ weights + bias)

        return score


def measure(score: ScoreCrops, params: Params) -> dict[str, str]:
    """A row of the table: what a network with one last layer is worth."""
    _, config = load_detector(params.train.checkpoint)
    calibrating = calibration_data(score, config, params)
    calibration = fit_calibration(calibrating["label"], calibrating["logit"])
    threshold = choose_threshold(
        calibrating["label"].to_numpy(), calibration.probability(calibrating["logit"]), POINTS["balanced"]
    )
    images = score_partition("val", score, params)
    config = config.model_copy(update={"calibration": calibration})
    videos = {name: score_corpus(name, score, config, params) for name in params.evaluate.corpora}
    tables = [score_partition("test", score, params), score_left_out(score, params), *videos.values()]
    aucs = {
        name: roc_auc(part["label"], part["logit"])
        for name, part in families(pd.concat(tables, ignore_index=True))
        if name in SHOWN
    }
    row = {"validation": f"{roc_auc(images['label'], images['logit']):.3f}"}
    row |= {head: f"{aucs[name]:.3f}" if name in aucs else "–" for name, head in SHOWN.items()}
    genuine = videos["genuine"]
    everything = pd.concat(videos.values())
    row["dev, with all genuine videos"] = f"{roc_auc(everything['label'], everything['logit']):.3f}"
    row["mean of three"] = f"{np.mean([float(row[name]) for name in CHOOSING]):.3f}"
    flagged = int((calibration.probability(genuine["logit"]) >= threshold).sum())
    return row | {"genuine videos flagged, balanced": f"{flagged} of {len(genuine)}"}


def main() -> None:
    params, settings = parse("evaluate", __doc__ or ""), read_settings()
    faces, batch_size = sample_faces(params, settings.images), params.evaluate.batch_size
    rows = []
    for share in sorted({0.0, settings.start_share}):
        try:
            model, config = load_detector(params.train.checkpoint)
            if share:
                average_with_start(model, config, params, share)
        except (CheckpointError, ModelError) as error:
            fail(str(error))
        embeddings = embed(model, read_table_crops(faces, Path(params.data.faces)), faces, batch_size)
        layer = model.backbone.get_classifier()
        heads = {"as trained": (layer.weight.detach().double().numpy()[0], float(layer.bias.detach()))}
        heads |= {f"anew, shrinkage {number:g}": fit_head(embeddings, faces, number) for number in SHRINKAGES}
        embedded = Embedded(model, batch_size)
        for name, head in heads.items():
            row = {"share of the start": f"{share:g}", "last layer": name}
            rows.append(row | measure(embedded.scores(*head), params))
    lines = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    with atomic_path(ABLATION) as path:
        path.write_text("\n".join(lines) + "\n")
    print(ABLATION.read_text())


if __name__ == "__main__":
    main()
