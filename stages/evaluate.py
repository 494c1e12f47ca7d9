"""Score the videos of val and test with the detector, and say what the scores are worth.

    python -m stages.evaluate
    python -m stages.evaluate --robustness full

Threshold and calibration were learnt on validation when the detector was trained; the test set decides nothing. Further corpora
(evaluate.corpora) go through the same extraction, the same checkpoint and the same threshold.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from deepfake_detector.corpora.face_table import corpus_fingerprint, load_face_table, read_splits, read_visual_links
from deepfake_detector.corpora.identity_graph import identity_groups, links
from deepfake_detector.corpora.labels import LabelsError, read_labels
from deepfake_detector.corpora.leakage import already_seen
from deepfake_detector.evaluation import tables
from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.evaluation.curves import write_curves
from deepfake_detector.evaluation.error_gallery import draw_error_gallery
from deepfake_detector.evaluation.plots import plot_evaluation
from deepfake_detector.evaluation.report import describe, write_card, write_page
from deepfake_detector.evaluation.robustness import PLANS, RobustnessStudy, crop_rows, file_rows
from deepfake_detector.faces.extraction import Geometry
from deepfake_detector.training.batching import batch_lengths, track_ids
from deepfake_detector.training.checkpoint import CheckpointError, DetectorConfig, load_detector
from deepfake_detector.training.dataset import FaceDataset, SequentialBatches, make_loader
from deepfake_detector.training.device import pick_device
from deepfake_detector.training.scoring import batch_crops, predict_logits
from stages.params import Corpus, Params, fail, parse

PLOTS, REPORTS, CORPORA = Path("plots/evaluate"), Path("reports"), Path("data/corpora")
COLUMNS = ["video_id", "partition", "label", "probability", "logit", "verdict", "frames", "faces"]


@dataclass(frozen=True)
class Scored:
    """Videos of some partitions, their faces with logits, the folder of their crops, and what extraction reported of each."""

    videos: pd.DataFrame
    faces: pd.DataFrame
    folder: Path
    report: pd.DataFrame

    def part(self, name: str) -> pd.DataFrame:
        """The videos of a partition that have a score."""
        return self.videos[(self.videos["partition"] == name) & (self.videos["verdict"] != "no_face")]


class Scorer:
    """A detector at work: one network, one calibration, for every corpus and every distortion."""

    def __init__(self, model: torch.nn.Module, config: DetectorConfig, batch_size: int) -> None:
        self._device = pick_device()
        self._model = model.to(self._device)
        self._batch_size, self._temporal = batch_size, config.temporal
        self.calibration = config.calibration

    def crops(self, crops: Iterable[np.ndarray], faces: pd.DataFrame) -> np.ndarray:
        """Logits (n,) of crops, uint8 BGR, of the rows of a table `video_id,track`; a batch at a time is held."""
        return predict_logits(self._model, batch_crops(crops, self._lengths(faces)), self._device)

    def _lengths(self, faces: pd.DataFrame) -> list[int]:
        return batch_lengths(track_ids(faces), self._batch_size, self._temporal)

    def score(self, videos: pd.DataFrame, faces: pd.DataFrame, folder: Path, report: Path) -> Scored:
        """Score `faces` of `videos` (`video_id,label,group,partition`), with crops in `folder`; `report` tells of those without."""
        faces = faces.reset_index(drop=True)
        loader = make_loader(FaceDataset(faces, folder), SequentialBatches(self._lengths(faces)), 0)
        faces["logit"] = predict_logits(self._model, (crops for crops, _ in loader), self._device)
        found = pd.read_csv(report, dtype={"video_id": str}, keep_default_na=False)
        return Scored(add_verdicts(faces, videos, self.calibration), faces, folder, found)


def add_verdicts(faces: pd.DataFrame, videos: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """`videos`, each with its score and verdict; those without a face with verdict no_face and no score."""
    videos = videos.drop(columns=list(tables.SCORES), errors="ignore")
    videos = videos.merge(
        aggregate_videos(faces, calibration.aggregate), left_on="video_id", right_index=True, how="left"
    )
    scored = videos["logit"].notna()
    videos["logit"] = videos["logit"].astype(float).round(6)
    videos["probability"] = calibration.probability(videos["logit"].to_numpy()).round(6)
    videos["verdict"] = np.where(scored, calibration.verdict(videos["probability"].to_numpy()), "no_face")
    videos[["frames", "faces"]] = videos[["frames", "faces"]].fillna(0).astype(int)
    return videos


def read_divided(params: Params) -> pd.DataFrame:
    """The labels of all videos with their `partition,group,fold`."""
    labels = read_labels(params.data.labels, params.data.videos).drop(
        columns=["partition", "group", "fold"], errors="ignore"
    )
    return read_splits(params.data).merge(labels, on="video_id")


def score_own(params: Params, videos: pd.DataFrame, scorer: Scorer) -> Scored:
    """The val and test videos of the corpus that the detector was trained on."""
    videos = videos[videos["partition"].isin(["val", "test"])].reset_index(drop=True)
    faces = load_face_table(params.data)
    faces = faces[faces["video_id"].isin(videos["video_id"])]
    return scorer.score(videos, faces, Path(params.data.faces), Path(params.data.report))


def score_corpus(name: str, corpus: Corpus, scorer: Scorer) -> Scored:
    """All videos of a further corpus, as its matrix stage extracted them; its name is their partition."""
    index = CORPORA / name / "faces.parquet"
    videos = read_labels(corpus.labels, corpus.videos)
    if not index.is_file():
        raise LabelsError(f"{index} does not exist; run dvc repro corpus@{name}")
    videos["group"] = identity_groups(videos)
    videos["partition"] = name
    faces = pd.read_parquet(index).merge(videos[["video_id", "label", "group", "partition"]], on="video_id")
    return scorer.score(videos, faces, CORPORA / name / "faces", index.with_name("extract_report.csv"))


def check(params: Params, config: DetectorConfig) -> None:
    """End the stage where detector, data and params do not belong together."""
    name, calibration = params.infer.checkpoint, config.calibration
    if config.corpus != corpus_fingerprint(params.data):
        fail(f"{name} was trained on other labels, faces or splits; its test set may be known to it; train again")
    for key in ("aggregate", "operating_point"):
        wanted, has = getattr(params.evaluate, key), getattr(calibration, key)
        if wanted != has:
            fail(f"evaluate.{key} = {wanted}, but {name} was calibrated for {has}; train again (the weights are kept)")
    if params.evaluate.corpora and config.geometry != Geometry.of(params.extract):
        fail(
            f"{name} was trained on faces cropped otherwise than params.yaml now says; further corpora cannot be compared"
        )


def measure_robustness(
    params: Params, own: Scored, scorer: Scorer, config: DetectorConfig, draws: tables.Bootstrap
) -> list[tables.Row]:
    videos = own.part("test")
    if params.evaluate.robustness == "none" or videos.empty:
        return []
    plan, bench = PLANS[params.evaluate.robustness], RobustnessStudy(scorer.crops, scorer.calibration, draws)
    rows = file_rows(plan, bench, videos, own.faces, own.folder, config.geometry, params.extract.faces)
    return rows + crop_rows(plan, bench, videos, own.faces, own.folder)


def measure(
    params: Params, config: DetectorConfig, own: Scored, others: dict[str, Scored], scorer: Scorer, labels: pd.DataFrame
) -> dict[str, Any]:
    """All findings, as strict JSON would hold them. `labels`: of the own corpus, with its attributes."""
    draws = tables.Bootstrap(params.evaluate.bootstrap, params.evaluate.seed)
    calibration, test = config.calibration, own.part("test")
    scored = pd.concat([own.part("val"), test])
    faces = own.faces[own.faces["video_id"].isin(scored["video_id"])]
    columns, too_many = tables.attribute_columns(labels)
    everyone = {"test": own, **others}
    return {
        "levels": tables.levels(faces, scored, calibration, draws),
        "coverage": {
            n: tables.coverage(s.videos[s.videos["partition"] == n], s.report)
            for n, s in {"val": own, **everyone}.items()
        },
        "classification": tables.classification(test, calibration.threshold),
        "verdicts": tables.verdicts(own.videos[own.videos["partition"] == "test"]),
        "calibration": tables.calibration_change(test, calibration, draws),
        "aggregates": tables.aggregates(faces, calibration, draws),
        "breakdown": tables.breakdown(test, columns, calibration.threshold, draws),
        "not_broken_down": too_many,
        "corpora": tables.corpora({name: s.part(name) for name, s in everyone.items()}, calibration.threshold, draws),
        "robustness": measure_robustness(params, own, scorer, config, draws),
    }


def metrics_of(findings: dict[str, Any]) -> dict[str, Any]:
    """metrics/evaluate.json: numbers of test at the top, of validation and further corpora below their names."""
    parts = {}
    for name, rows in findings["levels"].items():
        covered = findings["coverage"][name]
        parts[name] = {
            "coverage": covered["coverage"],
            "unscored": covered["unscored"],
            "threshold": rows["video"]["threshold"],
        }
        parts[name] |= {
            level: {k: v for k, v in row.items() if k not in ("small", "threshold")} for level, row in rows.items()
        }
    corpora = {
        row["corpus"]: {k: v for k, v in row.items() if k not in ("small", "corpus")}
        | {"coverage": findings["coverage"].get(row["corpus"], {}).get("coverage")}
        for row in findings["corpora"][1:]
    }
    return {**parts["test"], "calibration": findings["calibration"], "val": parts["val"], "corpora": corpora}


def write_json(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def print_summary(findings: dict[str, Any]) -> None:
    test, covered = findings["levels"]["test"]["video"], findings["coverage"]["test"]
    unscored = ", ".join(f"{count} {status}" for status, count in covered["unscored"].items())
    print(f"test: {test['n']} of {covered['videos']} videos scored" + (f" ({unscored})" if unscored else ""), end="")
    print(f", of {test['groups']} groups of people" + (": few, so read the intervals" if test["small"] else ""))
    for name in ("auc", "accuracy", "eer", "ece"):
        low, high = test[f"{name}_low"], test[f"{name}_high"]
        print(f"  video {name} {test[name]}" + (f" (95 % interval {low} to {high})" if low is not None else ""))
    print(f"see {REPORTS}/evaluation.html and {REPORTS}/model_card.md")


def check_leakage(config: DetectorConfig, test: pd.DataFrame, params: Params) -> None:
    """End the stage if anybody or anything in the test set was seen in training, by what the detector itself remembers."""
    if not config.seen:
        fail(
            f"{params.infer.checkpoint} does not say what it was trained on, so that no leak can be excluded; train again"
        )
    seen = already_seen(links(test, read_visual_links(params.data)), config.seen)
    leaks = [
        f"{kind} {', '.join(tokens[:10])}"
        for kind, tokens in seen.items()
        if tokens and kind not in params.split.allow_leaks
    ]
    if leaks:
        fail(
            f"{params.infer.checkpoint} was trained on what the test set shows: "
            + "; ".join(leaks)
            + "; see split.allow_leaks"
        )


def warn_of_seen(config: DetectorConfig, name: str, videos: pd.DataFrame) -> None:
    """Say loudly what a further corpus shows that the detector was trained on."""
    seen = already_seen(links(videos), config.seen)
    shown = [f"{len(tokens)} by {kind} ({', '.join(tokens[:10])})" for kind, tokens in seen.items() if tokens]
    if shown:
        print(
            f"WARNING: the detector was trained on what corpus {name} shows: {'; '.join(shown)}; its scores there are too good"
        )


def main() -> None:
    params = parse("evaluate", __doc__ or "")
    try:
        model, config = load_detector(params.infer.checkpoint)
        check(params, config)
        scorer = Scorer(model, config, params.evaluate.batch_size)
        labels = read_divided(params)
        check_leakage(config, labels[labels["partition"] == "test"], params)
        own = score_own(params, labels, scorer)
        others = {name: score_corpus(name, corpus, scorer) for name, corpus in params.evaluate.corpora.items()}
        for name, scored in others.items():
            warn_of_seen(config, name, scored.videos)
    except (LabelsError, CheckpointError) as error:
        fail(str(error))
    findings = measure(params, config, own, others, scorer, labels)
    predictions = pd.concat([s.videos for s in (own, *others.values())])
    Path(params.data.predictions).parent.mkdir(parents=True, exist_ok=True)
    predictions[COLUMNS].to_csv(params.data.predictions, index=False, lineterminator="\n")
    write_json(Path("metrics/evaluate.json"), metrics_of(findings))
    write_curves(PLOTS, own.part("val"), own.part("test"), findings)
    plot_evaluation(PLOTS, own.part("val"), own.part("test"), findings, config.calibration)
    draw_error_gallery(REPORTS / "hardest.png", own.part("test"), own.faces, own.folder, config.calibration.threshold)
    context = describe(params, config, findings, labels)
    write_card(REPORTS / "model_card.md", context)
    write_page(REPORTS / "evaluation.html", context, PLOTS, REPORTS / "hardest.png")
    print_summary(findings)


if __name__ == "__main__":
    main()
