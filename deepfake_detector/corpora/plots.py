"""The picture of a split: what each partition holds, and the links that cross partitions."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from deepfake_detector.corpora import PARTITIONS
from deepfake_detector.figures import figure_file, shorten

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#666666")


def plot_split(path: Path, labels: pd.DataFrame, leaks: dict[str, int | None]) -> None:
    """Write a PNG with two panels: the videos of each partition by label and method, and the leaks by kind.

    Args:
        path: the file; its folder is made if it is missing.
        labels: the labels table with a column `partition`.
        leaks: pairs of videos across partitions by kind of link; None where the corpus has no link of that kind.
    """
    with figure_file(path, (9, 3), columns=2, width_ratios=(2, 1)) as (_, axes):
        _draw_partitions(axes[0, 0], labels)
        _draw_leaks(axes[0, 1], leaks)


def _draw_partitions(axes: Axes, labels: pd.DataFrame) -> None:
    method = labels["method"] if "method" in labels else pd.Series("", index=labels.index)
    word = labels["label"].map({0: "real", 1: "fake"}) + method.where(method == "", ": " + method)
    names = [name for name in (*PARTITIONS, "excluded") if (labels["partition"] == name).any()]
    table = pd.crosstab(labels["partition"], word).reindex(names)
    table = table[sorted(table, key=lambda name: (not name.startswith("real"), name))]
    (100 * table.div(table.sum(axis=1), axis=0)).plot.barh(stacked=True, ax=axes, color=COLORS, width=0.7)
    axes.set_yticks(range(len(names)), [f"{name}: {table.loc[name].sum():,}" for name in names])
    axes.invert_yaxis()
    axes.set(xlabel="% of its videos", ylabel="", xlim=(0, 100))
    words = [shorten(name, 60) for name in table]
    axes.legend(words, loc="upper left", bbox_to_anchor=(0, -0.25), ncols=3, frameon=False)


def _draw_leaks(axes: Axes, leaks: dict[str, int | None]) -> None:
    counts = [count or 0 for count in leaks.values()]
    axes.barh(list(leaks), counts, color=COLORS[1])
    for i, count in enumerate(leaks.values()):
        axes.text(0, i, " not known" if count is None else f" {count:,}", va="center")
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.set(xlabel="pairs across partitions", xlim=(0, 1.3 * max(1, *counts)))
