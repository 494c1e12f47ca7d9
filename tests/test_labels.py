"""Reading and checking the labels CSV."""

import pytest

from deepfake_detector.corpora.identity_graph import identity_groups
from deepfake_detector.corpora.labels import LabelsError, read_labels


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
    rows = [
        "a,a.mp4,real",
        "a,b.mp4,fake",
        "c,a.mp4,real",
        "d,d.mp4,maybe",
        "e,../../e.mp4,real",
        "../f,f.mp4,fake",
        "g,,fake",
    ]
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
    ("text", "message"),
    [
        ("video_id,label\na,real\n", "has no column filepath"),
        ("video_id,filepath,label\n", "lists no video"),
        ("", "not a CSV table"),
        ('video_id,filepath,label\na,"a.mp4,real\n', "not a CSV table"),
    ],
)
def test_error_names_the_malformed_file(tmp_path, text, message):
    with pytest.raises(LabelsError, match=message):
        read_labels(write(tmp_path, text), tmp_path)


@pytest.mark.parametrize(
    "rows", ["a,a.mp4,real,\nb,b.mp4,fake,\n", "1,a.mp4,b.mp4,real\nb,b.mp4,fake,\n", "a,a.mp4,real\n1,b,c,d\n"]
)
def test_error_numbers_rows_that_are_longer_than_the_header(tmp_path, rows):
    with pytest.raises(
        LabelsError, match=r"has 3 columns, but . row\(s\) with more fields.*\n(  row 2: 4 fields\n)?  row 3: 4 fields"
    ):
        read_labels(write(tmp_path, "video_id,filepath,label\n" + rows), tmp_path)


def test_rows_in_another_encoding_are_reported_with_the_other_problems(tmp_path):
    rows = "ä,ä.mp4,real\na,a.mp4,odd\nö,ö.mp4,fake\n"
    with pytest.raises(LabelsError) as error:
        read_labels(write(tmp_path, "video_id,filepath,label\n" + rows, "latin-1"), tmp_path)
    assert [line[2:13] for line in str(error.value).splitlines()[1:]] == ["row 2: not ", "row 3: labe", "row 4: not "]
    with pytest.raises(LabelsError, match="row 1, is not UTF-8"):
        read_labels(write(tmp_path, "video_id,filepath,label,größe\na,a.mp4,real,1\n", "latin-1"), tmp_path)


def test_folder_instead_of_a_file_is_refused(tmp_path):
    with pytest.raises(LabelsError, match="cannot be read: Is a directory"):
        read_labels(tmp_path, tmp_path)


def test_error_for_a_missing_labels_csv_names_the_setting(tmp_path):
    with pytest.raises(LabelsError, match=r"data\.labels"):
        read_labels(tmp_path / "none.csv", tmp_path)


def test_empty_lines_are_skipped_but_counted(tmp_path):
    path = write(tmp_path, "video_id,filepath,label\n\na,a.mp4,real\n\nb,b.mp4,odd\n")
    with pytest.raises(LabelsError, match=r"1 problem.*\n  row 5: label 'odd'"):
        read_labels(path, tmp_path)
    assert len(read_labels(write(tmp_path, "video_id,filepath,label\n\na,a.mp4,real\n\n"), tmp_path)) == 1


def test_one_file_in_two_spellings_is_a_duplicate_and_its_labels_are_compared(tmp_path):
    rows = [
        "a,x/é.mp4,real",
        "b,x\\e\u0301.mp4,1",
        "c,./y.mp4,0",
        "d,x/.././y.mp4,real",
        "e\u0301,z.mp4,0",
        "é,zz.mp4,0",
    ]
    path = write(tmp_path, "video_id,filepath,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(LabelsError) as error:
        read_labels(path, tmp_path)
    message = str(error.value)
    assert "is in row 2 already as real, here as 1" in message
    assert "'x/.././y.mp4' is in row 4 already\n" in message
    assert "'é' is in row 6 already" in message and "3 problem(s)" in message


def test_missing_files_are_reported_only_on_request(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    path = write(tmp_path, "video_id,filepath,label\na,a.mp4,real\nb,b.mp4,fake\nc,s3://bucket/c.mp4,fake\n")
    assert read_labels(path, tmp_path)["path"].tolist()[2] == "s3://bucket/c.mp4"
    with pytest.raises(LabelsError, match=r"1 problem.*\n  row 3: filepath 'b.mp4': there is no such file"):
        read_labels(path, tmp_path, files=True)


@pytest.mark.parametrize("filepath", ["../x.mp4", "a/../../x.mp4", "a\\..\\..\\x.mp4"])
def test_paths_outside_the_folder_of_the_videos_are_refused(tmp_path, filepath):
    with pytest.raises(LabelsError, match="leaves the folder"):
        read_labels(write(tmp_path, f"video_id,filepath,label\na,{filepath},real\nb,a/../b..mp4,real\n"), tmp_path)


def test_unknown_subset_is_refused(tmp_path):
    with pytest.raises(LabelsError, match="row 3: subset 'dev' is none of train, val, test"):
        read_labels(write(tmp_path, "video_id,filepath,label,subset\na,a.mp4,0,Train\nb,b.mp4,0,dev\n"), tmp_path)


def read(tmp_path, text):
    return read_labels(write(tmp_path, text), tmp_path)


def test_person_in_two_spellings_is_one_person(tmp_path):
    labels = read(tmp_path, "video_id,filepath,label,identity,donor\na,a.mp4,0,Jo\u0308rg,\nb,b.mp4,1,x,J\xf6rg\n")
    assert identity_groups(labels).tolist() == [0, 0]


def test_original_is_named_by_its_id_or_by_its_file(tmp_path):
    rows = ["a,real/a.mp4,0,", "b,b.mp4,1,a", "c,c.mp4,1,real/a.mp4", "d,d.mp4,1,elsewhere.mp4", "b.mp4,e.mp4,1,b.mp4"]
    labels = read(tmp_path, "\n".join(["video_id,filepath,label,source_video", *rows]))
    assert labels["source_video"].tolist() == ["", "a", "a", "elsewhere.mp4", "b.mp4"]


@pytest.mark.parametrize("spelling", ["./x/a.mp4", "x\\a.mp4", "x/b/../a.mp4", "{videos}/x/a.mp4"])
def test_original_that_is_named_by_another_spelling_of_its_file_is_linked(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    spelling = spelling.format(videos=tmp_path / "videos")
    path = write(tmp_path, f"video_id,filepath,label,source_video\na,x/a.mp4,0,\nb,b.mp4,1,{spelling}\n")
    labels = read_labels(path, "videos")
    assert labels["source_video"].tolist() == ["", "a"] and identity_groups(labels).tolist() == [0, 0]


def test_file_that_is_listed_by_its_relative_and_its_absolute_path_is_a_duplicate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, f"video_id,filepath,label\na,a.mp4,0\nb,{tmp_path / 'videos/a.mp4'},1\n")
    with pytest.raises(LabelsError, match="is in row 2 already as 0, here as 1"):
        read_labels(path, "videos")


@pytest.mark.parametrize("header", ["label,label", "label,identity,identity", "label,time,labels_time"])
def test_column_that_is_there_twice_is_refused(tmp_path, header):
    rows = f"video_id,filepath,{header}\na,a.mp4" + ",0" * (header.count(",") + 1)
    with pytest.raises(LabelsError, match="twice"):
        read(tmp_path, rows)


def test_ids_that_some_file_systems_take_for_one_or_tables_cannot_hold_are_refused(tmp_path):
    with pytest.raises(LabelsError, match=r"1 problem.*\n  row 3: video_id 'A' is in row 2 already as 'a'"):
        read(tmp_path, "video_id,filepath,label\na,a.mp4,real\nA,A.mp4,fake\n")
    with pytest.raises(LabelsError, match="or a carriage return"):
        read(tmp_path, 'video_id,filepath,label\n"a\rb",a.mp4,real\n')


def test_subset_in_any_case_is_one_subset(tmp_path):
    path = write(tmp_path, "video_id,filepath,label,subset\na,a.mp4,0,Test\nb,b.mp4,1,test\nc,c.mp4,1,TRAIN\n")
    assert read_labels(path, tmp_path, subset="test")["video_id"].tolist() == ["a", "b"]
    assert read_labels(path, tmp_path, subset="Test")["video_id"].tolist() == ["a", "b"]


def test_line_of_blanks_is_empty(tmp_path):
    assert len(read(tmp_path, "video_id,filepath,label\na,a.mp4,real\n\t,\xa0,\n")) == 1
