"""All results of a visitor to take away: a table for spreadsheets, and a report that is one HTML page."""

import base64
import csv
import datetime
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import markdown
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deepfake_detector.foreign_text import spreadsheet_cell
from web_app.detectors import Detector
from web_app.results import VERDICTS, percentage, stretch_text, threshold_text, title_of
from web_app.uploads import RECORD, Result

COLUMNS = ["file", "sha256", "verdict", "probability", "threshold", "uncertain_from", "uncertain_to", "prior"]
COLUMNS += ["suspicious_from", "suspicious_to", "suspicious_probability", "people", "frames", "frames_with_face"]
COLUMNS += ["faces_too_small"]
COLUMNS += ["seconds", "codec", "container", "width", "height", "bytes", "creation", "c2pa"]
COLUMNS += ["detector_sha256", "message"]
C2PA_WORDS = {True: "present", False: "none", None: "not looked for in this kind of file"}
PICTURES = {".png": "Scores over time, with the most extreme faces", ".faces.png": "Scored faces"}


def results_csv(results: Sequence[Result]) -> bytes:
    """A CSV with a row for each result, without a formula for a spreadsheet. Excel needs the mark of UTF-8."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for result in kept(results):
        table.writerow({column: spreadsheet_cell(value) for column, value in csv_row(result).items()})
    return text.getvalue().encode("utf-8-sig")


def csv_row(result: Result) -> dict[str, Any]:
    record, facts = result.record(), result.facts()
    threshold = record.get("threshold") or {}
    values = {
        **facts,
        **record,
        "file": result.name,
        "sha256": facts.get("sha256"),
        "threshold": threshold.get("threshold"),
        "uncertain_from": threshold.get("low"),
        "uncertain_to": threshold.get("high"),
        "people": len(record.get("people", [])),
        "creation": creation_text(facts),
        "c2pa": C2PA_WORDS[facts["c2pa"]] if facts else None,
        "detector_sha256": result.detector.sha256,
    }
    return {column: values.get(column) for column in COLUMNS}


def results_report(results: Sequence[Result], date: datetime.date | None) -> str:
    """One HTML page without scripts that needs no network: pictures are in it, and all text is escaped.

    `date` stands on it, if there is one.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    results = kept(results)
    detectors = list({result.detector.sha256: result.detector for result in results}.values())
    return environment.get_template("report.html").render(
        date=date,
        videos=[_video(result) for result in results],
        detectors=[{"detector": detector, "rates": _rates(detector)} for detector in detectors],
    )


def kept(results: Sequence[Result]) -> list[Result]:
    """The results that were not deleted meanwhile."""
    return [result for result in results if (result.folder / RECORD).is_file()]


def creation_text(facts: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in facts.get("creation", {}).items())


def _video(result: Result) -> dict[str, Any]:
    """What the template shows of a result."""
    record, facts = result.record(), result.facts()
    pictures = {words: result.picture(suffix) for suffix, words in PICTURES.items()}
    return {
        "name": result.name,
        "title": title_of(record),
        "meaning": VERDICTS[record["verdict"]].meaning,
        "verdict": record["verdict"],
        "message": record["message"],
        "evidence": _evidence(record),
        "file": _file_rows(facts),
        "detector": result.detector.sha256,
        "thumbnail": _data_uri(result.thumbnail(), "jpeg"),
        "pictures": {words: _data_uri(path.read_bytes(), "png") for words, path in pictures.items() if path},
    }


def _rates(detector: Detector) -> Markup:
    """The error rates as HTML. Their text is that of the project's own model card."""
    text = re.sub(r"^#+ ", "### ", detector.error_rates, flags=re.MULTILINE)
    return Markup(markdown.markdown(text, extensions=["tables"]))


def _evidence(record: dict[str, Any]) -> dict[str, str]:
    if record.get("probability") is None:
        return {}
    probability, prior = percentage(record["probability"]), percentage(record["prior"])
    rows = {
        "Fake probability": f"{probability}, if {prior} of all videos were fakes",
        "Threshold": threshold_text(**record["threshold"]),
        "Frames": f"{record['frames']} searched, a face found in {record['frames_with_face']}",
        "People": str(len(record["people"])),
    }
    if record["faces_too_small"]:
        rows["Not scored"] = f"faces of further people, which are too small: {record['faces_too_small']}"
    if record["suspicious_from"] is not None:
        rows["Most suspicious stretch"] = stretch_text(record)
    return rows


def _file_rows(facts: dict[str, Any]) -> dict[str, str]:
    if not facts:
        return {"File": "could not be read"}
    rows = {"SHA-256": facts["sha256"], "Size": f"{facts['bytes']:,} bytes"}
    if "codec" in facts:
        pixels = f"{facts['width']} × {facts['height']} pixels"
        rows |= {
            "Duration": f"{facts['seconds']:.1f} seconds",
            "Codec": f"{facts['codec']}, {pixels}, {facts['rate']:g} frames a second",
            "Container": facts["container"],
            "Creation data of the container": creation_text(facts) or "none",
        }
    return rows | {"C2PA manifest (Content Credentials)": C2PA_WORDS[facts["c2pa"]]}


def _data_uri(content: bytes | None, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}" if content else ""
