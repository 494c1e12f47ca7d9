"""The model files that come with the project, in models/, and the hashes that they are checked against."""

from pathlib import Path

from deepfake_detector.files import file_sha256

MODELS = Path(__file__).parents[1] / "models"
RELEASED_DETECTOR = "face_resnet18.safetensors"
SHA256 = {
    "resnet18_imagenet.safetensors": "7bfd791bca57be37c2ba761961ee6cc2947fdf05dd30d4e5ffe6d70d0c565ebb",
    RELEASED_DETECTOR: "447d1abf64e81f2d7f0f24b1ba373e1102f5547a7e8ad2ca09918f9440a13965",
    "face_resnet18_int8.onnx": "abed2f61800be0e8684ff998ba81a0f7558570ceb0cda6b63cd2615cd6563e5e",
}


class BundledModelError(Exception):
    """A model file of the project is missing or has other content; the message says how to restore it."""


def bundled_model(name: str) -> Path:
    """The model file `name` in models/. Raises BundledModelError unless its content is what the project ships."""
    path = MODELS / name
    if not path.is_file() or file_sha256(path) != SHA256[name]:
        raise BundledModelError(f"models/{name} is missing or damaged; restore it with: git checkout models/{name}")
    return path


def check_if_bundled(path: Path | str) -> None:
    """Raises BundledModelError if `path` is a model file of the project and has other content."""
    path = Path(path).resolve()
    if path.parent == MODELS.resolve() and path.name in SHA256:
        bundled_model(path.name)
