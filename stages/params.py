"""params.yaml as typed objects, and the command line that overrides it.

Each stage begins with `params = parse(stage)`. Every key can be set as `--section.key value`, a stage's own keys also as
`--key value` in kebab case. Anything unknown or impossible ends the program with the key, the value and what is allowed.
"""

import argparse
import difflib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

PARAMS_FILE = Path("params.yaml")
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Faces = PositiveInt | Literal["all"]
KINDS = ("person", "donor", "original", "upload", "near_duplicate", "embedding")
RESERVED = ("train", "val", "test", "excluded")
Kind = Literal["person", "donor", "original", "upload", "near_duplicate", "embedding"]
Kinds = Annotated[list[Kind], BeforeValidator(lambda given: given.split(",") if isinstance(given, str) and given else given or [])]


def _none(given: object) -> object:
    return None if given in ("none", "null", "None") else given


def _false(given: object) -> object:
    return False if given in ("false", "False") else given


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    videos: str = Field(description="folder that relative file paths in the labels CSV start from")
    labels: str = Field(description="labels CSV: video_id,filepath,label and optional columns; none (extract): all of data.videos")
    faces: str = Field(description="folder for the face crops, one zip for each video")
    index: str = Field(description="Parquet table of all faces")
    report: str = Field(description="CSV of what became of each video; given --data.index alone: extract_report.csv beside that")
    splits: str = Field(description="CSV that says which video is in which partition")
    predictions: str = Field(description="CSV of the scores that evaluate gives to each video")
    metrics: str = Field(description="folder of the numbers that extract reports")


class Sample(Section):
    seed: Count = Field(description="seed of the embedded corpus")
    pairs: int = Field(ge=1, le=20, description="pairs of people in it, each with ten clips")
    workers: Count = Field(description="processes; 0: one for each core")


class Extract(Section):
    frames: PositiveInt | Literal["keyframes"] = Field(
        description="frames taken from each video, spread evenly; keyframes: all that decode alone (quickest)"
    )
    fps: Annotated[PositiveFloat | None, BeforeValidator(_none)] = Field(
        description="instead of `frames`, so many frames of each second; none: not used"
    )
    size: int = Field(ge=32, le=1024, description="side of a face crop, in pixels")
    margin: float = Field(ge=0, le=3, description="room around the face, in face widths (0: cut at the ears)")
    align: Literal["landmarks", "box"] = Field(
        description="turn faces upright by eyes, nose and mouth, or cut out the box as it is"
    )
    format: Literal["jpg", "png"] = Field(description="of the crops: jpg (quality 95, 4:4:4) or png (lossless, five times larger)")
    detector: Literal["centerface", "yunet", "retinaface"] = Field(
        description="face detector; yunet is the fastest and needs detector_weights, retinaface fetches its weights on first use"
    )
    detector_weights: str = Field(description="file of the YuNet model (.onnx); none: not used")
    threshold: Share = Field(description="detector score from which something is a face")
    faces: Faces = Field(description="people kept for each video, most prominent first; or all")
    workers: Count = Field(description="processes; 0: one for each core")
    timeout: PositiveFloat = Field(description="seconds after which a video is given up")
    memory: PositiveFloat = Field(description="gigabytes that one process may take; a video that needs more is given up")
    cache: Annotated[str | Literal[False], BeforeValidator(_false)] = Field(
        description="folder that keeps the faces of videos seen before, so that no video is worked on twice; or false"
    )


class Split(Section):
    seed: Count = Field(description="seed of the folds")
    strategy: Literal["grouped", "official", "repair"] = Field(
        description="grouped: folds of groups; official: column subset; repair: official, leaking groups moved"
    )
    folds: int = Field(ge=2, description="parts that the groups of people are divided into; one of them is the test set")
    fold: Count = Field(description="which fold is the test set")
    val: float = Field(gt=0, lt=1, description="share of the videos outside the test set that validate")
    identities: Literal["labels", "faces"] = Field(
        description="labels: people are those of the labels CSV; faces: whose faces look alike is one person, too"
    )
    same_face: float = Field(ge=0, le=1, description="distance of face embeddings below which two are one person")
    near_duplicate: float = Field(ge=0, le=0.5, description="share of different hash bits up to which clips are copies")
    workers: Count = Field(description="processes that look at faces; 0: one for each core")
    largest: float = Field(gt=0, le=1, description="share of the videos above which a group is divided by people, fakes excluded")
    keep: str = Field(description="earlier splits CSV whose videos stay where they are (none: start afresh)")
    allow_leaks: Kinds = Field(description="kinds of ties that may cross partitions: " + ", ".join(KINDS))


class Model(Section):
    backbone: str = Field(description="any timm model name")
    temporal: Literal["mean", "gru", "attention"] = Field(
        description="how the faces of a person are seen together: each alone (their logits are averaged), or by a head over time"
    )
    weights: str = Field(description="none (random), imagenet (from timm's hub), or a .safetensors file of the backbone")


class Train(Section):
    seed: Count = Field(description="seed of weights, order and augmentation")
    epochs: PositiveInt = Field(description="passes over the training faces")
    batch_size: int = Field(ge=2, multiple_of=2, description="faces in a step, half of them fake")
    lr: PositiveFloat = Field(description="highest learning rate of AdamW")
    weight_decay: float = Field(ge=0, description="weight decay of AdamW")
    warmup: Share = Field(description="share of all steps in which the learning rate rises; then it falls as a cosine")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="decay of the moving average of weights that is kept; 0: the weights themselves"
    )
    patience: PositiveInt = Field(description="epochs without a better validation score before training stops")
    precision: Literal["auto", "float32", "bfloat16"] = Field(description="auto: bfloat16 where the processor computes in it")
    pairs: bool = Field(description="each fake beside its own original in the batch; else beside any real face")
    augment: bool = Field(description="quality augmentation: compression, scaling, blur, noise, light, geometry")
    blend: Share = Field(description="share of fakes made on the fly by blending another real person's face in (Face X-ray)")
    self_blend: Share = Field(description="share of fakes made on the fly from one real face (self-blended images)")
    mask: float = Field(
        ge=0, description="weight of the loss that asks where a fake differs from its original; 0: the network does not say where"
    )
    rank: Share = Field(description="share of the loss that asks a fake to score above its own original; the rest: cross-entropy")
    workers: Count = Field(description="processes that prepare batches; 0: the training process itself")


class Corpus(Section):
    videos: str = Field(description="folder that relative file paths in the labels CSV start from")
    labels: str = Field(description="labels CSV")


def _corpus_name(given: str) -> str:
    if given in RESERVED:
        raise ValueError(f"a further corpus cannot be named {given!r}: that is a partition of the own one")
    return given


class Evaluate(Section):
    seed: Count = Field(description="seed of the bootstrap")
    bootstrap: PositiveInt = Field(description="draws of the bootstrap over groups of people")
    batch_size: PositiveInt = Field(description="faces scored at once")
    aggregate: Literal["mean_logit", "median", "top_k", "vote"] = Field(
        description="one score of a person from those of their faces"
    )
    operating_point: str = Field(
        pattern=r"^(eer|youden|fpr=0?\.\d+)$",
        description="what the threshold is chosen for on validation: eer, youden, or fpr=0.05 (any share of false alarms)",
    )
    robustness: Literal["none", "quick", "full"] = Field(
        description="test videos again after compression, scaling, blur, noise and light; quick: a sample of them, few strengths"
    )
    corpora: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]+$"), AfterValidator(_corpus_name)], Corpus] = Field(
        description="further corpora to test on, each a name with its videos and labels"
    )


class Infer(Section):
    videos: str | list[str] = Field(description="files, folders, globs, URLs, or .txt files with one of these in each line")
    output: str = Field(description="folder for verdicts, annotated videos and timelines")
    checkpoint: str = Field(description="detector to judge with")
    faces: Faces = Field(description="people judged in each video, most prominent first; or all")
    runtime: Literal["torch", "onnx"] = Field(description="what computes: onnx needs no torch, and what stages.export writes")
    device: str = Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps")
    overlay: Literal["none", "boxes", "heatmap"] = Field(
        description="the annotated video: not written, with boxes, or with Grad-CAM heat maps (torch only) in the boxes"
    )
    timeout: PositiveFloat = Field(description="seconds after which a video, its pictures included, is given up")
    timeline: bool = Field(description="draw a picture of the scores over time for each video")
    workers: Count = Field(description="processes; 0: one for each core")


class Export(Section):
    output: str = Field(pattern=r"\.onnx$", description="file of the exported network")
    int8: bool = Field(description="also write an INT8 network beside it (.int8.onnx), calibrated on training faces")
    crops: PositiveInt = Field(description="faces that parity is checked on, and training faces that INT8 is calibrated on")


class App(Section):
    megabytes: PositiveInt = Field(description="largest upload")
    seconds: PositiveInt = Field(description="longest video")
    megapixels: PositiveFloat = Field(description="largest picture; 8.3 is 4K")
    timeout: PositiveInt = Field(description="seconds after which judging one video is given up")
    waiting: PositiveInt = Field(description="videos that one visitor may have judged at once")
    workers: Count = Field(description="processes that judge; 0: one for each core, and at least two")


class Params(Section):
    data: Data
    sample: Sample
    extract: Extract
    split: Split
    model: Model
    train: Train
    evaluate: Evaluate
    infer: Infer
    export: Export
    app: App


def parse(stage: str, description: str, argv: list[str] | None = None, operands: str | None = None) -> Params:
    """params.yaml with the overrides of the command line `argv` (default: this process's).

    `operands`, if given, is a `section.key` that bare arguments set. Exits with status 2 and a message on any mistake.
    """
    try:
        tree = yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fail(f"{PARAMS_FILE} is not in the current folder; run this from the root of the project")
    except yaml.YAMLError as error:
        fail(f"{PARAMS_FILE} is not valid YAML: {error}")
    if not isinstance(tree, dict) or not all(isinstance(section, dict) for section in tree.values()):
        fail(f"{PARAMS_FILE} must hold sections of keys; sections are {', '.join(Params.model_fields)}")
    parser = _parser(stage, description, tree, operands)
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(unknown[0].split("=")[0], options, n=3)
        fail(f"unknown option {unknown[0]}; " + (f"did you mean {' or '.join(close)}?" if close else "see --help"))
    for key, value in vars(given).items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = value
    if "data.index" in given and "data.report" not in given:
        tree["data"]["report"] = str(Path(tree["data"]["index"]).with_name("extract_report.csv"))
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        fail("\n".join(_explain(problem) for problem in error.errors()))


def _parser(stage: str, description: str, tree: dict[str, Any], operands: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        f"python -m stages.{stage}", description=description, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter
    )
    if operands:
        parser.add_argument(
            operands, nargs="*", default=argparse.SUPPRESS, metavar="PATH", help=f"the same as --{operands}, for one path or more"
        )
    names = sorted(Params.model_fields, key=lambda name: name != stage)
    for name in names:
        section = section_type(name)
        group = parser.add_argument_group(f"{name} (this stage)" if name == stage else name)
        for key, field in section.model_fields.items():
            options = [f"--{name}.{key}"] + ([f"--{key.replace('_', '-')}"] if name == stage else [])
            default = tree.get(name, {}).get(key)
            group.add_argument(
                *options,
                dest=f"{name}.{key}",
                default=argparse.SUPPRESS,
                metavar=key.upper(),
                help=f"{field.description} [{default}]".replace("%", "%%"),
            )
    return parser


def section_type(name: str) -> type[Section]:
    """The class of a section of Params."""
    return Params.__annotations__[name]


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = section_type(problem["loc"][0]).model_fields if len(problem["loc"]) > 1 else Params.model_fields
        return f"{key}: unknown key; allowed here: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key}: missing from {PARAMS_FILE}"
    return f"{key} = {problem['input']!r}: {problem['msg']}"


def fail(message: str) -> NoReturn:
    """End the stage for a mistake that its user can mend: `message` on standard error, exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
