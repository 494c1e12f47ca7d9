"""Judge videos: a verdict, an annotated video and a timeline for each.

    python -m stages.infer clip.mp4
    python -m stages.infer folder/ list.txt --output results --checkpoint checkpoints/best.safetensors

A score is evidence, not proof. Exit status 0: each video has a verdict (no_face is one); 3: some could not be read.
"""

import csv
import json
import os
import sys
from pathlib import Path

from tqdm import tqdm

from stages.faces.detectors import make_detector
from stages.faces.extraction import extract_faces
from stages.learning.checkpoint import CheckpointError, load_detector
from stages.learning.device import pick_device
from stages.learning.score import batches_of, score_batches
from stages.params import fail, parse
from stages.scoring.annotate import annotate_video
from stages.scoring.judgement import Judgement, judge
from stages.scoring.timeline import draw_timeline

COLUMNS = ("filepath", "video_id", "verdict", "probability", "frames", "faces", "message")
SUFFIXES = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".mts", ".ogv"}


def find_videos(places: list[str]) -> list[Path]:
    """Files as given; of folders, all files below them with the suffix of a video; of .txt lists, each line. In order, once."""
    videos: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            videos += sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        elif place.suffix.lower() == ".txt" and place.is_file():
            lines = (line.strip() for line in place.read_text(encoding="utf-8-sig").splitlines())
            videos += [Path(line) for line in lines if line]
        else:
            videos.append(place)
    return list(dict.fromkeys(videos))


def name_videos(videos: list[Path]) -> list[str]:
    """A `video_id` for each: its file name without suffix, numbered where two share it."""
    names: list[str] = []
    taken: set[str] = set()
    for path in videos:
        name, number = path.stem, 2
        while name.casefold() in taken:
            name, number = f"{path.stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def main() -> None:
    params = parse("infer", __doc__ or "", operands="infer.videos")
    settings = params.infer
    places = settings.videos if isinstance(settings.videos, list) else [settings.videos]
    videos = find_videos(places)
    if not videos:
        fail(f"no video in {', '.join(places)}; looked for files ending in {' '.join(sorted(SUFFIXES))}")
    try:
        model, config = load_detector(settings.checkpoint)
    except CheckpointError as error:
        fail(str(error))
    device = pick_device()
    model.to(device)
    detector = make_detector(config.geometry.detector, config.geometry.threshold)
    output = Path(settings.output)
    output.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    part = output / "predictions.csv.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for path, name in tqdm(list(zip(videos, name_videos(videos), strict=True)), "infer", unit="video"):
            found = extract_faces(path, config.geometry, detector, settings.faces)
            logits = score_batches(model, batches_of([face.crop for face in found.faces]), device)
            judgement = judge(found, logits, config.calibration)
            if judgement.verdict != "error":
                annotate_video(path, output / f"{name}.mp4", judgement, config.calibration)
                draw_timeline(output / f"{name}.png", name, judgement, config.calibration)
            record = {"filepath": str(path), "video_id": name, **judgement.record()}
            (output / f"{name}.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            table.writerow({column: record[column] for column in COLUMNS})
            file.flush()
            tqdm.write(f"{say(judgement):>22}  {path}")
            counts[judgement.verdict] = counts.get(judgement.verdict, 0) + 1
    os.replace(part, output / "predictions.csv")
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) + f"; see {output}")
    print("A score is evidence, not proof.")
    sys.exit(3 if counts.get("error") else 0)


def say(judgement: Judgement) -> str:
    probability = "" if judgement.probability is None else f" {judgement.probability:.0%}"
    return f"{judgement.verdict}{probability}"


if __name__ == "__main__":
    main()
