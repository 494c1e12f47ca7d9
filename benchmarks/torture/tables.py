"""Tables, archives and caches that were damaged or made to harm: refused with their name, or read as they are."""

import io
import json
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.torture.mutants import MUTATIONS
from benchmarks.torture.tally import WRONG_BYTES, Tally
from benchmarks.torture.trial import Problem, Workshop, try_each

MOST = 420
DAMAGES = 45  # mutants of each file
CROPS = [cv2.imencode(".jpg", np.full((64, 64, 3), value, np.uint8))[1].tobytes() for value in (40, 90, 200)]
MEMBERS = [f"000_{i:06d}.jpg" for i in range(len(CROPS))]
Task = tuple[str, str, Any]  # the file, what is done to it, and with what


def read(shop: Workshop) -> Tally:
    """Each file damaged, and read as the stages read it."""
    tally = Tally()
    try_each(tally, _read, dict(shop.choose(_tasks(shop.seed), MOST)))
    return tally


def _tasks(seed: int) -> Iterator[tuple[str, Task]]:
    for name in READERS:
        for i in range(DAMAGES):
            yield f"{name}, mutant {i}", (name, "mutate", (seed, i))
        for what in [*WORDS, *CONTENTS.get(name, {})]:
            yield f"{name}, {what}", (name, "replace", what)


def make_corpus(folder: Path) -> None:
    """The tables of four videos with a face in each of three frames, one archive, and a cache that holds it."""
    from deepfake_detector.faces.archive import write_archive
    from deepfake_detector.faces.extraction import INDEX_COLUMNS, write_index
    from deepfake_detector.faces.geometry import Geometry

    names = ["a", "b", "c", "d"]
    rows = [f"{name},{name}.mp4,{'fake' if name > 'b' else 'real'}" for name in names]
    (folder / "labels.csv").write_text("\n".join(["video_id,filepath,label", *rows]) + "\n")
    rows = [f"{name},{'test' if name in 'bd' else 'train'},{i},0" for i, name in enumerate(names)]
    (folder / "splits.csv").write_text("\n".join(["video_id,partition,group,fold", *rows]) + "\n")
    rows = [f"{name},test,{int(name > 'b')},0.5,0.25" for name in names]
    (folder / "predictions.csv").write_text("\n".join(["video_id,partition,label,probability,logit", *rows]) + "\n")
    (folder / "visual_links.csv").write_text("video_id,kind,token\na,near_duplicate,1\nb,near_duplicate,1\n")
    numbers = [1.0] * (len(INDEX_COLUMNS) - 7)
    index = [[name, 0, i, i / 25, *numbers, 9.0, MEMBERS[i], ""] for name in names for i in range(3)]
    write_index(folder / "faces.parquet", index, Geometry(3, 64, 0.3, "centerface", 0.5))
    (folder / "faces").mkdir()
    write_archive(folder / "faces/a.zip", zip(MEMBERS, CROPS, strict=True))


def _read(task: Task) -> Problem:
    name, how, what = task
    with tempfile.TemporaryDirectory() as made, chdir(made):
        folder = Path(made)
        make_corpus(folder)
        file, reader = READERS[name]
        path = folder / file
        prepare = PREPARE.get(name)
        context = prepare(folder) if prepare else None
        if how == "mutate":
            data = bytearray(path.read_bytes())
            MUTATIONS[what[1] % 9](data, np.random.default_rng(what))
            path.write_bytes(data)
        else:
            content = WORDS[what] if what in WORDS else CONTENTS[name][what]()
            path.write_bytes(content)
        return reader(folder, context)


def _read_labels(folder: Path, _: Any) -> Problem:
    from deepfake_detector.corpora.labels import LabelsError, read_labels

    with suppress(LabelsError):
        read_labels(folder / "labels.csv", folder)
    return None


def _read_face_table(folder: Path, _: Any) -> Problem:
    from deepfake_detector.corpora.face_table import load_face_table, read_visual_links
    from deepfake_detector.corpora.labels import LabelsError
    from deepfake_detector.faces.extraction import FaceIndexError, read_geometry

    try:
        load_face_table(folder / "faces.parquet", folder / "labels.csv", folder, folder / "splits.csv")
        read_geometry(folder / "faces.parquet")
        read_visual_links(folder)
    except (LabelsError, FaceIndexError):
        pass
    return None


def _known_videos(folder: Path, _: Any) -> Problem:
    """As extract looks into the index of an earlier run."""
    from stages.extract import indexed_videos

    indexed_videos(str(folder / "faces.parquet"))
    return None


def _read_predictions(folder: Path, _: Any) -> Problem:
    from deepfake_detector.compare import CompareError, Files, read_test_scores

    with suppress(CompareError):
        read_test_scores("workspace", Files("predictions.csv", "splits.csv"))
    return None


def _read_archive(folder: Path, _: Any) -> Problem:
    """Crops come back as they were, or not at all; and a folder with anything else is not replaced."""
    from deepfake_detector.faces.archive import ArchiveError, decode_crop, read_crops
    from deepfake_detector.faces.archive_folder import ArchiveFolderError, replaced_folder

    try:
        crops = read_crops(folder / "faces/a.zip", MEMBERS)
        if not all(np.array_equal(a, decode_crop(b)) for a, b in zip(crops, CROPS, strict=True)):
            return WRONG_BYTES, "other crops"
    except ArchiveError:
        pass
    try:
        with replaced_folder(folder / "faces"):
            pass
    except ArchiveFolderError:
        pass
    return None


def _fill_cache(folder: Path) -> Any:
    from deepfake_detector.faces.cache import FaceCache
    from deepfake_detector.faces.geometry import Geometry

    cache = FaceCache(folder / "cache", Geometry(3, 64, 0.3, "centerface", 0.5), "all")
    shutil.copy(folder / "labels.csv", folder / "a.mp4")
    (key,) = cache.keys([(str(folder / "a.mp4"), "")])
    cache.put(key, folder / "faces/a.zip", {"report": {"status": "ok"}, "index": []})
    entry = folder / "cache" / key[:2] / key
    for suffix in (".zip", ".json"):
        (folder / f"entry{suffix}").symlink_to(entry.with_suffix(suffix))
    return cache, key


def _read_cache(folder: Path, context: Any) -> Problem:
    """The archive that was stored, or none."""
    cache, key = context
    record = cache.get(key, folder / "found.zip")
    if record and (folder / "found.zip").read_bytes() != (folder / "faces/a.zip").read_bytes():
        return WRONG_BYTES, "another archive"
    if record and record["report"] != {"status": "ok"}:
        return WRONG_BYTES, "another record"
    return None


def _read_digests(folder: Path, context: Any) -> Problem:
    cache, key = context
    (found,) = cache.keys([(str(folder / "a.mp4"), "")])
    return None if found == key else (WRONG_BYTES, "the key of another video")


def _write_record(folder: Path) -> Any:
    from deepfake_detector.inference.prediction_task import PredictionSettings, PredictionTask
    from deepfake_detector.inference.records import start_record

    (folder / "a.mp4").write_bytes(b"a video")
    task = PredictionTask("a.mp4", "a", str(folder), PredictionSettings("x.onnx", "0" * 64))
    start_record(task, dict.fromkeys(("verdict", "message"), "real"), "0" * 64, [])
    return task


def _read_record(folder: Path, task: Any) -> Problem:
    from deepfake_detector.inference.batch_prediction import finished_rows

    finished_rows([task])
    return None


def _save_state(folder: Path) -> None:
    import torch

    torch.save({"fingerprint": "x", "epoch": 1, "model": {"a": torch.zeros(100)}}, folder / "last.pt")


def _load_state(folder: Path, _: Any) -> Problem:
    from deepfake_detector.training.trainer import TrainingState

    TrainingState.load(folder / "last.pt", "x")
    return None


Reader = Callable[[Path, Any], Problem]
READERS: dict[str, tuple[str, Reader]] = {
    "labels CSV": ("labels.csv", _read_labels),
    "splits CSV": ("splits.csv", _read_face_table),
    "face index": ("faces.parquet", _read_face_table),
    "earlier face index": ("faces.parquet", _known_videos),
    "visual links": ("visual_links.csv", _read_face_table),
    "predictions": ("predictions.csv", _read_predictions),
    "archive of faces": ("faces/a.zip", _read_archive),
    "archive in the cache": ("entry.zip", _read_cache),
    "record in the cache": ("entry.json", _read_cache),
    "digests of the cache": ("cache/digests.json", _read_digests),
    "record of infer": ("a.json", _read_record),
    "state of a training": ("last.pt", _load_state),
}
PREPARE: dict[str, Callable[[Path], Any]] = {
    "archive in the cache": _fill_cache,
    "record in the cache": _fill_cache,
    "digests of the cache": _fill_cache,
    "record of infer": _write_record,
    "state of a training": _save_state,
}
WORDS = {
    "nothing": b"",
    "words": b"words\n",
    "zeros": bytes(1000),
    "not UTF-8": b"\xff\xfe\xff",
    "brackets": b"[" * 100_000,
}
HEADER = b"video_id,filepath,label\n"


def zip_of(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def zip_of_many(count: int) -> bytes:
    """A zip whose directory lists `count` members of no bytes, as short as such a directory can be."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + b"%05x" % (i % 16**5) for i in range(count))
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(directory), 0, 0)
    large = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(directory), 1)
    return directory + large + locator + last


def parquet_of(table: pd.DataFrame, **options: Any) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, **options)
    return buffer.getvalue()


def _faces(rows: int, **columns: Any) -> pd.DataFrame:
    base = {"video_id": "a", "member": "x", "track": 0, "frame": np.arange(rows), "time": 0.0}
    return pd.DataFrame(base | columns, index=range(rows))


def large_dictionary(column: str) -> bytes:
    """An index in which one text of a megabyte, which the file holds once, is that of 10,000 rows."""
    table = pa.Table.from_pandas(_faces(10_000), preserve_index=False)
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), np.int32)), ["x" * 2**20])
    table = table.set_column(table.column_names.index(column), column, texts)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, store_schema=False, dictionary_pagesize_limit=2**30)
    return buffer.getvalue()


CONTENTS: dict[str, dict[str, Callable[[], bytes]]] = {
    "labels CSV": {
        "a line of 50 MB": lambda: HEADER + b"a," + b"x" * 50_000_000 + b",real\n",
        "a quote that never ends": lambda: HEADER + b'a,"' + b"a.mp4,real\n" * 10_000,
        "many columns": lambda: HEADER.strip() + b"".join(b",c%d" % i for i in range(20_000)) + b"\n",
        "many rows": lambda: HEADER + b"".join(b"v%d,%d.mp4,real\n" % (i, i) for i in range(50_000)),
        "one row many times": lambda: HEADER + b"a,a.mp4,real\n" * 20_000,
        "paths out of the folder": lambda: HEADER + b"a,../../etc/passwd,real\nb,/etc/passwd,fake\n",
        "NUL in each cell": lambda: HEADER + b"a\0,\0a.mp4,re\0al\n",
        "names of nothing": lambda: HEADER + b"..,a.mp4,real\n/,b.mp4,fake\n ,c.mp4,1\n",
        "columns twice": lambda: b"video_id,filepath,label,label\na,a.mp4,real,fake\n",
        "quotes": lambda: HEADER + b'"a""b","a.mp4",\'real\'\n',
    },
    "face index": {
        "one text in all rows": lambda: large_dictionary("member"),
        "many rows of little": lambda: parquet_of(_faces(2_000_000, frame=0), compression="zstd"),
        "columns in columns": lambda: parquet_of(_faces(3, time=[[[[0.0]]]] * 3)),
        "many columns": lambda: parquet_of(_faces(3, **{f"c{i}": 0 for i in range(5000)})),
        "no rows": lambda: parquet_of(_faces(0)),
        "numbers as names": lambda: parquet_of(_faces(3, video_id=1)),
        "paths as names": lambda: parquet_of(_faces(3, member="../../x.jpg", video_id="../x")),
        "a whole video in each": lambda: parquet_of(_faces(3, member=["x" * 10**7] * 3)),
    },
    "earlier face index": {"one text in all rows": lambda: large_dictionary("video_id")},
    "archive of faces": {
        "a million members": lambda: zip_of_many(1_000_000),
        "members that unpack to much": lambda: zip_of([(name, bytes(10**8)) for name in MEMBERS], zipfile.ZIP_DEFLATED),
        "bzip2": lambda: zip_of(list(zip(MEMBERS, CROPS, strict=True)), zipfile.ZIP_BZIP2),
        "lzma": lambda: zip_of(list(zip(MEMBERS, CROPS, strict=True)), zipfile.ZIP_LZMA),
        "paths": lambda: zip_of([("../../x.jpg", CROPS[0]), ("/etc/x", CROPS[0])]),
        "long comment": lambda: zip_of([])[:-2] + b"\xff\xff" + b"c" * 65535,
        "large crops": lambda: zip_of([(name, _picture(3000)) for name in MEMBERS]),
        "other pictures": lambda: zip_of([(name, b"GIF89a" + bytes(100)) for name in MEMBERS]),
    },
    "archive in the cache": {"a million members": lambda: zip_of_many(1_000_000)},
    "record in the cache": {"other keys": lambda: json.dumps({"record": 1, "archive": 2, "sha256": 3}).encode()},
    "state of a training": {"a pickle that runs": lambda: b"cos\nsystem\n(S'touch ran'\ntR."},
}


def _picture(side: int) -> bytes:
    return bytes(cv2.imencode(".png", np.zeros((side, side, 3), np.uint8))[1].tobytes())
