"""List the stages, or say the version of the project.

python -m stages
python -m stages --version
"""

import ast
import sys
from pathlib import Path

from deepfake_detector.version import VERSION
from stages import STAGES
from stages.params import fail, say


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        say(VERSION)
        return
    if sys.argv[1:] not in ([], ["-h"], ["--help"]):
        fail(f"a stage is run by python -m stages.NAME; names are {', '.join(STAGES)}")
    for name in STAGES:
        say(f"{name:10}{first_line(name)}")
    say("\ndvc repro runs those that need it. python -m stages.NAME runs one, and with --help shows its options.")


def first_line(name: str) -> str:
    """The first line of a stage's docstring. The stage is not imported: that would take seconds."""
    source = Path(__file__).with_name(f"{name}.py").read_bytes()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
