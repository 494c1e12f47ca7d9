"""Archives of a large corpus lie in shards, and every reader finds them there as in one folder."""

from pathlib import Path

import pandas as pd
import pytest

from deepfake_detector.corpora import person_sheets, visual_links
from deepfake_detector.evaluation import error_gallery
from deepfake_detector.faces import archive
from deepfake_detector.faces.archive import MAX_FLAT, archive_path, make_shards, read_crops, read_table_crops
from deepfake_detector.faces.archive_folder import ArchiveFolderError, replaced_folder
from deepfake_detector.training.dataset import FaceDataset, SampleKey
from stages import extract

ARGUMENTS = ["--data.videos", "videos", "--data.labels", "labels.csv", "--data.faces", "out", "--cache", "false"]
ARGUMENTS += ["--data.index", "out.parquet", "--frames", "4", "--size", "64", "--workers", "1"]


@pytest.fixture
def corpus(in_project, clip_folder):
    """Four clips under `videos`, listed in labels.csv."""
    (in_project / "videos").symlink_to(clip_folder)
    rows = [f"{path.stem},{path.name},real" for path in sorted(clip_folder.glob("*.mp4"))]
    (in_project / "labels.csv").write_text("\n".join(["video_id,filepath,label", *rows]) + "\n")
    return in_project


def run(monkeypatch, largest_flat):
    monkeypatch.setattr(archive, "MAX_FLAT", largest_flat)
    monkeypatch.setattr("sys.argv", ["extract", *ARGUMENTS])
    extract.main()
    files = [path for path in Path("out").rglob("*") if path.is_file()]
    assert len({path.name for path in files}) == len(files) == 4
    return {path.name: path.read_bytes() for path in [*files, Path("out.parquet")]}, {path.parent for path in files}


def test_many_archives_lie_in_shards_and_few_in_one_folder(corpus, monkeypatch):
    flat, folders = run(monkeypatch, 4)
    assert folders == {Path("out")}
    sharded, folders = run(monkeypatch, 3)  # takes the place of the flat ones
    assert sharded == flat
    assert Path("out") not in folders and {path.parent for path in folders} == {Path("out")}
    assert run(monkeypatch, 4)[0] == flat and not [path for path in Path("out").iterdir() if path.is_dir()]


def test_a_shard_of_a_million_videos_is_no_large_folder(tmp_path):
    make_shards(tmp_path, MAX_FLAT + 1)
    counts = pd.Series([archive_path(tmp_path, f"video {i}").parent for i in range(20_000)]).value_counts()
    assert len(counts) == 256 and counts.max() < 1.6 * counts.mean()


def test_every_reader_finds_archives_in_shards(corpus, monkeypatch, tmp_path):
    run(monkeypatch, 3)
    folder, faces = Path("out"), pd.read_parquet("out.parquet").assign(label=0)
    crops = list(read_table_crops(faces, folder))
    assert len(crops) == len(faces)
    assert FaceDataset(faces, folder)[SampleKey(0)][0].shape == (3, 64, 64)
    tracks = [(video, members.tolist()) for video, members in faces.groupby("video_id")["member"]]
    assert len(visual_links.hash_and_embed(tracks, folder, False, 0.3)[0]) == len(tracks)
    merged = pd.DataFrame({"video_id": [video for video, _ in tracks], "token": "a", "distance": 0.1})
    person_sheets.draw_person_sheets(merged, tracks, folder, tmp_path)
    assert (tmp_path / "people_00.jpg").is_file()
    videos = faces.groupby("video_id", as_index=False)[["label", "track"]].min()
    videos = videos.assign(probability=0.5, verdict="uncertain")
    error_gallery.draw_error_gallery(tmp_path / "gallery.png", videos, faces, folder, 0.5)
    assert (tmp_path / "gallery.png").is_file()


def test_message_about_a_missing_archive_names_its_place_in_the_shard(tmp_path):
    make_shards(tmp_path, MAX_FLAT + 1)
    path = archive_path(tmp_path, "gone")
    with pytest.raises(archive.ArchiveError, match=rf"{path.parent.name}.gone\.zip cannot be read"):
        read_crops(path, ["a.jpg"])


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_not_ours_in_a_shard_is_not_deleted(tmp_path, linked):
    shard, folder = tmp_path / "elsewhere" if linked else tmp_path / "out/ab", tmp_path / "out"
    folder.mkdir()
    shard.mkdir()
    (shard / "notes.txt").write_text("mine")
    if linked:
        (folder / "ab").symlink_to(shard)
    with (
        pytest.raises(ArchiveFolderError, match="holds ab" if linked else r"holds ab.notes\.txt"),
        replaced_folder(folder),
    ):
        pass
    assert (folder / "ab/notes.txt").read_text() == "mine"


def test_partial_archives_of_stopped_workers_do_not_stay_in_a_shard(tmp_path):
    with replaced_folder(tmp_path / "out") as part:
        make_shards(part, MAX_FLAT + 1)
        archive.write_archive(archive_path(part, "new"), [("000_000001.jpg", b"face")])
        (part / "ab/other.zip.123.part").write_bytes(b"PK")
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["new.zip"]
