"""Links that the faces show: copies of a clip, and people who look alike."""

import sys
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pandas as pd
import pytest

from deepfake_detector.corpora import embeddings
from deepfake_detector.corpora.embeddings import embed_faces, similar_pairs
from deepfake_detector.corpora.face_table import read_visual_links
from deepfake_detector.corpora.identity_graph import identity_groups
from deepfake_detector.corpora.near_duplicates import clip_distance, near_duplicates, perceptual_hash
from deepfake_detector.corpora.sample_corpus import partner, sample_clips, write_clip
from deepfake_detector.corpora.visual_links import VisualLinksError, find_visual_links, join_pairs
from deepfake_detector.faces.archive import write_archive
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.extraction import extract_faces, index_rows, write_index
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.video_writer import VideoWriter
from stages import split

GEOMETRY = Geometry(frames=16, size=96, margin=0.5, detector="centerface", threshold=0.5)


def copy_clip(source, target, scale, crf, skip):
    """Write a copy without the first `skip` frames, scaled and compressed again."""
    video = cv2.VideoCapture(str(source))
    frames = []
    while (read := video.read())[0]:
        frames.append(cv2.resize(read[1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    height, width = frames[0].shape[:2]
    with VideoWriter(target, Fraction(25), (width, height), crf, "veryfast") as writer:
        for i, frame in enumerate(frames[skip:]):
            writer.write(frame, i / 25)


@pytest.fixture(scope="module")
def faces(pair, tmp_path_factory):
    """Faces by clip: two real clips of each of two people, and a re-encoded and a trimmed copy of one clip."""
    folder = tmp_path_factory.mktemp("copies")
    recipes = [clip for clip in sample_clips(seed=1) if clip.person in (1, partner(1)) and not clip.method]
    for clip in recipes:
        write_clip(clip, pair, folder)
    copy_clip(folder / "s01_a.mp4", folder / "encoded.mp4", 1, 32, 0)
    copy_clip(folder / "s01_a.mp4", folder / "trimmed.mp4", 0.75, 28, 12)
    detector = create_face_detector("centerface", 0.5)
    return {path.stem: extract_faces(path, GEOMETRY, detector, 1).faces for path in sorted(folder.glob("*.mp4"))}


@pytest.fixture
def corpus(faces, in_project):
    """Archives and index of these faces in the current folder, and a labels table that names nobody."""
    (in_project / "faces").mkdir()
    for name, found in faces.items():
        write_archive(in_project / "faces" / f"{name}.zip", [(face.member, face.data) for face in found])
    rows = [[name, *row] for name, found in faces.items() for row in index_rows(found)]
    write_index(in_project / "index.parquet", rows, GEOMETRY)
    return pd.DataFrame({"video_id": list(faces), "label": 0})


def find(labels, folder, **changes):
    arguments = {"near_duplicate": 0.23, "same_face": None, "margin": GEOMETRY.margin, "workers": 1, "report": folder}
    paths = {"index": folder / "index.parquet", "faces": folder / "faces"}
    return find_visual_links(labels, **(paths | arguments | changes))


def test_reencoded_and_trimmed_copies_are_linked_and_strangers_are_not(corpus, in_project):
    found = find(corpus, in_project)
    assert set(found["kind"]) == {"near_duplicate"}
    groups = pd.Series(identity_groups(corpus, found), index=corpus["video_id"])
    copies = groups[["s01_a", "encoded", "trimmed"]]
    assert copies.nunique() == 1 and groups["s01_b"] != copies.iloc[0]
    # The two clips of s02 may be linked: they show one person.
    assert not set(groups[["s02_a", "s02_b"]]) & set(groups[["s01_a", "s01_b"]])


def test_embeddings_link_the_videos_of_one_person(corpus, in_project):
    pytest.importorskip("dlib", reason="needs requirements-faces.txt")
    found = find(corpus, in_project, same_face=0.35)
    people = found[found["kind"] == "embedding"].set_index("video_id")["token"]
    assert people.groupby(people).groups.keys() == {"encoded", "s02_a"}
    assert set(people.index[people == "encoded"]) == {"encoded", "trimmed", "s01_a", "s01_b"}
    assert set(people.index[people == "s02_a"]) == {"s02_a", "s02_b"}
    sheet = cv2.imread(str(in_project / "people_00.jpg"))
    assert sheet.shape == (2 * 116, 960, 3) and sheet[20:116, : 4 * 96].std() > 20


def test_embedding_does_not_depend_on_the_size_of_the_crop(faces):
    pytest.importorskip("dlib", reason="needs requirements-faces.txt")
    crop = faces["s01_a"][0].crop
    one, other = embed_faces([crop, cv2.resize(crop, (192, 192), interpolation=cv2.INTER_CUBIC)], 0.5)
    assert np.linalg.norm(one - other) < 0.15 and one.shape == (128,)


def test_error_without_the_optional_packages_says_how_to_install_them(monkeypatch):
    embeddings._network.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(embeddings.EmbeddingError, match=r"requirements-faces\.txt"):
        embed_faces([np.zeros((96, 96, 3), np.uint8)], 0.5)


def test_hash_tolerates_light_and_compression_but_not_another_face(faces):
    crop = faces["s01_a"][0].crop
    darker = cv2.convertScaleAbs(crop, alpha=0.8, beta=-5)
    encoded = cv2.imdecode(cv2.imencode(".jpg", darker, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    hashes = [perceptual_hash(picture)[None] for picture in (crop, encoded, faces["s02_a"][0].crop)]
    assert clip_distance(hashes[0], hashes[1]) < 0.1 < 0.3 < clip_distance(hashes[0], hashes[2])


def test_copies_are_found_among_many_strangers():
    """100 of 1,000 clips are copies with a tenth of the bits flipped."""
    rng = np.random.default_rng(0)
    bits = rng.integers(2, size=(1000, 6, 256), dtype=np.uint8)
    bits[900:] = bits[:100] ^ (rng.random((100, 6, 256)) < 0.1)
    hashes = [np.packbits(clip, axis=1).view(np.uint64) for clip in bits]
    pairs = near_duplicates(hashes, 0.25)
    assert set(zip(pairs["a"], pairs["b"], strict=True)) == {(i, 900 + i) for i in range(100)}


def test_no_faces_give_no_near_duplicates():
    assert near_duplicates([], 0.2).empty
    assert near_duplicates([np.empty((0, 4), np.uint64)], 0.2).empty


def test_similar_pairs_are_those_of_brute_force(monkeypatch):
    monkeypatch.setattr(embeddings, "BLOCK", 7)
    points = np.random.default_rng(0).normal(size=(40, 128)).astype(np.float32) * 0.05
    points[33] = points[2] + 0.001
    pairs = similar_pairs(points, 0.75)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert set(zip(pairs["a"], pairs["b"], strict=True)) == {
        (a, b) for a in range(40) for b in range(a + 1, 40) if apart[a, b] < 0.75
    }
    assert 0 < len(pairs) < 780


def test_similar_pairs_of_many_faces_need_little_memory():
    """With 4,096 rows of the distance matrix at once, these would need half a gigabyte, and a million faces 50."""
    points = np.random.default_rng(0).normal(size=(10_000, 128)).astype(np.float32)
    tracemalloc.start()
    similar_pairs(points, 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250e6


def test_chains_of_pairs_get_one_token():
    pairs = pd.DataFrame({"a": [0, 1, 3], "b": [1, 2, 4], "distance": [0.1, 0.2, 0.3]})
    table = join_pairs(pairs, np.array(["e", "d", "c", "b", "a", "z"]), "near_duplicate").set_index("video_id")
    assert table["token"].to_dict() == {"e": "c", "d": "c", "c": "c", "b": "a", "a": "a"}
    assert table["distance"].to_dict() == {"e": 0.1, "d": 0.1, "c": 0.2, "b": 0.3, "a": 0.3}


def test_videos_without_faces_have_no_visual_links(corpus, in_project):
    assert find(pd.DataFrame({"video_id": ["other"], "label": [0]}), in_project) is None


def test_error_names_an_unreadable_archive(corpus, in_project):
    (in_project / "faces/encoded.zip").write_bytes(b"no zip")
    with pytest.raises(VisualLinksError, match=r"encoded\.zip cannot be read .*run the extract stage again"):
        find(corpus, in_project)


def test_visual_links_are_read_as_they_were_written(tmp_path):
    assert read_visual_links(tmp_path).empty
    table = pd.DataFrame({"video_id": ["NA", "1"], "kind": "near_duplicate", "token": "NA", "distance": "0.1"})
    table.to_csv(tmp_path / "visual_links.csv", index=False)
    pd.testing.assert_frame_equal(read_visual_links(tmp_path), table)


@pytest.fixture
def stage(corpus, in_project, monkeypatch):
    """Runs the split stage on the corpus."""
    (in_project / "labels.csv").write_text(
        "video_id,filepath,label\n" + "".join(f"{name},{name}.mp4,real\n" for name in corpus["video_id"])
    )

    def run(*options):
        paths = ["--data.videos", ".", "--data.labels", "labels.csv", "--data.faces", "faces", "--data.splits", "s.csv"]
        monkeypatch.setattr("sys.argv", ["split", *paths, "--workers", "1", "--folds", "2", *options])
        split.main()

    return run


def test_stage_keeps_copies_together_and_reports_them(stage, in_project):
    stage("--data.index", "index.parquet", "--val-fraction", "0.3")
    partition = pd.read_csv(in_project / "s.csv", index_col="video_id")["partition"]
    assert partition[["s01_a", "encoded", "trimmed"]].nunique() == 1
    assert {"s01_a", "encoded", "trimmed"} <= set(read_visual_links(in_project / "split_report")["video_id"])


def test_stage_takes_the_margin_from_the_face_index(stage, monkeypatch):
    arguments = {}
    monkeypatch.setattr(split, "find_visual_links", lambda labels, **given: arguments.update(given))
    with pytest.raises(SystemExit):
        stage("--data.index", "index.parquet", "--identities", "faces", "--same-face", "0.3")
    assert arguments["margin"] == GEOMETRY.margin and arguments["same_face"] == 0.3


def test_stage_refuses_to_recognise_people_in_faces_cut_by_their_boxes(stage, monkeypatch, capsys):
    monkeypatch.setattr(split, "read_geometry", lambda index: replace(GEOMETRY, align="box"))
    monkeypatch.setattr(split, "find_visual_links", lambda labels, **given: None)
    with pytest.raises(SystemExit):
        stage("--data.index", "index.parquet", "--identities", "faces")
    assert "set extract.align to landmarks" in capsys.readouterr().err


def test_stage_needs_faces_only_for_embeddings(stage, capsys):
    with pytest.raises(SystemExit):
        stage("--data.index", "none.parquet", "--identities", "faces")
    assert "none.parquet has no face of these videos; run the extract stage first" in capsys.readouterr().err
    stage("--data.index", "none.parquet", "--val-fraction", "0.3")
    assert "near-duplicates are not searched for" in capsys.readouterr().out


def test_stage_names_an_index_without_geometry(stage, in_project, capsys):
    pd.read_parquet(in_project / "index.parquet").to_parquet(in_project / "plain.parquet")
    with pytest.raises(SystemExit):
        stage("--data.index", "plain.parquet")
    assert "plain.parquet does not say how its crops were made" in capsys.readouterr().err
