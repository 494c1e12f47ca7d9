"""A picture of a split: what is in each partition, and what crosses."""

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from deepfake_detector.corpora.leakage import SIDES

matplotlib.use("Agg")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#666666")


def plot_split(path: Path, labels: pd.DataFrame, crossing: dict[str, int | None]) -> None:
    """Bars of the videos of each partition by label and method; beside them, the ties that cross partitions, by kind."""
    method = labels["method"] if "method" in labels else pd.Series("", index=labels.index)
    word = labels["label"].map({0: "real", 1: "fake"}) + method.where(method == "", ": " + method)
    names = [name for name in (*SIDES, "excluded") if (labels["partition"] == name).any()]
    table = pd.crosstab(labels["partition"], word).reindex(names)
    table = table[sorted(table, key=lambda name: (not name.startswith("real"), name))]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), width_ratios=(2, 1), layout="constrained")
    (100 * table.div(table.sum(axis=1), axis=0)).plot.barh(stacked=True, ax=left, color=COLOURS, width=0.7)
    left.set_yticks(range(len(names)), [f"{name}: {table.loc[name].sum():,}" for name in names])
    left.invert_yaxis()
    left.set(xlabel="% of its videos", ylabel="", xlim=(0, 100))
    left.legend(loc="upper left", bbox_to_anchor=(0, -0.25), ncols=3, frameon=False)
    kinds = list(crossing)
    right.barh(kinds, [count or 0 for count in crossing.values()], color=COLOURS[1])
    for i, count in enumerate(crossing.values()):
        right.text(0, i, " not known" if count is None else f" {count:,}", va="center")
    right.invert_yaxis()
    right.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    right.set(xlabel="pairs across partitions", xlim=(0, 1.3 * max(1, *(count or 0 for count in crossing.values()))))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
