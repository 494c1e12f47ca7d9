"""Write the detector as an ONNX network, which judges without torch: faster to start and to run on a CPU.

    python -m stages.export
    python -m stages.export --int8 true
    python -m stages.infer clips/ --runtime onnx

The network takes crops as they are stored (uint8 RGB, any number at once): normalisation is part of it. Its metadata holds
calibration, threshold and crop geometry. Before it gets its name, its probabilities are compared with PyTorch's on real faces.
"""

import sys
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from deepfake_detector.corpora.face_table import load_face_table
from deepfake_detector.corpora.labels import LabelsError
from deepfake_detector.evaluation.aggregation import aggregate_videos
from deepfake_detector.evaluation.metrics import video_auc
from deepfake_detector.evaluation.robustness import stored_crops
from deepfake_detector.files import file_sha256
from deepfake_detector.inference.backends import BATCH, Backend, OnnxBackend, TorchBackend, to_input
from deepfake_detector.training.batching import track_ids
from deepfake_detector.training.detector_config import CheckpointError
from stages.params import Params, fail, parse

TOLERANCE = 1e-4  # largest difference of probabilities that still counts as the same detector


def main() -> None:
    params = parse("export", __doc__ or "")
    output = Path(params.export.output)
    try:
        scorer = TorchBackend(params.infer.checkpoint, "cpu")
        faces = load_face_table(params.data)
    except (CheckpointError, LabelsError) as error:
        fail(str(error))
    metadata = {"detector": scorer.config.model_dump_json(), "checkpoint": file_sha256(params.infer.checkpoint)}
    part = output.with_name(output.name + ".part")
    output.parent.mkdir(parents=True, exist_ok=True)
    export(scorer, part, metadata)
    chosen = spread_over(faces, params.export.crops)
    crops = list(stored_crops(chosen, Path(params.data.faces)))
    difference = parity(scorer, OnnxBackend(part, "cpu"), crops, track_ids(chosen))
    print(f"largest difference of probabilities on {len(crops)} faces: {difference:.1e}, allowed {TOLERANCE:.0e}")
    if not difference <= TOLERANCE:
        part.unlink()
        fail(f"{params.infer.checkpoint} does not export faithfully; use --runtime torch with this network")
    part.replace(output)
    print(f"wrote {output}")
    if params.export.int8:
        export_int8(output, faces, params)
    sys.exit(0)


def export(scorer: TorchBackend, path: Path, metadata: dict[str, str]) -> None:
    """Write the network of `scorer` to `path`: input `crops` uint8 RGB (n, 3, size, size), output `logits` float32 (n,)."""
    size = scorer.config.geometry.size
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    program = torch.onnx.export(
        scorer.model,
        (example,),
        input_names=["crops"],
        output_names=["logits"],
        dynamic_shapes={"crops": {0: torch.export.Dim("faces")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # it is for dynamo=True
    write(program.model_proto, path, metadata)


def write(model: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def parity(one: Backend, two: Backend, crops: list[np.ndarray], people: Sequence[Hashable]) -> float:
    """Largest difference between the calibrated probabilities that two runtimes give to the same crops."""
    probability = one.config.calibration.probability
    return float(np.abs(probability(one.score(crops, people)) - probability(two.score(crops, people))).max())


def export_int8(source: Path, faces: pd.DataFrame, params: Params) -> None:
    """Quantise by static ranges of training faces, per channel, and say what it costs on validation videos."""
    target = source.with_suffix(".int8.onnx")
    part, prepared = target.with_name(target.name + ".part"), target.with_name(target.name + ".prepared")
    folder, training_faces = Path(params.data.faces), faces[faces["partition"] == "train"]
    training = list(stored_crops(spread_over(training_faces, params.export.crops), folder))
    if not training:
        fail("there is no training face to calibrate INT8 on; run the extract and split stages on the training corpus")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        part,
        Batches(training),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add"],
    )
    metadata = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    write(onnx.load(part), part, metadata)
    prepared.unlink()
    validation = faces[faces["partition"] == "val"].reset_index(drop=True)
    exact, quantised = (OnnxBackend(path, "cpu") for path in (source, part))
    part.replace(target)
    print(f"wrote {target}")
    if validation["label"].nunique() < 2:
        print("  no validation videos of both kinds: what INT8 costs in AUC is not known")
        return
    crops = list(stored_crops(validation, folder))
    before, after = (aucs(validation, scorer.score(crops, track_ids(validation))) for scorer in (exact, quantised))
    for level, a, b in zip(("video", "frame"), before, after, strict=True):
        print(f"  validation {level} AUC {a:.4f} in float32, {b:.4f} in INT8: difference {b - a:+.4f}")


class Batches(CalibrationDataReader):
    """Crops in batches, as onnxruntime's calibration asks for them."""

    def __init__(self, crops: list[np.ndarray]) -> None:
        starts = range(0, len(crops), BATCH)
        self._batches: Iterator[dict[str, np.ndarray]] = iter(
            {"crops": to_input(np.stack(crops[i : i + BATCH]))} for i in starts
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def aucs(faces: pd.DataFrame, logits: np.ndarray) -> tuple[float, float]:
    """AUC of videos and of faces."""
    videos = aggregate_videos(faces.assign(logit=logits))
    labels = faces.drop_duplicates("video_id").set_index("video_id")["label"]
    return video_auc(labels.loc[videos.index], videos["logit"]), video_auc(faces["label"], logits)


def spread_over(faces: pd.DataFrame, total: int) -> pd.DataFrame:
    """At most `total` faces, spread evenly over the table."""
    return faces.iloc[np.unique(np.linspace(0, len(faces) - 1, min(total, len(faces))).astype(int))]


if __name__ == "__main__":
    main()
