"""What each part of the training recipe is worth: the plain recipe, then one part more at a time, at equal steps.

    python -m benchmarks.recipe                                       # a training for each fold and recipe
    python -m benchmarks.recipe --folds 0 1 --recipes plain all

Every cell is a DVC experiment (see benchmarks/crossval.py), so deepfake_detector.compare tells which differences are real: each recipe is
compared with the first. Writes docs/recipe.md.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.crossval import NOTE, experiments, pooled_auc, run, spread

QUICK = {"evaluate.robustness": "none"}
PLAIN = QUICK | {"train.pairs": "false", "train.augment": "false", "train.blend": "0.0", "train.self_blend": "0.0"}
PLAIN |= {"train.rank": "0.0", "train.mask": "0.0", "train.ema": "0.0"}
RECIPES = {
    "plain": PLAIN,
    "augment": PLAIN | {"train.augment": "true"},
    "pairs": QUICK | {"train.blend": "0.0", "train.self_blend": "0.0", "train.mask": "0.0", "train.ema": "0.0"},
    "blends": QUICK | {"train.mask": "0.0", "train.ema": "0.0"},
    "mask": QUICK | {"train.ema": "0.0"},
    "all": QUICK,
    "selfblend": QUICK | {"train.blend": "0.2", "train.self_blend": "0.2"},
}
WORDS = {
    "plain": "plain: cross-entropy, mirrored only, unpaired",
    "augment": "+ quality augmentation",
    "pairs": "+ pairs and ranking loss",
    "blends": "+ blends",
    "mask": "+ where the fake differs",
    "all": "+ averaged weights: all of it, the default",
    "selfblend": "the default, half of its blends self-blended",
}
OUTPUT = Path("docs/recipe.md")


def name(recipe: str, fold: int) -> str:
    """Of the experiment: the default recipe is what benchmarks.crossval runs."""
    return f"fold-{fold}" if recipe == "all" else f"{recipe}-{fold}"


def comparison(recipes: list[str], folds: list[int]) -> list[str]:
    """What deepfake_detector.compare says of the recipes, as lines of Markdown."""
    revisions = [",".join(name(recipe, fold) for fold in folds) for recipe in recipes]
    command = ["python", "-m", "deepfake_detector.compare", *revisions]
    said = subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True, text=True).stdout
    title = "Which differences are real, of all folds together (each fold's scores as ranks):"
    return ["", title, "", "```console", f"$ {' '.join(command)}", *said.splitlines(), "```"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--recipes", nargs="+", default=list(RECIPES), choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES)
    )
    args = parser.parse_args()
    for recipe in args.recipes:
        for fold in args.folds:
            run(
                name(recipe, fold),
                [f"{key}={value}" for key, value in RECIPES[recipe].items()] + [f"split.fold={fold}"],
            )
    rows = experiments()
    command = f"python -m benchmarks.recipe --folds {' '.join(map(str, args.folds))} --recipes {' '.join(args.recipes)}"
    lines = ["# Ablation of the training recipe", "", f"`{command}` writes this page. {NOTE}", ""]
    lines += [
        f"Test videos of folds {', '.join(map(str, args.folds))}; mean ± sd over folds; all take equally many steps.",
        "",
    ]
    lines += [
        "| recipe | video AUC | frame AUC | folds pooled by rank | by calibrated probability |",
        "|---|---|---|---|---|",
    ]
    for recipe in args.recipes:
        names = [name(recipe, fold) for fold in args.folds]
        video, frame = (spread([rows[name][f"{level}.auc"] for name in names]) for level in ("video", "frame"))
        ranked, calibrated = pooled_auc(names)
        lines.append(f"| {WORDS[recipe]} | {video} | {frame} | {ranked} | {calibrated:.3f} |")
    lines += comparison(args.recipes, args.folds) if len(args.recipes) > 1 else []
    OUTPUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
