"""Cross-validation: train and evaluate every fold as a DVC experiment, and pool the test sets.

    python -m benchmarks.crossval

Each experiment runs outside the workspace, which does not change. A finished experiment is not run again. Each person
is tested once, by a detector that was not trained on them. Writes docs/crossval.md.
"""

import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dvc.api
import pandas as pd
import yaml
from sklearn.metrics import roc_auc_score

from deepfake_detector.compare import Files, auc_summary, read_table, read_test_scores
from deepfake_detector.evaluation.intervals import format_interval

METRICS = ("video.auc", "frame.auc", "video.accuracy", "video.eer", "video.log_loss", "video.ece")
DRAWS, SEED = 2000, 1  # of the bootstrap
OUTPUT = Path("docs/crossval.md")
NOTE = "The figures of the embedded sample corpus show that the pipeline works, not how it does in the wild."


def experiments() -> dict[str, dict[str, Any]]:
    """Name -> metrics and params of the finished experiments on the current commit.

    A killed experiment stays listed as running, with the metrics of the workspace.
    """
    return {row["Experiment"]: row for row in dvc.api.exp_show() if row["Experiment"] and not row["State"]}


def run(name: str, overrides: Sequence[str]) -> None:
    """Run the pipeline up to evaluate as experiment `name`, with params `overrides` such as split.fold=1."""
    if name not in experiments():
        params = [option for override in overrides for option in ("--set-param", override)]
        subprocess.run(["dvc", "exp", "run", "--temp", "--name", name, *params, "evaluate"], check=True)


def read_test_predictions(name: str) -> pd.DataFrame:
    """The predictions of the test videos of an experiment. A video without a face has probability 0.5."""
    table = read_table(Files.predictions, name)
    return table[table["partition"] == "test"].fillna({"probability": 0.5})


def pooled_auc(names: Sequence[str]) -> tuple[str, float]:
    """Video AUC of the test sets of all folds together: of scores ranked within each fold, and of probabilities.

    Each fold has a detector, and so a scale of scores, of its own. The second value also depends on whether calibration
    on few validation people makes these scales agree.
    """
    ranked = auc_summary(read_test_scores(",".join(names), Files()), DRAWS, SEED)
    videos = pd.concat([read_test_predictions(name) for name in names])
    return format_interval(ranked, "auc"), float(roc_auc_score(videos["label"], videos["probability"]))


def mean_and_sd(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def main() -> None:
    folds = yaml.safe_load(Path("params.yaml").read_text())["split"]["folds"]
    names = [f"fold-{fold}" for fold in range(folds)]
    for fold, name in enumerate(names):
        run(name, [f"split.fold={fold}", "evaluate.robustness=none"])
    rows = experiments()
    lines = [f"# {folds}-fold cross-validation", "", f"`make crossval` writes this page. {NOTE}", ""]
    lines += ["| fold | " + " | ".join(METRICS) + " |", "|---|" + "---|" * len(METRICS)]
    for fold, name in enumerate(names):
        lines.append(f"| {fold} | " + " | ".join(f"{rows[name][metric]:.3f}" for metric in METRICS) + " |")
    means = [mean_and_sd([rows[name][metric] for name in names]) for metric in METRICS]
    lines += ["| mean ± sd | " + " | ".join(means) + " |", ""]
    ranked, calibrated = pooled_auc(names)
    lines.append(f"Video AUC of the test videos of all folds together, ranked within each fold: {ranked}.")
    lines.append(
        f"By calibrated probability, which also needs the scales of {folds} detectors to agree: {calibrated:.3f}."
    )
    OUTPUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
