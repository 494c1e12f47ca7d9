"""Adapters: a folder with the file names of a corpus becomes a valid labels CSV."""

import json
import os

import pandas as pd
import pytest

from deepfake_detector.corpora.__main__ import main
from deepfake_detector.faces.sources import VIDEO_SUFFIXES


@pytest.fixture
def tree(tmp_path):
    def make(*files, **contents):
        for name in files:
            (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "root" / name).write_bytes(b"")
        for name, content in contents.items():
            (tmp_path / "root" / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / "root"

    return make


def labels_of(name, root, *options):
    output = root.parent / "labels.csv"
    main([name, str(root), "--output", str(output), *map(str, options)])
    return pd.read_csv(output, dtype=str, keep_default_na=False).set_index("video_id")


def error_of(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in argv])
    assert stop.value.code == 2
    return capsys.readouterr().err


FF = [
    *(f"original_sequences/youtube/{q}/videos/{n}.mp4" for q in ("c23", "c40") for n in ("033", "097", "001")),
    *(
        f"manipulated_sequences/{m}/c23/videos/{n}.mp4"
        for m in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
        for n in ("033_097", "097_033")
    ),
    "manipulated_sequences/Deepfakes/raw/videos/033_097.mp4",
    "manipulated_sequences/Deepfakes/masks/videos/033_097.mp4",
    "original_sequences/actors/c23/videos/01__kitchen_still.mp4",
    "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_still__YVGY8LOK.mp4",
    "original_sequences/youtube/c23/videos/holiday.mp4",
]


def test_faceforensics(tree, capsys):
    root = tree(*FF)
    for name, pairs in {"train": [["033", "097"]], "val": [["001", "002"]], "test": []}.items():
        (root / f"{name}.json").write_text(json.dumps(pairs))
    (root / "conversion_dict.json").write_text(json.dumps({"033": "abc 0", "001": "abc 1", "097": "-x_y 0"}))
    labels = labels_of("faceforensics", root)
    assert len(labels) == 6 + 10 + 1 + 2
    fake = labels.loc["NeuralTextures_c23_033_097"]
    assert fake.to_dict() == {
        "filepath": "manipulated_sequences/NeuralTextures/c23/videos/033_097.mp4",
        "label": "fake",
        "identity": "033",
        "donor": "097",
        "source_video": "youtube_c23_033",
        "method": "NeuralTextures",
        "quality": "c23",
        "subset": "train",
        "upload": "abc",
    }
    assert labels.loc["Deepfakes_raw_033_097", "source_video"] == "youtube_c23_033"  # no raw original is here
    real = labels.loc["youtube_c40_001"]
    assert (real["label"], real["identity"], real["subset"], real["upload"], real["method"]) == (
        "real",
        "001",
        "val",
        "abc",
        "",
    )
    actors = labels.loc["DeepFakeDetection_c23_01_02__kitchen_still__YVGY8LOK"]
    assert (actors["identity"], actors["donor"], actors["source_video"]) == ("01", "02", "actors_c23_01__kitchen_still")
    out = capsys.readouterr().out
    assert "label: fake 12, real 7" in out and "quality: c23 15, c40 3, raw 1" in out
    assert "listed but missing: 15: " in out and "Deepfakes/c23/videos/001_002.mp4" in out
    assert (
        "present but unlisted: 1: original_sequences/youtube/c23/videos/holiday.mp4" in out
        and "1 videos of masks" in out
    )


def test_faceforensics_with_lists_of_the_true_size(tree, in_project, monkeypatch, capsys):
    """1,000 sequences, five methods, official partition sizes and 7 shared uploads. All but the counts is invented."""
    from stages import split

    names = [f"{i:03d}" for i in range(1000)]
    pairs = [[names[i], names[i + 1]] for i in range(0, 1000, 2)]
    lists = {"train": pairs[:360], "val": pairs[360:430], "test": pairs[430:]}
    uploads = {name: f"upload{name} 0" for name in names}
    for i in range(15):  # 15 uploads have two sequences in train
        uploads[names[4 * i]] = uploads[names[4 * i + 300]]
    for i in range(7):
        uploads[names[4 * i + 1]] = f"shared{i} 0"
        uploads[names[(720, 860)[i % 2] + 4 * i + 1]] = f"shared{i} 1"
    folders = ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"]
    root = tree(
        *(f"original_sequences/youtube/c23/videos/{name}.mp4" for name in names),
        *(
            f"manipulated_sequences/{m}/c23/videos/{x}_{y}.mp4"
            for m in folders
            for a, b in pairs
            for x, y in ((a, b), (b, a))
        ),
        **{"conversion_dict.json": uploads},
        **{f"{name}.json": part for name, part in lists.items()},
    )
    labels = labels_of("faceforensics", root)
    assert len(labels) == 6000
    assert labels[labels["label"] == "real"]["subset"].value_counts().to_dict() == {
        "train": 720,
        "val": 140,
        "test": 140,
    }
    options = [
        "--data.videos",
        str(root),
        "--data.labels",
        str(root.parent / "labels.csv"),
        "--data.splits",
        "splits.csv",
    ]
    monkeypatch.setattr("sys.argv", ["split", *options, "--data.index", "none", "--strategy", "official"])
    with pytest.raises(SystemExit):
        split.main()
    message = capsys.readouterr().err
    assert "7 links cross partitions" in message and "upload 'shared0'" in message
    monkeypatch.setattr("sys.argv", ["split", *options, "--data.index", "none", "--strategy", "repair"])
    split.main()
    metrics = json.loads((in_project / "metrics/split.json").read_text())
    assert metrics["leaks"] == {
        "person": 0, "donor": 0, "original": 0, "upload": 0, "near_duplicate": None, "embedding": None,
    }  # fmt: skip
    changed = pd.read_csv(in_project / "split_report/moved.csv")
    assert len(changed) == 7 * 12 == metrics["moved"] and set(changed["partition"]) == {"train"}


def test_celebdf(tree, capsys):
    root = tree(
        "Celeb-real/id0_0000.mp4", "Celeb-real/id1_0003.mp4", "YouTube-real/00000.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-synthesis/id1_id0_0009.mp4", "notes/clip.mp4",
    )  # fmt: skip
    (root / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n1 Celeb-real/id9_0001.mp4\n"
    )
    labels = labels_of("celebdf", root)
    assert labels["label"].tolist() == ["real", "real", "real", "fake", "fake"]
    assert labels.loc["Celeb-synthesis_id0_id1_0000"].to_dict() == {
        "filepath": "Celeb-synthesis/id0_id1_0000.mp4", "label": "fake", "identity": "id0", "donor": "id1",
        "source_video": "Celeb-real_id0_0000", "method": "Celeb-synthesis", "subset": "test",
    }  # fmt: skip
    assert labels.loc["Celeb-synthesis_id1_id0_0009", "source_video"] == ""
    assert labels["subset"].value_counts().to_dict() == {"train": 3, "test": 2}
    out = capsys.readouterr().out
    assert "listed but missing: 1: Celeb-real/id9_0001.mp4" in out and "present but unlisted: 1: notes/clip.mp4" in out


def test_celebdf_version_1(tree):
    """Names and list are as in version 2. It has 408 real and 795 fake videos instead of 890 and 5,639."""
    files = {
        "Celeb-real/id0_0000.mp4": 1, "Celeb-real/id4_0009.mp4": 1, "YouTube-real/00170.mp4": 1,
        "Celeb-synthesis/id0_id4_0000.mp4": 0, "Celeb-synthesis/id4_id0_0009.mp4": 0,
    }  # fmt: skip
    test_list = ["YouTube-real/00170.mp4", "Celeb-real/id4_0009.mp4", "Celeb-synthesis/id4_id0_0009.mp4"]
    root = tree(*files, **{"List_of_testing_videos.txt": "".join(f"{files[name]} {name}\n" for name in test_list)})
    labels = labels_of("celebdf", root)
    assert labels["label"].tolist() == ["real"] * 3 + ["fake"] * 2
    assert labels["subset"].tolist() == ["train", "test", "test", "train", "test"]
    assert labels["source_video"].tolist()[3:] == ["Celeb-real_id0_0000", "Celeb-real_id4_0009"]
    assert labels["donor"].tolist()[3:] == ["id4", "id0"]


def test_celebdf_list_in_which_1_means_fake_is_refused(tree, capsys):
    root = tree("Celeb-real/id0_0000.mp4", **{"List_of_testing_videos.txt": "0 Celeb-real/id0_0000.mp4\n"})
    assert "says that Celeb-real/id0_0000.mp4 is fake; its folder says real" in error_of(
        capsys, "celebdf", root, "--output", root / "x.csv"
    )


def test_dfdc_parts(tree, capsys):
    root = tree(
        "dfdc_train_part_0/a.mp4", "dfdc_train_part_0/b.mp4", "dfdc_train_part_1/c.mp4", "dfdc_train_part_1/d.mp4"
    )
    entry = {"label": "FAKE", "split": "train", "original": "b.mp4"}
    real = {"label": "REAL", "split": "train", "original": None}
    (root / "dfdc_train_part_0/metadata.json").write_text(
        json.dumps({"a.mp4": entry, "b.mp4": real, "gone.mp4": entry})
    )
    (root / "dfdc_train_part_1/metadata.json").write_text(json.dumps({"c.mp4": entry | {"original": "zz.mp4"}}))
    labels = labels_of("dfdc", root)
    assert labels["source_video"].to_dict() == {"a": "b", "b": "", "c": "zz"}
    assert labels["filepath"]["c"] == "dfdc_train_part_1/c.mp4" and labels["label"].tolist() == ["fake", "real", "fake"]
    out = capsys.readouterr().out
    assert "listed but missing: 1: dfdc_train_part_0/gone.mp4" in out and "unlisted: 1: dfdc_train_part_1/d.mp4" in out
    assert "the originals of 1 fakes are not here" in out


def test_dfdc_preview(tree):
    content = {
        "method_A/12/12_34_A_000.mp4": {
            "label": "fake",
            "set": "train",
            "augmentations": [],
            "target_id": 12,
            "swapped_id": 34,
        },
        "original_videos/12/12_001.mp4": {
            "label": "real",
            "set": "test",
            "augmentations": [],
            "target_id": 12,
            "swapped_id": None,
        },
    }
    labels = labels_of("dfdc", tree(*content, **{"dataset.json": content}))
    assert labels["identity"].tolist() == ["12", "12"] and labels["donor"].tolist() == ["34", ""]
    assert labels["method"].tolist() == ["method_A", ""] and labels["subset"].tolist() == ["train", "test"]


def test_deeperforensics(tree, capsys):
    root = tree(
        "manipulated_videos/end_to_end/000_M101.mp4",
        "manipulated_videos/end_to_end_mix_2_distortions/000_M101.mp4",
        "manipulated_videos/reenact_postprocess/003_W025.mp4",
        "source_videos/M101/light_down/happy/camera_front/M101_light_down_happy_camera_front.mp4",
        "lists/splits/train.txt",
    )
    (root / "lists/splits/train.txt").write_text("000_M101.mp4\n555_W001.mp4\n")
    labels = labels_of("deeperforensics", root)
    mixed = labels.loc["end_to_end_mix_2_distortions_000_M101"]
    assert (mixed["method"], mixed["quality"], mixed["identity"], mixed["donor"]) == (
        "end_to_end",
        "mix_2_distortions",
        "000",
        "M101",
    )
    source = labels.loc["M101_light_down_happy_camera_front"]
    assert (source["label"], source["identity"], source["subset"]) == ("real", "M101", "train")
    assert labels.loc["reenact_postprocess_003_W025", "subset"] == ""
    assert "listed but missing: 1: 555_W001.mp4" in capsys.readouterr().out


def test_folder_with_methods_and_colliding_names(tree, capsys):
    root = tree("real/ä b.mp4", "fake/swap/a.mp4", "fake/swap_a.mp4", "fake/b.mov", "other/c.mp4")
    labels = labels_of("folder", root)
    assert labels["label"].tolist() == ["real", "fake", "fake", "fake"] and labels.index.is_unique
    assert dict(zip(labels["filepath"], labels["method"], strict=True))["fake/swap/a.mp4"] == "swap"
    assert "present but unlisted: 1: other/c.mp4" in capsys.readouterr().out


def test_adapters_take_every_kind_of_video(tree):
    root = tree("real/a.mp4", *(f"fake/{suffix[1:]}/a{suffix.upper()}" for suffix in VIDEO_SUFFIXES))
    assert set(labels_of("folder", root)["method"]) == {"", *(suffix[1:] for suffix in VIDEO_SUFFIXES)}


def test_adapters_count_files_that_are_no_videos_by_suffix(tree, capsys):
    root = tree("real/a.mp4", "fake/b.DAV", "fake/c.JPG", "fake/d.jpg", "readme")
    assert len(labels_of("folder", root)) == 2
    assert "no videos by their suffix: 3 (2 .jpg, 1 without suffix)" in capsys.readouterr().out


def test_csv_that_names_a_file_beyond_the_limits_of_names_lists_it_as_missing(tree, capsys):
    root = tree("a.mp4")
    (root / "mine.csv").write_text(f"video_id,filepath,label\na,a.mp4,real\nb,{'b' * 300}.mp4,fake\n")
    assert len(labels_of("csv", root, "--table", root / "mine.csv")) == 2
    assert "listed but missing: 1" in capsys.readouterr().out
    assert "there is no such file" in error_of(capsys, "check", root, "--table", root / "mine.csv")


def test_csv_with_other_column_names_keeps_further_columns(tree, capsys):
    root = tree("clips/a.mp4", "clips/b.mp4", "clips/extra.mp4")
    (root / "mine.csv").write_text(
        "clip;class;who;age\nclips/a.mp4;Genuine;x;30\nclips/b.mp4;spoof;y;40\nclips/c.mp4;spoof;;\n"
    )
    options = ["--table", root / "mine.csv", "--columns", "filepath=clip", "label=class", "identity=who"]
    labels = labels_of("csv", root, *options, "--labels", "genuine=real", "spoof=fake")
    assert labels.loc["clips_a"].to_dict() == {"filepath": "clips/a.mp4", "label": "real", "identity": "x", "age": "30"}
    out = capsys.readouterr().out
    assert "listed but missing: 1: clips/c.mp4" in out and "present but unlisted: 1: clips/extra.mp4" in out
    assert "row 2: label 'Genuine'" in error_of(capsys, "csv", root, "--output", root / "x.csv", *options)
    assert not list(root.glob("x.csv*"))
    assert "clip, class" in error_of(capsys, "csv", root, "--output", root / "x.csv", "--table", root / "mine.csv")


def test_csv_of_a_spreadsheet_may_have_empty_rows_and_blanks(tree, capsys):
    root = tree("v/M\xfcller.mp4", "v/a.mp4", "v/a.mov")
    lines = ["filepath ; label;identity", "v\\M\xfcller.mp4; ECHT ;001", ";;", "v\\a.mp4;Fake;002", " v/a.mov;fake", ""]
    (root / "mine.csv").write_text("\r\n".join(lines), encoding="utf-8-sig", newline="")
    labels = labels_of("csv", root, "--table", root / "mine.csv", "--labels", "echt=real")
    assert labels.index.tolist() == ["v_M\xfcller", "v_a_mp4", "v_a_mov"] and labels["label"].iloc[0] == "real"
    assert labels["identity"].tolist() == ["001", "002", ""]
    out = capsys.readouterr().out
    assert "listed but missing: 0" in out and ": 3 videos" in out


def test_names_that_are_not_utf8_are_listed_or_refused(tree, capsys):
    names = [os.fsdecode(f"{number}".encode() + b"\xfc.mp4") for number in range(11)]
    root = tree("real/a.mp4", "fake/b.mp4", *names)
    assert len(labels_of("folder", root)) == 2
    assert sorted(map(os.fsencode, names)) == sorted((root.parent / "labels.unlisted.txt").read_bytes().splitlines())
    (root / names[0]).rename(root / "real" / names[0])
    assert "is not UTF-8 text; rename" in error_of(capsys, "folder", root, "--output", root / "x.csv")


def test_check_reports_every_problem_of_a_labels_csv(tree, capsys):
    root = tree("a.mp4")
    (root / "labels.csv").write_text("video_id,filepath,label\na,a.mp4,real\na,./a.mp4,fake\nb,b.mp4,odd\n")
    message = error_of(capsys, "check", root, "--table", root / "labels.csv")
    for part in (
        "row 3: video_id 'a' is in row 2",
        "row 3: filepath './a.mp4' is in row 2 already as real, here as fake",
        "row 4: filepath 'b.mp4': there is no such file",
        "row 4: label 'odd'",
    ):
        assert part in message


@pytest.mark.parametrize("name", ["faceforensics", "celebdf", "dfdc", "deeperforensics", "folder"])
def test_folder_of_something_else_is_refused_with_its_content(name, tree, capsys):
    root = tree("holiday/beach.mp4")
    message = error_of(capsys, name, root, "--output", root / "labels.csv")
    assert "expected" in message and "found holiday/" in message and not (root / "labels.csv").exists()
    assert "is not a folder" in error_of(capsys, name, root / "none", "--output", root / "labels.csv")


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("", [], "cannot be read as CSV"),
        ("filepath,label\n", [], "lists no video"),
        ("filepath,label\nb.mp4,0\n", [], "has none of the 1 files"),
        ("filepath,label\na.mp4,0,\n", [], "rows with more fields than the 2 columns"),
        ("filepath,clip,label\nq.mp4,a.mp4,0\n", ["filepath=clip"], "itself has a column filepath"),
        ("x,y,label\na.mp4,a.mp4,0\n", ["filepath=x", "filepath=y"], "a name is before = more than once"),
    ],
)
def test_csv_with_an_impossible_mapping_is_refused(tree, capsys, table, options, message):
    root = tree("a.mp4", **{"mine.csv": table})
    words = ["--table", root / "mine.csv", "--output", root / "x.csv", *(["--columns", *options] if options else [])]
    assert message in error_of(capsys, "csv", root, *words)
    assert "none is not a folder" in error_of(capsys, "csv", root / "none", *words) or "more than once" in message
    assert not list(root.glob("x.csv*"))


def test_long_lists_are_written_beside_the_labels_csv(tree, capsys):
    root = tree("real/a.mp4", "fake/b.mp4", *(f"other/{i:02d}.mp4" for i in range(11)))
    labels_of("folder", root)
    beside = root.parent / "labels.unlisted.txt"
    assert beside.read_text().splitlines() == [f"other/{i:02d}.mp4" for i in range(11)]
    assert f"other/09.mp4, ...; all in {beside}" in capsys.readouterr().out
    assert not (root.parent / "labels.missing.txt").exists()


def test_error_names_an_output_that_cannot_be_written(tree, capsys):
    root = tree("real/a.mp4", "fake/b.mp4")
    assert f"{root / 'real'} cannot be written" in error_of(capsys, "folder", root, "--output", root / "real")
    assert "cannot be written" in error_of(capsys, "folder", root, "--output", root / "real/a.mp4/labels.csv")
    assert not list(root.glob("*.part"))


@pytest.mark.parametrize(
    ("name", "file", "lists", "message"),
    [
        ("dfdc", "a.mp4", {"metadata.json": {"a.mp4": "FAKE"}}, "the entry of a.mp4 is 'FAKE'"),
        ("dfdc", "a.mp4", {"metadata.json": {"a.mp4": {"is_fake": [1]}}}, "the label of a.mp4 is None"),
        ("dfdc", "a.mp4", {"metadata.json": "[" * 100_000}, "cannot be read as JSON"),
        ("faceforensics", FF[0], {"train.json": [[33, 97]]}, "must be a list of pairs of sequences"),
        ("faceforensics", FF[0], {"conversion_dict.json": ["033"]}, "must map sequences to uploads"),
        ("faceforensics", FF[0], {"conversion_dict.json": {"033": ""}}, "must map sequences to uploads"),
        (
            "faceforensics",
            FF[0],
            {"train.json": [["1", "2"]], "test.json": [["3", "2"]]},
            "test.json lists 2; train.json lists it, too",
        ),
    ],
)
def test_lists_of_another_form_are_refused(tree, capsys, name, file, lists, message):
    root = tree(file, **lists)
    assert message in error_of(capsys, name, root, "--output", root / "x.csv")


def test_error_names_a_broken_list(tree, capsys):
    latin = tree("Celeb-real/id0_0000.mp4")
    (latin / "List_of_testing_videos.txt").write_bytes(b"1 Celeb-real/\xe4.mp4\n")
    assert "List_of_testing_videos.txt cannot be read as UTF-8" in error_of(
        capsys, "celebdf", latin, "--output", latin / "x.csv"
    )
    root = tree("dfdc_train_part_0/a.mp4", **{"metadata.json": "{"})
    assert "metadata.json cannot be read as JSON" in error_of(capsys, "dfdc", root, "--output", root / "x.csv")
