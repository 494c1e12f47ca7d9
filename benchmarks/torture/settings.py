"""params.yaml and command lines: each key with values that it cannot have, and what parses put to use."""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.torture.tally import TRACEBACK, Tally
from benchmarks.torture.trial import DETECTOR, ROOT, Problem, Run, Workshop, run_stage, side_by_side, try_each
from stages.params import READS, parse

MOST = 700
VALUES: list[Any] = [
    None, True, -1, 0, 10**30, -(10**30), 1e308, -0.0, 5e-324, float("inf"), float("-inf"), float("nan"), "", " ",
    "\0", "x",
    "nan", "1e400", "../../etc", "/", "~", "$(id)", "=1+1", "\x1b[31m", "a" * 100_000, "\u202e", [], [1], [[]], {},
    {"a": {}},
    {"=": float("nan")}, "2026-01-01", "0x10", "1_000", "yes", "٣", "１",
]  # fmt: skip
# What a file may say beside values.
FILES = {
    "empty": b"", "one word": b"word", "a list": b"- 1\n", "null": b"null", "nul": b"\0",
    "half a pair": b"\xed\xa0\x80: 1",
    "Latin-1": "größe: 1\n".encode("latin-1"), "UTF-16": "data: 1\n".encode("utf-16"), "tabs": b"data:\n\tvideos: x\n",
    "aliases": b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "an anchor to itself": b"a: &a [*a]\n",
    "merge": b"a: &a {}\nb: {<<: *a}\n",
    "tag": b"a: !!python/object/apply:os.system [id]\n", "binary": b"a: !!binary aGk=\n", "set": b"a: !!set {x}\n",
    "deep": b"a: " + b"[" * 10_000 + b"]" * 10_000, "deep keys": b"".join(b" " * i + b"a:\n" for i in range(2000)),
    "long": b"#" * 2_000_000, "digits": b"a: " + b"9" * 10_000, "documents": b"a: 1\n---\nb: 2\n",
    "complex key": b"? [a]\n: 1\n",
    "twice": b"data: {}\ndata: {}\n", "key twice": b"data: {a: 1, a: 2}\n", "unclosed": b"a: [",
    "directive": b"%YAML 9.9\n---\na: 1\n",
    "numbers as sections": b"1: {2: 3}\n", "null section": b"data:\n", "section of text": b"data: text\n",
    "carriage": b"a: 1\rb: 2\r",
    "many keys": b"".join(b"k%d: {}\n" % i for i in range(20_000)), "sexagesimal": b"a: 190:20:30\n",
    "octal": b"a: 0o17\n",
}  # fmt: skip
LINES = [
    ["--"], ["--="], ["--=x"], ["---"], ["--help", "--help"], ["--frames"], ["--frames", "--size"], ["--frames="],
    ["--extract"],
    ["--extract."], ["--.frames", "1"], ["--extract.frames.x", "1"], ["--" + "a" * 100_000, "1"], ["\x1b[31m"],
    ["--\x1b[31m", "1"],
    ["--frames", "\udcff"], ["--\udcff", "1"], ["--frames", "1", "--frames", "2"], ["x" * 100_000], ["--train.lr",
    "1"], [""], ["-"],
    ["--evaluate.corpora.x.videos", "v"], ["--data.videos.x", "1"], ["--frames", "１"], ["-h", "x"],
    ["--extract.frames=1=2"],
]  # fmt: skip
# Values that are allowed and near the limits, in use.
IN_USE = [
    ("infer", "--timeout", "1e-9"), ("infer", "--timeout", "1e300"), ("infer", "--memory", "2"), ("infer", "--memory",
    "1e300"),
    ("infer", "--workers", "1000000"), ("infer", "--prior", "5e-324"), ("infer", "--prior", "0.9999999999999999"),
    ("infer", "--fps", "1e-300"), ("infer", "--fps", "1e300"), ("infer", "--max-people", str(10**30)), ("infer",
    "--schemes", ""),
    ("infer", "--error-status", "1000"), ("infer", "--error-status", str(10**30)), ("infer", "--device",
    "cuda:99999999999999999999"),
    ("infer", "--device", "mps"), ("infer", "--output", "params.yaml"), ("infer", "--output", "/proc/x"), ("infer",
    "--output", "v"),
    ("infer", "--output", "x" * 300), ("infer", "--output", ""), ("infer", "--gpus-per-worker", "1"), ("infer",
    "--overlay", "heatmap"),
    ("infer", "--url-megabytes", str(10**30)), ("infer", "--checkpoint", "v"), ("infer", "--checkpoint", "/dev/zero"),
    ("extract", "--frames", "100000"), ("extract", "--fps", "1000"), ("extract", "--fps", "5e-324"), ("extract",
    "--size", "1024"),
    ("extract", "--margin", "3"), ("extract", "--threshold", "0"), ("extract", "--min-eye-distance", "1000"),
    ("extract", "--memory", "5e-324"), ("extract", "--memory", "1e300"), ("extract", "--timeout", "5e-324"),
    ("extract", "--timeout", "1e300"), ("extract", "--workers", "1000000"), ("extract", "--max-people", str(10**30)),
    ("extract", "--detector", "yunet"), ("extract", "--cache", "/proc/x"), ("extract", "--cache", "params.yaml"),
    ("extract", "--data.faces", "v"), ("extract", "--data.faces", "/"), ("extract", "--data.index", "v"), ("extract",
    "--cache", "out"),
    ("extract", "--detector-weights", "none/none"), ("extract", "--data.extract_report", "/dev/full"),
    ("split", "--folds", str(10**30)), ("split", "--folds", "1000000"), ("split", "--seed", str(10**30)),
    ("split", "--val-fraction", "5e-324"), ("split", "--max-group-share", "5e-324"), ("split", "--workers", "1000000"),
    ("split", "--previous-splits", "none/x"), ("split", "--val-methods", "none,of,them"), ("split", "--data.splits",
    "v"),
    ("split", "--data.split_report", "params.yaml"), ("split", "--data.plots", "/proc/x"),
]  # fmt: skip


def parsed(shop: Workshop) -> Tally:
    """Each key with each value, files that are no params, and command lines: accepted, or refused in words."""
    tally = Tally()
    try_each(tally, _parse, dict(shop.choose(_attempts(), MOST)))
    others = shop.choose([*_files(), *_lines()], MOST)
    try_each(tally, _parse, dict(others))
    return tally


def _attempts() -> Iterator[tuple[str, tuple[str, bytes, list[str]]]]:
    tree = yaml.safe_load((ROOT / "params.yaml").read_bytes())
    for section, keys in tree.items():
        for key in keys:
            for i, value in enumerate(VALUES):
                changed = {**tree, section: {**keys, key: value}}
                name = f"{section}.{key} = {str(value)[:20]!r}"
                if i % 3 and isinstance(value, str | int | float) and section in READS:
                    line = [f"--{section}.{key}", str(value)]
                    yield f"--{name} ({i})", (section, (ROOT / "params.yaml").read_bytes(), line)
                else:
                    stage = section if section in READS else "extract"
                    yield f"{name} ({i})", (stage, yaml.safe_dump(changed, allow_unicode=True).encode(), [])


def _files() -> Iterator[tuple[str, tuple[str, bytes, list[str]]]]:
    good = (ROOT / "params.yaml").read_bytes()
    for name, content in FILES.items():
        yield f"a file: {name}", ("extract", content, [])
        yield f"appended: {name}", ("infer", good + content, ["--help"])


def _lines() -> Iterator[tuple[str, tuple[str, bytes, list[str]]]]:
    good = (ROOT / "params.yaml").read_bytes()
    for i, line in enumerate(LINES):
        for stage in ("extract", "infer"):
            yield f"{stage} {' '.join(line)[:40]!r} {i}", (stage, good, line)


def _parse(task: tuple[str, bytes, list[str]]) -> Problem:
    """Parse a file and a command line as a stage does."""
    stage, content, line = task
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("params.yaml").write_bytes(content)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                parse(stage, "", line, operands="infer.videos" if stage == "infer" else "")
            except SystemExit as stop:
                refused = stop.code == 2 and said.getvalue().startswith("error: ")
                return None if refused or stop.code == 0 else (TRACEBACK, f"exit status {stop.code} without a reason")
    return None


def in_use(shop: Workshop) -> Tally:
    """Allowed values near the limits, each in a run of its stage."""
    tally = Tally()
    clip = min(shop.clips, key=lambda clip: clip.stat().st_size)

    def attempt(task: tuple[int, tuple[str, str, str]]) -> Run:
        number, (stage, option, value) = task
        folder = shop.room(f"in-use/{number}")
        (folder / "v").mkdir()
        shutil.copy(clip, folder / "v")
        rows = [f"{i},{clip.name if not i else f'{i}.mp4'},{'fake' if i % 2 else 'real'},p{i // 2}" for i in range(12)]
        (folder / "labels.csv").write_text("\n".join(["video_id,filepath,label,identity", *rows]) + "\n")
        outputs: dict[str, list[object]] = {
            "infer": ["v", "--checkpoint", DETECTOR, "--output", "out"],
            "extract": ["--data.faces", "out/f", "--data.index", "out/i.parquet", "--max-failed", 1, "--cache", "kept"],
            "split": ["--data.splits", "out/splits.csv"],
        }
        tables = [] if stage == "infer" else ["--data.videos", "v", "--data.labels", "labels.csv"]
        return run_stage(stage, *outputs[stage], *tables, option, value, folder=folder)

    tasks = list(enumerate(shop.choose(IN_USE, shop.few)))
    for (_, task), run in zip(tasks, side_by_side(attempt, tasks), strict=True):
        codes = (0, 2, 3, int(task[2]) % 256) if task[1] == "--error-status" else (0, 2, 3)
        tally.add(" ".join(task)[:80], run.problem(codes), run.peak)
    return tally
