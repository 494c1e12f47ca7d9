"""A detector as an ONNX network, in float32 or quantised to INT8.

The network takes crops as they are stored (`crops`: uint8 RGB (n, 3, size, size), any n) and gives `logits`: float32
(n,). Normalisation and the mean over each crop and its mirror image are part of it. Its metadata holds all that is
needed to use it.
"""

import tempfile
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from deepfake_detector.files import file_sha256
from deepfake_detector.inference.backends import BATCH_SIZE, Backend, TorchBackend, network_input
from deepfake_detector.training.model import FaceClassifier

TOLERANCE = 1e-4  # largest difference of probabilities at which two networks count as the same detector


def export_onnx(backend: TorchBackend, checkpoint: Path | str, target: Path) -> None:
    """Write the network of `backend`, which was loaded from the file `checkpoint`, to `target`.

    The metadata has `detector`, the DetectorConfig as JSON, and `checkpoint`, the SHA-256 of the file.
    """
    size = backend.config.geometry.size
    program = torch.onnx.export(
        backend.model if backend.model.temporal else _OnePass(backend.model).eval(),
        (torch.zeros(2, 3, size, size, dtype=torch.uint8),),
        input_names=["crops"],
        output_names=["logits"],
        dynamic_shapes={"crops": {0: torch.export.Dim("faces")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # with dynamo=True it never is
    metadata = {"detector": backend.config.model_dump_json(), "checkpoint": file_sha256(checkpoint)}
    save_with_metadata(program.model_proto, target, metadata)


class _OnePass(nn.Module):
    """A classifier whose crops and their mirror images pass the network together.

    Passed one after the other they would be two branches of the graph, and fusing batch norm into the convolutions
    gives each branch weights of its own: a file of twice the size.
    """

    def __init__(self, model: FaceClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.model.forward_clip(torch.cat([crops, crops.flip(3)])).view(2, -1).mean(dim=0)


def save_with_metadata(model: onnx.ModelProto, target: Path, metadata: dict[str, str]) -> None:
    """Write `model` with `metadata` alone: PyTorch notes the paths of its source files at each node."""
    parts = [model.graph, *model.functions]
    parts += [node for part in parts for node in part.node]
    parts += [
        value for name in ("input", "output", "value_info", "initializer") for value in getattr(model.graph, name)
    ]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def largest_difference(one: Backend, two: Backend, crops: Sequence[np.ndarray], people: Sequence[Hashable]) -> float:
    """Largest absolute difference between the calibrated probabilities that two backends give to the same crops.

    Args:
        crops, people: as for `Backend.score`.
    """
    probability = one.config.calibration.probability
    return float(np.abs(probability(one.score(crops, people)) - probability(two.score(crops, people))).max())


def quantize_onnx(source: Path, target: Path, crops: Sequence[np.ndarray]) -> None:
    """Write the float32 network `source` to `target` as INT8: static ranges of activations, weights per channel.

    Args:
        crops: faces from which the ranges are taken, uint8 BGR (size, size, 3).
    """
    metadata = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _CalibrationBatches(crops),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add"],
        )
        save_with_metadata(onnx.load(quantized), target, metadata)


class _CalibrationBatches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no type hints
    """Crops in batches, in the form that the calibration of ONNX Runtime reads."""

    def __init__(self, crops: Sequence[np.ndarray]) -> None:
        starts = range(0, len(crops), BATCH_SIZE)
        self._batches: Iterator[dict[str, np.ndarray]] = iter(
            {"crops": network_input(np.stack(crops[start : start + BATCH_SIZE]))} for start in starts
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)
