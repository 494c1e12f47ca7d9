"""Train and evaluate every fold as a DVC experiment: each person is tested once, by a detector that never saw them.

    python -m benchmarks.crossval

Each experiment runs beside the workspace, which stays as it is; one that was run before is not run again. Writes docs/crossval.md.
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

from deepfake_detector.compare import read_table, scored_folds, summary
from deepfake_detector.evaluation.plots import with_interval
from stages.params import parse

METRICS = ("video.auc", "frame.auc", "video.accuracy", "video.eer", "video.log_loss", "video.ece")
OUTPUT = Path("docs/crossval.md")
NOTE = "Figures of the embedded sample corpus: they show that the pipeline works, not how it does in the wild."


def experiments() -> dict[str, dict[str, Any]]:
    """The finished experiments on the present commit, each with its metrics and params, by name.

    One that was killed stays listed as running, with metrics of the workspace.
    """
    return {row["Experiment"]: row for row in dvc.api.exp_show() if row["Experiment"] and not row["State"]}


def run(name: str, overrides: Sequence[str]) -> None:
    """Run the pipeline up to evaluate as experiment `name`, with params `overrides` such as split.fold=1."""
    if name not in experiments():
        params = [option for override in overrides for option in ("--set-param", override)]
        subprocess.run(["dvc", "exp", "run", "--temp", "--name", name, *params, "evaluate"], check=True)


def test_predictions(name: str) -> pd.DataFrame:
    """Predictions of the test videos of an experiment: `label,probability`; videos without a face count as one half."""
    table = read_table("data/predictions.csv", name)
    return table[table["partition"] == "test"].fillna({"probability": 0.5})


def pooled_auc(names: Sequence[str]) -> tuple[str, float]:
    """Video AUC of all test sets together: of scores ranked within their fold, with its interval; of calibrated probabilities.

    Each fold has a detector, and so a scale of scores, of its own. The second asks as well whether few validation people were
    enough to bring them to one scale.
    """
    params = parse("evaluate", "", [])
    ranked = summary(scored_folds(",".join(names), params), params)
    videos = pd.concat([test_predictions(name) for name in names])
    return with_interval(ranked, "auc"), float(roc_auc_score(videos["label"], videos["probability"]))


def spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def main() -> None:
    folds = yaml.safe_load(Path("params.yaml").read_text())["split"]["folds"]
    names = [f"fold-{fold}" for fold in range(folds)]
    for fold, name in enumerate(names):
        run(name, [f"split.fold={fold}", "evaluate.robustness=none"])
    rows = experiments()
    lines = [f"# {folds}-fold cross-validation", "", f"`make crossval` writes this page. {NOTE}", ""]
    lines += ["| fold | " + " | ".join(METRICS) + " |", "|---|" + "---|" * len(METRICS)]
    lines += [
        f"| {name[5:]} | " + " | ".join(f"{rows[name][metric]:.3f}" for metric in METRICS) + " |" for name in names
    ]
    means = [spread([rows[name][metric] for name in names]) for metric in METRICS]
    lines += ["| mean ± sd | " + " | ".join(means) + " |", ""]
    ranked, calibrated = pooled_auc(names)
    lines += [f"All test videos of the folds together, each ranked within its fold: video AUC {ranked}."]
    lines += [
        f"By calibrated probability, so that the scales of {folds} detectors must agree as well: {calibrated:.3f}."
    ]
    OUTPUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
