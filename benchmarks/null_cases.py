"""How often does deepfake_detector.compare call noise a difference? On simulated trainings of two equal settings.

    python -m benchmarks.null_cases

The test videos are those of five folds, each scored by a detector of its own. A score is the sum of what all detectors
see alike (the person's level and the video's own noise), of a shift if the video is fake, and of what differs from
training to training: the size of that shift, a person's level, and noise. Both settings are drawn alike, so they never
differ. But two trainings do.
"""

import sys

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.command import command_line
from deepfake_detector.compare import RevisionScores, describe_difference, join_folds, join_trainings

FOLDS, GROUPS, REALS, FAKES = 5, 4, 4, 6  # groups of people in each fold; videos of each group
SHIFT, PERSON_SD, VIDEO_SD = 4.0, 1.0, 1.0  # a true AUC of about .98, as on the sample corpus
SHIFT_SD, TRAINING_PERSON_SD, TRAINING_VIDEO_SD = 0.4, 0.5, 0.5  # between trainings: AUCs of .02 standard deviation
TRAININGS = (1, 3, 5)  # of each fold and setting
TRIALS, DRAWS = 300, 400


def draw_training(videos: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The scores of one more detector for each fold, joined."""
    folds = []
    for _, fold in videos.groupby("fold"):
        levels = rng.normal(0, TRAINING_PERSON_SD, FOLDS * GROUPS)[fold["group"]]
        shift = rng.normal(SHIFT, SHIFT_SD) * fold["label"]
        noise = rng.normal(0, TRAINING_VIDEO_SD, len(fold))
        folds.append(fold.assign(score=fold["seen"] + shift + levels + noise))
    return join_folds(folds)


def draw_case(trainings: int, rng: np.random.Generator) -> tuple[RevisionScores, RevisionScores]:
    """Two revisions of the same settings, with so many trainings of each fold."""
    group = np.repeat(np.arange(FOLDS * GROUPS), REALS + FAKES)
    videos = pd.DataFrame({"group": group, "fold": group // GROUPS, "video_id": np.arange(len(group)).astype(str)})
    videos["label"] = np.tile(np.repeat([0, 1], [REALS, FAKES]), FOLDS * GROUPS)
    videos["seen"] = rng.normal(0, PERSON_SD, FOLDS * GROUPS)[group] + rng.normal(0, VIDEO_SD, len(group))
    one, other = (join_trainings([draw_training(videos, rng) for _ in range(trainings)]) for _ in range(2))
    return one, other


def main() -> None:
    command_line(__doc__).parse_args()
    print(f"{TRIALS} null cases of {FOLDS} folds, {FOLDS * GROUPS} groups of people\n")
    print("| trainings of each fold | said to differ, as trainings | said to differ, as settings | sd of the AUC |")
    print("|---|---|---|---|")
    for trainings in TRAININGS:
        said, aucs = [], []
        for trial in tqdm(range(TRIALS), f"{trainings} trainings", leave=False, file=sys.stderr):
            one, other = draw_case(trainings, np.random.default_rng([trainings, trial]))
            said.append(describe_difference(one, other, DRAWS, trial).split("groups of people: ")[1])
            aucs += one.aucs
        as_trainings = np.mean([words.startswith("significant for these trainings") for words in said])
        as_settings = np.mean([words == "significant" for words in said])
        print(f"| {trainings} | {as_trainings:.1%} | {as_settings:.1%} | {np.std(aucs):.4f} |", flush=True)


if __name__ == "__main__":
    main()
