"""The machine and the versions that the figures were measured with.

    python -m benchmarks.machine

It prints the table at the top of docs/benchmarks.md.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.command import command_line
from deepfake_detector.parallel_map import cpu_count

PACKAGES = ("av", "dvc", "numpy", "onnxruntime", "opencv-python", "pandas", "ray", "timm", "torch")


def processor() -> str:
    """The name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    command_line(__doc__).parse_args()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print("| | |\n|---|---|")
    print(f"| processor | {processor()}, {cpu_count()} cores |\n| memory | {memory:.0f} GB |\n| GPU | {gpu} |")
    print(f"| system | {platform.system()}, Python {platform.python_version()} |")
    print(f"| packages | {', '.join(f'{name} {version(name)}' for name in PACKAGES)} |")


if __name__ == "__main__":
    main()
