"""A trained detector that is ready to score face crops: on PyTorch, or on ONNX Runtime, which needs no torch."""

from collections.abc import Hashable, Sequence
from itertools import islice
from pathlib import Path
from threading import Timer
from typing import Any, Protocol

import numpy as np
import onnxruntime

from deepfake_detector.inference.prediction_task import backend_name
from deepfake_detector.training.batching import batch_lengths
from deepfake_detector.training.detector_config import (
    CheckpointError,
    DetectorConfig,
    DeviceError,
    check_logits,
    parse_config,
    read_safetensors_config,
)

BATCH_SIZE = 64  # crops scored at once
TRY_SECONDS = 60.0  # for two crops; a network of use takes less than one


class Backend(Protocol):
    """What scores crops."""

    config: DetectorConfig

    def score(self, crops: Sequence[np.ndarray], people: Sequence[Hashable]) -> np.ndarray:
        """Logits float32 (n,) of crops, each uint8 BGR (size, size, 3).

        `people` (n,) names the person of each crop. The crops of one person are adjacent and in order of time.
        """


class TorchBackend:
    """A checkpoint of the train stage (.safetensors). It scores exactly as training and evaluation do."""

    def __init__(self, path: Path | str, device: str = "auto") -> None:
        """Raises CheckpointError for a file that is no detector, DeviceError for a device that is not available."""
        from deepfake_detector.training.checkpoint import load_detector
        from deepfake_detector.training.device import pick_device

        self.device = pick_device(device)
        self.model, self.config = load_detector(path)
        self.model.to(self.device)
        self._path = path

    def score(self, crops: Sequence[np.ndarray], people: Sequence[Hashable]) -> np.ndarray:
        from deepfake_detector.training.scoring import batch_crops, predict_logits

        lengths = batch_lengths(people, BATCH_SIZE, self.config.temporal)
        logits = predict_logits(self.model, batch_crops(crops, lengths), self.device)
        return check_logits(logits, len(crops), self._path)


class OnnxBackend:
    """A network that the export stage wrote (.onnx), on a CUDA GPU or one CPU thread: processes scale better."""

    def __init__(self, path: Path | str, device: str = "auto") -> None:
        """Raises CheckpointError for a file that is no detector, DeviceError for a device that is not available."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = onnx_providers(device)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime raises a class of its own for each kind of unreadable file
            raise CheckpointError(f"{path} is no ONNX network: {error}") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if "detector" not in metadata:
            raise CheckpointError(f"{path} has no detector metadata; export a checkpoint with: python -m stages.export")
        self.config = parse_config(metadata["detector"], path, "export it again")
        self._path = path
        self._try()

    def _try(self) -> None:
        """Score two black crops, and one. Raises CheckpointError: what fails here would fail for every video.

        A network can hold a loop without end, so the time is limited.
        """
        size = self.config.geometry.size
        options = onnxruntime.RunOptions()
        timer = Timer(TRY_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            for count in (2, 1):
                self._run(np.zeros((count, size, size, 3), np.uint8), options)
        except CheckpointError:
            raise
        except Exception as error:  # onnxruntime raises a class of its own for each kind of failure
            reason = str(error).strip().splitlines()[0]
            if options.terminate:
                reason = f"two faces take it more than {TRY_SECONDS:g} seconds"
            raise CheckpointError(f"{self._path} is no detector of this project: {reason}") from error
        finally:
            timer.cancel()

    def _run(self, crops: np.ndarray, options: Any = None) -> np.ndarray:
        """Logits (n,) of crops uint8 BGR (n, size, size, 3). Raises CheckpointError."""
        logits = self._session.run(None, {"crops": network_input(crops)}, options)[0]
        return check_logits(logits, len(crops), self._path)

    def score(self, crops: Sequence[np.ndarray], people: Sequence[Hashable]) -> np.ndarray:
        remaining = iter(crops)
        lengths = batch_lengths(people, BATCH_SIZE, self.config.temporal)
        logits = [self._run(np.stack(list(islice(remaining, length)))) for length in lengths]
        return np.concatenate(logits) if logits else np.empty(0, np.float32)


def open_backend(checkpoint: str, device: str = "auto") -> Backend:
    """The detector file on the backend that its suffix names: .safetensors on PyTorch, .onnx on ONNX Runtime.

    Args:
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        CheckpointError: for a file that is missing or no detector.
        DeviceError: for a device that is not available.
    """
    return TorchBackend(checkpoint, device) if backend_name(checkpoint) == "torch" else OnnxBackend(checkpoint, device)


def read_config(checkpoint: str) -> DetectorConfig:
    """The metadata of a detector file, without loading its network onto PyTorch. Raises CheckpointError."""
    is_torch = backend_name(checkpoint) == "torch"
    return read_safetensors_config(checkpoint) if is_torch else OnnxBackend(checkpoint, "cpu").config


def network_input(crops: np.ndarray) -> np.ndarray:
    """uint8 BGR (n, size, size, 3) as the exported network takes it: uint8 RGB (n, 3, size, size)."""
    return np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2))


def onnx_providers(name: str) -> list[Any]:
    """The execution providers of ONNX Runtime for a device; `auto` is a GPU if there is one. Raises DeviceError."""
    cpu = "CPUExecutionProvider"
    kind, _, number = name.partition(":")
    if kind in ("auto", "cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), cpu]
    if kind in ("auto", "cpu"):
        return [cpu]
    hint = "install onnxruntime-gpu" if kind == "cuda" else "use a .safetensors checkpoint, which PyTorch runs on mps"
    raise DeviceError(f"device {name} is not available to ONNX Runtime; {hint}, or choose cpu")
