"""Plot of the metrics under each distortion."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from deepfake_detector.evaluation.robustness_plan import TITLES
from deepfake_detector.figures import BLUE, GRAY, ORANGE, figure_file

Row = dict[str, Any]


def plot_robustness(path: Path, rows: list[Row]) -> None:
    """AUC and false-positive rate over the strength of each distortion, from `robustness.RobustnessStudy.measure`."""
    families = list(dict.fromkeys(row["family"] for row in rows))
    columns = min(3, len(families))
    lines = -(-len(families) // columns)
    with figure_file(path, (3.6 * columns, 3.1 * lines), lines, columns, sharey=True) as (figure, grid):
        for axes, family in zip(grid.ravel(), families, strict=False):
            _plot_family(axes, family, [row for row in rows if row["family"] == family and row["auc"] is not None])
        for axes in grid.ravel()[len(families) :]:
            axes.set_axis_off()
        figure.supylabel("AUC; false-positive rate", fontsize=9)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
        figure.suptitle("Robustness on test videos")


def _plot_family(axes: Axes, family: str, points: list[Row]) -> None:
    if family == "brightness":  # from dark to bright, the original between them
        points = sorted(points, key=lambda row: row["strength"] or 1)
    x = range(len(points))
    low, high = ([row["auc"] if row[key] is None else row[key] for row in points] for key in ("auc_low", "auc_high"))
    axes.plot(x, [row["auc"] for row in points], "o-", color=BLUE, lw=2, label="AUC")
    axes.fill_between(x, low, high, color=BLUE, alpha=0.2, label="95 % interval of the AUC")
    axes.plot(x, [row["fpr"] for row in points], "s--", color=ORANGE, lw=1.5, label="false-positive rate")
    axes.axhline(0.5, linestyle=":", color=GRAY, label="AUC by chance")
    names = ["original" if row["strength"] is None else f"{row['strength']:g}" for row in points]
    axes.set_xticks(x, names, fontsize=8)
    axes.set(xlabel=TITLES[family], ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    title = f"{points[0]['n']} videos" if points else "no AUC: fewer than two classes of videos"
    small = any(row["small"] for row in points)
    axes.set_title(title + (", small sample" if small else ""), fontsize=9)
