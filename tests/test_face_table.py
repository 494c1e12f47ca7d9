"""The face index joined with labels and splits."""

import pandas as pd
import pytest

from deepfake_detector.corpora.face_table import corpus_fingerprint, load_face_table
from deepfake_detector.corpora.labels import LabelsError
from deepfake_detector.evaluation.tables import attribute_columns


@pytest.fixture
def paths(tmp_path):
    """Index, labels CSV and splits CSV of two videos with three faces, as arguments of load_face_table."""
    (tmp_path / "labels.csv").write_text("video_id,filepath,label,group\nNA,a.mp4,real,x\n1,b.mp4,fake,y\n")
    (tmp_path / "splits.csv").write_text("video_id,partition,group,fold\nNA,train,0,1\n1,test,1,0\n")
    faces = pd.DataFrame({"video_id": ["1", "NA", "1"], "track": 0, "frame": [0, 1, 2], "time": [0.0, 0.1, 0.2]})
    faces["member"] = ["a.jpg", "b.jpg", "c.jpg"]
    faces.to_parquet(tmp_path / "faces.parquet")
    names = {"index": "faces.parquet", "labels": "labels.csv", "splits": "splits.csv"}
    return {key: tmp_path / name for key, name in names.items()}


def test_faces_have_the_columns_of_labels_and_splits(paths, tmp_path):
    table = load_face_table(**paths, videos=tmp_path)
    assert table[["video_id", "member", "label", "partition", "group", "fold"]].to_numpy().tolist() == [
        ["1", "a.jpg", 1, "test", 1, 0],
        ["NA", "b.jpg", 0, "train", 0, 1],
        ["1", "c.jpg", 1, "test", 1, 0],
    ]


def test_text_of_the_labels_is_in_memory_once_for_a_video_with_many_faces(paths, tmp_path):
    row = "v,a.mp4,real,x," + 1000 * "long "
    paths["labels"].write_text(f"video_id,filepath,label,identity,remark\n{row}\n")
    paths["splits"].write_text("video_id,partition,group,fold\nv,train,0,1\n")
    faces = pd.DataFrame({"video_id": "v", "track": 0, "frame": range(1000), "time": 0.0})
    faces.assign(member=[f"{i}.jpg" for i in range(1000)]).to_parquet(paths["index"])
    table = load_face_table(**paths, videos=tmp_path)
    assert (table["remark"] == row[15:].strip()).all()
    size = table[["filepath", "identity", "remark", "path", "partition"]].memory_usage(index=False, deep=True).sum()
    assert size < 20 * len(table)


@pytest.mark.parametrize(("key", "stage"), [("index", "extract"), ("splits", "split"), ("labels", "sample")])
def test_error_for_a_missing_file_names_the_stage_that_writes_it(paths, tmp_path, key, stage):
    paths[key].unlink()
    with pytest.raises(LabelsError, match=f"{paths[key].name} does not exist; .*run the {stage} stage"):
        load_face_table(**paths, videos=tmp_path)


@pytest.mark.parametrize("key", ["labels", "splits"])
def test_faces_of_an_unlisted_video_are_refused(paths, tmp_path, key):
    lines = paths[key].read_text().splitlines(keepends=True)
    paths[key].write_text("".join(lines[:-1]))
    with pytest.raises(LabelsError, match=r"has faces of 1 videos .* does not list, such as 1;"):
        load_face_table(**paths, videos=tmp_path)


@pytest.mark.parametrize("key", ["index", "labels", "splits"])
def test_fingerprint_depends_on_each_file(paths, key):
    before = corpus_fingerprint(**paths)
    assert before == corpus_fingerprint(**paths)
    paths[key].write_bytes(paths[key].read_bytes() + b"\n")
    assert corpus_fingerprint(**paths) != before


def test_label_columns_named_like_those_of_the_index_are_attributes(paths, tmp_path):
    lines = ["video_id,filepath,label,time,track,path,score", "NA,a.mp4,real,day,x,p,1", "1,b.mp4,fake,night,y,q,2"]
    paths["labels"].write_text("\n".join(lines) + "\n")
    faces = pd.read_parquet(paths["index"]).assign(time=[0.1, 0.2, 0.3], track=0, score=0.9)
    faces.to_parquet(paths["index"])
    table = load_face_table(**paths, videos=tmp_path)
    assert table["time"].tolist() == [0.1, 0.2, 0.3] and table["labels_time"].tolist() == ["night", "day", "night"]
    assert table["path"].tolist() == [str(tmp_path / name) for name in ("b.mp4", "a.mp4", "b.mp4")]
    attributes = set(attribute_columns(table)[0])
    assert attributes >= {"labels_time", "labels_track", "labels_score", "labels_path"}
