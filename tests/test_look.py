"""What the faces say: copies of one clip, and people who look alike."""

import sys
from fractions import Fraction

import cv2
import numpy as np
import pandas as pd
import pytest

from deepfake_detector.corpora import embeddings
from deepfake_detector.corpora.embeddings import embed_faces, similar_pairs
from deepfake_detector.corpora.identity_graph import identity_groups, links
from deepfake_detector.corpora.leakage import link_digests
from deepfake_detector.corpora.near_duplicates import clip_distance, near_duplicates, perceptual_hash
from deepfake_detector.corpora.sample_corpus import partner, sample_clips, write_clip
from deepfake_detector.corpora.visual_links import find_visual_links, join_pairs
from deepfake_detector.faces.archive import write_archive
from deepfake_detector.faces.detectors import create_detector
from deepfake_detector.faces.extraction import Geometry, extract_faces
from deepfake_detector.faces.video_writer import VideoWriter
from stages import evaluate
from stages.params import parse

GEOMETRY = Geometry(frames=16, size=96, margin=0.5, detector="centerface", threshold=0.5)


def copy_clip(source, target, scale, crf, skip):
    """A copy without its first `skip` frames, smaller, and compressed once more."""
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
    """Two real clips of each of two people, and a re-encoded and a trimmed copy of one of them: their faces by name."""
    folder = tmp_path_factory.mktemp("look")
    recipes = [clip for clip in sample_clips(seed=1) if clip.person in (1, partner(1)) and not clip.method]
    for clip in recipes:
        write_clip(clip, pair, folder)
    copy_clip(folder / "s01_a.mp4", folder / "encoded.mp4", 1, 32, 0)
    copy_clip(folder / "s01_a.mp4", folder / "trimmed.mp4", 0.75, 28, 12)
    detector = create_detector("centerface", 0.5)
    return {path.stem: extract_faces(path, GEOMETRY, detector, 1).faces for path in sorted(folder.glob("*.mp4"))}


@pytest.fixture
def corpus(faces, in_project):
    """The same as labels, archives and index; nothing is known of anybody."""
    (in_project / "faces").mkdir()
    for name, found in faces.items():
        write_archive(in_project / "faces" / f"{name}.zip", [(face.member, face.data) for face in found])
    rows = [(name, face.track, face.member) for name, found in faces.items() for face in found]
    pd.DataFrame(rows, columns=["video_id", "track", "member"]).to_parquet(in_project / "index.parquet")
    return pd.DataFrame({"video_id": list(faces), "label": 0})


def params(*options):
    places = ["--data.faces", "faces", "--data.index", "index.parquet", "--workers", "1"]
    return parse("split", "", [*places, *options])


def test_encoded_and_trimmed_copies_are_found_and_no_stranger(corpus, in_project):
    found = find_visual_links(corpus, params(), in_project)
    assert set(found["kind"]) == {"near_duplicate"}
    groups = pd.Series(identity_groups(corpus, links(corpus, found)), index=corpus["video_id"])
    copies = groups[["s01_a", "encoded", "trimmed"]]
    assert copies.nunique() == 1 and groups["s01_b"] != copies.iloc[0]
    assert not set(groups[["s02_a", "s02_b"]]) & set(
        groups[["s01_a", "s01_b"]]
    )  # s02's two clips may look alike: it is one person


def test_people_are_recognised_by_their_faces(corpus, in_project):
    pytest.importorskip("dlib", reason="needs requirements-faces.txt")
    found = find_visual_links(corpus, params("--identities", "faces"), in_project)
    people = found[found["kind"] == "embedding"].set_index("video_id")["token"]
    assert people.groupby(people).groups.keys() == {"encoded", "s02_a"}
    assert set(people.index[people == "encoded"]) == {"encoded", "trimmed", "s01_a", "s01_b"}
    assert set(people.index[people == "s02_a"]) == {"s02_a", "s02_b"}
    sheet = cv2.imread(str(in_project / "people_00.jpg"))
    assert sheet.shape == (2 * 116, 960, 3) and sheet[20:116, : 4 * 96].std() > 20


def test_embedding_does_not_depend_on_the_size_of_the_crops(faces):
    pytest.importorskip("dlib", reason="needs requirements-faces.txt")
    crop = faces["s01_a"][0].crop
    one, other = embed_faces([crop, cv2.resize(crop, (192, 192), interpolation=cv2.INTER_CUBIC)], 0.5)
    assert np.linalg.norm(one - other) < 0.15 and one.shape == (128,)


def test_without_the_optional_packages_it_says_how_to_install_them(corpus, in_project, monkeypatch):
    embeddings._network.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(embeddings.EmbeddingError, match=r"requirements-faces\.txt"):
        embed_faces([np.zeros((96, 96, 3), np.uint8)], 0.5)


def test_hash_survives_light_and_compression_but_not_another_face(faces):
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


def test_no_faces_give_no_duplicates():
    assert near_duplicates([], 0.2).empty
    assert near_duplicates([np.empty((0, 4), np.uint64)], 0.2).empty


def test_look_alikes_are_the_same_as_by_brute_force(monkeypatch):
    monkeypatch.setattr(embeddings, "BLOCK", 7)
    points = np.random.default_rng(0).normal(size=(40, 128)).astype(np.float32) * 0.05
    points[33] = points[2] + 0.001
    pairs = similar_pairs(points, 0.75)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert set(zip(pairs["a"], pairs["b"], strict=True)) == {
        (a, b) for a in range(40) for b in range(a + 1, 40) if apart[a, b] < 0.75
    }
    assert 0 < len(pairs) < 780


def test_chains_of_pairs_get_one_token():
    pairs = pd.DataFrame({"a": [0, 1, 3], "b": [1, 2, 4], "distance": [0.1, 0.2, 0.3]})
    table = join_pairs(pairs, np.array(["e", "d", "c", "b", "a", "z"]), "near_duplicate").set_index("video_id")
    assert table["token"].to_dict() == {"e": "c", "d": "c", "c": "c", "b": "a", "a": "a"}
    assert table["distance"].to_dict() == {"e": 0.1, "d": 0.1, "c": 0.2, "b": 0.3, "a": 0.3}


def test_faces_without_an_extraction_are_refused(in_project, capsys):
    labels = pd.DataFrame({"video_id": ["a"], "label": [0]})
    with pytest.raises(SystemExit):
        find_visual_links(labels, params("--identities", "faces"), in_project)
    assert "run the extract stage" in capsys.readouterr().err
    assert find_visual_links(labels, params(), in_project) is None
    assert "not looked for" in capsys.readouterr().out


def test_evaluation_refuses_a_test_set_of_which_the_detector_saw_a_person(in_project, capsys):
    columns = ["video_id", "identity", "donor", "source_video"]
    trained = pd.DataFrame([("a", "p1", "", ""), ("b", "p2", "p1", "a")], columns=columns)
    config = type("Config", (), {"seen": link_digests(links(trained))})
    clean = pd.DataFrame([("c", "p3", "", ""), ("d", "p3", "p4", "c")], columns=columns)
    evaluate.check_leakage(config, clean, parse("evaluate", "", []))
    leaking = pd.DataFrame([("e", "p5", "p2", "b2")], columns=columns)
    with pytest.raises(SystemExit):
        evaluate.check_leakage(config, leaking, parse("evaluate", "", []))
    assert "donor p2" in capsys.readouterr().err
    evaluate.check_leakage(config, leaking, parse("evaluate", "", ["--split.allow_leaks", "donor"]))
    capsys.readouterr()
    evaluate.warn_of_seen(config, "other", clean)
    assert not capsys.readouterr().out
    evaluate.warn_of_seen(config, "other", leaking)
    assert "trained on what corpus other shows: 1 by donor (p2)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluate.check_leakage(type("Config", (), {"seen": {}}), clean, parse("evaluate", "", []))
