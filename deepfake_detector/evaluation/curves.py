"""Points of an evaluation's curves and its tables, as strict JSON for `dvc plots`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import calibration_curve
from sklearn.metrics import det_curve, precision_recall_curve, roc_curve

from deepfake_detector.evaluation.calibration import sigmoid

BINS = np.linspace(0, 1, 21)
RELIABILITY_BINS = 8


def write_curves(folder: Path, val: pd.DataFrame, test: pd.DataFrame, findings: dict[str, Any]) -> None:
    """One file for each curve and table, of scored videos (`label,logit,probability,verdict`)."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        path.unlink()
    for name, part in (("val", val), ("test", test)):
        if part["label"].nunique() < 2:
            continue
        fpr, tpr, _ = roc_curve(part["label"], part["probability"])
        _write(folder / f"roc_{name}.json", fpr=fpr, tpr=tpr)
        precision, recall, _ = precision_recall_curve(part["label"], part["probability"])
        _write(folder / f"precision_recall_{name}.json", recall=recall, precision=precision)
        false_alarms, misses, _ = det_curve(part["label"], part["probability"])
        _write(folder / f"det_{name}.json", fpr=false_alarms, fnr=misses)
        said, happened = reliability(part["label"], part["probability"])
        _write(folder / f"reliability_{name}.json", predicted=said, observed=happened)
        said, happened = reliability(part["label"], sigmoid(part["logit"]))
        _write(folder / f"reliability_{name}_before.json", predicted=said, observed=happened)
    _write(folder / "confusion.json", actual=test["label"].map({0: "real", 1: "fake"}), predicted=test["verdict"])
    counts = {
        word: np.histogram(test.loc[test["label"] == i, "probability"], BINS)[0]
        for i, word in enumerate(("real", "fake"))
    }
    _write(folder / "histogram.json", probability=(BINS[:-1] + BINS[1:]) / 2, **counts)
    for name in ("aggregates", "breakdown", "corpora"):
        write_records(folder / f"{name}.json", findings[name])
    for family in dict.fromkeys(row["family"] for row in findings["robustness"]):
        rows = [row for row in findings["robustness"] if row["family"] == family and row["strength"] is not None]
        write_records(folder / f"robustness_{family}.json", rows)


def reliability(label: pd.Series, probability: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean probability and share of fakes in bins that hold equally many."""
    happened, said = calibration_curve(label, probability, n_bins=RELIABILITY_BINS, strategy="quantile")
    return said, happened


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(records, indent=0, allow_nan=False) + "\n", encoding="utf-8")


def _write(path: Path, **columns: object) -> None:
    write_records(path, pd.DataFrame(columns).round(6).to_dict("records"))
