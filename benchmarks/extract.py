"""Time, memory and accuracy of face extraction on any folder of videos.

    python -m benchmarks.extract speed VIDEOS [--yunet yunet.onnx]      seconds per video, relative to decoding
    python -m benchmarks.extract long VIDEOS [--yunet yunet.onnx]       the same for ten minutes of a large clip
    python -m benchmarks.extract landmarks VIDEOS [--yunet yunet.onnx]  landmarks of the search against full size
    python -m benchmarks.extract memory VIDEOS                          peak memory of a worker, large and 7680 × 4320
    python -m benchmarks.extract again VIDEOS                           the stage on 199 videos, unchanged, one new
    python -m benchmarks.extract kills VIDEOS                           ten kills at random moments, outputs compared

Times are processor seconds of one thread, so two processes on two cores take half of them. Those of `speed` and `long`
are the median of ROUNDS rounds. Those of `again` are elapsed seconds.
"""

import hashlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.command import command_line
from deepfake_detector.faces.detectors import create_face_detector
from deepfake_detector.faces.detectors.search import CoarseToFineDetector
from deepfake_detector.faces.extraction import extract_faces
from deepfake_detector.faces.geometry import Geometry
from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.faces.tracking import box_distance
from deepfake_detector.faces.video_file import probe
from deepfake_detector.faces.video_reader import Frame, read_frames
from deepfake_detector.files import ffmpeg_name

FRAMES, SIZE, MARGIN, THRESHOLD = 16, 96, 0.3, 0.5  # as in params.yaml
ROUNDS = 3


def decode_all(path: Path) -> None:
    """Decode every frame in order on one thread; convert none."""
    with av.open(ffmpeg_name(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def sampled_frames(path: Path) -> Iterator[Frame]:
    """The frames that extraction samples."""
    info = probe(path)
    return read_frames(path, evenly_spread(info.frames, FRAMES), info)


def processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def extraction(name: str, weights: str = "none") -> Callable[[Path], int]:
    """A function that extracts from a video with a warmed-up detector and returns the number of frames with a face."""
    import scipy.optimize  # noqa: F401  (loaded by the first video of a process that shows two people)

    geometry = Geometry(FRAMES, SIZE, MARGIN, name, THRESHOLD, weights)
    detector = create_face_detector(name, THRESHOLD, weights)
    detector.detect(np.zeros((288, 288, 3), np.uint8))
    return lambda path: len({face.frame for face in extract_faces(path, geometry, detector, "all").faces})


def detectors(yunet: str | None) -> dict[str, str]:
    """The detectors to measure, and their model files."""
    return {"centerface": "none"} | ({"yunet": yunet} if yunet else {})


def find_large(videos: list[Path]) -> Path:
    """The first video of 1280 × 720 pixels or more, else the largest."""

    def pixels(path: Path) -> int:
        info = probe(path)
        return min(info.width * info.height, 1280 * 720)

    return max(videos, key=pixels)


def speed(videos: list[Path], yunet: str | None) -> None:
    methods: dict[str, Callable[[Path], object]] = {
        "floor: decode every frame, convert none": decode_all,
        f"decode what {FRAMES} frames need, and convert those": lambda path: list(sampled_frames(path)),
    }
    methods |= {f"extraction with {name}": extraction(name, weights) for name, weights in detectors(yunet).items()}
    rounds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(ROUNDS):
        total = dict.fromkeys(methods, 0.0)
        for path in videos:
            for name, method in methods.items():
                total[name] += processor_seconds(partial(method, path))
        for name, seconds in total.items():
            rounds[name].append(seconds)
    floor, *_ = medians = [statistics.median(seconds) for seconds in rounds.values()]
    print(f"{len(videos)} video(s).\n\n| what | milliseconds a video | against the floor |\n|---|---|---|")
    for name, seconds in zip(rounds, medians, strict=True):
        print(f"| {name} | {1000 * seconds / len(videos):.0f} | {seconds / floor:.2f} |")


def repeat_clip(clip: Path, target: Path, duration: float) -> None:
    """Write the packets of a clip again and again, for `duration` seconds."""
    with av.open(str(target), "w") as out:
        end, stream = Fraction(0), None  # seconds that are written
        while end < duration:
            with av.open(ffmpeg_name(clip)) as source:
                origin = source.streams.video[0]
                stream = stream or out.add_stream_from_template(origin)
                shift = None
                for packet in source.demux(origin):
                    if packet.pts is None or packet.dts is None:
                        continue
                    if shift is None:
                        shift = round(end / packet.time_base) - packet.dts
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    end = max(end, (packet.pts + (packet.duration or 1)) * packet.time_base)
                    out.mux(packet)


def long(videos: list[Path], yunet: str | None) -> None:
    clip = find_large(videos)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        repeat_clip(clip, path, 600)
        info = probe(path)
        print(f"A clip of {info.width}x{info.height} again and again: {info.times[-1]:.0f} s, {info.frames} frames.")
        speed([path], yunet)


def landmarks(videos: list[Path], yunet: str | None) -> None:
    """Mean distance in eye distances over four frames of each video, searched and redetected from the frame before."""
    print(
        "| detector | landmarks | mean distance from those at full size, in eye distances | faces |\n|---|---|---|---|"
    )
    for name, weights in detectors(yunet).items():
        detector = create_face_detector(name, THRESHOLD, weights)
        assert isinstance(detector, CoarseToFineDetector)
        errors: dict[str, list[float]] = {"searched": [], "redetected": []}
        for path in videos:
            for number in evenly_spread(probe(path).frames, 4):
                before, image = ([frame.image for frame in read_frames(path, [max(number - 1, 0), number])] * 2)[:2]
                full_size = detector.detect_at_scale(image)
                redetected = detector.redetect(image, detector.detect(before))
                for method, found in {"searched": detector.detect(image), "redetected": redetected}.items():
                    if len(full_size) and found:
                        best = full_size[0]
                        nearest = min(found, key=lambda face: box_distance(face.box, best.box))
                        eye_distance = np.linalg.norm(best.landmarks[0] - best.landmarks[1])
                        error = np.linalg.norm(nearest.landmarks - best.landmarks, axis=1).mean()
                        errors[method].append(float(error / eye_distance))
        for method, values in errors.items():
            print(f"| {name} | {method} | {np.mean(values):.1%} | {len(values)} |")


def memory(videos: list[Path], yunet: str | None) -> None:
    """Peak memory of a worker with a large video and the same enlarged to 7680 × 4320."""
    clip = find_large(videos)
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "8k.mp4"
        with av.open(str(large), "w") as out:
            stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "28"})
            stream.width, stream.height, stream.pix_fmt = 7680, 4320, "yuv420p"
            stream.codec_context.thread_count = 1
            for i, frame in enumerate(read_frames(clip, list(range(0, 24, 2)))):
                image = cv2.resize(frame.image, (7680, 4320), interpolation=cv2.INTER_LINEAR)
                picture = av.VideoFrame.from_ndarray(image, format="bgr24")
                picture.pts, picture.time_base = i, Fraction(1, 25)
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
        print("| video | frames with a face | peak memory |\n|---|---|---|", flush=True)
        for path in (clip, large):
            command = [sys.executable, "-m", "benchmarks.extract", "worker", str(path)]
            print(subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip())


def worker(videos: list[Path], yunet: str | None) -> None:
    """Extract from one video and print the peak resident memory of this process."""
    import resource  # not on Windows

    faces = extraction("centerface")(videos[0])
    info = probe(videos[0])
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss: macOS counts bytes, Linux kibibytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    print(f"| {info.width}x{info.height} | {faces} | {peak:.0f} MB |", flush=True)


def stage_command(folder: Path, videos: Path, cache: Path | str) -> list[str]:
    """The command that extracts from `videos` into `folder`."""
    options = {
        "data.videos": videos,
        "data.labels": "none",
        "data.faces": folder / "faces",
        "data.index": folder / "faces.parquet",
        "cache": cache,
    }
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", "stages.extract", *words]


def again(videos: list[Path], yunet: str | None) -> None:
    """The stage on 199 videos of at least twenty seconds, the same unchanged, and with one more.

    Each video repeats a clip. The longer it is, the more often its clip was used before, so that all contents differ.
    """
    clips = [path for path in videos if path.suffix == ".mp4"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "videos"
        corpus.mkdir()
        command = stage_command(folder, corpus, folder / "cache")
        times = []
        print("| run | seconds | of the first |\n|---|---|---|")
        new = 100  # of medium length
        for step, numbers in {"199 videos": {*range(200)} - {new}, "unchanged": set(), "one new": {new}}.items():
            for i in numbers:
                clip = clips[i % len(clips)]
                repeat_clip(clip, corpus / f"{i:03d}.mp4", 20 + i // len(clips) * probe(clip).times[-1])
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
            print(f"| {step} | {times[-1]:.1f} | {times[-1] / times[0]:.1%} |", flush=True)


def kills(videos: list[Path], yunet: str | None) -> None:
    """Outputs after ten kills at random moments, each followed by another run, against those of an undisturbed run."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "videos"
        corpus.mkdir()
        for path in videos:
            (corpus / path.name).symlink_to(path.resolve())
        start = time.perf_counter()
        subprocess.run(stage_command(folder, corpus, "false"), check=True, capture_output=True)
        duration, expected = time.perf_counter() - start, fingerprint(folder)
        command = stage_command(folder, corpus, folder / "cache")
        killed = 0
        for _ in range(10):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(rng.uniform(0.05, 0.6) * duration)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
        subprocess.run(command, check=True, capture_output=True)
        same = "the same" if fingerprint(folder) == expected else "OTHER"
        print(f"Killed {killed} times, then run to the end: {same} bytes.")


def fingerprint(folder: Path) -> str:
    """SHA-256 of the names and bytes of all outputs of the stage."""
    files = sorted([*(folder / "faces").iterdir(), folder / "faces.parquet", folder / "extract_report.csv"])
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def main() -> None:
    parser = command_line(__doc__)
    tasks = {task.__name__: task for task in (speed, long, landmarks, memory, worker, again, kills)}
    parser.add_argument("task", choices=list(tasks))
    parser.add_argument("videos", help="a folder, or one file")
    parser.add_argument("--yunet", help="file of the YuNet model")
    args = parser.parse_args()
    videos = [Path(path) for path in find_videos([args.videos])[0]]
    # In a process of its own, as the stage's workers are: there, decoding takes one thread.
    process = get_context("spawn").Process(target=run_alone, args=(tasks[args.task], videos, args.yunet))
    process.start()
    process.join()
    sys.exit(process.exitcode)


def run_alone(task: Callable[[list[Path], str | None], None], videos: list[Path], yunet: str | None) -> None:
    cv2.setNumThreads(1)
    task(videos, yunet)


if __name__ == "__main__":
    main()
