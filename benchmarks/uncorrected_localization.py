"""`stages.train` with the localization targets as they were before their correction: a row of `benchmarks.recipe`.

A fake and its original are each cut by their own landmarks, at the nearest time, and every difference counts as a
change, that of compression too.
"""

import pandas as pd

from deepfake_detector.training import losses
from deepfake_detector.training.samplers import match_originals
from stages import train


def with_own_crops(faces: pd.DataFrame) -> pd.DataFrame:
    """In place of `add_originals`: the crop beside a fake is one that extraction cut for the original itself."""
    return faces.assign(aligned=match_originals(faces))


if __name__ == "__main__":
    losses.NOISE = 0.0
    train.add_originals = with_own_crops
    train.main()
