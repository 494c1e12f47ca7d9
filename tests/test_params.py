"""params.yaml and the command line."""

import json
import re
from pathlib import Path

import pytest
import yaml

from deepfake_detector.evaluation.aggregation import AGGREGATORS
from deepfake_detector.training import MANIPULATIONS, TEMPORAL_HEADS
from stages.params import READS, parse, section_type

ROOT = Path(__file__).parent.parent


def parse_error(capsys, stage, *argv):
    with pytest.raises(SystemExit) as stop:
        parse(stage, "", list(argv))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_overrides_with_and_without_section(in_project):
    params = parse("train", "", ["--epochs", "3", "--batch-size=8", "--model.backbone", "vit", "--lr", "1e-4"])
    assert (params.train.epochs, params.train.batch_size, params.model.backbone, params.train.lr) == (3, 8, "vit", 1e-4)


@pytest.mark.parametrize("stage", READS)
def test_recipe_of_the_released_detector_has_every_key(stage, monkeypatch):
    monkeypatch.chdir(ROOT / "release")
    assert parse(stage, "", [])


def test_unknown_option_names_a_near_one(in_project, capsys):
    assert "--epochs" in parse_error(capsys, "train", "--epoch", "3")


def test_key_of_another_stage_needs_its_section(in_project, capsys):
    assert "--frames" in parse_error(capsys, "train", "--frames", "3")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--extract.size", "7", ["extract.size", "'7'", "32"]),
        ("--extract.size", "large", ["extract.size", "'large'", "integer"]),
        ("--extract.detector", "magic", ["extract.detector", "'magic'", "centerface"]),
        ("--extract.max_people", "some", ["extract.max_people", "'some'", "all"]),
    ],
)
def test_impossible_value_is_refused_with_key_value_and_what_is_allowed(in_project, capsys, option, value, said):
    message = parse_error(capsys, "extract", option, value)
    assert all(part in message for part in said), message


def test_unknown_key_in_file_is_refused_with_those_allowed(in_project, capsys):
    tree = yaml.safe_load((in_project / "params.yaml").read_text())
    tree["train"]["epoch"] = 3
    (in_project / "params.yaml").write_text(yaml.safe_dump(tree))
    message = parse_error(capsys, "train")
    assert "train.epoch: unknown key" in message and "epochs" in message


def test_corpus_named_like_a_partition_is_refused(in_project, capsys):
    tree = yaml.safe_load((in_project / "params.yaml").read_text())
    tree["evaluate"]["corpora"] = {"test": {"videos": "v", "labels": "l.csv"}}
    (in_project / "params.yaml").write_text(yaml.safe_dump(tree))
    message = parse_error(capsys, "evaluate")
    assert "evaluate.corpora.test" in message and "the name of a partition" in message


def test_missing_key_is_named(in_project, capsys):
    tree = yaml.safe_load((in_project / "params.yaml").read_text())
    del tree["train"]["lr"]
    (in_project / "params.yaml").write_text(yaml.safe_dump(tree))
    assert "train.lr: missing" in parse_error(capsys, "train")


def test_broken_yaml_is_said_to_be_broken(in_project, capsys):
    (in_project / "params.yaml").write_text("train: [")
    assert "not valid YAML" in parse_error(capsys, "train")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text + "a: &a [x, x]\nb: *a\n", r"line \d+: \*a is an alias"),
        (lambda text: text + "train:\n  epochs: 1\n", r"line \d+: train is given twice, first in line \d+"),
        (lambda text: text.replace("  epochs: 3", "  epochs: 3\n  epochs: 1"), r"line \d+: epochs is given twice"),
        (lambda text: text + "x: " + 5000 * "[" + 5000 * "]", r"line \d+: more than 20 levels"),
        (lambda text: text + "? [a, b]\n: 1\n", r"line \d+: a key must be a word"),
        (lambda text: text + 2_000_000 * "#", "more than 1,000,000 bytes"),
        (lambda text: text.replace("epochs: 3", "epochs: !!binary aGVsbG8="), r"line \d+: could not determine"),
        (lambda text: text.replace("epochs: 3", "epochs: " + 5000 * "9"), "digits"),
        (lambda text: text + "x: \0\n", "not valid YAML"),
    ],
)
@pytest.mark.parametrize("option", [[], ["--help"]])
def test_file_that_is_no_plain_yaml_is_refused_with_its_line(in_project, capsys, change, said, option):
    """Such as aliases that expand without end, and a second key that would silently win."""
    (in_project / "params.yaml").write_text(change((in_project / "params.yaml").read_text()))
    message = parse_error(capsys, "train", *option)
    assert re.search(said, message) and message.count("\n") == 1


def test_file_in_another_encoding_is_refused_with_its_line(in_project, capsys):
    text = (in_project / "params.yaml").read_text()
    (in_project / "params.yaml").write_bytes((text + "# größe\n").encode("latin-1"))
    assert "is not UTF-8 text; save the file as UTF-8" in parse_error(capsys, "train", "--help")
    (in_project / "params.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert parse("train", "", []).train.epochs == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lr: 3.0e-4", "lr: .inf"),
        ("weight_decay: 0.05", "weight_decay: .inf"),
        ("localization_weight: 1.0", "localization_weight: .nan"),
        ("timeout: 600\n  memory", "timeout: .inf\n  memory"),
        ("megapixels: 8.3", "megapixels: .inf"),
        ("fps: 1 ", "fps: .inf "),
    ],
)
def test_infinity_and_nan_are_refused(in_project, capsys, old, new):
    text = (in_project / "params.yaml").read_text()
    assert old in text
    (in_project / "params.yaml").write_text(text.replace(old, new))
    assert "finite number" in parse_error(capsys, "train")


def test_date_is_text_and_control_characters_are_refused(in_project, capsys):
    text = (in_project / "params.yaml").read_text()
    (in_project / "params.yaml").write_text(text.replace("faces: data/faces\n", "faces: 2026-01-01\n"))
    assert parse("train", "", []).data.faces == "2026-01-01"
    (in_project / "params.yaml").write_text(text.replace("faces: data/faces\n", 'faces: "a\\0b"\n'))
    message = parse_error(capsys, "train")
    assert "data.faces" in message and "control characters" in message


def test_key_below_a_section_without_keys_is_refused(in_project, capsys):
    text = re.sub(r"manipulations:.*\n.*\n.*\n", "manipulations:\n", (in_project / "params.yaml").read_text())
    (in_project / "params.yaml").write_text(text)
    assert "manipulations has no keys" in parse_error(capsys, "train", "--manipulations.blend", "0.2")


def commands(stages):
    """The commands of a pipeline, those of stages in a foreach, too."""
    for stage in stages.values():
        yield stage["cmd"] if "cmd" in stage else stage["do"]["cmd"]


@pytest.mark.parametrize("pipeline", ["dvc.yaml", "release/dvc.yaml"])
def test_no_value_of_params_is_part_of_a_shell_command(pipeline):
    """A space in it would break the command, and $(...) in it would be run."""
    stages = yaml.safe_load((ROOT / pipeline).read_text())["stages"]
    assert not [command for command in commands(stages) if "${" in command]


def test_stage_of_a_further_corpus_finds_its_corpus_by_the_name_of_the_dvc_stage(in_project):
    assert parse("extract", "", ["--corpus", "release/dvc.yaml:corpus@celebdf"]).extract.corpus == "celebdf"
    assert parse("extract", "", ["--corpus", "celebdf"]).extract.corpus == "celebdf"


def test_help_shows_every_key_that_the_stage_reads_with_meaning_and_value(in_project, capsys):
    with pytest.raises(SystemExit):
        parse("train", "What it does.", ["--help"])
    text = capsys.readouterr().out
    tree = yaml.safe_load((in_project / "params.yaml").read_text())
    for read in READS["train"]:
        name, _, only = read.partition(".")
        for key, value in section_type(name).model_fields.items():
            if only not in ("", key):
                continue
            assert f"--{name}.{key}" in text
            assert value.description.split()[0] in text
            shown = tree[name][key]
            shown = shown if isinstance(shown, str) else json.dumps(shown)
            assert f"[{shown}]" in " ".join(text.split())
    assert "--infer." not in text


def test_override_without_effect_is_refused(in_project, capsys):
    message = parse_error(capsys, "infer", "--extract.frames", "64")
    assert "--extract.frames has no effect" in message and "infer" in message


def test_one_share_of_a_manipulation_is_overridden(in_project):
    params = parse("train", "", ["--manipulations.self_blend", "0.2"])
    assert params.train.manipulations == {"blend": 0.4, "self_blend": 0.2}


@pytest.mark.parametrize("name", ["/weights/yunet.onnx", "../yunet.onnx"])
def test_model_file_outside_the_folder_that_dvc_tracks_is_refused(in_project, capsys, name):
    message = parse_error(capsys, "extract", "--detector-weights", name)
    assert "extract.detector_weights" in message and "models/" in message


def test_model_file_is_found_in_its_folder(in_project):
    for name in ("yunet.onnx", "models/yunet.onnx"):
        assert parse("extract", "", ["--detector-weights", name]).extract.detector_weights == "models/yunet.onnx"


@pytest.mark.parametrize("videos", [["a", "b"], "clips/*.mp4", "list.txt"])
def test_videos_that_dvc_cannot_track_are_refused_in_the_file(in_project, capsys, videos):
    tree = yaml.safe_load((in_project / "params.yaml").read_text())
    tree["infer"]["videos"] = videos
    (in_project / "params.yaml").write_text(yaml.safe_dump(tree))
    assert "infer.videos" in parse_error(capsys, "infer")
    assert parse("infer", "", ["a", "b"], "infer.videos").infer.videos == ("a", "b")


def test_side_outputs_go_beside_a_main_output_that_the_command_line_names(in_project):
    data = parse("extract", "", ["--data.index", "elsewhere/faces.parquet"]).data
    assert (data.extract_report, data.metrics) == ("elsewhere/extract_report.csv", "elsewhere/metrics")
    data = parse("extract", "", ["--data.index", "elsewhere/faces.parquet", "--data.metrics", "m"]).data
    assert (data.extract_report, data.metrics) == ("elsewhere/extract_report.csv", "m")
    assert parse("extract", "", []).data.metrics == "metrics"


def test_option_without_a_value_is_refused(in_project, capsys):
    assert "--train.lr needs a value" in parse_error(capsys, "train", "--lr")
    assert "--train.lr needs a value" in parse_error(capsys, "train", "--lr", "--epochs", "3")


# What a stage may do without DVC knowing: how fast it runs, and where it keeps what is no output.
UNTRACKED = {"executor", "workers", "gpus_per_worker", "cache", "corpus", "state", "logs", "device", "error_status"}


@pytest.mark.parametrize("stage", ["sample", "extract", "split", "train", "evaluate", "export", "infer"])
def test_dvc_tracks_every_key_that_shapes_an_output(stage, in_project):
    """A key that dvc.yaml does not list could be changed, and DVC would keep the old output."""
    text = (ROOT / "dvc.yaml").read_text()
    entry = yaml.safe_load(text)["stages"][stage]
    interpolated = set(re.findall(r"\$\{([\w.]+)\}", str(entry)))
    tracked = set(entry["params"]) | interpolated
    keys = {f"{stage}.{key}" for key in section_type(stage).model_fields} - {f"{stage}.{key}" for key in UNTRACKED}
    keys |= {key for key in READS[stage] if "." in key} - {"evaluate.corpora"}  # each corpus has a stage of its own
    assert keys <= tracked, keys - tracked


def test_dvc_runs_export_after_the_stages_that_write_what_int8_reads():
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["export"]["deps"]
    assert {f"${{data.{name}}}" for name in ("faces", "index", "labels", "splits")} <= set(deps)


def test_dvc_tracks_what_is_said_of_a_further_corpus():
    """Its subset decides which of its videos are extracted."""
    entry = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert entry["corpus"]["do"]["params"] == [{"params.yaml": entry["extract"]["params"]}, "evaluate.corpora.${key}"]


@pytest.mark.parametrize(
    ("stage", "option"), [("train", "--sample.pairs"), ("extract", "--evaluate.bootstrap"), ("train", "--infer.output")]
)
def test_key_that_the_stage_does_not_read_is_refused(in_project, capsys, stage, option):
    assert "has no effect" in parse_error(capsys, stage, option, "3")


def test_help_names_the_values_of_registries(in_project, capsys):
    with pytest.raises(SystemExit):
        parse("train", "", ["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in (*AGGREGATORS, *TEMPORAL_HEADS, *MANIPULATIONS))


@pytest.mark.parametrize("prior", ["0", "1e-9", "1e-4", "0.9999999", "1"])
def test_prior_under_which_all_probabilities_would_round_to_one_value_is_refused(in_project, capsys, prior):
    """With 6 decimals, a prior of 1e-9 made every probability and the threshold 0, and so every video fake."""
    assert f"infer.prior = '{prior}'" in parse_error(capsys, "infer", "--prior", prior)


@pytest.mark.parametrize(
    "key",
    [
        *("extract.memory", "infer.memory", "app.memory", "split.seed", "train.seed", "evaluate.batch_size"),
        *("train.batch_size", "train.workers", "evaluate.bootstrap", "infer.error_status"),
    ],
)
def test_number_that_no_system_and_no_library_takes_is_refused(in_project, capsys, key):
    assert f"{key} = " in parse_error(capsys, key.partition(".")[0], f"--{key}", "1" + 30 * "0")
