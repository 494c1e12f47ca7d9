"""The stages that dvc.yaml runs."""

import signal
import sys
from types import FrameType, TracebackType

import deepfake_detector  # noqa: F401  (it prepares the environment before a stage loads torch)
from deepfake_detector.foreign_text import terminal_text

STAGES = ("sample", "extract", "split", "train", "evaluate", "export", "infer")


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Ctrl-C, for the first time. Further ones would only interrupt the clearing up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_a_sentence(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("\nInterrupted; to go on, give the same command again.\n")
        sys.exit(130)
    if isinstance(error, OSError) and error.strerror:  # a path that cannot be written, or a full disk
        place = error.filename2 or error.filename
        sys.stderr.write(f"error: {terminal_text(f'{place}: ' if place else '')}{error.strerror}\n")
        sys.exit(2)
    sys.__excepthook__(kind, error, trace)


# This package is imported before the imports of a stage, which take seconds in which Ctrl-C may come, too. argv[0] is
# "-m" while `python -m stages.<name>` looks for the stage, and in no other program and no worker process.
if sys.argv[0] == "-m":
    sys.excepthook = _end_with_a_sentence
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a program in the background may ignore it
        signal.signal(signal.SIGINT, _interrupt_once)
