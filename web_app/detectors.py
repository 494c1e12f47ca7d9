"""The detectors that the page offers, and what it says of each. What answers is told by content, never by path."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deepfake_detector.bundled_models import MODELS, RELEASED_DETECTOR, SHA256
from deepfake_detector.files import file_sha256
from deepfake_detector.inference.backends import read_config

RELEASED = {digest for name, digest in SHA256.items() if name.startswith(Path(RELEASED_DETECTOR).stem)}
CARD = MODELS / "README.md"
CARD_SECTIONS = ("The released detector", "Operating points", "What it cannot see")


@dataclass(frozen=True)
class Detector:
    """A detector file as its content describes it. `error_rates` is Markdown of this project, not of the file."""

    path: str
    sha256: str
    is_released: bool
    description: str  # of the one who made it; plain text
    backbone: str
    val_auc: float
    error_rates: str

    @property
    def name(self) -> str:
        kind = "released detector" if self.is_released else "detector of the operator of this page"
        return f"{kind} ({self.backbone}, SHA-256 {self.sha256[:12]}…)"

    @property
    def about(self) -> str:
        """Who made it from what, in sentences, as its own metadata say."""
        made = f"It was {self.description.rstrip('.')}. " if self.description else ""
        if self.is_released:  # the AUC in its file is from before its last layer was fitted anew
            return f"{made}Parts of its model card follow."
        return f"{made}On its validation data its AUC is {self.val_auc:.3f}; expect less on videos of other origin."


def read_detector(path: str) -> Detector:
    """The detector in the file `path` as it is now. Raises CheckpointError."""
    status = Path(path).stat() if Path(path).is_file() else None
    return _read(path, (status.st_mtime_ns, status.st_size) if status else None)


@lru_cache(maxsize=8)
def _read(path: str, state: tuple[int, int] | None) -> Detector:
    """`state` makes a changed file read again."""
    config = read_config(path)
    sha256 = file_sha256(path)
    released = sha256 in RELEASED
    rates = card_sections(CARD.read_text(encoding="utf-8"), CARD_SECTIONS) if released else ""
    return Detector(path, sha256, released, config.description, config.backbone, config.val_auc, rates)


def card_sections(card: str, titles: tuple[str, ...]) -> str:
    """The sections of a Markdown text under the headings `titles`, each with its heading."""
    sections = re.split(r"^(?=#+ )", card, flags=re.MULTILINE)
    wanted = [section for section in sections if section.partition("\n")[0].lstrip("# ") in titles]
    return "\n".join(wanted)


def offered_detectors(checkpoint: str) -> dict[str, str]:
    """Label to file of the detectors to choose from: the released one, and `checkpoint` unless it is the same."""
    released = str(MODELS / RELEASED_DETECTOR)
    detectors = {"Released detector": released}
    if Path(checkpoint).is_file() and not Path(checkpoint).samefile(released):
        detectors["Operator's detector"] = checkpoint
    return detectors
