"""What visitors take away: a table without formulas, and a report that runs nothing and calls nobody."""

import csv
import datetime
import io
import json
import re
import struct

import pytest

from deepfake_detector.bundled_models import MODELS, RELEASED_DETECTOR
from tests.test_web_app import browser  # noqa: F401
from web_app.detectors import CARD, read_detector
from web_app.export import results_csv, results_report
from web_app.file_facts import C2PA_UUID, has_c2pa
from web_app.uploads import OVERVIEW, Result
from web_app.worker import THUMBNAIL

HOSTILE = '=HYPERLINK("http://a.example")<script>alert(1)</script><img src=x onerror=alert(1)>.mp4'
FACTS = {
    "bytes": 1234,
    "sha256": "ab" * 32,
    "c2pa": True,
    "seconds": 2.0,
    "codec": "h264",
    "container": "QuickTime / MOV",
    "width": 288,
    "height": 300,
    "rate": 25.0,
    "creation": {"creation_time": "2026-01-02T03:04:05Z", "encoder": "<b>Lavf</b>"},
}


@pytest.fixture
def results(tmp_path):
    """One flagged video and one file that is none, both with a hostile name."""
    detector = read_detector(str(MODELS / RELEASED_DETECTOR))
    threshold = {"threshold": 0.7, "low": 0.4, "high": 0.7}
    fake = {"verdict": "fake", "probability": 0.9, "prior": 0.5, "threshold": threshold, "message": "", "people": [{}]}
    fake |= {"frames": 16, "frames_with_face": 15, "suspicious_from": 1.0, "suspicious_to": 9.0}
    fake |= {"suspicious_probability": 0.8, "faces_too_small": 12}
    error = {"verdict": "error", "message": f"{HOSTILE} is no video"}
    made = []
    for number, (record, facts) in enumerate([(fake, FACTS), (error, {})]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "record.json").write_text(json.dumps(record))
        if facts:
            (folder / "facts.json").write_text(json.dumps(facts))
            (folder / THUMBNAIL).write_bytes(b"\xff\xd8thumbnail")
            (folder / "result.png").write_bytes(b"\x89PNG")
        made.append(Result(HOSTILE, folder, detector, {key: record.get(key) for key in OVERVIEW}, 10))
    return made


def test_table_has_a_row_for_each_result_and_no_formula(results):
    rows = list(csv.DictReader(io.StringIO(results_csv(results).decode("utf-8-sig"))))
    assert [row["verdict"] for row in rows] == ["fake", "error"]
    assert all(row["file"] == f"'{HOSTILE}" and row["message"][:1] in ("", "'") for row in rows)
    assert rows[0]["sha256"] == "ab" * 32 and rows[0]["c2pa"] == "present" and rows[0]["suspicious_from"] == "1.0"
    assert rows[0]["faces_too_small"] == "12"
    assert rows[0]["detector_sha256"] == results[0].detector.sha256


def test_report_names_the_file_the_detector_and_its_error_rates(results):
    page = results_report(results, None)
    for words in ("ab" * 32, "2.0 seconds", "h264, 288 × 300 pixels", "2026-01-02T03:04:05Z", "1.0 to 9.0 seconds"):
        assert words in page
    assert "faces of further people, which are too small: 12" in page
    assert "with no sign elsewhere, the video would have 80.0\N{NO-BREAK SPACE}%" in page
    assert "present" in page and results[0].detector.sha256 in page and "The file could not be read" not in page
    rows = re.findall(r"^\| .*\(the default\).*\|$", CARD.read_text(), re.MULTILINE)
    default = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert all(f"<td>{cell}</td>" in page for cell in default)
    assert "What it cannot see" in page
    assert "On fakes of other origin than its training data its AUC is" in page
    assert not re.search(r"\bbelow\b|<code>", page)  # words about what is not in the report


def test_report_runs_nothing_and_calls_nobody(results):
    page = results_report(results, None)
    assert "<script" not in page and "<b>Lavf" not in page and "&lt;script&gt;" in page
    assert "<img src=x" not in page and "default-src &#39;none&#39;" in page.replace("'", "&#39;")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 2 and all(source.startswith("data:image/") for source in sources)


def test_report_has_a_date_only_where_one_is_asked_for(results):
    assert "Made on" not in results_report(results, None)
    assert "Made on 2026-03-04." in results_report(results, datetime.date(2026, 3, 4))


def test_report_fits_a_phone(results, browser, tmp_path):  # noqa: F811
    (tmp_path / "report.html").write_text(results_report(results, None), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("() => document.scrollingElement.scrollWidth") == 390
    page.close()


def test_deleted_result_is_left_out(results):
    (results[0].folder / "record.json").unlink()
    for path in results[0].folder.iterdir():
        path.unlink()
    results[0].folder.rmdir()
    assert len(results_csv(results).splitlines()) == 2 and "ab" * 32 not in results_report(results, None)


def box(kind, body=b"", size=None):
    return struct.pack(">I4s", len(body) + 8 if size is None else size, kind) + body


FTYP = box(b"ftyp", b"isom\0\0\0\0")


@pytest.mark.parametrize(
    "content, present",
    [
        (FTYP + box(b"moov", b"x" * 100) + box(b"uuid", C2PA_UUID + b"manifest"), True),
        (FTYP + box(b"mdat", struct.pack(">Q", 116) + b"x" * 100, size=1) + box(b"uuid", C2PA_UUID), True),
        (FTYP + box(b"mdat", C2PA_UUID * 9), False),  # inside a box
        (FTYP + box(b"uuid", b"0" * 16), False),
        (FTYP + box(b"mdat", b"x", size=0) + box(b"uuid", C2PA_UUID), False),  # all of the rest is mdat
        (FTYP + box(b"free", size=3), False),  # a size that leads nowhere
        (FTYP + box(b"free", struct.pack(">Q", 2**64 - 1), size=1), False),
        (b"RIFF\0\0\0\0AVI LIST\x03\0\0\0abc\0C2PA\x04\0\0\0abcd", True),
        (b"RIFF\0\0\0\0AVI LIST\x03\0\0\0abc\0idx1\x04\0\0\0C2PA", False),
        (b"\x1aE\xdf\xa3matroska", None),
        (b"", None),
    ],
)
def test_c2pa_manifest_is_found_where_the_standard_puts_it(content, present, tmp_path):
    (tmp_path / "video").write_bytes(content)
    assert has_c2pa(tmp_path / "video") is present
