"""Scores of two detectors for the same videos."""

import numpy as np
import pandas as pd


def scores(seed, groups=8, gain=0.0):
    """Scores `one` and `two` of two detectors for the same videos; the second is better by `gain`."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 6)
    label = np.tile([0, 1], len(group) // 2)
    hardness = rng.normal(0, 1, len(group)) + rng.normal(0, 1, groups)[group]
    one = label + hardness + rng.normal(0, 0.5, len(group))
    two = (1 + gain) * label + hardness + rng.normal(0, 0.5, len(group))
    return pd.DataFrame(
        {"video_id": np.arange(len(group)).astype(str), "label": label, "group": group, "one": one, "two": two}
    )
