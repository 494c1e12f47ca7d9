"""What the commands of this folder share: their help, the programs that they start, what must be there before."""

import argparse
import os
import sys
from pathlib import Path


def command_line(description: str | None) -> argparse.ArgumentParser:
    """A parser for the module that runs. Its help keeps the lines of `description`."""
    spec = sys.modules["__main__"].__spec__
    return argparse.ArgumentParser(
        f"python -m {spec.name.removesuffix('.__main__')}" if spec else None,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def environment() -> dict[str, str]:
    """For a program that is started: those of this Python, such as dvc, are found without activation, too."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"}


def need(*paths: str) -> None:
    """End the program if a file that the pipeline writes is not here."""
    for path in paths:
        if not Path(path).exists():
            sys.exit(f"{path} is not here: run make repro first")
