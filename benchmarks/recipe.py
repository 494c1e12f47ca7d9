"""Ablation of the training recipe: what does it lose without each of its parts? Three seeds, paired with the whole.

    python -m benchmarks.recipe WORK
    python -m benchmarks.recipe WORK --folds 0 1 --recipes full unpaired

Uses the faces in the workspace (dvc repro extract). The default recipe ranks nearly all test videos of the sample
corpus rightly, so that little could be lost. The task here is harder: the people are split into two halves, and a fold
trains on one and tests on the other, for one epoch in batches of 16. What is in WORK already is not made again. Writes
docs/recipe.md.
"""

import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.command import command_line
from benchmarks.crossval import DRAWS, NOTE, SEED, mean_and_sd
from benchmarks.trainings import Tree, on_each_core, read_params, read_test_videos, run_stages, with_inputs_of
from deepfake_detector.compare import RevisionScores, describe_difference, join_folds, join_trainings
from deepfake_detector.evaluation.calibration import calibrated_loss

QUICK: dict[str, Any] = {"evaluate.robustness": "none"}
PLAIN: dict[str, Any] = QUICK | {
    "train.augment": "none",
    "train.paired_batches": False,
    "train.ranking_weight": 0.0,
    "train.localization_weight": 0.0,
    "train.manipulations.blend": 0.0,
    "train.manipulations.self_blend": 0.0,
    "train.ema_decay": 0.0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "full": {},
    "no-augmentation": {"train.augment": "none"},
    "unpaired": {"train.paired_batches": False},
    "no-ranking": {"train.ranking_weight": 0.0},
    "uncorrected-localization": {},  # another module trains
    "no-localization": {"train.localization_weight": 0.0},
    "no-blends": {"train.manipulations.blend": 0.0},
    "no-ema": {"train.ema_decay": 0.0},
    "plain": PLAIN,
}
TITLES = {
    "full": "the default recipe",
    "no-augmentation": "without augmentation (mirrored only)",
    "unpaired": "without pairs: each fake beside any real face",
    "no-ranking": "without the ranking loss",
    "uncorrected-localization": "localization targets before their correction",
    "no-localization": "without the localization loss",
    "no-blends": "without blends",
    "no-ema": "without averaged weights",
    "plain": "without all of these",
}
SEEDS = (1, 2, 3)
HARDER = {"split.folds": 2, "split.val_fraction": 0.2, "train.epochs": 1, "train.batch_size": 16}
OUTPUT = Path("docs/recipe.md")

Cell = tuple[str, int, int]  # recipe, seed, fold


def split_people(work: Path, fold: int) -> Tree:
    """Split the people as fold `fold` does; the params that use it."""
    folder = work / f"split-{fold}"
    params = with_inputs_of(read_params(QUICK | HARDER | {"split.fold": fold}), Path())
    run_stages(folder, params, "split")
    made = {key: str((folder / params["data"][key]).resolve()) for key in ("splits", "split_report")}
    return params | {"data": params["data"] | made}


def train_and_test(cell: Cell, work: Path, splits: dict[int, Tree]) -> pd.DataFrame:
    """The scored test videos of a training (see read_test_videos), with the AUC of their single faces as
    `frame_auc`.
    """
    recipe, seed, fold = cell
    folder = work / f"{recipe}-{seed}-{fold}"
    stage = "benchmarks.uncorrected_localization" if recipe == "uncorrected-localization" else "train"
    run_stages(folder, read_params(RECIPES[recipe] | {"train.seed": seed}, splits[fold]), stage, "evaluate")
    frame_auc = json.loads((folder / "metrics/evaluate.json").read_text())["frame"]["auc"]
    return read_test_videos(folder).assign(frame_auc=frame_auc)


def log_losses(folds: list[pd.DataFrame]) -> float:
    """Log loss of the test videos after Platt scaling on themselves, mean over folds: what the ranking is worth, apart
    from a calibration on a handful of validation people.
    """
    return statistics.mean(calibrated_loss(table["label"], table["logit"], table["group"])[0] for table in folds)


def table(tables: dict[Cell, pd.DataFrame], recipes: list[str], folds: list[int]) -> list[str]:
    """A row in Markdown for each recipe: levels, and paired differences to the first."""

    def of(recipe: str, seed: int) -> list[pd.DataFrame]:
        return [tables[recipe, seed, fold] for fold in folds]

    scores: dict[str, RevisionScores] = {}
    losses: dict[str, list[float]] = {}
    lines = ["| recipe | video AUC | frame AUC | log loss | log loss less the first's | video AUC less the first's |"]
    lines.append("|---|---|---|---|---|---|")
    for recipe in recipes:
        named = [[part.rename(columns={"logit": "score"}) for part in of(recipe, seed)] for seed in SEEDS]
        scores[recipe] = join_trainings([join_folds(parts) for parts in named])
        losses[recipe] = [log_losses(of(recipe, seed)) for seed in SEEDS]
        frame = [statistics.mean(part["frame_auc"].iloc[0] for part in of(recipe, seed)) for seed in SEEDS]
        cells = [mean_and_sd(scores[recipe].aucs), mean_and_sd(frame), mean_and_sd(losses[recipe]), "", ""]
        if recipe != recipes[0]:
            change = np.subtract(losses[recipe], losses[recipes[0]]).tolist()
            cells[3] = f"{statistics.mean(change):+.3f} ± {statistics.stdev(change):.3f}"
            cells[4] = describe_difference(scores[recipes[0]], scores[recipe], DRAWS, SEED)
        lines.append(f"| {TITLES[recipe]} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("work", type=Path, help="folder that keeps the trainings")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1], choices=[0, 1])
    parser.add_argument(
        "--recipes", nargs="+", default=list(RECIPES), choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES)
    )
    args = parser.parse_args()
    splits = {fold: split_people(args.work, fold) for fold in args.folds}
    cells = [(recipe, seed, fold) for fold, seed, recipe in itertools.product(args.folds, SEEDS, args.recipes)]
    tables = on_each_core(lambda cell: train_and_test(cell, args.work, splits), cells)
    folds = " ".join(map(str, args.folds))
    command = f"python -m benchmarks.recipe WORK --folds {folds} --recipes {' '.join(args.recipes)}"
    lines = ["# Ablation of the training recipe", "", f"`{command}` writes this page. {NOTE}", ""]
    lines += [*table(tables, args.recipes, args.folds), ""]
    OUTPUT.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
