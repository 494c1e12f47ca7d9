"""What each part of the training recipe is worth: the plain recipe, then one part more at a time, at equal steps.

    python -m benchmarks.recipe 0 1 2 3 4        # these folds; each takes a training for each recipe

Every cell is a DVC experiment (see benchmarks/crossval.py), so stages.compare tells which differences are real. Writes
docs/ablation.md.
"""

import sys
from pathlib import Path

from benchmarks.crossval import NOTE, experiments, pooled_auc, run, spread

QUICK = {"evaluate.robustness": "none"}
PLAIN = QUICK | {"train.pairs": "false", "train.augment": "false", "train.blend": "0.0", "train.rank": "0.0"}
PLAIN |= {"train.mask": "0.0", "train.ema": "0.0"}
RECIPES = {
    "plain": PLAIN,
    "augment": PLAIN | {"train.augment": "true"},
    "pairs": QUICK | {"train.blend": "0.0", "train.mask": "0.0", "train.ema": "0.0"},
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
    "all": "+ averaged weights (the default)",
    "selfblend": "the default, half of its blends self-blended",
}
OUTPUT = Path("docs/ablation.md")


def main() -> None:
    folds = sys.argv[1:] or ["0"]
    for fold in folds:
        for recipe, overrides in RECIPES.items():
            run(f"{recipe}-{fold}", [f"{key}={value}" for key, value in overrides.items()] + [f"split.fold={fold}"])
    rows = experiments()
    lines = [
        "# Ablation of the training recipe",
        "",
        f"`python -m benchmarks.recipe {' '.join(folds)}` writes this page. {NOTE}",
        "",
    ]
    lines += [f"Test videos of folds {', '.join(folds)}; mean ± sd over folds; all recipes take the same number of steps.", ""]
    lines += ["| recipe | video AUC | frame AUC | pooled video AUC |", "|---|---|---|---|"]
    for recipe, words in WORDS.items():
        names = [f"{recipe}-{fold}" for fold in folds]
        video, frame = (spread([rows[name][f"{level}.auc"] for name in names]) for level in ("video", "frame"))
        lines.append(f"| {words} | {video} | {frame} | {pooled_auc(names):.3f} |")
    OUTPUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
