"""Which file a detector is, and what makes it unusable; light, so that a command can say so at once."""

import hashlib
from pathlib import Path


class CheckpointError(Exception):
    """The file is no detector of this project; the message says why."""


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits: says which file it was, whatever its name."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def detector_file(checkpoint: str, exported: str, runtime: str) -> str:
    """The file that `runtime` computes with: the checkpoint, or for onnx what was exported of it. Raises CheckpointError."""
    if runtime == "torch" and checkpoint.endswith(".onnx"):
        raise CheckpointError(f"{checkpoint} is an exported network; give --runtime onnx with it")
    path = exported if runtime == "onnx" and not checkpoint.endswith(".onnx") else checkpoint
    if not Path(path).is_file():
        how = "train a detector (dvc repro train)" if path == checkpoint else "write it with: python -m stages.export"
        raise CheckpointError(f"{path} does not exist; {how}, or give --infer.checkpoint")
    return path
