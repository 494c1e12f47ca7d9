"""params.yaml and the command line."""

import pytest
import yaml

from stages.params import Params, parse


def parse_error(capsys, stage, *argv):
    with pytest.raises(SystemExit) as stop:
        parse(stage, "", list(argv))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_overrides_with_and_without_section(in_project):
    params = parse("train", "", ["--epochs", "3", "--batch-size", "8", "--extract.size", "64", "--lr", "1e-4"])
    assert (params.train.epochs, params.train.batch_size, params.extract.size, params.train.lr) == (3, 8, 64, 1e-4)


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
        ("--extract.faces", "some", ["extract.faces", "'some'", "all"]),
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
    assert "evaluate.corpora.test" in message and "a partition of the own one" in message


def test_missing_key_is_named(in_project, capsys):
    tree = yaml.safe_load((in_project / "params.yaml").read_text())
    del tree["train"]["lr"]
    (in_project / "params.yaml").write_text(yaml.safe_dump(tree))
    assert "train.lr: missing" in parse_error(capsys, "train")


def test_broken_yaml_is_said_to_be_broken(in_project, capsys):
    (in_project / "params.yaml").write_text("train: [")
    assert "not valid YAML" in parse_error(capsys, "train")


def test_help_shows_every_key_with_meaning_and_default(in_project, capsys):
    with pytest.raises(SystemExit):
        parse("train", "What it does.", ["--help"])
    text = capsys.readouterr().out
    tree = yaml.safe_load((in_project / "params.yaml").read_text())
    for name, field in Params.model_fields.items():
        for key, value in field.annotation.model_fields.items():
            assert f"--{name}.{key}" in text
            assert value.description.split()[0] in text
            assert f"[{tree[name][key]}]" in text.replace("\n", " ")
