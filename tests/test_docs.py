"""README and the handbook: each command, file, key and link in them exists, and short examples run.

tests/test_pipeline.py runs the console blocks of README and quickstart.
"""

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dvc.cli import DvcParserError
from dvc.cli import parse_args as parse_dvc
from pydantic import ValidationError

from stages.params import Params, parse

ROOT = Path(__file__).parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in [
    ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}  # fmt: skip
BLOCK = re.compile(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', re.M | re.S)
BLOCKS = [(page, kind, title, text) for page, content in PAGES.items() for kind, title, text in BLOCK.findall(content)]
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PROGRAMS = ("python -m", "make ", "dvc ", "pytest ", "pip install", "torchrun", "git checkout", "cd ")
PLACEHOLDERS = re.compile(r"STAGE|\bstages\.x\b")
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} | {"checkpoints", "results", "judged", "site"}
PACKAGES = {path.name for path in (ROOT / "deepfake_detector").iterdir() if path.is_dir()}
WRITTEN = {title for _, kind, title, _ in BLOCKS if kind == "python"}  # by the reader, in docs/extending.md
# What commands write beside the outputs in dvc.yaml.
BESIDE = {"judged", "site", "runs", "data/cache", "data/extract_report.failed.csv", "checkpoints/int8.onnx"}
BESIDE |= {"data/sample/demo", "release/sources"}


def commands_of(text):
    """The commands of a console block: lines after `$ `, joined where they end in a backslash, split at `&&`."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    for line in lines:
        assert line.startswith("$ "), f"{line!r} is no command; a console block holds nothing else"
        yield from (part.strip() for part in line[2:].split("&&"))


def inline_commands(text):
    """Commands in the text, between backquotes."""
    for code in CODE.findall(BLOCK.sub("", text)):
        if code.startswith(PROGRAMS) and not PLACEHOLDERS.search(code):
            yield from (part.strip() for part in code.split("&&"))


COMMANDS = {
    (page, command)
    for page, content in PAGES.items()
    for command in [
        *inline_commands(content),
        *(c for kind, _, text in BLOCK.findall(content) if kind == "console" for c in commands_of(text)),
    ]
}


def check_command(command, monkeypatch):
    """AssertionError if a program, an option, a value, a target, a module or a file of `command` does not exist."""
    words = shlex.split(command, comments=True)
    while "=" in words[0]:  # a variable of the environment
        del words[0]
    program, *arguments = words
    if program in ("python", "torchrun"):
        check_module(arguments[arguments.index("-m") + 1 :], monkeypatch)
    elif program == "make":
        check_make(arguments)
    elif program.endswith("dvc"):
        check_dvc(arguments)
    elif program in ("pip", "pytest", "source", "cat", "cd"):
        for name in arguments:
            path = name == "." or Path(name).suffix in (".txt", ".py", ".csv") or program in ("source", "cd")
            assert not path or name == ".venv/bin/activate" or exists(name), f"{name} is not here"
    elif program == "git":
        assert arguments[0] == "checkout" and all(exists(name) for name in arguments[1:]), command
    elif program == "tensorboard":
        assert arguments == ["--logdir", PARAMS["train"]["logs"]]
    else:
        assert program in ("ray", "export"), f"{program}: no check of this program"


def check_module(words, monkeypatch):
    module, *arguments = words
    package, _, name = module.rpartition(".")
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    assert found, f"there is no module {module}"
    if package == "stages":
        monkeypatch.chdir(ROOT)
        with redirect_stderr(StringIO()) as said, pytest.raises(SystemExit) as ended:
            if "tiny_cnn" not in arguments and "smooth" not in " ".join(arguments) and "dlib" not in arguments:
                parse(name, "", arguments, "infer.videos" if name == "infer" else "")
            raise SystemExit(0)
        assert ended.value.code == 0, said.getvalue()
        return
    path = Path(found.origin).with_name("__main__.py") if found.submodule_search_locations else Path(found.origin)
    known = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
            known |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    assert options <= known | {"--help"}, f"{module} has no option {options - known}"
    if module == "deepfake_detector.corpora":
        from deepfake_detector.corpora.__main__ import _parser

        adapters = next(action for action in _parser()._actions if action.dest == "name").choices
        assert arguments[0] in (*adapters, "laboratory"), f"no adapter {arguments[0]}"


def check_make(arguments):
    makefile = (ROOT / "Makefile").read_text()
    for word in arguments:
        name, is_variable, _ = word.partition("=")
        target = rf"^(?:[\w./]+ )*{re.escape(name)}(?: [\w./]+)*:"
        pattern = rf"\$\({name}\)" if is_variable else target
        assert re.search(pattern, makefile, re.M), f"make knows no {name}"


def check_dvc(arguments):
    if arguments in (["metrics"], ["plots"]):  # a group of commands, in the text
        return
    try:
        with redirect_stderr(StringIO()) as said:
            given = parse_dvc(arguments)
    except DvcParserError as error:
        raise AssertionError(f"dvc {' '.join(arguments)}: {said.getvalue()}") from error
    for setting in getattr(given, "set_param", None) or []:
        key, _, values = setting.partition("=")
        for value in values.split(","):
            check_params(nested(key, yaml.safe_load(value)))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    if arguments[0] == "repro" or arguments[:2] == ["exp", "run"] or arguments[0] == "commit":
        assert set(given.targets or []) <= set(stages), f"no such stage: {given.targets}"


def nested(key, value):
    section, _, name = key.partition(".")
    return {section: {name: value}}


def check_params(tree):
    """AssertionError if a part of params.yaml is not valid."""
    merged = {section: {**PARAMS.get(section, {}), **values} for section, values in {**PARAMS, **tree}.items()}
    try:
        Params.model_validate(merged)
    except ValidationError as error:
        raise AssertionError(str(error)) from error


def outputs():
    """Paths that the stages write, with the folders that hold them."""
    text = (ROOT / "dvc.yaml").read_text()
    names = re.findall(r"\$\{(\w+)\.(\w+)\}(/[\w./]+)?", text)
    paths = {f"{PARAMS[section][key]}{rest}" for section, key, rest in names if key in PARAMS.get(section, {})}
    return {path for path in paths if isinstance(path, str)} | {PARAMS["data"]["plots"], PARAMS["data"]["reports"]}


OUTPUTS = outputs()


def exists(name):
    """Whether a path that a page names is in the project, or below something that a command writes."""
    path = name.rstrip("/")
    places = [ROOT / path, ROOT / "docs" / path]
    if path.split("/")[0] in PACKAGES:
        places.append(ROOT / "deepfake_detector" / path)
    if any(place.exists() for place in places) or path in WRITTEN:
        return True
    return any(path == output or path.startswith(f"{output}/") for output in OUTPUTS | BESIDE)


@pytest.mark.parametrize(("page", "command"), sorted(COMMANDS))
def test_command_has_only_what_exists(page, command, monkeypatch):
    check_command(command, monkeypatch)


@pytest.mark.parametrize(
    "command",
    [
        "python -m stages.infer clip.mp4 --chekpoint released",
        "python -m stages.train --epochs many",
        "python -m stages.judge clip.mp4",
        "python -m benchmarks.transfer WORK --seed 1",
        "python -m deepfake_detector.corpora faceforensic ROOT --output a.csv",
        "make rpro",
        "make app ADRESS=0.0.0.0",
        "dvc repro evalute",
        "dvc exp run --allow-mising",
        "dvc exp run -S train.epoch=5",
        "dvc exp run -S train.lr=1e-4,fast",
        "pip install -r requirements-s3.txt",
        "cat reslts/predictions.csv",
        "pytest tests/test_metric.py",
        "npm install",
    ],
)
def test_wrong_command_is_noticed(command, monkeypatch):
    with pytest.raises(AssertionError):
        check_command(command, monkeypatch)


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_keys_in_the_text_exist(page):
    text = BLOCK.sub("", PAGES[page])
    for code in CODE.findall(text):
        if re.fullmatch(r"[\w.-]+/[\w./-]*", code) and code.split("/")[0] in FOLDERS | PACKAGES:
            assert exists(code), f"{page}: {code} is not here"
        key = re.fullmatch(r"(\w+)\.(\w+)(?:: .+|=.+)?", code)
        if key and key[1] in PARAMS and key[2] not in ("py", "json", "csv", "parquet", "safetensors"):
            assert key[2] in PARAMS[key[1]], f"{page}: params.yaml has no {code}"


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, kind, _, text in BLOCKS if kind == "yaml"])
def test_yaml_is_valid_params(page, text):
    check_params(yaml.safe_load(text))


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    """On a code host, where links are relative to the file; `mkdocs build --strict` checks those within docs/ again."""
    folder = (ROOT / page).parent
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", BLOCK.sub("", PAGES[page])):
        path = folder / target if target else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_each_picture_stands_beside_the_command_that_makes_it(page):
    for place in re.finditer(r"!\[[^\]]+\]\(([^)]+)\)", PAGES[page]):
        assert ((ROOT / page).parent / place[1]).is_file()
        modules = re.findall(r"`python -m (benchmarks\.\w+)", PAGES[page][place.end() : place.end() + 600])
        sources = [(ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8") for module in modules]
        assert any(Path(place[1]).name in source for source in sources), f"{page}: what makes {place[1]}?"


FIGURE = re.compile(r"\d\.\d|\d %|\d (?:ms|s|MB|KB)\b")
SOURCE = re.compile(r"`(?:\$ )?(?:python -m|make|dvc repro|pytest|cd release)|\]\(https?:|\bassum")


@pytest.mark.parametrize("page", PAGES)
def test_each_table_of_figures_names_its_command(page):
    """In the section that holds the table, or that it is a part of. What was assumed must say so."""
    sections = re.split(r"^(?=## )", PAGES[page], flags=re.M)
    opening = sections[0]
    for section in sections:
        rows = [line for line in section.splitlines() if line.startswith("|")]
        if sum(bool(FIGURE.search(row)) for row in rows) >= 2:
            text = section if page == "README.md" or section is opening else section + opening
            assert SOURCE.search(text), f"{page}: which command makes the figures of\n{rows[0]}"


# A figure with its interval or standard deviation, and the files that commands write.
INTERVAL = re.compile(r"[01]\.\d{3} (?:\([01]\.\d{3} to [01]\.\d{3}\)|± [01]\.\d{3})")
WRITTEN_FIGURES = [PAGES[f"docs/{name}.md"] for name in ("crossval", "held_out", "recipe", "temporal")]
WRITTEN_FIGURES += [(ROOT / "models/README.md").read_text()]
BY_REPRO = {"0.995 (0.902 to 1.000)"}  # `dvc repro evaluate` writes it to metrics/evaluate.json, which git ignores


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/method.md", "docs/videos.md"])
def test_figure_in_the_text_is_one_that_a_command_wrote(page):
    for figure in set(INTERVAL.findall(PAGES[page])) - BY_REPRO:
        assert any(figure in text for text in WRITTEN_FIGURES), f"{page}: no command wrote {figure}"


@pytest.fixture
def workspace(in_project, real_clip):
    """A folder in which the short examples of the pages run, with a clip."""
    for name in ("models", "deepfake_detector", "stages"):
        (in_project / name).symlink_to(ROOT / name)
    shutil.copy(real_clip, in_project / "clip.mp4")
    return in_project


def run(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_two_folders_become_a_labels_csv_as_the_page_says(workspace, real_clip):
    for name in ("real/a.mp4", "fake/swap/b.mp4"):
        (workspace / "videos" / name).parent.mkdir(parents=True)
        shutil.copy(real_clip, workspace / "videos" / name)
    blocks = [text for page, kind, _, text in BLOCKS if page == "docs/videos.md" and kind == "console"]
    for command in commands_of(blocks[0]):
        run(command.replace("/path/to/videos", "videos"), workspace)
    rows = pd.read_csv(workspace / "data/labels.csv")
    assert rows["label"].tolist() == ["real", "fake"] and rows["method"].tolist()[1] == "swap"


def test_example_of_the_api_reference_judges_a_video(workspace, capsys):
    (example,) = [text for page, kind, _, text in BLOCKS if page == "docs/api.md" and kind == "python"]
    exec(example, {})
    assert re.fullmatch(r"(real|fake|uncertain) 0\.\d+\n", capsys.readouterr().out)


def test_site_builds_strictly_and_asks_no_other_host(tmp_path):
    """Links that lead nowhere, within the handbook or in docstrings, fail the build."""
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("*.html"))) > len(PAGES) - 1
    for path in [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?https?:""", text), path
        assert not re.search(r"""url\(["']?https?:|@import""", text), path
