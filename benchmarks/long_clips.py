"""Long videos with a short fake scene: how many are flagged, and at what price in false alarms?

    python -m benchmarks.long_clips WORK [--minutes 5] [--folds 0 1 2 3 4]

Judges test people of the sample corpus by detectors that never saw them: those of the experiments fold-0, fold-1, ...
(make crossval). The clips of the corpus last two seconds. So a genuine one is played forwards and backwards until the
video is long enough, and in some videos a fake of that clip takes its place for a while, at a random moment. Each is
judged as `infer` judges it, and again by the mean over all of its faces, without stretches. What is in WORK already is
not made again: give another folder for other detectors.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd

from benchmarks.command import command_line, environment
from benchmarks.crossval import NOTE
from benchmarks.encoding import write_clip
from deepfake_detector.evaluation.calibration import Calibration
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import read_frames
from deepfake_detector.inference.batch_prediction import run_tasks
from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask
from deepfake_detector.training.detector_config import read_safetensors_config

SEED = 1
CRF = 20
SCENES = (0, 1, 2, 4)  # length of the fake scene, in times that the clip is played forwards and backwards
SAMPLE = Path("data/sample")


def fetch(work: Path, fold: int, path: str) -> Path:
    """A file of the experiment fold-<fold>."""
    target = work / f"{fold}-{Path(path).name}"
    if not target.exists():
        subprocess.run(
            ["dvc", "get", ".", path, "--rev", f"fold-{fold}", "--out", str(target)], env=environment(), check=True
        )
    return target


def choose_pairs(splits: Path, fold: int) -> pd.DataFrame:
    """For each test person a genuine test video and a fake made from it, drawn at random: `video_id,fake`."""
    videos = pd.read_csv(SAMPLE / "labels.csv").merge(pd.read_csv(splits)[["video_id", "partition"]], on="video_id")
    test = videos[videos["partition"] == "test"]
    pairs = test.merge(test[["video_id", "source_video"]], left_on="video_id", right_on="source_video")
    pairs = pairs.rename(columns={"video_id_x": "video_id", "video_id_y": "fake"})
    return pairs.sample(frac=1, random_state=SEED + fold).groupby("identity").head(1)[["video_id", "fake"]]


def write_unit(clip: Path, target: Path) -> None:
    """The clip forwards and then backwards, so that it can be repeated without a cut."""
    frames = [frame.image for frame in read_frames(clip)]
    write_clip(target, frames + frames[::-1], CRF)


def join(units: Sequence[Path], target: Path) -> None:
    """Write the videos one after another without encoding them again."""
    names = target.with_suffix(".txt")
    names.write_text("".join(f"file '{unit.resolve()}'\n" for unit in units))
    with av.open(str(names), format="concat", options={"safe": "0"}) as source, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)


def write_videos(work: Path, fold: int, minutes: float) -> pd.DataFrame:
    """Long videos of a fold, and the two units of each pair alone: `path,scene,start,end` in seconds.

    `scene` is the number of fake units; -1: the fake unit alone, -2: the genuine unit alone.
    """
    rng = np.random.default_rng([SEED, fold])
    rows = []
    for pair in choose_pairs(fetch(work, fold, "data/splits.csv"), fold).itertuples():
        real, fake = (work / f"{fold}-{name}-unit.mp4" for name in (pair.video_id, pair.fake))
        for name, unit in ((pair.video_id, real), (pair.fake, fake)):
            if not unit.exists():
                write_unit(SAMPLE / f"{name}.mp4", unit)
        info = probe(real)
        length = float(info.frames / info.rate)
        rows += [(real, -2, 0.0, 0.0), (fake, -1, 0.0, length)]
        count = round(60 * minutes / length)
        for scene in SCENES:
            start = int(rng.integers(1, count - scene))
            path = work / f"{fold}-{pair.video_id}-{scene}-in-{minutes:g}-minutes.mp4"
            if not path.exists():
                join([real] * start + [fake] * scene + [real] * (count - start - scene), path)
            rows.append((path, scene, start * length, (start + scene) * length))
    return pd.DataFrame(rows, columns=["path", "scene", "start", "end"])


def judge(videos: pd.DataFrame, checkpoint: Path, output: Path) -> pd.DataFrame:
    """`videos` with the columns `flagged,flagged_by_mean,people`, and `found`: the named stretch meets the scene."""
    settings = PredictionSettings.with_checkpoint(str(checkpoint), overlay="none", timeline=False)
    tasks = [PredictionTask(str(path), path.stem, str(output), settings) for path in videos["path"]]
    output.mkdir(exist_ok=True)
    missing = [task for task in tasks if not task.result_path(".json").exists()]
    for _ in run_tasks(missing, workers=0, timeout=3600, memory=4):
        pass
    calibration = read_safetensors_config(str(checkpoint)).calibration
    records = [json.loads(task.result_path(".json").read_text()) for task in tasks]
    return videos.assign(
        flagged=[record["probability"] >= calibration.threshold for record in records],
        flagged_by_mean=[probability_by_mean(record, calibration) >= calibration.threshold for record in records],
        found=[
            record["suspicious_from"] is not None
            and record["suspicious_from"] < end
            and record["suspicious_to"] > start
            for record, start, end in zip(records, videos["start"], videos["end"], strict=True)
        ],
        people=[len(record["people"]) for record in records],
    )


def probability_by_mean(record: dict[str, Any], calibration: Calibration) -> float:
    """The probability of a video by the mean logit of all of its faces."""
    logits = [face["logit"] for person in record["people"] for face in person["faces"]]
    return float(calibration.probability(np.mean(logits)))


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("work", type=Path, help="folder that keeps the videos and their verdicts")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    judged = pd.concat(
        judge(
            write_videos(args.work, fold, args.minutes),
            fetch(args.work, fold, "checkpoints/best.safetensors"),
            args.work / f"verdicts-{fold}",
        )
        for fold in args.folds
    )
    print(f"{NOTE}\n\n{judged['people'].eq(1).mean():.0%} of the videos are one track.\n")
    print("| video | videos | flagged | flagged by the mean of all faces | the named stretch shows it |")
    print("|---|---|---|---|---|")
    for scene, part in judged.groupby("scene", sort=True):
        lasts = (part["end"] - part["start"]).median()
        name = {-2: "short, genuine", -1: "short, fake", 0: f"{args.minutes:g} minutes, genuine"}.get(
            int(scene), f"{args.minutes:g} minutes, {lasts:.0f} seconds of them fake"
        )
        found = f"{part['found'].sum()}" if scene > 0 else ""
        print(f"| {name} | {len(part)} | {part['flagged'].sum()} | {part['flagged_by_mean'].sum()} | {found} |")


if __name__ == "__main__":
    main()
