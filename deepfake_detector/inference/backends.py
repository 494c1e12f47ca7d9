"""A detector ready to score crops: on PyTorch, or on ONNX Runtime, which never imports torch."""

import re
from collections.abc import Hashable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnxruntime
from pydantic import ValidationError

from deepfake_detector.files import file_sha256
from deepfake_detector.inference.task import detector_file
from deepfake_detector.training.batching import batch_lengths
from deepfake_detector.training.detector_config import CheckpointError, DetectorConfig

if TYPE_CHECKING:
    import torch

BATCH = 64  # crops scored at once


class Backend(Protocol):
    config: DetectorConfig

    def score(self, crops: Sequence[np.ndarray], people: Sequence[Hashable]) -> np.ndarray:
        """Logits (n,) float32 of crops, uint8 BGR (size, size, 3) as the faces room gives them.

        `people` (n) says whose each is; a person's crops lie together, in order of time.
        """


class TorchBackend:
    """The checkpoint as training wrote it; scores as training and evaluation do."""

    def __init__(self, path: Path | str, device: str = "auto") -> None:
        from deepfake_detector.training.checkpoint import load_detector

        self.model, self.config = load_detector(path)
        self.device = torch_device(device)
        self.model.to(self.device)

    def score(self, crops: Sequence[np.ndarray], people: Sequence[Hashable]) -> np.ndarray:
        from deepfake_detector.training.scoring import batch_crops, predict_logits

        return predict_logits(
            self.model, batch_crops(crops, batch_lengths(people, BATCH, self.config.temporal)), self.device
        )


class OnnxBackend:
    """What `stages.export` wrote. On one thread, as processes scale better; on a GPU where onnxruntime-gpu finds one."""

    def __init__(self, path: Path | str, device: str = "auto") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        if device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        elif device not in ("auto", "cpu"):
            raise CheckpointError(
                f"infer.device = {device!r}: this ONNX Runtime computes on the CPU only (GPU: onnxruntime-gpu)"
            )
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime raises a class of its own for each way in which a file may be wrong
            raise CheckpointError(f"{path} is no ONNX network: {error}") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if "detector" not in metadata:
            raise CheckpointError(
                f"{path} has no detector metadata; only a file written by python -m stages.export serves"
            )
        try:
            self.config = DetectorConfig.model_validate_json(metadata["detector"])
        except ValidationError as error:
            raise CheckpointError(f"{path} was exported by another version; export it again: {error}") from error
        self.checkpoint = metadata["checkpoint"]  # SHA-256 of the file that it was exported from

    def score(self, crops: Sequence[np.ndarray], people: Sequence[Hashable]) -> np.ndarray:
        source = iter(crops)
        batches = (
            np.stack(list(islice(source, length))) for length in batch_lengths(people, BATCH, self.config.temporal)
        )
        logits = [self._session.run(None, {"crops": to_input(batch)})[0] for batch in batches]
        return np.concatenate(logits) if logits else np.empty(0, np.float32)


def to_input(crops: np.ndarray) -> np.ndarray:
    """uint8 BGR (n, size, size, 3) to uint8 RGB (n, 3, size, size), as the network wants them."""
    return np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2))


def open_backend(checkpoint: str, exported: str, runtime: str, device: str) -> Backend:
    """The detector on its runtime. Raises CheckpointError.

    An export of another checkpoint than the one that is there is refused: it would judge by an older training unnoticed.
    """
    path = detector_file(checkpoint, exported, runtime)
    if runtime == "torch":
        return TorchBackend(path, device)
    scorer = OnnxBackend(path, device)
    if path != checkpoint and Path(checkpoint).is_file() and scorer.checkpoint != file_sha256(checkpoint):
        raise CheckpointError(
            f"{path} was exported from another detector than {checkpoint}; run: python -m stages.export"
        )
    return scorer


def torch_device(name: str) -> "torch.device":
    """`auto`: a GPU if there is one. Raises CheckpointError for a device that is not there."""
    import torch

    from deepfake_detector.training.device import pick_device

    if name == "auto":
        return pick_device()
    kind, number = re.fullmatch(r"(\w+?)(?::(\d+))?", name).groups()  # type: ignore[union-attr]  # params allow no other
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise CheckpointError(f"infer.device = {name!r}: PyTorch finds {torch.cuda.device_count()} CUDA devices here")
    return torch.device(name)
