"""Seconds from a fresh clone to the results of the sample corpus: installation and pipeline.

    python -m benchmarks.first_run

It clones the last commit. Packages in uv's cache are not downloaded again: the second time measures no network.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.command import command_line

ROOT = Path(__file__).parent.parent
STEPS = ("make setup", "make repro", "make repro")


def main() -> None:
    command_line(__doc__).parse_args()
    print("| in a fresh clone, in this order | seconds |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        for step in STEPS:
            start = time.monotonic()
            subprocess.run(step.split(), cwd=folder, stdout=subprocess.DEVNULL, check=True)
            print(f"| `{step}` | {time.monotonic() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
