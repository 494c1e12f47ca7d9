"""Names that break tables, terminals, globs and file systems; and what lies in folders without being a file."""

import os
import shutil
import socket
from pathlib import Path

from benchmarks.torture.tally import Tally
from benchmarks.torture.trial import DETECTOR, Workshop, run_stage
from benchmarks.torture.videos import (
    EXTRACT,
    judge_runs,
    picture_problem,
    read_report,
    read_rows,
    report_problem,
    row_problem,
)
from deepfake_detector.faces.sources import name_videos, printable
from deepfake_detector.foreign_text import spreadsheet_cell

NAMES = [
    b"=1+1.mp4", b"+cmd|' C calc'!A0.mp4", b"-2.mp4", b"@SUM(A1).mp4", b"\t=1.mp4", b" leading.mp4", b"trailing .mp4",
    b"--help.mp4", b"-h", b"--checkpoint=x.mp4", b"a,b.mp4", b'quo"te.mp4', b"apo'strophe.mp4", b"semi;colon.mp4",
    b"new\nline.mp4", b"re\rturn.mp4", b"tab\there.mp4", b"bell\x07.mp4", b"\x1b[31mred\x1b[0m.mp4",
    b"\x1b]0;title\x07.mp4",
    b"del\x7f.mp4", b"\xc2\x9b2J.mp4", b"nul-like\\0.mp4", b"back\\slash.mp4", b"percent%s%n%d.mp4", b"{0}{x}.mp4",
    b"$(touch x).mp4", b"`touch y`.mp4", b"$HOME.mp4", b"$x^2_{a}$.mp4", b"~.mp4", b"a&b.mp4", b"a|b.mp4", b"a>b.mp4",
    b"star*.mp4", b"question?.mp4", b"[ab].mp4", b"[.mp4", b"**.mp4", b"!x.mp4", b"#comment.mp4", b"# comment.mp4",
    b"<b>bold<b>.mp4", b"<script>alert(1)<script>.mp4", b"[link](javascript:alert(1)).mp4", b"![i](x).mp4",
    b"| a | b |.mp4", b"_a_ __b__ ~~c~~.mp4", b"\xff\xfe.mp4", b"caf\xe9.mp4", b"\xed\xa0\x80.mp4",
    b"\xf0\x9f\x98\x80.mp4",
    "\u00e9.mp4".encode(), "e\u0301.mp4".encode(), "ＡＢ.mp4".encode(), "\u202egpj.mp4".encode(),
    "\u200b.mp4".encode(), "\ufeffbom.mp4".encode(), "ſ.mp4".encode(), "İ.mp4".encode(), b"S.mp4", b"s.mp4",
    b"predictions.mp4", b"PREDICTIONS.mp4", b"predictions.csv.mp4", b"con.mp4", b"nul.mp4", b".hidden.mp4", b"..mp4",
    b"....mp4",
    b".mp4.mp4", b"a.b.c.d.mp4", b"a.mp4.part", b"a.1234.part.mp4", b"a.faces.mp4", b"x.zip.mp4", b"UPPER.MP4",
    b"no suffix",
    b"x" * 251 + b".mp4", b"y" * 180 + b".mp4", b"z" * 181 + b".mp4", "é".encode() * 125 + b".mp4",
    b"x" * 250 + b"2.mp4",
    b"http:", b"http:a.mp4", b"file:a.mp4", b"concat:a.mp4", b"pipe:0.mp4", b"subfile,,start,0,end,9,,:a.mp4",
    b"a#t=1.mp4",
    b"%2e%2e.mp4", b"a%00b.mp4", b"C:a.mp4", b"1.mp4", b"0.mp4", b"nan.mp4", b"None.mp4", b"true.mp4", b"1e5.mp4",
    b"%03d.mp4", b"a%d.mp4", b"frame-%05d.mp4",
]  # fmt: skip


def write_names(clip: Path, folder: Path, names: list[bytes]) -> list[str]:
    """A copy of the clip under each name, and what is no regular file. Returns the names that could be made."""
    folder.mkdir()
    made = []
    for name in names:
        path = folder / os.fsdecode(name)
        if not path.exists():
            shutil.copy(clip, path)
            made.append(path.name)
    os.mkfifo(folder / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as made_socket:
        made_socket.bind(os.path.relpath(folder / "socket.mp4"))
    (folder / "folder.mp4").mkdir()
    targets = {"dangling.mp4": "missing", "itself.mp4": "itself.mp4", "zero.mp4": "/dev/zero", "up.mp4": ".."}
    targets |= {
        "annex.mp4": ".git/annex/objects/XX/yy/SHA256E-s1--00.mp4/SHA256E-s1--00.mp4",
        "random.mp4": "/dev/random",
    }
    for link, target in targets.items():
        (folder / link).symlink_to(target)
    # A folder is searched, and a link to the folder itself leads nowhere new.
    return [*made, "pipe.mp4", "socket.mp4", *(name for name in targets if name != "up.mp4")]


def shown(name: str) -> str:
    """A name as the table writes it."""
    return str(spreadsheet_cell(printable(name))).removeprefix("'")


def named(shop: Workshop) -> Tally:
    """Predicted from a folder, one by one, and from a list; extracted from a folder."""
    room, tally = shop.room("named"), Tally()
    clip = min(shop.clips, key=lambda clip: clip.stat().st_size)
    names = write_names(clip, room / "v", shop.choose(NAMES, len(NAMES)))
    is_video = [name for name in names if name.lower().endswith(".mp4")]
    predict = ("--checkpoint", DETECTOR, "--overlay", "none", "--timeline", "false", "--timeout", 120)
    listed = [name for name in names if name.splitlines() == [name] and name.strip() == name]
    (room / "list.txt").write_bytes(b"\n".join(os.fsencode(f"v/{name}") for name in listed))
    missing = ["v/" + "x" * 300 + ".mp4", "v/" * 3000 + "a.mp4", "v/missing.mp4", "v/1.mp4/b.mp4", "v/*.none", "v/["]
    tried = {
        "a folder": (["v"], is_video),
        "one by one": ([f"v/{name}" for name in names], names),
        "a list": (["list.txt"], listed),
        "missing": (missing, []),
    }
    for i, (way, (arguments, expected)) in enumerate(tried.items()):
        run = run_stage("infer", *arguments, "--output", f"out{i}", *predict, folder=room)
        rows = read_rows(room / f"out{i}")
        for name in expected:
            row = rows.get(shown(f"v/{name}"))
            tally.add(f"{way}: {name!r}", row_problem(row) or picture_problem(row, room / f"out{i}", ()))
        if way == "missing":
            for name in arguments:
                tally.add(f"{way}: {name[:40]}", row_problem(rows.get(name)))
        judge_runs(tally, run)
    run = run_stage("extract", *EXTRACT, "--data.videos", "v", "--data.labels", "none", folder=room)
    report = read_report(room / "extract_report.csv")
    for video_id in name_videos(sorted(f"v/{name}" for name in is_video)):
        tally.add(f"extracted: {video_id!r}", report_problem(report.get(video_id)))
    return judge_runs(tally, run)
