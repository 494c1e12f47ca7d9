"""The findings of an evaluation as a page that needs no network, and as a model card (Mitchell et al. 2019)."""

import base64
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepfake_detector.evaluation.plots import with_interval
from deepfake_detector.evaluation.robustness import UNITS
from deepfake_detector.training.checkpoint import DetectorConfig
from stages.params import Params

METRICS = {
    "auc": "AUC",
    "pauc": "partial AUC, FPR ≤ 10 % (0.5 is chance)",
    "tpr_at_fpr_1": "TPR at FPR 1 %",
    "tpr_at_fpr_5": "TPR at FPR 5 %",
    "ap": "average precision",
    "eer": "equal error rate",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall (TPR)",
    "fpr": "false-positive rate",
    "f1": "F1",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "ECE, equal-mass bins",
}
PICTURES = {
    "roc": "ROC curve",
    "precision_recall": "Precision and recall",
    "det": "Detection error trade-off",
    "reliability": "Reliability before and after calibration",
    "confusion": "Verdicts",
    "histogram": "Scores",
    "breakdown": "AUC by group",
    "robustness": "Robustness",
}


def write_page(path: Path, context: dict[str, Any], plots: Path, hardest: Path) -> None:
    """The HTML page, its pictures within it."""
    files = {title: plots / f"{name}.png" for name, title in PICTURES.items()} | {"The hardest videos": hardest}
    pictures = {title: base64.b64encode(file.read_bytes()).decode() for title, file in files.items() if file.is_file()}
    _write(path, "evaluation.html", {**context, "pictures": pictures})


def write_card(path: Path, context: dict[str, Any]) -> None:
    """The model card, in Markdown."""
    _write(path, "model_card.md", context)


def _write(path: Path, template: str, context: dict[str, Any]) -> None:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader,
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"interval": with_interval, "value": lambda x: "–" if x is None else f"{x:.3f}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.get_template(template).render(context), encoding="utf-8")


def describe(params: Params, config: DetectorConfig, findings: dict[str, Any], videos: pd.DataFrame) -> dict[str, Any]:
    """What the templates speak of. `videos`: all rows of the labels CSV with their `partition`."""
    counts = videos.groupby("partition")["label"].agg(["size", "sum"])
    data = [{"partition": name, "videos": int(n), "fake": int(fake)} for name, (n, fake) in counts.iterrows()]
    methods = sorted(set(videos.get("method", pd.Series(dtype=str))) - {""})
    robustness: dict[str, list[dict[str, Any]]] = {}
    for row in findings["robustness"]:
        robustness.setdefault(row["family"], []).append(row)
    return {
        **findings,
        "data": data,
        "methods": methods,
        "config": config,
        "recipe": config.params,
        "bootstrap": params.evaluate.bootstrap,
        "setting": params.evaluate.robustness,
        "metrics": METRICS,
        "units": UNITS,
        "robustness": robustness,
        "false_positives": [row for row in findings["breakdown"] if not row["all_reals"]],
        "calibration_words": calibration_words(findings["calibration"]),
        "failures": failures(findings),
        "embedded": is_embedded(params),
        "allow_leaks": params.split.allow_leaks,
    }


def is_embedded(params: Params) -> bool:
    """Whether the corpus is the one that the sample stage makes."""
    return Path(params.data.labels) == Path("data/sample/labels.csv")


def calibration_words(change: dict[str, Any]) -> str:
    """Whether calibration helped on held-out people, as far as the interval of the change allows to say."""
    if not change:
        return "No test video could be scored, so nothing is known of calibration on held-out people."
    lower = change["ece_change"] < 0
    words = (
        f"On held-out people the expected calibration error is {with_interval(change, 'ece_before')} before calibration and "
        f"{with_interval(change, 'ece_after')} after: calibration {'lowered' if lower else 'did not lower'} it. The change is "
        f"{with_interval(change, 'ece_change')}"
    )
    low, high = change["ece_change_low"], change["ece_change_high"]
    if low is not None and low <= 0 <= high:
        words += ", which so few people cannot tell from none"
    return words + "."


def failures(findings: dict[str, Any]) -> list[str]:
    """What the detector is known to do badly, in words, from its own numbers."""
    test = findings["levels"]["test"]["video"]
    if test["fpr"] is None or test["recall"] is None:
        known = ["The test videos are not of both kinds: what it does with the other kind is not known."]
    else:
        called, missed = with_interval(test, "fpr"), 1 - test["recall"]
        known = [f"At the threshold it calls {called} of real test videos fake and misses {missed:.3f} of the fakes."]
    unscored = findings["coverage"]["test"]["unscored"]
    if unscored:
        known.append(
            f"It could not score {sum(unscored.values())} of {findings['coverage']['test']['videos']} test videos."
        )
    groups = [row for row in findings["breakdown"] if row["recall"] is not None and row["recall"] < 1]
    if groups:
        worst = min(groups, key=lambda row: row["recall"])
        known.append(
            f"It finds fewest fakes where {worst['column']} is {worst['value']}: {with_interval(worst, 'recall')}."
        )
    for row in findings["robustness"]:
        if row.get("auc_change_high") is not None and row["auc_change_high"] < 0:
            words = f"{UNITS[row['family']]} {row['strength']:g}"
            known.append(f"{words}: its AUC falls by {-row['auc_change']:.3f}, to {with_interval(row, 'auc')}.")
    return known
