"""Megabytes that `make setup` downloads here and on a Mac, by the sizes that the package index states.

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

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms, sys_tags
from packaging.utils import parse_wheel_filename

from benchmarks.command import command_line, environment

LOCK = Path("requirements.lock")
UNUSED = ("triton", "nvidia-cusolver")  # what the Makefile leaves out of the CUDA build where there is no GPU
TORCH = ("torch", "torchvision")
MACOS = (14, 0)  # the oldest that the locked packages have wheels for


def main() -> None:
    command_line(__doc__).parse_args()
    cuda = set(re.findall(r"^(?:nvidia|cuda|triton)[a-z0-9-]*", LOCK.read_text(), re.MULTILINE)) - {"nvidia-ml-py"}
    rest = {name: size for name, size in downloads(excluded=tuple(cuda)).items() if name not in TORCH}
    print("| machine | packages | MB |\n|---|---|---|")
    print(row("with a GPU: the CUDA build of torch", downloads()))
    print(row("without a GPU, and the index of the CPU build not reached", downloads(excluded=UNUSED)))
    print(row("without a GPU: all but torch and torchvision", rest))
    print(row(f"a Mac with Apple silicon and macOS {MACOS[0]}", downloads(mac=True)))


def row(machine: str, sizes: dict[str, int]) -> str:
    return f"| {machine} | {len(sizes)} | {sum(sizes.values()) / 1e6:,.0f} |"


def downloads(excluded: tuple[str, ...] = (), mac: bool = False) -> dict[str, int]:
    """Bytes of each package that requirements.txt needs here, or on a Mac."""
    with tempfile.TemporaryDirectory() as folder:
        left_out, plan = Path(folder, "excluded.txt"), Path(folder, "pylock.toml")
        left_out.write_text("\n".join(excluded))
        command = ["uv", "pip", "compile", "--quiet", "--format", "pylock.toml", "--output-file", str(plan)]
        command += ["--python", sys.executable, "--excludes", str(left_out)]
        command += ["--constraint", str(LOCK), "requirements.txt"]
        command += ["--python-platform", "aarch64-apple-darwin"] if mac else []
        variables = environment() | {"MACOSX_DEPLOYMENT_TARGET": "{}.{}".format(*MACOS)}
        if subprocess.run(command, env=variables).returncode:
            sys.exit("uv could not ask the package index")
        tags = mac_tags() if mac else list(sys_tags())
        return {package["name"]: size(package, tags) for package in tomllib.loads(plan.read_text())["packages"]}


def mac_tags() -> list[Tag]:
    platforms = list(mac_platforms(MACOS, "arm64"))
    return [*cpython_tags(platforms=platforms), *compatible_tags(platforms=platforms)]


def size(package: dict[str, Any], tags: list[Tag]) -> int:
    """Bytes of the wheel that suits best, by the order of `tags`, or of the source."""
    order = {tag: place for place, tag in enumerate(tags)}
    suited = {
        min(order[tag] for tag in fitting): wheel["size"]
        for wheel in package.get("wheels", [])
        if (fitting := parse_wheel_filename(wheel["url"].rpartition("/")[2])[3] & order.keys())
    }
    return int(suited[min(suited)] if suited else package["sdist"]["size"])


if __name__ == "__main__":
    main()
