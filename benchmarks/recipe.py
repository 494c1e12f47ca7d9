"""Ablation of the training recipe: the plain recipe, then one part more at a time, with equally many steps.

    python -m benchmarks.recipe                                       # one training for each fold and recipe
    python -m benchmarks.recipe --folds 0 1 --recipes plain all

Every training is a DVC experiment (see benchmarks/crossval.py). deepfake_detector.compare compares each recipe with the
first. Writes docs/recipe.md.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.crossval import NOTE, check_committed, experiments, mean_and_sd, pooled_auc, run

QUICK = {"evaluate.robustness": "none"}
NO_BLENDS = {"train.manipulations.blend": "0.0", "train.manipulations.self_blend": "0.0"}
NO_LOCALIZATION = {"train.localization_weight": "0.0"}
NO_EMA = {"train.ema_decay": "0.0"}
PLAIN = QUICK | NO_BLENDS | NO_LOCALIZATION | NO_EMA
PLAIN |= {"train.paired_batches": "false", "train.augment": "none", "train.ranking_weight": "0.0"}
RECIPES = {
    "plain": PLAIN,
    "augment": PLAIN | {"train.augment": "standard"},
    "pairs": QUICK | NO_BLENDS | NO_LOCALIZATION | NO_EMA,
    "blends": QUICK | NO_LOCALIZATION | NO_EMA,
    "localization": QUICK | NO_EMA,
    "all": QUICK,
    "selfblend": QUICK | {"train.manipulations.blend": "0.2", "train.manipulations.self_blend": "0.2"},
}
TITLES = {
    "plain": "plain: cross-entropy, mirrored only, unpaired",
    "augment": "+ quality augmentation",
    "pairs": "+ paired batches and ranking loss",
    "blends": "+ blends",
    "localization": "+ localization loss",
    "all": "+ averaged weights: the default recipe",
    "selfblend": "the default, half of its blends self-blended",
}
OUTPUT = Path("docs/recipe.md")


def experiment_name(recipe: str, fold: int) -> str:
    """The default recipe is what benchmarks.crossval runs."""
    return f"fold-{fold}" if recipe == "all" else f"{recipe}-{fold}"


def comparison(recipes: list[str], folds: list[int]) -> list[str]:
    """The output of deepfake_detector.compare for the recipes, as lines of Markdown."""
    revisions = [",".join(experiment_name(recipe, fold) for fold in folds) for recipe in recipes]
    command = ["python", "-m", "deepfake_detector.compare", *revisions]
    output = subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True, text=True).stdout
    title = "Significance, with the test videos of all folds together, ranked within each fold:"
    return ["", title, "", "```console", f"$ {' '.join(command)}", *output.splitlines(), "```"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--recipes", nargs="+", default=list(RECIPES), choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES)
    )
    args = parser.parse_args()
    check_committed()
    for recipe in args.recipes:
        for fold in args.folds:
            overrides = [f"{key}={value}" for key, value in RECIPES[recipe].items()]
            run(experiment_name(recipe, fold), [*overrides, f"split.fold={fold}"])
    rows = experiments()
    folds = " ".join(map(str, args.folds))
    command = f"python -m benchmarks.recipe --folds {folds} --recipes {' '.join(args.recipes)}"
    lines = ["# Ablation of the training recipe", "", f"`{command}` writes this page. {NOTE}", ""]
    lines += [f"Test videos of folds {folds}; mean ± sd over folds; equally many steps in each.", ""]
    lines.append("| recipe | video AUC | frame AUC | folds pooled by rank | by calibrated probability |")
    lines.append("|---|---|---|---|---|")
    for recipe in args.recipes:
        names = [experiment_name(recipe, fold) for fold in args.folds]
        video, frame = (mean_and_sd([rows[name][f"{level}.auc"] for name in names]) for level in ("video", "frame"))
        ranked, calibrated = pooled_auc(names)
        lines.append(f"| {TITLES[recipe]} | {video} | {frame} | {ranked} | {calibrated:.3f} |")
    lines += comparison(args.recipes, args.folds) if len(args.recipes) > 1 else []
    OUTPUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
