"""Run all benchmarks, and write what they print into the pages of docs/.

    python -m benchmarks [--videos FOLDER] [--yunet FILE] [TEXT ...]

A benchmark is named in its page: what its command prints stands between `<!-- bench: COMMAND -->` and `<!-- end -->`.
All else there is written by hand. In a command, VIDEOS is the folder of real clips, and YUNET the model file of that
detector; without `--yunet` these two words go. With TEXT, only the commands that contain it run. The page is written
after each command. One that fails leaves its tables as they were, and ends the run with status 1.

Peers need the internet, or a cache of their packages: uv installs each into an environment of its own.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.command import command_line
from deepfake_detector.files import atomic_path

PAGES = Path("docs")
BLOCK = re.compile(r"<!-- bench: (?P<command>.+?) -->\n.*?<!-- end -->", re.DOTALL)


def run(command: str, videos: str, yunet: str) -> str | None:
    """What a command prints, below the command and the load of the machine; None if it fails."""
    words = shlex.split(command if yunet else command.replace(" --yunet YUNET", ""))
    given = {"python": sys.executable, "VIDEOS": videos, "YUNET": yunet}
    load = os.getloadavg()[0]
    print(command, flush=True)
    done = subprocess.run([given.get(word, word) for word in words], stdout=subprocess.PIPE, text=True)
    return f"`{command}`, started at a load of {load:.1f}:\n\n{done.stdout.strip()}\n" if not done.returncode else None


def update(page: Path, videos: str, yunet: str, texts: list[str]) -> list[str]:
    """Run the commands that a page names, and write what they print into it; the commands that failed."""
    failed = []
    for command in [block["command"] for block in BLOCK.finditer(page.read_text())]:
        if texts and not any(text in command for text in texts):
            continue
        printed = run(command, videos, yunet)
        if printed is None:
            failed.append(command)
            continue
        start, end = f"<!-- bench: {command} -->\n", "<!-- end -->"
        before, _, rest = page.read_text().partition(start)
        with atomic_path(page) as part:
            part.write_text(f"{before}{start}{printed}{end}{rest.partition(end)[2]}")
    return failed


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    parser.add_argument("--videos", default="data/sample", help="folder of real clips; the sample corpus by default")
    parser.add_argument("--yunet", default="", help="file of the YuNet model")
    options = parser.parse_args()
    failed = []
    for page in sorted(PAGES.glob("*.md")):
        failed += update(page, options.videos, options.yunet, options.texts)
    if failed:
        sys.exit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
