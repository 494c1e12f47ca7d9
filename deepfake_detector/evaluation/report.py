"""The results of an evaluation as an HTML page that needs no network, and as a model card (Mitchell et al. 2019)."""

import base64
import re
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepfake_detector.evaluation.intervals import format_interval
from deepfake_detector.evaluation.metrics import METRICS
from deepfake_detector.evaluation.robustness_plan import TITLES
from deepfake_detector.files import atomic_path

PLOTS = {  # file name of a plot to its alternative text in the page
    "roc": "ROC curve",
    "precision_recall": "Precision and recall",
    "det": "Detection error trade-off",
    "reliability": "Reliability before and after calibration",
    "confusion": "Confusion matrix",
    "histogram": "Fake probabilities",
    "breakdown": "AUC by attribute",
    "robustness": "Robustness",
}
GALLERY = "Test videos with the largest errors"


def write_page(path: Path, context: dict[str, Any], plots: Path, gallery: Path) -> None:
    """Write the HTML page, with the plots of the folder `plots` and the error gallery inside it."""
    files = {title: plots / f"{name}.png" for name, title in PLOTS.items()} | {GALLERY: gallery}
    images = {title: base64.b64encode(file.read_bytes()).decode() for title, file in files.items() if file.is_file()}
    _write(path, "evaluation.html", {**context, "images": images, "gallery": GALLERY})


def write_card(path: Path, context: dict[str, Any]) -> None:
    """Write the model card."""
    _write(path, "model_card.md", context)


def _write(path: Path, template: str, context: dict[str, Any]) -> None:
    """Render a template. All that it inserts is escaped: into HTML by Jinja, into Markdown by `escape_markdown`."""
    is_html = template.endswith(".html")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=is_html,
        finalize=None if is_html else escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"interval": format_interval, "value": format_value, "code": markdown_code}
    text = environment.get_template(template).render(context)
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def format_value(value: float | None) -> str:
    """Three decimals; a dash for None."""
    return "–" if value is None else f"{value:.3f}"


class Markdown(str):
    """Text that is Markdown already."""


def escape_markdown(value: object) -> str:
    """`value` on one line, in which Markdown finds no markup, HTML, mathematics, table cell or link."""
    if isinstance(value, Markdown):
        return value
    return re.sub(r"([\\`*_\[\]<>&|~$#@]|(?<=:)/|(?<=www)\.)", r"\\\1", re.sub(r"\s+", " ", str(value)))


def markdown_code(value: object) -> Markdown:
    """`value` as code, which Markdown shows as it is."""
    return Markdown("`" + re.sub(r"\s+", " ", str(value)).replace("`", "'") + "`")


def report_context(
    results: dict[str, Any], detector: dict[str, Any], corpus: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """What the templates show.

    Args:
        results: as `results.evaluate_detector` returns them, with `robustness` and `seen_in_training`, a warning for
            each further corpus that the detector was trained on.
        detector: the fields of a DetectorConfig, as plain values.
        corpus: as `describe_corpus` returns it.
        settings: `bootstrap`, number of draws; `robustness`, name of the plan; `allow_leaks`, kinds of links that may
            cross partitions; `is_sample`, whether the corpus is the embedded one; `trained_here`, whether it is the one
            that the detector was trained on.
    """
    families: dict[str, list[dict[str, Any]]] = {}
    for row in results["robustness"]:
        families.setdefault(row["family"], []).append(row)
    return {
        **results,
        "detector": detector,
        "corpus": corpus,
        "settings": settings,
        "metrics": {name: metric.title for name, metric in METRICS.items()},
        "titles": TITLES,
        "robustness": families,
        "false_positives": [row for row in results["breakdown"] if not row["all_reals"]],
        "calibration_text": calibration_text(results["calibration"]),
        "failures": known_failures(results),
    }


def describe_corpus(labels: pd.DataFrame) -> dict[str, Any]:
    """`partitions`, with their numbers of videos, and `methods`, from a table `partition,label`, `method` optional."""
    counts = labels.groupby("partition")["label"].agg(["size", "sum"])
    partitions = [
        {"partition": name, "videos": int(total), "real": int(total - fakes), "fake": int(fakes)}
        for name, (total, fakes) in counts.iterrows()
    ]
    return {"partitions": partitions, "methods": sorted(set(labels.get("method", pd.Series(dtype=str))) - {""})}


def calibration_text(change: dict[str, Any]) -> str:
    """Whether calibration helped on test videos, as far as the interval of the change shows."""
    if not change:
        return "No test video has a score, so the effect of calibration is not known."
    before, after, difference = (format_interval(change, f"ece_{name}") for name in ("before", "after", "change"))
    effect = "Calibration lowers it" if change["ece_change"] < 0 else "Calibration does not lower it"
    low, high = change["ece_change_low"], change["ece_change_high"]
    text = f"On test videos, the expected calibration error is {before} before calibration and {after} after. {effect}"
    text += f"; the change is {difference}."
    if low is not None and low <= 0 <= high:
        text += " The sample is too small to tell this change from none."
    return text


def known_failures(results: dict[str, Any]) -> list[str]:
    """Sentences on what the detector does badly, from its own results."""
    test, coverage = results["levels"]["test"]["video"], results["coverage"]["test"]
    if not test["n"]:
        failures = ["No test video has a score. How the detector errs is not known."]
    elif test["fpr"] is None or test["recall"] is None:
        failures = ["The test videos are all of one class. How the detector treats the other class is not known."]
    else:
        rates = (
            f"a false-positive rate of {format_interval(test, 'fpr')} and misses {1 - test['recall']:.3f} of the fakes"
        )
        failures = [f"At the threshold, the detector has {rates}."]
    if coverage["unscored"]:
        failures.append(f"{sum(coverage['unscored'].values())} of {coverage['videos']} test videos have no score.")
    missed = [row for row in results["breakdown"] if row["recall"] is not None and row["recall"] < 1]
    if missed:
        worst = min(missed, key=lambda row: row["recall"])
        recall = format_interval(worst, "recall")
        failures.append(f"Recall is lowest for {worst['column']} = {worst['value']}: {recall}.")
    for row in results["robustness"]:
        if row.get("auc_change_high") is not None and row["auc_change_high"] < 0:
            fall = f"AUC falls by {-row['auc_change']:.3f} to {format_interval(row, 'auc')}"
            failures.append(f"{TITLES[row['family']]} at {row['strength']:g}: {fall}.")
    return failures
