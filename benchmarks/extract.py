"""What extraction costs, and what it is worth, on any folder of videos.

    python -m benchmarks.extract speed VIDEOS [--yunet yunet.onnx]      seconds for each video against decoding alone
    python -m benchmarks.extract long VIDEOS [--yunet yunet.onnx]       the same for ten minutes of 720p, made by joining a clip
    python -m benchmarks.extract landmarks VIDEOS [--yunet yunet.onnx]  landmarks of the search against those at full size
    python -m benchmarks.extract peers VIDEOS                           retinaface-pytorch and facenet-pytorch's MTCNN
    python -m benchmarks.extract memory VIDEOS                          peak memory of a worker, 720p and 7680 × 4320
    python -m benchmarks.extract again VIDEOS                           the stage: all videos, unchanged, and one new among them
    python -m benchmarks.extract kills VIDEOS                           killed at ten random moments, then compared

Times are processor seconds of one thread, so that two processes on two cores take half of them; those of `again` are by the clock.
facenet-pytorch pins an old torch: pip install --no-deps --target PEERS facenet-pytorch, and set PYTHONPATH=PEERS.
"""

import argparse
import hashlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np

from deepfake_detector.faces.detectors import Searching, create_detector
from deepfake_detector.faces.extraction import Geometry, extract_faces
from deepfake_detector.faces.sources import find_videos
from deepfake_detector.faces.tracking import box_distance
from deepfake_detector.faces.sampling import evenly_spread
from deepfake_detector.faces.video_reader import Frame, probe, read_frames

FRAMES, SIZE, MARGIN, THRESHOLD = 16, 96, 0.3, 0.5  # as in params.yaml


def floor(path: Path | str) -> None:
    """Decode every frame in order, convert nothing."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def frames_wanted(path: Path) -> Iterator[Frame]:
    info = probe(path)
    return read_frames(path, evenly_spread(info.frames, FRAMES), info)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def extraction(name: str, weights: str = "none") -> Callable[[Path | str], int]:
    """A function that extracts a video with a detector, once warmed up, and returns the number of frames with a face."""
    import scipy.optimize  # noqa: F401  (loaded by the first video of a process that shows two people)

    geometry = Geometry(FRAMES, SIZE, MARGIN, name, THRESHOLD, weights)
    detector = create_detector(name, THRESHOLD, weights)
    detector.detect(np.zeros((288, 288, 3), np.uint8))
    return lambda path: len({face.frame for face in extract_faces(path, geometry, detector, "all").faces})


def detectors(yunet: str | None) -> dict[str, str]:
    return {"centerface": "none"} | ({"yunet": yunet} if yunet else {})


def speed(videos: list[Path], yunet: str | None) -> None:
    ways: dict[str, Callable[[Path], object]] = {"frames alone": lambda path: list(frames_wanted(path))}
    ways |= {name: extraction(name, weights) for name, weights in detectors(yunet).items()}
    spent = dict.fromkeys(["floor", *ways], 0.0)
    for path in videos:
        spent["floor"] += seconds(lambda path=path: floor(path))  # type: ignore[misc]
        for name, way in ways.items():
            spent[name] += seconds(lambda way=way, path=path: way(path))  # type: ignore[misc]
    for name, total in spent.items():
        print(f"{name:12} {1000 * total / len(videos):7.0f} ms a video, {total / spent['floor']:.2f} of decoding")


def join(clip: Path, target: Path, length: float) -> None:
    """The packets of a clip over and over, for `length` seconds."""
    with av.open(str(target), "w") as out:
        end, stream, base = 0, None, Fraction(1)
        while stream is None or end * base < length:
            with av.open(str(clip)) as source:
                origin = source.streams.video[0]
                stream, base = stream or out.add_stream_from_template(origin), origin.time_base
                packets = [packet for packet in source.demux(origin) if packet.dts is not None]
                shift = end - packets[0].dts
                for packet in packets:
                    packet.pts, packet.dts, packet.time_base = packet.pts + shift, packet.dts + shift, base
                    packet.stream = stream
                    end = max(end, packet.pts + (packet.duration or 1))
                    out.mux(packet)


def long(videos: list[Path], yunet: str | None) -> None:
    clip = next(path for path in videos if (probe(path).width, probe(path).height) == (1280, 720))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        join(clip, path, 600)
        info = probe(path)
        print(f"{clip.name} joined to {info.times[-1]:.0f} s, {info.frames} frames")
        speed([path], yunet)


def landmarks(videos: list[Path], yunet: str | None) -> None:
    """Mean distance in eye distances, over four frames of each video: searched, and followed from the frame before."""
    for name, weights in detectors(yunet).items():
        detector = create_detector(name, THRESHOLD, weights)
        assert isinstance(detector, Searching)
        errors: dict[str, list[float]] = {"searched": [], "followed": []}
        for path in videos:
            for number in evenly_spread(probe(path).frames, 4):
                before, image = ([frame.image for frame in read_frames(path, [max(number - 1, 0), number])] * 2)[:2]
                full = detector.find(image)
                ways = {"searched": detector.detect(image), "followed": detector.follow(image, detector.detect(before))}
                for way, found in ways.items():
                    if len(full) and found is not None and len(found):
                        nearest = min(found, key=lambda face: box_distance(face, full[0]))
                        eyes = np.linalg.norm(full[0, 5:7] - full[0, 7:9])
                        apart = np.linalg.norm((nearest[5:] - full[0, 5:]).reshape(5, 2), axis=1).mean()
                        errors[way].append(float(apart / eyes))
        for way, values in errors.items():
            print(f"{name}, {way}: {np.mean(values):.1%} of the eye distance on {len(values)} faces")


def peers(videos: list[Path], yunet: str | None) -> None:
    """Speeds of others on the same frames. RetinaFace runs with random weights where its own cannot be fetched."""
    import torch

    torch.set_num_threads(1)
    ours = extraction("centerface")

    def frames(path: Path) -> Iterator[np.ndarray]:
        return (np.ascontiguousarray(frame.image[..., ::-1]) for frame in frames_wanted(path))

    ways: dict[str, Callable[[Path], int]] = {"ours": ours}
    try:
        from facenet_pytorch import MTCNN

        mtcnn = MTCNN(keep_all=True, device="cpu")
        ways["MTCNN, full size"] = lambda path: sum(mtcnn.detect(image)[0] is not None for image in frames(path))
    except ImportError:
        print("facenet-pytorch is not installed")
    from retinaface.predict_single import Model

    model = Model(max_size=640)
    model.eval()
    ways["RetinaFace 640"] = lambda path: sum(len(model.predict_jsons(image)[0]["bbox"]) > 0 for image in frames(path))
    chosen = videos[:: max(1, len(videos) // 6)]
    spent = dict.fromkeys(ways, 0.0)
    found = dict.fromkeys(ways, 0)
    for path in chosen:
        for name, way in ways.items():
            start = time.process_time()
            found[name] += way(path)
            spent[name] += time.process_time() - start
    for name, total in spent.items():
        ratio = total / spent["ours"]
        print(
            f"{name:18} {total / len(chosen):6.2f} s a video, {ratio:5.1f} times ours, {found[name]} frames with a face"
        )


def memory(videos: list[Path], yunet: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clip = next(path for path in videos if (probe(path).width, probe(path).height) == (1280, 720))
        huge = Path(folder) / "8k.mp4"
        with av.open(str(huge), "w") as out:
            stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "28"})
            stream.width, stream.height, stream.pix_fmt = 7680, 4320, "yuv420p"
            stream.codec_context.thread_count = 1
            for i, frame in enumerate(read_frames(clip, list(range(0, 24, 2)))):
                image = cv2.resize(frame.image, (7680, 4320), interpolation=cv2.INTER_LINEAR)
                picture = av.VideoFrame.from_ndarray(image, format="bgr24")
                picture.pts, picture.time_base = i, Fraction(1, 25)
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
        for path in (clip, huge):
            command = [sys.executable, "-m", "benchmarks.extract", "worker", str(path)]
            print(subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip())


def worker(videos: list[Path], yunet: str | None) -> None:
    """Extract one video, and print the peak of this process's resident memory."""
    faces = extraction("centerface")(videos[0])
    info = probe(videos[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{info.width}x{info.height}: {faces} frames with a face, peak {peak:.0f} MB", flush=True)


def stage(folder: Path, videos: Path, *more: str) -> list[str]:
    places = {
        "data.videos": videos,
        "data.labels": "none",
        "data.faces": folder / "faces",
        "data.index": folder / "faces.parquet",
    }
    places["data.metrics"] = folder
    options = [text for key, value in places.items() for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", "stages.extract", *options, *more]


def linked(videos: list[Path], folder: Path) -> Path:
    folder.mkdir()
    for path in videos:
        (folder / path.name).symlink_to(path.resolve())
    return folder


def again(videos: list[Path], yunet: str | None) -> None:
    """The stage on 199 videos, unchanged, and with one more: clips joined to twenty seconds, and once more each for the next."""
    clips = [path for path in videos if path.suffix == ".mp4"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "videos"
        corpus.mkdir()
        command = [*stage(folder, corpus), "--cache", str(folder / "cache")]
        times = []
        new = 100  # of middling length
        for step, numbers in {"199 videos": {*range(200)} - {new}, "unchanged": set(), "one new": {new}}.items():
            for i in numbers:
                clip = clips[i % len(clips)]
                join(clip, corpus / f"{i:03d}.mp4", 20 + i // len(clips) * probe(clip).times[-1])
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
            print(f"{step:12} {times[-1]:6.2f} s, {times[-1] / times[0]:.1%} of the first", flush=True)


def kills(videos: list[Path], yunet: str | None) -> None:
    """Bytes after ten kills at random moments, each followed by another run, against those of a run left alone."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = linked(videos, folder / "videos")
        start = time.perf_counter()
        subprocess.run([*stage(folder, corpus), "--cache", "false"], check=True, capture_output=True)
        whole, expected = time.perf_counter() - start, fingerprint(folder)
        killed = 0
        for _ in range(10):
            process = subprocess.Popen(
                stage(folder, corpus, "--cache", str(folder / "cache")), stderr=subprocess.DEVNULL
            )
            try:
                process.wait(rng.uniform(0.05, 0.6) * whole)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
        subprocess.run(stage(folder, corpus, "--cache", str(folder / "cache")), check=True, capture_output=True)
        print(f"killed {killed} times; the same bytes: {fingerprint(folder) == expected}")


def fingerprint(folder: Path) -> str:
    files = sorted([*(folder / "faces").iterdir(), folder / "faces.parquet", folder / "extract_report.csv"])
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = (speed, long, landmarks, peers, memory, worker, again, kills)
    parser.add_argument("task", choices=[task.__name__ for task in tasks])
    parser.add_argument("videos", help="a folder, or one file")
    parser.add_argument("--yunet", help="file of the YuNet model")
    given = parser.parse_args()
    videos = [Path(path) for path in find_videos([given.videos])[0]]
    task = next(task for task in tasks if task.__name__ == given.task)
    process = get_context("spawn").Process(target=alone, args=(task, videos, given.yunet))  # where one thread decodes
    process.start()
    process.join()
    sys.exit(process.exitcode)


def alone(task: Callable[[list[Path], str | None], None], videos: list[Path], yunet: str | None) -> None:
    cv2.setNumThreads(1)
    task(videos, yunet)


if __name__ == "__main__":
    main()
