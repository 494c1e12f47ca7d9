"""Megabytes that `make setup` downloads on this kind of machine, by the sizes that the package index states.

    python -m benchmarks.installation

Nothing is downloaded. The index of torch's CPU build is not asked: it states no sizes.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

from benchmarks.command import command_line, environment

LOCK = Path("requirements.lock")
UNUSED = ("triton", "nvidia-cusolver")  # what the Makefile leaves out of the CUDA build where there is no GPU
TORCH = ("torch", "torchvision")


def main() -> None:
    command_line(__doc__).parse_args()
    cuda = set(re.findall(r"^(?:nvidia|cuda|triton)[a-z0-9-]*", LOCK.read_text(), re.MULTILINE)) - {"nvidia-ml-py"}
    rest = {name: size for name, size in downloads(excluded=tuple(cuda)).items() if name not in TORCH}
    print("| machine | packages | MB |\n|---|---|---|")
    print(row("with a GPU: the CUDA build of torch", downloads()))
    print(row("without a GPU, and the index of the CPU build not reached", downloads(excluded=UNUSED)))
    print(row("without a GPU: all but torch and torchvision", rest))


def row(machine: str, sizes: dict[str, int]) -> str:
    return f"| {machine} | {len(sizes)} | {sum(sizes.values()) / 1e6:,.0f} |"


def downloads(excluded: tuple[str, ...] = ()) -> dict[str, int]:
    """Bytes of each package that requirements.txt needs here."""
    with tempfile.TemporaryDirectory() as folder:
        left_out, plan = Path(folder, "excluded.txt"), Path(folder, "pylock.toml")
        left_out.write_text("\n".join(excluded))
        command = ["uv", "pip", "compile", "--quiet", "--format", "pylock.toml", "--output-file", str(plan)]
        command += ["--python", sys.executable, "--excludes", str(left_out)]
        command += ["--constraint", str(LOCK), "requirements.txt"]
        if subprocess.run(command, env=environment()).returncode:
            sys.exit("uv could not ask the package index")
        return {package["name"]: size(package) for package in tomllib.loads(plan.read_text())["packages"]}


def size(package: dict[str, Any]) -> int:
    """Bytes of the wheel that suits this machine best, or of the source."""
    order = {tag: place for place, tag in enumerate(sys_tags())}
    suited = {
        min(order[tag] for tag in tags): wheel["size"]
        for wheel in package.get("wheels", [])
        if (tags := parse_wheel_filename(wheel["url"].rpartition("/")[2])[3] & order.keys())
    }
    return int(suited[min(suited)] if suited else package["sdist"]["size"])


if __name__ == "__main__":
    main()
