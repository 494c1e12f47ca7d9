"""Cross-validation: train and evaluate every fold as a DVC experiment, and pool the test sets.

    python -m benchmarks.crossval

Each experiment runs outside the workspace, which does not change. A finished experiment is not run again. Each person
is tested once, by a detector that was not trained on them. Writes docs/crossval.md.
"""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dvc.api
import pandas as pd
import yaml
from sklearn.metrics import roc_auc_score

from benchmarks.command import command_line, environment
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
    """Run the pipeline up to evaluate as experiment `name`, with params `overrides` such as split.fold=1.

    A finished experiment of that name is kept if it had the same params, those of params.yaml included.
    """
    params = flatten(yaml.safe_load(Path("params.yaml").read_text()))
    params |= {key: yaml.safe_load(value) for key, value in (override.split("=", 1) for override in overrides)}
    row = experiments().get(name, {})
    if row and all(row[key] == value for key, value in params.items() if key in row):
        return
    if row:
        subprocess.run(["dvc", "exp", "remove", name], env=environment(), check=True)
    options = [option for override in overrides for option in ("--set-param", override)]
    subprocess.run(["dvc", "exp", "run", "--temp", "--name", name, *options, "evaluate"], env=environment(), check=True)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as `section.key` -> value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_committed() -> None:
    """End the program if code differs from HEAD: experiments are listed by commit, and could not be told apart."""
    changed = subprocess.check_output(["git", "status", "--porcelain", "--", "*.py", "dvc.yaml"], text=True)
    if changed:
        sys.exit(f"commit these changes first, or their experiments cannot be told apart:\n{changed}")


def read_test_predictions(name: str) -> pd.DataFrame:
    """The predictions of the test videos of an experiment. A video without a face has probability 0.5."""
    table = read_table(Files.predictions, name, ["video_id", "partition", "label", "probability"])
    return table[table["partition"] == "test"].fillna({"probability": 0.5})


def pooled_auc(names: Sequence[str]) -> tuple[str, float]:
    """Video AUC of the test sets of all folds together: of scores ranked within each fold, and of probabilities.

    Each fold has a detector, and so a scale of scores, of its own. The second value also depends on whether calibration
    on few validation people makes these scales agree.
    """
    ranked = auc_summary(read_test_scores(",".join(names), Files()).table, DRAWS, SEED)
    videos = pd.concat([read_test_predictions(name) for name in names])
    return format_interval(ranked, "auc"), float(roc_auc_score(videos["label"], videos["probability"]))


def mean_and_sd(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def main() -> None:
    command_line(__doc__).parse_args()
    check_committed()
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
