"""Peers beside this project on the same clips: face detectors, and the usual script for a whole verdict.

    python -m benchmarks.peers faces VIDEOS [--yunet yunet.onnx]     processor seconds of extraction, one thread
    python -m benchmarks.peers inference VIDEOS                      a verdict for each video, all threads

Up to CLIPS videos, spread evenly over the folder. `uv run` installs each peer into an environment of its own, from the
head of its script. The detectors of peers get the sampled frames decoded; decoding them, as this project does it, is
added to their time. Costs of detectors and of the plain script are the median of ROUNDS rounds over all clips.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from uv import find_uv_bin

from benchmarks.command import command_line
from benchmarks.extract import FRAMES, detectors, extraction, sampled_frames
from benchmarks.infer import Cost, best
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.inference.predict import predict_video
from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask

FOLDER = Path(__file__).parent / "peer_scripts"
CLIPS, ROUNDS = 7, 3
DETECTORS = {
    "facenet-pytorch: MTCNN at full size": "mtcnn_faces",
    "retinaface-pytorch: ResNet-50 at 640 pixels, random weights": "retinaface_faces",
    "dlib: HOG at full size": "hog_faces",
}
MODELS = Path(__file__).parents[1] / "models"
OURS = {
    "this project, PyTorch float32": MODELS / "face_resnet18.safetensors",
    "this project, ONNX INT8": MODELS / "face_resnet18_int8.onnx",
}


def run_peer(script: str, *arguments: str) -> Any:
    """What a peer printed as JSON, from an environment that is made for it."""
    command = [find_uv_bin(), "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
    done = subprocess.run([*command, FOLDER / f"{script}.py", *arguments], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def median_seconds(work: Callable[[], int]) -> tuple[float, int]:
    """Processor seconds of `work`, the median of ROUNDS calls, and what the last call returned."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def faces(videos: list[Path], yunet: str | None) -> None:
    cv2.setNumThreads(1)

    def count_with(extract: Callable[[Path], int]) -> int:
        return sum(map(extract, videos))

    rows = {
        f"this project: {name}": median_seconds(partial(count_with, extraction(name, weights)))
        for name, weights in detectors(yunet).items()
    }
    reading, frames = median_seconds(partial(count_with, lambda video: len(list(sampled_frames(video)))))
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{i}.npy") for i in range(len(videos))]
        for video, path in zip(videos, paths, strict=True):
            np.save(path, [frame.image[..., ::-1] for frame in sampled_frames(video)])
        for name, script in DETECTORS.items():
            results = [run_peer(script, *paths) for _ in range(ROUNDS)]
            rows[name] = reading + statistics.median(row["seconds"] for row in results), results[0]["frames"]
    first = rows["this project: centerface"][0]
    print(f"{len(videos)} clips, {FRAMES} frames each.\n")
    print(f"| detector | seconds a video | against centerface | frames of {frames} with a face |\n|---|---|---|---|")
    for name, (seconds, found) in rows.items():
        print(f"| {name} | {seconds / len(videos):.2f} | {seconds / first:.2f} | {found} |")


def inference(videos: list[Path], yunet: str | None) -> None:
    names = [str(video) for video in videos]
    rounds = [np.sum(run_peer("plain_inference", *names), axis=0).tolist() for _ in range(ROUNDS)]
    clock, processor, found = (statistics.median(values) for values in zip(*rounds, strict=True))
    rows = {"plain script: MTCNN, PyTorch float32, one frame at a time": (Cost(clock, processor), int(found))}
    for name, checkpoint in OURS.items():
        with tempfile.TemporaryDirectory() as folder:
            settings = PredictionSettings.with_checkpoint(str(checkpoint), fps=None, overlay="none", timeline=False)
            tasks = [PredictionTask(video, f"{i}", folder, settings, "cpu") for i, video in enumerate(names)]
            frames = sum(predict_video(task)["frames"] for task in tasks)
            rows[name] = best(lambda tasks=tasks: list(map(predict_video, tasks)), ROUNDS), frames  # type: ignore[misc]
    first = next(iter(rows.values()))[0]
    print(f"{len(videos)} clips, {FRAMES} frames each; loading and the first prediction are not counted.\n")
    print("| what | clock seconds a video | processor seconds a video | plain script against it | frames with a face |")
    print("|---|---|---|---|---|")
    for name, (cost, frames) in rows.items():
        each = Cost(cost.clock / len(videos), cost.processor / len(videos))
        print(f"| {name} | {each} | {first.processor / cost.processor:.2f} | {frames} |")


def main() -> None:
    parser = command_line(__doc__)
    tasks = {task.__name__: task for task in (faces, inference)}
    parser.add_argument("task", choices=list(tasks))
    parser.add_argument("videos", metavar="VIDEOS")
    parser.add_argument("--yunet", help="file of the YuNet model")
    options = parser.parse_args()
    videos = [Path(path) for path in find_videos([options.videos])[0]]
    chosen = videos[:: max(1, len(videos) // CLIPS)][:CLIPS]
    # In a process of its own, as the workers of a stage are: there, decoding takes one thread.
    process = get_context("spawn").Process(target=tasks[options.task], args=(chosen, options.yunet))
    process.start()
    process.join()
    sys.exit(process.exitcode)


if __name__ == "__main__":
    main()
