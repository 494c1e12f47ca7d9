"""Names, labels and tables of strangers: what they say is shown as text, and what is damaged is named with its row."""

import csv
import shutil
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from deepfake_detector import compare
from deepfake_detector.corpora.__main__ import main as corpora_main
from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.corpora.labels import LabelsError
from deepfake_detector.evaluation.report import escape_markdown, markdown_code
from deepfake_detector.faces.archive import ArchiveError, encode_crop, read_crops, read_table_crops, write_archive
from deepfake_detector.faces.archive_folder import ArchiveFolderError, replaced_folder
from deepfake_detector.faces.extraction import FaceIndexError, read_geometry
from deepfake_detector.foreign_text import spreadsheet_cell, terminal_lines, terminal_text
from deepfake_detector.inference.batch_prediction import TABLE_COLUMNS, write_tables
from deepfake_detector.training.dataset import FaceDataset, SampleKey
from stages import extract, infer, split

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", " =1", "＝1"]


def run(monkeypatch, stage, *argv):
    monkeypatch.setattr("sys.argv", [stage.__name__, *map(str, argv)])
    stage.main()


def cells(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [cell for row in csv.reader(file) for cell in row]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_a_spreadsheet_would_compute_gets_an_apostrophe(text):
    assert spreadsheet_cell(text) == f"'{text}"


def test_carriage_return_in_a_name_does_not_end_its_row(tmp_path):
    names = ["re\rturn.mp4", "\r=1.mp4", "a\r\n,b.mp4"]
    rows = [dict.fromkeys(TABLE_COLUMNS, "") | {"filepath": name} for name in names]
    write_tables(rows, {}, tmp_path)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        found = [row["filepath"] for row in csv.DictReader(file)]
    assert found == ["re\\rturn.mp4", "'\\r=1.mp4", "a\\r\n,b.mp4"]


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
    subsets = ["train", "train", "val", "val", "train", "train", "train", "train"]
    rows = [f"{name},{i}.mp4,{'fake' if i % 2 else 'real'},p{i // 4},{subsets[i]}" for i, name in enumerate(names)]
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
    run(monkeypatch, extract, *options, "--workers", 1, "--max-failed", 1)
    (reason,) = pd.read_csv(in_project / "o/extract_report.csv")["reason"]
    assert "=1+1.mp4" in reason and not reason.startswith("=")
    with pytest.raises(SystemExit):
        run(monkeypatch, extract, *options, "--workers", 1, "--max-failed", 0)
    (reason,) = pd.read_csv(in_project / "o/extract_report.failed.csv")["reason"]
    assert "=1+1.mp4" in reason and not reason.startswith("=")


def test_control_characters_are_escapes_on_the_terminal():
    assert terminal_text("a\x1b[2Jb\x07\u202ec\n\udcff é 你") == "a\\x1b[2Jb\\x07\\u202ec\\n\\udcff é 你"
    assert terminal_lines("a\nb\x1b") == "a\nb\\x1b"


def test_no_stage_lets_a_name_command_the_terminal(in_project, monkeypatch, capsys):
    (in_project / "labels.csv").write_text("video_id,filepath,label,method\na,\x1b[2Ja.mp4,real,\nb,b.mp4,fake,\x07x\n")
    options = ["--data.labels", "labels.csv", "--data.videos", "v"]
    outputs = ["--data.faces", "o/f", "--data.index", "o/f.parquet"]
    run(monkeypatch, extract, *options, *outputs, "--workers", 1, "--max-failed", 1)
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


# Tables and archives that were edited or damaged by hand


@pytest.fixture
def tables(tmp_path):
    """A valid index, labels CSV and splits CSV of two videos, as arguments of load_face_table."""
    rows = [(video, 0, i, i / 10, 1.0, 1.0, 9.0, 9.0, 0.9, f"000_{i:06d}.jpg") for video in "ab" for i in range(3)]
    names = ["video_id", "track", "frame", "time", "x1", "y1", "x2", "y2", "score", "member"]
    pd.DataFrame(rows, columns=names).to_parquet(tmp_path / "faces.parquet")
    (tmp_path / "labels.csv").write_text("video_id,filepath,label\na,a.mp4,real\nb,b.mp4,fake\n")
    (tmp_path / "splits.csv").write_text("video_id,partition,group,fold\na,train,0,0\nb,test,1,1\n")
    return {key: tmp_path / f"{key}.csv" for key in ("labels", "splits")} | {"index": tmp_path / "faces.parquet"}


def error_of(tables):
    with pytest.raises((LabelsError, FaceIndexError)) as caught:
        load_face_table(**tables, videos="videos")
    return str(caught.value)


def edit(path, change):
    table = pd.read_parquet(path)
    change(table).to_parquet(path)


def with_value(column, row, value):
    def change(table):
        values = table[column].astype(object) if isinstance(value, str) or value is None else table[column].copy()
        values[row] = value
        return table.assign(**{column: values})

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: pd.concat([table, table.iloc[:1]]), "row 7: video_id and member are those of an earlier row"),
        (
            lambda table: table.assign(member=[f"{i}.jpg" for i in range(6)], frame=[0, 1, 1, 0, 1, 2]),
            "row 3: video_id",
        ),
        (lambda table: table.drop(columns=["member", "track"]), "no column member, track"),
        (with_value("x1", 2, np.nan), "row 3: x1 is no finite number"),
        (with_value("y2", 4, np.inf), "row 5: y2 is no finite number"),
        (with_value("x2", 1, 0.5), "row 2: x2 is below x1"),
        (with_value("frame", 1, -1), "row 2: frame is no whole number from 0"),
        (lambda table: table.assign(track=[0, 0, 0.5, 0, 0, 0]), "row 3: track is no whole number from 0"),
        (with_value("member", 3, None), "row 4: member is missing"),
        (with_value("video_id", 0, ""), "row 1: video_id is missing"),
        (lambda table: table.assign(video_id=[1, 1, 1, 2, 2, 2]), "row 1: video_id is no text"),
        (lambda table: table.assign(time="soon"), "row 1: time is no number"),
        (lambda table: table.assign(time=[[0.0]] * 6), "row 1: time is no number"),
        (lambda table: table.assign(track=pd.Timestamp("2026-01-01")), "row 1: track is no number"),
    ],
)
def test_index_that_was_edited_is_refused_with_its_row(tables, change, said):
    edit(tables["index"], change)
    message = error_of(tables)
    assert "faces.parquet" in message and said in message and "\n" not in message


@pytest.mark.parametrize("cut", [0, 4, 100, -1, -200])
def test_index_that_was_cut_is_refused_with_its_name(tables, cut):
    tables["index"].write_bytes(tables["index"].read_bytes()[:cut])
    message = error_of(tables)
    assert "faces.parquet is no face index" in message and "\n" not in message


def test_small_index_that_unpacks_to_much_is_refused(tables):
    rows = 300_000
    table = pd.DataFrame({"video_id": "a", "member": "x", "track": np.zeros(rows, int), "frame": 0, "time": 0.0})
    table.to_parquet(tables["index"], compression="zstd")
    assert "unpacks to 300,000 rows" in error_of(tables)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,train,0,0\nb,Test,1,1\n", "row 3: partition 'Test' is none of train, val, test, excluded"),
        ("a,TRAIN,0,0\nb,test,1,1\n", "row 2: partition 'TRAIN'"),
        ("a,train,0,0\nb,,1,1\n", "row 3: partition ''"),
        ("a,train,0,0\nb,test,1,1\nb,val,1,1\n", "row 4: video_id 'b' is in row 3 already"),
        ("a,train,0,0\nb,test,1,1\nc,test,1,1\n", "row 4: 'c' is not in"),
        ("a,train,0,0\nb,test,one,1\n", "row 3: group 'one' is no whole number"),
        ("a,train,0,0\nb,test,1,nan\n", "row 3: fold 'nan' is no whole number"),
        ("a,train,0,0\nb,test,1,1,7\n", "row 3: 5 fields"),
        ("a,train,0,0\n\nb,test,1,1\n", "row 3: video_id is empty"),
        ("a,train,0,0\nb,te\0st,1,1\n", "row 3: partition"),
    ],
)
def test_splits_that_were_edited_are_refused_with_their_row(tables, text, said):
    tables["splits"].write_text("video_id,partition,group,fold\n" + text)
    message = error_of(tables)
    assert "splits.csv" in message and said in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "splits.csv is not a CSV table"),
        (b"\0\0\0\0", "splits.csv"),
        (b"video_id;partition;group;fold\na;train;0;0\nb;test;1;1\n", "no column video_id"),
        (b"video_id,partition,group,fold\na,train,0,0\n\xff,test,1,1\n", "row 3"),
        (b"video_id,partition\na,train\nb,test\n", "no column group, fold"),
    ],
)
def test_file_that_is_no_splits_table_is_refused(tables, content, said):
    tables["splits"].write_bytes(content)
    assert said in error_of(tables)


def test_splits_that_lack_a_video_are_refused_with_its_name(tables):
    tables["labels"].write_text(tables["labels"].read_text() + "c,c.mp4,fake\n")
    assert "lacks 1 videos of" in error_of(tables) and "such as c" in error_of(tables)


@pytest.mark.parametrize("key", ["labels", "splits"])
def test_byte_order_mark_and_line_ends_of_windows_are_read(tables, key):
    before = load_face_table(**tables, videos="videos")
    tables[key].write_bytes(b"\xef\xbb\xbf" + tables[key].read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(load_face_table(**tables, videos="videos"), before)


CROP = encode_crop(np.full((32, 32, 3), 99, np.uint8))


def zip_of(path, name="a.jpg", data=CROP, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(name, data)


def large_png(side):
    """A PNG of `side` x `side` black pixels, in a few kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b"words"), "not a zip file"),
        (lambda path: path.write_bytes(b""), "not a zip file"),
        (lambda path: (zip_of(path), path.write_bytes(path.read_bytes()[:-30])), "not a zip file"),
        (lambda path: zip_of(path, "b.jpg"), "a.jpg: there is no such member"),
        (lambda path: zip_of(path, "../a.jpg"), "a.jpg: there is no such member"),
        (lambda path: zip_of(path, "/a.jpg"), "a.jpg: there is no such member"),
        (lambda path: zip_of(path, compression=zipfile.ZIP_DEFLATED), "it is compressed"),
        (lambda path: zip_of(path, data=bytes(10**8), compression=zipfile.ZIP_DEFLATED), "it is compressed"),
        (lambda path: zip_of(path, data=bytes(10**7)), "it has 10,000,000 bytes"),
        (lambda path: (zip_of(path), flip(path, 60)), "Bad CRC-32"),
        (
            lambda path: (zip_of(path), flip(path, 6), flip(path, path.read_bytes().index(b"PK\x01\x02") + 8)),
            "encrypted",
        ),
        (lambda path: (zip_of(path), flip(path, 26)), "a.jpg: "),
        (lambda path: zip_of(path, data=b""), "no JPEG or PNG"),
        (lambda path: zip_of(path, data=b"words"), "no JPEG or PNG"),
        (lambda path: zip_of(path, data=cv2.imencode(".bmp", np.zeros((32, 32, 3), np.uint8))[1].tobytes()), "no JPEG"),
        (lambda path: zip_of(path, data=large_png(4000)), "4000 x 4000 pixels is no face crop"),
        (lambda path: zip_of(path, data=large_png(64)[:-40]), "a.jpg: "),
    ],
)
def test_archive_that_was_edited_or_damaged_is_refused_with_its_member(tmp_path, make, said):
    make(tmp_path / "v.zip")
    with pytest.raises(ArchiveError) as caught:
        read_crops(tmp_path / "v.zip", ["a.jpg"])
    message = str(caught.value)
    assert "v.zip" in message and said in message and "\n" not in message


def test_crop_of_another_size_is_refused_with_its_name(small_faces, tmp_path):
    table, folder = small_faces
    shutil.copytree(folder, tmp_path / "faces")
    write_archive(
        tmp_path / "faces/f2.zip", [(f"{i}.jpg", encode_crop(np.zeros((64, 64, 3), np.uint8))) for i in range(4)]
    )
    with pytest.raises(ArchiveError, match=r"f2\.zip: 0\.jpg has 64 x 64 pixels, and other crops 32 x 32"):
        list(read_table_crops(table, tmp_path / "faces"))
    dataset = FaceDataset(table, tmp_path / "faces")
    assert dataset[SampleKey(0)]
    with pytest.raises(ArchiveError, match=r"f2\.zip: 0\.jpg has 64 x 64"):
        dataset[SampleKey(12)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a,test,0", "a,Test,0", "row 2: partition 'Test'"),
        ("a,test,0", "a,test,2", "row 2: label"),
        ("0.5", "much", "row 2: logit"),
        ("0.5", "inf", "row 2: logit"),
        ("b,test", "a,test", "row 3: 'a' is listed already"),
        ("logit", "score", "no column logit"),
        ("b,test", "b\xff,test", "cannot be read"),
    ],
)
def test_predictions_that_were_edited_are_refused_with_their_row(tmp_path, old, new, said):
    text = "video_id,partition,label,logit\na,test,0,0.5\nb,test,1,\n".replace(old, new, 1)
    (tmp_path / "p.csv").write_text(text, encoding="latin-1")
    (tmp_path / "s.csv").write_text("video_id,group\na,0\nb,1\n")
    with pytest.raises(compare.CompareError) as caught:
        compare.read_test_scores("workspace", compare.Files(str(tmp_path / "p.csv"), str(tmp_path / "s.csv")))
    assert "p.csv" in str(caught.value) and said in str(caught.value)


def test_index_whose_dictionary_unpacks_to_much_is_refused_before_it_is_read(tables):
    """What the file says of its unpacked size need not be true; the kind of compression is what the reader uses."""
    texts = [chr(97 + i) * 2_000_000 for i in range(8)]
    table = pd.DataFrame({"video_id": "a", "member": texts, "track": 0, "frame": range(8), "time": 0.0})
    table.to_parquet(tables["index"], compression="zstd")
    assert "is compressed by ZSTD" in error_of(tables) or "unpacks to" in error_of(tables)
    table.to_parquet(tables["index"])
    assert "has a member of 2,000,000 bytes; at most 1,000" in error_of(tables)
    assert extract.indexed_videos(str(tables["index"])) == {"a"}
    table.assign(video_id=texts).to_parquet(tables["index"])
    assert extract.indexed_videos(str(tables["index"])) == set()


@pytest.mark.parametrize("compression", ["zstd", "gzip", "brotli"])
def test_index_in_a_compression_that_could_unpack_to_much_is_refused(tables, compression):
    pd.read_parquet(tables["index"]).to_parquet(tables["index"], compression=compression)
    assert f"faces.parquet is compressed by {compression.upper()}" in error_of(tables)


def test_damaged_index_is_an_index_without_geometry(tables):
    data = tables["index"].read_bytes()
    for cut in (4, 100, len(data) - 9):
        tables["index"].write_bytes(data[:cut] + data[-8:])
        with pytest.raises(FaceIndexError, match=r"faces\.parquet"):
            read_geometry(tables["index"])


def test_archive_with_an_endless_directory_is_refused_before_its_entries_are_made(tmp_path):
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0) + b"00000"
    directory = entry * (2**24 // len(entry) + 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    (tmp_path / "v.zip").write_bytes(directory + end)
    with pytest.raises(ArchiveError, match=r"v\.zip cannot be read \(its directory has 16,777,"):
        read_crops(tmp_path / "v.zip", ["a.jpg"])
    with pytest.raises(ArchiveFolderError, match=r"holds v\.zip"), replaced_folder(tmp_path):
        pass
