"""The labels CSV contract."""

import pytest

from stages.corpora.labels import LabelsError, read_labels


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_reads_words_digits_windows_paths_and_byte_order_mark(tmp_path):
    path = write(tmp_path, "video_id,filepath,label,method\r\nä,a\\b.mp4,REAL,\r\nb, c.mp4 ,1,swap\r\n", "utf-8-sig")
    labels = read_labels(path, tmp_path)
    assert labels["label"].tolist() == [0, 1]
    assert labels["path"].tolist() == [str(tmp_path / "a/b.mp4"), str(tmp_path / "c.mp4")]
    assert labels["method"].tolist() == ["", "swap"]


def test_every_problem_is_reported_with_its_row(tmp_path):
    rows = ["a,a.mp4,real", "a,b.mp4,fake", "c,a.mp4,real", "d,d.mp4,maybe", "e,../../e.mp4,real", "../f,f.mp4,fake", "g,,fake"]
    path = write(tmp_path, "video_id,filepath,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(LabelsError) as error:
        read_labels(path, tmp_path)
    message = str(error.value)
    for part in [
        "row 3: video_id 'a' is in row 2",
        "row 4: filepath 'a.mp4' is in row 2",
        "row 5: label 'maybe'",
        "row 6",
        "row 7",
        "row 8",
    ]:
        assert part in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video_id,label\na,real\n", "lacks the column filepath"),
        ("video_id,filepath,label\n", "lists no video"),
        ("", "not a CSV table"),
    ],
)
def test_malformed_file_is_named(tmp_path, text, said):
    with pytest.raises(LabelsError, match=said):
        read_labels(write(tmp_path, text), tmp_path)


def test_other_encoding_is_named(tmp_path):
    with pytest.raises(LabelsError, match="UTF-8"):
        read_labels(write(tmp_path, "video_id,filepath,label\nä,ä.mp4,real\n", "latin-1"), tmp_path)


def test_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(LabelsError, match=r"data\.labels"):
        read_labels(tmp_path / "none.csv", tmp_path)
