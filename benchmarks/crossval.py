"""Train and evaluate every fold as a DVC experiment, and print mean and standard deviation over folds.

    python -m benchmarks.crossval

Each experiment runs beside the workspace, which stays as it is; folds that were run before come from the cache.
"""

import statistics
import subprocess
from pathlib import Path

import dvc.api
import yaml

METRICS = ("video.auc", "frame.auc", "video.accuracy", "video.eer", "video.log_loss", "video.ece")


def main() -> None:
    folds = yaml.safe_load(Path("params.yaml").read_text())["split"]["folds"]
    names = [f"fold-{fold}" for fold in range(folds)]
    for fold, name in enumerate(names):
        command = ["dvc", "exp", "run", "--temp", "--name", name, "--set-param", f"split.fold={fold}", "evaluate"]
        subprocess.run(command, check=True)
    rows = {row["Experiment"]: row for row in dvc.api.exp_show() if row["Experiment"] in names}
    print("| fold | " + " | ".join(METRICS) + " |\n|---|" + "---|" * len(METRICS))
    for name in names:
        print(f"| {name[5:]} | " + " | ".join(f"{rows[name][metric]:.3f}" for metric in METRICS) + " |")
    columns = {metric: [rows[name][metric] for name in names] for metric in METRICS}
    summary = [f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}" for values in columns.values()]
    print("| mean ± sd | " + " | ".join(summary) + " |")


if __name__ == "__main__":
    main()
