"""Names, labels and tables of strangers: what they say is shown as text, and what is damaged is named with its row."""

import csv

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from deepfake_detector.corpora.__main__ import main as corpora_main
from deepfake_detector.evaluation.report import escape_markdown, markdown_code
from deepfake_detector.foreign_text import spreadsheet_cell, terminal_lines, terminal_text
from deepfake_detector.inference.batch_prediction import TABLE_COLUMNS, write_tables
from stages import extract, infer, split

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", " =1", "＝1", "\r=1"]


def run(monkeypatch, stage, *argv):
    monkeypatch.setattr("sys.argv", [stage.__name__, *map(str, argv)])
    stage.main()


def cells(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [cell for row in csv.reader(file) for cell in row]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_a_spreadsheet_would_compute_gets_an_apostrophe(text):
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["a=1", "-12", "+1.5e-3", "", "'=1", 0.25, -3, None])
def test_numbers_and_plain_text_stay_as_they_are_in_a_spreadsheet(value):
    assert spreadsheet_cell(value) is value


def test_predictions_for_people_hold_no_formula_and_those_for_programs_hold_the_name(tmp_path):
    row = dict.fromkeys(TABLE_COLUMNS, "") | {"filepath": "=1+1.mp4", "video_id": "@a", "probability": -0.5}
    write_tables([row], {}, tmp_path)
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert table.loc[0, ["filepath", "video_id", "probability"]].tolist() == ["'=1+1.mp4", "'@a", -0.5]
    assert '"filepath": "=1+1.mp4"' in (tmp_path / "predictions.json").read_text()


def test_split_report_has_no_formula_and_the_splits_keep_the_names(in_project, monkeypatch):
    names = [f"=v{i}" for i in range(8)]
    rows = [f"{name},{i}.mp4,{'fake' if i % 2 else 'real'},p{i // 4},train" for i, name in enumerate(names)]
    rows[7] = rows[7].replace("train", "test").replace("p1", "p0")
    (in_project / "labels.csv").write_text("\n".join(["video_id,filepath,label,identity,subset", *rows]) + "\n")
    options = ["--data.labels", "labels.csv", "--data.videos", "v", "--data.splits", "out/splits.csv"]
    run(monkeypatch, split, *options, "--strategy", "official", "--allow-leaks", "person")
    assert pd.read_csv(in_project / "out/splits.csv")["video_id"].tolist() == names
    leaks = cells(in_project / "out/split_report/leaks.csv")
    assert any("=v" in cell for cell in leaks) and not any(cell.startswith("=") for cell in leaks)


def test_extract_report_has_no_formula_in_its_reasons(in_project, monkeypatch):
    (in_project / "labels.csv").write_text("video_id,filepath,label\na,=1+1.mp4,real\n")
    options = [
        "--data.labels",
        "labels.csv",
        "--data.videos",
        "v",
        "--data.faces",
        "o/f",
        "--data.index",
        "o/f.parquet",
    ]
    (in_project / "v").mkdir()
    (in_project / "v/=1+1.mp4").write_text("words")
    run(monkeypatch, extract, *options, "--workers", 1)
    (reason,) = pd.read_csv(in_project / "o/extract_report.csv")["reason"]
    assert "=1+1.mp4" in reason and not reason.startswith("=")


def test_control_characters_are_escapes_on_the_terminal():
    assert terminal_text("a\x1b[2Jb\x07\u202ec\n\udcff é 你") == "a\\x1b[2Jb\\x07\\u202ec\\n\\udcff é 你"
    assert terminal_lines("a\nb\x1b") == "a\nb\\x1b"


def test_no_stage_lets_a_name_command_the_terminal(in_project, monkeypatch, capsys):
    (in_project / "labels.csv").write_text("video_id,filepath,label,method\na,\x1b[2Ja.mp4,real,\nb,b.mp4,fake,\x07x\n")
    options = ["--data.labels", "labels.csv", "--data.videos", "v"]
    run(monkeypatch, extract, *options, "--data.faces", "o/f", "--data.index", "o/f.parquet", "--workers", 1)
    for stage, argv in ((split, [*options, "--folds", "9"]), (infer, ["x\x1b[2J.mp4", "--checkpoint", "\x1b.onnx"])):
        with pytest.raises(SystemExit):
            run(monkeypatch, stage, *argv)
    corpora_main(["folder", str(make_corpus(in_project / "corpus")), "--output", "listed.csv"])
    said = "".join(capsys.readouterr())
    assert "\\x1b[2J" in said
    assert not set(said) & {"\x1b", "\x07"}


def make_corpus(folder):
    for kind in ("real", "fake"):
        (folder / kind).mkdir(parents=True)
        (folder / kind / f"{kind}\x1b[2J.mp4").touch()
        (folder / kind / f"{kind}\x1b[2J.doc").touch()
    return folder


def test_what_a_checkpoint_or_a_label_says_is_text_in_markdown():
    nasty = "`x` | <b>*a*_b_ [d](http://e.x) www.e.x $1$ ~~f~~\n\n# g @h <script>"
    shown = " ".join(nasty.split()).replace("<", "&lt;").replace(">", "&gt;")
    render = MarkdownIt("gfm-like", {"linkify": False}).render
    html = render(f"- {escape_markdown(nasty)}")
    assert "://" not in escape_markdown(nasty) and "www." not in escape_markdown(nasty), "they would become links"
    assert html == f"<ul>\n<li>{shown}</li>\n</ul>\n"
    assert "<b>" not in render(f"- {markdown_code(nasty)}")
    assert escape_markdown(markdown_code("a_b")) == "`a_b`"
