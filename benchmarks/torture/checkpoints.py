"""Detector files of strangers: refused with a reason, or a detector whose logits are numbers."""

import io
import json
import os
import pickle
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.torture.mutants import MUTATIONS
from benchmarks.torture.tally import WRONG_BYTES, Tally
from benchmarks.torture.trial import DETECTOR, ROOT, Problem, Run, Workshop, run_stage, side_by_side, try_each

TORCH_DETECTOR = ROOT / "models" / "face_resnet18.safetensors"
MOST = 200
DAMAGES = 40  # mutants of each of the two files
IN_STAGES = 12  # files that are also given to infer
FIELDS: list[Any] = [
    None,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 10**6,
    "../../x",
    [],
    {},
    [[]],
    True,
]


def opened(shop: Workshop) -> Tally:
    """Each file opened as the stages open it, and then asked for two logits."""
    tally = Tally()
    try_each(tally, _open, dict(shop.choose(_files(shop), MOST)))
    _in_stages(shop, tally)
    return tally


Task = tuple[str, str, Any]


def _files(shop: Workshop) -> Iterator[tuple[str, Task]]:
    for suffix in (".safetensors", ".onnx"):
        for i in range(DAMAGES):
            yield f"mutant {i}{suffix}", (suffix, "mutate", (shop.seed, i))
        for i, content in enumerate(_foreign()):
            yield f"foreign {i}{suffix}", (suffix, "foreign", content)
        for place in ("", "geometry", "calibration"):
            for i, name in enumerate(_fields(place)):
                for value in (FIELDS * 2)[i % len(FIELDS) :][
                    : len(FIELDS) : 4
                ]:  # each field some, others than the next
                    yield f"{place}.{name} = {str(value)[:9]!r}{suffix}", (suffix, "field", (place, name, value))
    for length in _LENGTHS:
        yield f"header of {length} bytes", (".safetensors", "length", length)
    for name in _TENSORS:
        yield f"tensors: {name}", (".safetensors", "tensors", name)
    for name in _NETWORKS:
        yield f"network: {name}", (".onnx", "network", name)


def _fields(place: str) -> list[str]:
    if place == "geometry":
        return ["frames", "size", "margin", "detector", "threshold", "detector_weights", "fps", "align", "format"]
    if place == "calibration":
        return ["scale", "bias", "threshold", "low", "high", "aggregation", "prior"]
    return [
        "backbone",
        "geometry",
        "calibration",
        "params",
        "corpus",
        "seen",
        "epoch",
        "val_auc",
        "description",
        "extra",
    ]


def _open(task: Task) -> Problem:
    from deepfake_detector.inference.backends import open_backend
    from deepfake_detector.training.detector_config import CheckpointError

    suffix, how, what = task
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"detector{suffix}"
        _MAKE[how](path, what)
        marker = Path(folder) / "ran"
        os.environ["TORTURE_MARKER"] = str(marker)
        try:
            backend = open_backend(str(path), "cpu")
            size = backend.config.geometry.size
            logits = backend.score([np.full((size, size, 3), value, np.uint8) for value in (9, 200)], [0, 1])
        except CheckpointError:
            logits = np.zeros(2)
        if marker.exists() or not np.isfinite(logits).all():
            return WRONG_BYTES, "code of the file ran" if marker.exists() else f"logits {logits}"
    return None


def _mutate(path: Path, what: tuple[int, int]) -> None:
    seed, number = what
    rng = np.random.default_rng([seed, number])
    data = bytearray((TORCH_DETECTOR if path.suffix == ".safetensors" else DETECTOR).read_bytes())
    MUTATIONS[number % 9](data, rng)
    path.write_bytes(data)


class _Runs:
    """A pickle that leaves a mark when it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ('touch "$TORTURE_MARKER"',)


def _foreign() -> list[bytes]:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    words = [
        b"",
        b"\0",
        b"words",
        b"{}",
        b"\x80\x04",
        b"PK\x03\x04",
        b"GGUF" + bytes(100),
        b"\x89HDF\r\n\x1a\n" + bytes(100),
    ]
    return [
        *words,
        pickle.dumps(_Runs()),
        pickle.dumps({"a": _Runs()}, 0),
        buffer.getvalue(),
        bytes(10**6),
        b"\xff" * 10**6,
    ]


def _foreign_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _header(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _write_header(path: Path, header: dict[str, Any], rest: bytes) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)


def _with_field(path: Path, what: tuple[str, str, Any]) -> None:
    place, name, value = what
    if path.suffix == ".safetensors":
        header, rest = _header(TORCH_DETECTOR)
        header["__metadata__"]["detector"] = _changed(header["__metadata__"]["detector"], place, name, value)
        _write_header(path, header, rest)
        return
    model = onnx.load(DETECTOR)
    for entry in model.metadata_props:
        if entry.key == "detector":
            entry.value = _changed(entry.value, place, name, value)
    onnx.save(model, path)


def _changed(text: str, place: str, name: str, value: Any) -> str:
    tree = json.loads(text)
    (tree[place] if place else tree)[name] = value
    return json.dumps(tree)


_LENGTHS = [0, 1, 7, 10**6, 10**8, 2**31, 2**40, 2**63, 2**64 - 1]


def _with_length(path: Path, length: int) -> None:
    data = TORCH_DETECTOR.read_bytes()
    path.write_bytes(struct.pack("<Q", length) + data[8:])


def _first(header: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = next(value for key, value in header.items() if key != "__metadata__")
    return entry


_TENSORS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "none": lambda header: [header.pop(key) for key in list(header) if key != "__metadata__"],
    "huge shape": lambda header: _first(header).update(shape=[2**40, 2**40]),
    "negative shape": lambda header: _first(header).update(shape=[-1]),
    "empty shape": lambda header: _first(header).update(shape=[0]),
    "offsets beyond": lambda header: _first(header).update(data_offsets=[0, 2**50]),
    "offsets backwards": lambda header: _first(header).update(data_offsets=[100, 0]),
    "another type": lambda header: _first(header).update(dtype="F64"),
    "an unknown type": lambda header: _first(header).update(dtype="F7"),
    "another name": lambda header: header.update({"../../x": header.pop(next(k for k in header if k[0] != "_"))}),
    "no metadata": lambda header: header.pop("__metadata__"),
    "deep metadata": lambda header: header["__metadata__"].update(detector="[" * 100_000),
    "long metadata": lambda header: header["__metadata__"].update(detector="x" * 10**7),
    "many metadata": lambda header: header["__metadata__"].update({str(i): "x" for i in range(100_000)}),
    "number as metadata": lambda header: header["__metadata__"].update(detector=1),
    "no patch head": lambda header: header.pop("patch_head.weight", None),
}


def _with_tensors(path: Path, name: str) -> None:
    header, rest = _header(TORCH_DETECTOR)
    _TENSORS[name](header)
    _write_header(path, header, rest)


def _constant(shape: list[int]) -> list[onnx.NodeProto]:
    make = onnx.helper.make_node
    value = onnx.helper.make_tensor("v", onnx.TensorProto.INT64, [len(shape)], shape)
    return [
        make("Constant", [], ["shape"], value=value),
        make("ConstantOfShape", ["shape"], ["large"]),
        make("ReduceSum", ["large"], ["sum"], keepdims=0),
        make("Cast", ["crops"], ["floats"], to=onnx.TensorProto.FLOAT),
        make("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=0),
        make("Add", ["mean", "sum"], ["logits"]),
    ]


_NETWORKS: dict[str, Callable[[], list[onnx.NodeProto]]] = {
    "a tensor of a terabyte": lambda: _constant([2**40]),
    "a tensor of 16 gigabytes": lambda: _constant([2**32]),
    "a tensor of a negative size": lambda: _constant([-5]),
    "no nodes": list,
    "an unknown operator": lambda: [onnx.helper.make_node("Magic", ["crops"], ["logits"])],
    "an operator of another domain": lambda: [onnx.helper.make_node("Run", ["crops"], ["logits"], domain="x")],
    "a cycle": lambda: [onnx.helper.make_node("Add", ["logits", "crops"], ["logits"])],
    "the crops themselves": lambda: [onnx.helper.make_node("Cast", ["crops"], ["logits"], to=onnx.TensorProto.FLOAT)],
    "text": lambda: [onnx.helper.make_node("Cast", ["crops"], ["logits"], to=onnx.TensorProto.STRING)],
}


def _network(path: Path, name: str) -> None:
    source = onnx.load(DETECTOR)
    size = source.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    crops = onnx.helper.make_tensor_value_info("crops", onnx.TensorProto.UINT8, ["n", 3, size, size])
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(_NETWORKS[name](), "other", [crops], [logits])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    model.metadata_props.extend(source.metadata_props)
    onnx.save(model, path)


_MAKE: dict[str, Callable[[Path, Any], None]] = {
    "mutate": _mutate,
    "foreign": _foreign_file,
    "field": _with_field,
    "length": _with_length,
    "tensors": _with_tensors,
    "network": _network,
}


def _in_stages(shop: Workshop, tally: Tally) -> None:
    """In a run of infer, a file that is no detector is one sentence and exit status 2, and no row."""
    room = shop.room("checkpoints")
    clip = min(shop.clips, key=lambda clip: clip.stat().st_size)
    chosen = shop.choose([*_LENGTHS, *_NETWORKS, "no tensors"], min(shop.few, IN_STAGES))

    def attempt(name: object) -> Run:
        path = room / f"{chosen.index(name)}{'.onnx' if name in _NETWORKS else '.safetensors'}"
        if name in _NETWORKS:
            _network(path, str(name))
        elif isinstance(name, int):
            _with_length(path, name)
        else:
            _with_tensors(path, "none")
        return run_stage("infer", clip, "--checkpoint", path, "--output", path.stem, folder=room)

    for name, run in zip(chosen, side_by_side(attempt, chosen), strict=True):
        tally.add(f"infer with {name}", run.problem((2,)), run.peak)
