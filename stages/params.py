"""params.yaml as typed objects, and the command line that overrides it.

A stage begins with `params = parse(stage, __doc__)`. The command line sets the keys that the stage reads as
`--section.key value`, and those of its own section also as `--key value` in kebab case. A key or value that is not
allowed, or that has no effect, ends the program with exit status 2 and a message that says what is allowed.
"""

import difflib
import glob
import json
import logging
import sys
import textwrap
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TextIO

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
)

from deepfake_detector.bundled_models import MODELS, RELEASED_DETECTOR
from deepfake_detector.corpora import LINK_KINDS, PARTITIONS
from deepfake_detector.evaluation.aggregation import AGGREGATORS
from deepfake_detector.faces.detectors import DETECTORS
from deepfake_detector.faces.geometry import (
    Alignment,
    CropFormat,
    CropSize,
    DetectorName,
    DetectorScore,
    EyeDistance,
    FrameCount,
    FrameRate,
    Margin,
)
from deepfake_detector.faces.remote import UrlLimits
from deepfake_detector.foreign_text import terminal_lines
from deepfake_detector.training import MANIPULATIONS, TEMPORAL_HEADS
from deepfake_detector.version import VERSION
from stages.strict_yaml import StrictYAMLError, read_yaml

PARAMS_FILE = Path("params.yaml")

# The sections and keys that a stage reads, its own section first. Another option would have no effect, and is refused.
READS = {
    "sample": ("sample", "data.labels", "infer.videos"),
    "extract": ("extract", "data", "evaluate.corpora", "infer.schemes", "infer.url_megabytes"),
    "split": ("split", "data"),
    "train": ("train", "model", "data", "sample.output"),
    "evaluate": (
        "evaluate",
        "data",
        "split.allow_leaks",
        "sample.output",
        "infer.schemes",
        "infer.url_megabytes",
    ),
    "export": ("export", "data"),
    "infer": ("infer",),
    "app": ("app",),
}

# The main output of a stage, and its side outputs with their names. Where the command line gives the main output but
# not a side output, the side output goes beside it. So a stage runs on any folder and leaves the tracked outputs
# alone.
SIDE_OUTPUTS = {
    "extract": ("data.index", {"data.extract_report": "extract_report.csv", "data.metrics": "metrics"}),
    "split": ("data.splits", {"data.split_report": "split_report", "data.metrics": "metrics", "data.plots": "plots"}),
    "train": (
        "train.checkpoint",
        {"train.state": "last.pt", "train.logs": "runs", "data.metrics": "metrics", "data.plots": "plots"},
    ),
    "evaluate": ("data.predictions", {"data.metrics": "metrics", "data.plots": "plots", "data.reports": "reports"}),
}


def one_of(allowed: Iterable[str]) -> AfterValidator:
    """A validator that takes the names in `allowed` only."""
    names = tuple(allowed)

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return name

    return AfterValidator(check)


def in_folder(folder: str, *keywords: str) -> AfterValidator:
    """A validator that takes none, `keywords`, or the name of a file in `folder`, and gives the path of that file.

    dvc.yaml names `folder/NAME` as a dependency, so DVC tracks the content. The folder holds a file for each keyword.
    """

    def check(name: str) -> str:
        if name in ("none", *keywords):
            return name
        name = name.removeprefix(f"{folder}/")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"must be the name of a file in {folder}/, so that DVC tracks its content")
        return f"{folder}/{name}"

    return AfterValidator(check)


def _one_source(given: object) -> object:
    if isinstance(given, tuple):  # bare arguments of the command line
        return given
    if not isinstance(given, str) or given.endswith(".txt") or (glob.has_magic(given) and not Path(given).exists()):
        raise ValueError(
            "must be one file or folder, which DVC can track; give several, globs and lists to python -m stages.infer"
        )
    return given


def _none(given: object) -> object:
    return None if given in ("none", "null", "None") else given


def _false(given: object) -> object:
    return False if given in ("false", "False") else given


def _words(given: object) -> object:
    return [word for word in given.split(",") if word] if isinstance(given, str) else given or []


# Far more than makes sense, and less than what libraries take.
Count = Annotated[int, Field(ge=0, le=1_000_000)]
PositiveCount = Annotated[int, Field(gt=0, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]
MAX_GIGABYTES = 1_000_000
# PyTorch alone takes one gigabyte, whatever the video.
WorkerMemory = Annotated[
    float,
    Field(
        ge=2, le=MAX_GIGABYTES, description="gigabytes that one process may use; a video that needs more is an error"
    ),
]
Scheme = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+._-]+$")]
MaxPeople = PositiveCount | Literal["all"]
Executor = Annotated[
    Literal["local", "ray"],
    Field(
        description="where the processes run; local: on this machine; ray: on the Ray cluster at RAY_ADDRESS, or one "
        "that is started here (requirements-cluster.txt)"
    ),
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _has_no_control_character(cls, value: object) -> object:
        if isinstance(value, str) and any(unicodedata.category(c) == "Cc" for c in value):
            raise ValueError("must not contain control characters")
        return value


class Data(Section):
    videos: str = Field(description="folder that relative file paths in the labels CSV start from")
    labels: str = Field(description="labels CSV; none (extract only): every video in data.videos, without labels")
    faces: str = Field(description="folder of the face crops, one zip for each video")
    index: str = Field(description="Parquet table of all faces")
    extract_report: str = Field(description="CSV that says what became of each video")
    splits: str = Field(description="CSV that gives the partition of each video")
    split_report: str = Field(description="folder with what split found, excluded and moved")
    corpora: str = Field(description="folder of the faces of further corpora, a folder for each")
    predictions: str = Field(description="CSV with the score of each video that evaluate scored")
    metrics: str = Field(description="folder of the metrics, one JSON file for each stage")
    plots: str = Field(description="folder of the plots")
    reports: str = Field(description="folder of the evaluation report and the model card")


class Sample(Section):
    output: str = Field(description="folder of the sample corpus; the stage empties it first")
    seed: Seed = Field(description="random seed")
    pairs: int = Field(ge=1, le=20, description="pairs of people; each pair has ten clips")
    workers: Count = Field(description="processes; 0: one for each core")


class Extract(Section):
    corpus: Annotated[str, AfterValidator(lambda name: name.rpartition("@")[2])] = Field(
        description="name of a corpus in evaluate.corpora to extract, or of its DVC stage; none: the corpus of data.*"
    )
    frames: FrameCount = Field(
        description="frames sampled evenly from each video; keyframes: all frames that decode alone (fastest)"
    )
    fps: Annotated[FrameRate, BeforeValidator(_none)] = Field(
        description="sample this many frames of each second instead of extract.frames; none: off"
    )
    size: CropSize = Field(description="side of a face crop in pixels")
    margin: Margin = Field(description="room around the face in face widths; 0 cuts at the ears")
    align: Alignment = Field(
        description="landmarks: rotate the face upright by its five landmarks; box: crop the detected box as it is, "
        "which train.manipulations, split.identities = faces and infer.overlay = heatmap do not take"
    )
    format: CropFormat = Field(
        description="image format of the crops; jpg: quality 95, 4:4:4; png: lossless and five times larger"
    )
    detector: DetectorName = Field(
        description=f"face detector: {', '.join(DETECTORS)}; yunet is the fastest and needs extract.detector_weights; "
        "retinaface downloads its weights once"
    )
    detector_weights: Annotated[str, in_folder("models")] = Field(
        description="model file of the face detector (yunet: .onnx) in models/; none: the detector brings its own"
    )
    threshold: DetectorScore = Field(description="lowest detector score that counts as a face")
    min_eye_distance: EyeDistance = Field(
        description="pixels between the eyes below which a person is counted, but neither learnt from nor scored"
    )
    max_people: MaxPeople = Field(description="people kept for each video, the most prominent first; or all")
    executor: Executor
    workers: Count = Field(description="processes; 0: one for each core")
    timeout: PositiveFloat = Field(description="seconds after which extraction of one video is stopped")
    memory: Annotated[float, Field(gt=0, le=MAX_GIGABYTES)] = Field(
        description="gigabytes that one process may use; a video that needs more is not extracted"
    )
    cache: Annotated[str | Literal[False], BeforeValidator(_false)] = Field(
        description="folder that keeps the faces of every video, so that no video is extracted twice; false: no cache"
    )
    cache_check: Literal["mtime", "content"] = Field(
        description="how a video in the cache is recognised; mtime: path, size and times of modification are those of "
        "a video read before (fast; blind to other content with all these the same); content: every video is read"
    )
    max_failed: Share = Field(
        description="share of the videos that may be unreadable, time out or crash; beyond it the stage fails and "
        "leaves its outputs as they were; 1: all"
    )


class Split(Section):
    seed: Seed = Field(description="random seed of the folds")
    strategy: Literal["grouped", "official", "repair"] = Field(
        description="grouped: folds of groups; official: column subset; repair: official, with leaking groups moved"
    )
    folds: int = Field(ge=2, description="number of folds that the groups are divided into; one is the test set")
    fold: Count = Field(description="fold that is the test set, counted from 0")
    val_fraction: float = Field(gt=0, lt=1, description="share of the videos outside the test set that go to val")
    identities: Literal["labels", "faces"] = Field(
        description="labels: people are those named in the labels CSV; faces: similar faces count as one person, too"
    )
    same_face: float = Field(ge=0, le=1, description="distance of face embeddings below which two faces are one person")
    near_duplicate: float = Field(
        ge=0, le=0.5, description="share of differing hash bits up to which two clips are copies"
    )
    workers: Count = Field(description="processes that read faces; 0: one for each core")
    max_group_share: float = Field(
        gt=0,
        le=1,
        description="share of the videos above which a group is divided by people, and fakes between them excluded",
    )
    val_methods: Annotated[list[str], BeforeValidator(_words)] = Field(
        description="methods that only validation has, to choose by what training never saw; empty: all are in both"
    )
    previous_splits: Annotated[str, in_folder("data")] = Field(
        description="earlier splits CSV in data/ whose videos keep their partition; none: a new split"
    )
    allow_leaks: Annotated[list[Annotated[str, one_of(LINK_KINDS)]], BeforeValidator(_words)] = Field(
        description="kinds of links that may cross partitions: " + ", ".join(LINK_KINDS)
    )


def _released(name: str) -> str:
    return str(MODELS / RELEASED_DETECTOR) if name == "released" else name


Checkpoint = Annotated[str, AfterValidator(_released)]  # a detector file; released: the one that comes with the project


class Model(Section):
    backbone: str = Field(description="name of a timm model")
    temporal: Annotated[str, one_of(["mean", *TEMPORAL_HEADS])] = Field(
        description="how the frames of a person are combined; mean: each is scored alone; a temporal head: "
        + ", ".join(TEMPORAL_HEADS)
    )
    weights: Annotated[str, in_folder("models", "imagenet", "released")] = Field(
        description="start weights: none (random), imagenet, released (the released detector), or a .safetensors file "
        "in models/ with the backbone or a detector"
    )


def _manipulations(shares: dict[str, float]) -> dict[str, float]:
    if unknown := set(shares) - set(MANIPULATIONS):
        raise ValueError(f"{min(unknown)} is unknown; allowed are {', '.join(MANIPULATIONS)}")
    if sum(shares.values()) > 1:
        raise ValueError("the shares must not add up to more than 1")
    return shares


class Train(Section):
    seed: Seed = Field(description="random seed of weights, batch order and augmentation")
    epochs: PositiveCount = Field(description="passes over the training faces")
    batch_size: int = Field(ge=2, le=1_000_000, multiple_of=2, description="faces in a batch; half of them are fake")
    lr: PositiveFloat = Field(description="highest learning rate of AdamW")
    layer_decay: float = Field(
        gt=0,
        le=1,
        description="learning rate of each layer, as a share of that of the next; below 1 for good start weights",
    )
    trainable: Count | Literal["all", "norm"] = Field(
        description="what learns beside the classifier: all; norm: norm layers and biases; or a number of last stages "
        "of the backbone"
    )
    weight_decay: float = Field(ge=0, description="weight decay of AdamW; norms and biases have none")
    max_people: MaxPeople = Field(description="people of each video to learn from, the most prominent first; or all")
    warmup_fraction: Share = Field(
        description="share of the steps in which the learning rate rises; then it follows a cosine"
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="decay of the moving average of the weights; 0: no average"
    )
    patience: PositiveCount = Field(
        description="stop after so many epochs without a validation loss within a standard error of the lowest"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="precision of the forward pass; auto: bfloat16 where the hardware computes in it, else float32"
    )
    paired_batches: bool = Field(
        description="put each fake beside its own original in the batch; false: beside any real face"
    )
    augment: Literal["none", "standard", "strong"] = Field(
        description="augmentation with geometry, light, scaling, blur, noise and compression; none: mirror only; "
        "strong: for long trainings"
    )
    manipulations: Annotated[dict[str, Share], AfterValidator(_manipulations)] = Field(
        description="share of the fakes in a batch that are made from real faces during training, by manipulation: "
        + ", ".join(MANIPULATIONS)
    )
    ranking_weight: Share = Field(
        description="weight of the loss that ranks a fake above its original; cross-entropy has the weight 1 minus this"
    )
    localization_weight: float = Field(
        ge=0, description="weight of the localization loss, which predicts the changed patches of a fake; 0: off"
    )
    aggregation: Annotated[str, one_of(AGGREGATORS)] = Field(
        description="how the logits of a person's frames become one logit; calibration is fitted for it: "
        + ", ".join(AGGREGATORS)
    )
    operating_point: str = Field(
        pattern=r"^(eer|youden|fpr=0?\.\d+)$",
        description="how the threshold is chosen on validation: eer, youden, or fpr=0.05 (any false-positive rate)",
    )
    workers: Count = Field(description="processes that prepare batches; 0: the training process itself")
    checkpoint: str = Field(description="file of the trained detector (.safetensors)")
    state: str = Field(description="file that an interrupted training resumes from")
    logs: str = Field(description="folder of the TensorBoard logs")


class Corpus(Section):
    videos: str = Field(description="folder that relative file paths in the labels CSV start from")
    labels: str = Field(description="labels CSV")
    subset: str = Field(default="", description="rows to test on: a value of the column subset; empty: all")


def _corpus_name(given: str) -> str:
    if given in (*PARTITIONS, "excluded"):
        raise ValueError(f"{given!r} is the name of a partition; give the further corpus another name")
    return given


class Evaluate(Section):
    checkpoint: Checkpoint = Field(description="detector to evaluate")
    seed: Seed = Field(description="random seed of the bootstrap")
    bootstrap: PositiveCount = Field(description="bootstrap draws over groups of people")
    batch_size: PositiveCount = Field(description="faces scored at once")
    robustness: Literal["none", "quick", "full"] = Field(
        description="score test videos again after compression, scaling, blur, noise and light; "
        "none: do not; quick: some videos, few levels; full: all videos, all levels"
    )
    corpora: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]+$"), AfterValidator(_corpus_name)], Corpus] = Field(
        description="further corpora to test on: a name with its videos and labels, and perhaps a subset"
    )


class Export(Section):
    checkpoint: Checkpoint = Field(description="detector to export")
    output: str = Field(pattern=r"\.onnx$", description="ONNX file to write")
    int8: bool = Field(description="quantize to INT8; needs the training faces (data.*)")
    crops: PositiveCount = Field(description="faces for the comparison with PyTorch and for the INT8 ranges")


class Infer(Section):
    videos: Annotated[str | tuple[str, ...], BeforeValidator(_one_source)] = Field(
        description="a file or a folder; bare arguments are also globs, URLs, and .txt files that list them"
    )
    output: str = Field(description="folder for predictions, annotated videos and timelines")
    checkpoint: Checkpoint = Field(
        description="detector to use: released (in dvc.yaml's runs its path, models/face_resnet18.safetensors), a "
        ".safetensors file (PyTorch), or an .onnx file (ONNX Runtime)"
    )
    prior: float = Field(
        ge=0.001,
        le=0.999,
        description="share of fakes among such videos, which each probability assumes; no verdict changes",
    )
    fps: Annotated[PositiveFloat | None, BeforeValidator(_none)] = Field(
        description="frames of each second to score at least; none: as many frames of each video as in training"
    )
    max_people: MaxPeople = Field(description="people scored in each video, the most prominent first; or all")
    device: str = Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps")
    overlay: Literal["none", "boxes", "heatmap"] = Field(
        description="annotated video; none: not written; heatmap: boxes with Grad-CAM heat maps (PyTorch only)"
    )
    timeline: bool = Field(description="write a picture of the scores over time for each video")
    timeout: PositiveFloat = Field(description="seconds after which one video is stopped, its pictures included")
    memory: WorkerMemory
    schemes: Annotated[tuple[Scheme, ...], BeforeValidator(_words)] = Field(
        description="schemes of URLs that are opened, here and in the labels CSV: any that fsspec knows and the "
        "installed packages serve"
    )
    url_megabytes: PositiveCount = Field(
        description="largest video that is fetched from a URL, here and for extraction"
    )
    error_status: int = Field(ge=0, le=255, description="exit status if some video could not be read")
    executor: Executor
    workers: Count = Field(description="processes; 0: one for each core")
    gpus_per_worker: Share = Field(
        description="share of a GPU that each process takes if infer.executor is ray; 0: none"
    )

    @property
    def url_limits(self) -> UrlLimits:
        return UrlLimits(self.schemes, self.url_megabytes)


class App(Section):
    checkpoint: Checkpoint = Field(description="detector that the page offers beside the released one")
    device: str = Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps")
    megabytes: PositiveCount = Field(description="largest upload")
    seconds: PositiveCount = Field(description="longest video")
    megapixels: PositiveFloat = Field(description="largest picture; 8.3 is 4K")
    timeout: PositiveCount = Field(description="seconds after which one video is stopped")
    memory: WorkerMemory
    waiting: PositiveCount = Field(description="videos that one visitor may have in progress")
    waiting_all: PositiveCount = Field(description="videos that all visitors together may have in progress")
    gigabytes: PositiveFloat = Field(description="disk space for the uploads and results of all visitors")
    keep: PositiveCount = Field(description="results that are kept for one visitor; then the oldest is deleted")
    keep_minutes: PositiveCount = Field(
        description="results are deleted so long after their visitor last used the page"
    )
    links: bool = Field(description="whether visitors may give links to videos; never to private addresses")
    workers: Count = Field(description="processes; 0: one for each core, and at least two")
    address: str = Field(description="address that the page is served at; 0.0.0.0: at all of this machine")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="port that the page is served at")


class Params(Section):
    """All sections of params.yaml."""

    data: Data
    sample: Sample
    extract: Extract
    split: Split
    model: Model
    train: Train
    evaluate: Evaluate
    export: Export
    infer: Infer
    app: App

    @property
    def is_sample(self) -> bool:
        """Whether the corpus is the one that the sample stage makes."""
        return Path(self.data.labels) == Path(self.sample.output) / "labels.csv"


def parse(stage: str, description: str = "", argv: list[str] | None = None, operands: str = "") -> Params:
    """params.yaml with the overrides of the command line `argv` (default: that of this process).

    `operands` is the `section.key` that bare arguments set. Exits with status 2 and a message on any mistake, and
    with status 0 after --help and --version.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_LogLine("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("deepfake_detector").setLevel(logging.INFO)
    words = sys.argv[1:] if argv is None else argv
    if "--version" in words:
        say(VERSION)
        raise SystemExit(0)
    tree = _read_file()
    options, bare = _read_words(words, stage)
    if "help" in options:
        say(_help(stage, description, tree, operands))
        raise SystemExit(0)
    if bare and not operands:
        fail(f"{bare[0]!r} is no option; see --help")
    values: dict[str, Any] = _with_side_outputs(options, stage) | ({operands: tuple(bare)} if bare else {})
    for name, value in values.items():
        *sections, key = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
            if not isinstance(branch, dict):
                fail(f"--{name} cannot be set: {section} has no keys in {PARAMS_FILE}")
        branch[key] = value
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        fail("\n".join(_explain(problem) for problem in error.errors()))


def _read_file() -> dict[str, Any]:
    try:
        tree = read_yaml(PARAMS_FILE)
    except FileNotFoundError:
        fail(f"{PARAMS_FILE} is not in the current folder; run this from the root of the project")
    except OSError as error:
        fail(f"{PARAMS_FILE} cannot be read: {error.strerror}")
    except StrictYAMLError as error:
        fail(f"{PARAMS_FILE} is not valid YAML: {error}")
    if not isinstance(tree, dict) or not all(isinstance(section, dict) for section in tree.values()):
        fail(f"{PARAMS_FILE} must hold sections of keys; sections are {', '.join(Params.model_fields)}")
    return tree


def _read_words(argv: list[str], stage: str) -> tuple[dict[str, str], list[str]]:
    """The options of a command line, `section.key` to value, and its bare words. Exits on an unknown option."""
    own = section_type(stage).model_fields
    known = [f"{name}.{key}" for name in Params.model_fields for key in section_type(name).model_fields]
    options: dict[str, str] = {}
    bare = []
    words = iter(argv)
    for word in words:
        if word in ("-h", "--help"):
            options["help"] = ""
        elif not word.startswith("--"):
            bare.append(word)
        else:
            name, equals, value = word[2:].partition("=")
            key = name.replace("-", "_")
            name = f"{stage}.{key}" if key.partition(".")[0] in own else name
            if name not in known and name.rpartition(".")[0] not in known:  # the second: train.manipulations.blend
                near = difflib.get_close_matches(name, [*known, *(key.replace("_", "-") for key in own)], n=3)
                fail(
                    f"unknown option --{name}; " + (f"did you mean --{' or --'.join(near)}?" if near else "see --help")
                )
            if not any(name == read or name.startswith(f"{read}.") for read in READS[stage]):
                fail(f"--{name} has no effect: this stage reads {', '.join(READS[stage])}")
            if not equals and (value := next(words, "--")).startswith("--"):
                fail(f"--{name} needs a value")
            options[name] = value
    return options, bare


def _with_side_outputs(options: dict[str, str], stage: str) -> dict[str, str]:
    """The options, and side outputs beside a main output that they give."""
    main, sides = SIDE_OUTPUTS.get(stage, ("", {}))
    if main not in options:
        return options
    folder = Path(options[main]).parent
    return {side: str(folder / name) for side, name in sides.items()} | options


def _help(stage: str, description: str, tree: dict[str, Any], operands: str) -> str:
    """The text of --help: the keys that the stage reads, each with its value in params.yaml."""
    lines = [
        f"usage: python -m {'web_app' if stage == 'app' else f'stages.{stage}'} [--help] [--version] [--KEY VALUE ...]"
        + " [PATH ...]" * bool(operands),
        "",
        description.strip(),
    ]
    if operands:
        lines += ["", f"PATH sets {operands}."]
    for read in READS[stage]:
        name, _, only = read.partition(".")
        lines += ["", "Keys of this stage:" if name == stage else f"Keys of {name}:"]
        for key, field in section_type(name).model_fields.items():
            if only not in ("", key):
                continue
            option = f"--{key.replace('_', '-')}, --{name}.{key}" if name == stage else f"--{name}.{key}"
            value = tree.get(name, {}).get(key)
            text = f"{field.description} [{value if isinstance(value, str) else json.dumps(value)}]"
            lines += [f"  {option}", textwrap.fill(text, 110, initial_indent=" " * 8, subsequent_indent=" " * 8)]
    return "\n".join(lines)


def section_type(name: str) -> type[Section]:
    """The class of a section of Params."""
    return Params.model_fields[name].annotation  # type: ignore[return-value]


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = section_type(problem["loc"][0]).model_fields if len(problem["loc"]) > 1 else Params.model_fields
        return f"{key}: unknown key; allowed here: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key}: missing from {PARAMS_FILE}"
    return f"{key} = {problem['input']!r}: {problem['msg']}"


def say(text: str, end: str = "\n", file: TextIO | None = None) -> None:
    """Print `text`, in which names and labels may be a stranger's: no character of it commands the terminal."""
    print(terminal_lines(text), end=end, file=file)


def fail(message: str) -> NoReturn:
    """End the program for a mistake that its user can correct: `message` on standard error, exit status 2."""
    say(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


class _LogLine(logging.Formatter):
    """A log message as `say` prints it."""

    def format(self, record: logging.LogRecord) -> str:
        return terminal_lines(super().format(record))
