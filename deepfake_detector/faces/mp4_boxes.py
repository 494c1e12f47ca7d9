"""The boxes of MP4 files and their kin (ISO/IEC 14496-12), read without FFmpeg.

FFmpeg holds the index of a file in memory, whatever its length. So the length is looked up before the file is opened.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAX_BOXES = 100_000  # of a file that are looked at
FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip"}
MEDIA, SAMPLES, RUNS = (b"moov", b"trak", b"mdia"), (b"minf", b"stbl"), (b"moof", b"traf", b"trun")


def boxes(file: IO[bytes], start: int, end: int, budget: Iterator[int]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box between two places of a file, up to where they make no sense.

    `budget` gives an item for each box that may be looked at.
    """
    while end - start >= 8 and next(budget, None) is not None:
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return
        size, kind = struct.unpack(">I4s", header[:8])
        body = 8
        if size == 0:  # up to the end
            size = end - start
        elif size == 1 and len(header) == 16:
            size, body = struct.unpack(">Q", header[8:])[0], 16
        if size < body:
            return
        yield kind, start + body, min(start + size, end)
        start += size


def outer_boxes(file: IO[bytes], path: Path | str) -> Iterator[tuple[bytes, int, int]]:
    """`boxes` of a whole file."""
    return boxes(file, 0, Path(path).stat().st_size, iter(range(MAX_BOXES)))


def listed_pictures(path: Path | str) -> int:
    """The largest number of pictures that one index of an MP4 file lists, true or not; 0 for another file."""
    with Path(path).open("rb", buffering=0) as file:  # what lies between the boxes is not read
        if file.read(8)[4:] not in FIRST_BOXES:
            return 0
        budget, size = iter(range(MAX_BOXES)), Path(path).stat().st_size
        counts = [_number(file, start + 4) for start, _ in _find(file, RUNS, 0, size, budget)]
        for start, end in _find(file, MEDIA, 0, size, iter(range(MAX_BOXES))):
            inner = list(boxes(file, start, end, budget))
            if any(read_at(file, first + 8, 4) == b"vide" for kind, first, _ in inner if kind == b"hdlr"):
                tables = _find(file, SAMPLES, start, end, budget)
                places = (box for first, last in tables for box in boxes(file, first, last, budget))
                counts += [_number(file, first + 8) for kind, first, _ in places if kind in (b"stsz", b"stz2")]
    return max(counts, default=0)


def _find(
    file: IO[bytes], path: tuple[bytes, ...], start: int, end: int, budget: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Start and end of the content of each box that lies at `path`, the kinds of it and of those around it."""
    if not path:
        yield start, end
        return
    for kind, first, last in boxes(file, start, end, budget):
        if kind == path[0]:
            yield from _find(file, path[1:], first, last, budget)


def read_at(file: IO[bytes], place: int, count: int) -> bytes:
    """At most `count` bytes from a place of a file on."""
    file.seek(place)
    return file.read(count)


def _number(file: IO[bytes], place: int) -> int:
    return int.from_bytes(read_at(file, place, 4), "big")
