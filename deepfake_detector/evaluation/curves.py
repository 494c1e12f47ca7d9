"""Curves and tables of an evaluation as strict JSON, for `dvc plots`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import det_curve, precision_recall_curve, roc_curve

from deepfake_detector.evaluation.calibration import DECIMALS, sigmoid
from deepfake_detector.evaluation.metrics import equal_mass_bins
from deepfake_detector.files import atomic_path

BINS = np.linspace(0, 1, 21)  # of the histogram
RELIABILITY_BINS = 8


def write_curves(folder: Path, val: pd.DataFrame, test: pd.DataFrame, results: dict[str, Any]) -> None:
    """Write one JSON file for each curve and table into `folder`, whose other JSON files are removed.

    Args:
        val, test: scored videos, `label,logit,probability,verdict`.
        results: as `results.evaluate_detector` returns them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        path.unlink()
    for name, table in (("val", val), ("test", test)):
        if table["label"].nunique() == 2:
            _write_partition(folder, name, table)
    labels = {0: "real", 1: "fake"}
    _write(folder / "confusion.json", actual=test["label"].map(labels), predicted=test["verdict"])
    counts = {
        word: np.histogram(test.loc[test["label"] == label, "probability"], BINS)[0] for label, word in labels.items()
    }
    _write(folder / "histogram.json", probability=(BINS[:-1] + BINS[1:]) / 2, **counts)
    for name in ("aggregators", "breakdown", "corpora"):
        write_json(folder / f"{name}.json", results[name])
    for family in dict.fromkeys(row["family"] for row in results["robustness"]):
        rows = [row for row in results["robustness"] if row["family"] == family and row["strength"] is not None]
        write_json(folder / f"robustness_{family}.json", rows)


def _write_partition(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write each curve from its lowest x on. `dvc plots` sorts by x and draws points of equal x in the given order."""
    fpr, tpr, _ = roc_curve(table["label"], table["probability"])
    _write(folder / f"roc_{name}.json", fpr=fpr, tpr=tpr)
    precision, recall, _ = precision_recall_curve(table["label"], table["probability"])
    _write(folder / f"precision_recall_{name}.json", recall=recall[::-1], precision=precision[::-1])
    fpr, fnr, _ = det_curve(table["label"], table["probability"])
    _write(folder / f"det_{name}.json", fpr=fpr[::-1], fnr=fnr[::-1])
    for suffix, probability in (("", table["probability"]), ("_before", sigmoid(table["logit"]))):
        predicted, observed = reliability(table["label"], probability)
        _write(folder / f"reliability_{name}{suffix}.json", predicted=predicted, observed=observed)


def reliability(label: ArrayLike, probability: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Mean probability and fraction of fakes in each of up to RELIABILITY_BINS bins that hold equally many samples.

    Reals and fakes weigh alike, since probabilities assume that half of all videos are fakes.
    """
    label, probability = np.asarray(label), np.asarray(probability, float)
    weight = np.where(label == 1, 1 / max(1, (label == 1).sum()), 1 / max(1, (label == 0).sum()))
    bin_of = equal_mass_bins(probability, RELIABILITY_BINS)
    totals = np.bincount(bin_of, weight)
    used = totals > 0
    predicted, observed = (np.bincount(bin_of, weight * values)[used] / totals[used] for values in (probability, label))
    return predicted, observed


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON. Raises ValueError for a NaN or infinity, which JSON lacks."""
    text = json.dumps(content, indent=2, allow_nan=False)
    with atomic_path(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def _write(path: Path, **columns: object) -> None:
    write_json(path, pd.DataFrame(columns).round(DECIMALS).to_dict("records"))
