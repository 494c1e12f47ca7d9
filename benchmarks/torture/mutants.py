"""Damaged copies of clips, each by its number and the seed; and files that never were a video."""

import gzip
import re
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

START = 4096  # bytes in which most containers keep what describes the rest
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
BOXES = re.compile(
    b"ftyp|moov|mvhd|trak|tkhd|edts|elst|mdia|mdhd|hdlr|minf|stbl|stsd|stts|stss|ctts|stsc|stsz|stco|co64|avc1|avcC|"
    b"jpeg|moof|mfhd|traf|tfhd|tfdt|trun|mdat|udta|meta"
)
# Where formats keep width and height: marker, offset of the two numbers from its start, how they are written.
SIZES = (
    (b"avc1", 28, ">HH"),
    (b"jpeg", 28, ">HH"),
    (b"avih", 40, "<II"),
    (b"GIF89a", 6, "<HH"),
    (b"\xff\xc0", 5, ">HH"),
)
SAMPLE_TABLES = (b"stsz", b"stts", b"stsc")

Data = bytearray
Rng = np.random.Generator


def flip_bits(data: Data, rng: Rng, end: int | None = None) -> None:
    for at in rng.integers(0, end or len(data), int(2 ** rng.uniform(0, 7))).tolist():
        data[min(at, len(data) - 1)] ^= 1 << int(rng.integers(8))


def flip_bits_at_the_start(data: Data, rng: Rng) -> None:
    flip_bits(data, rng, START)


def cut(data: Data, rng: Rng) -> None:
    del data[int(rng.integers(len(data))) :]


def swap_chunks(data: Data, rng: Rng) -> None:
    size = int(rng.integers(1, len(data) // 4))
    a, b = sorted(rng.integers(0, len(data) - size, 2).tolist())
    if b - a >= size:
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def repeat_chunk(data: Data, rng: Rng) -> None:
    start, end = _span(data, rng)
    data[end:end] = data[start:end] * int(rng.integers(1, 4))


def remove_chunk(data: Data, rng: Rng) -> None:
    start, end = _span(data, rng)
    del data[start:end]


def zero_chunk(data: Data, rng: Rng) -> None:
    start, end = _span(data, rng)
    data[start:end] = bytes(end - start)


def insert_noise(data: Data, rng: Rng) -> None:
    at = int(rng.integers(len(data)))
    data[at:at] = rng.bytes(int(2 ** rng.uniform(0, 12)))


def set_header_fields(data: Data, rng: Rng) -> None:
    for at in rng.integers(0, min(len(data), START) - 4, int(rng.integers(1, 8))).tolist():
        struct.pack_into(">I" if rng.random() < 0.5 else "<I", data, at, _extreme(rng))


def set_box_size(data: Data, rng: Rng) -> None:
    at = _box(data, rng)
    size = struct.unpack_from(">I", data, at - 4)[0]
    near = [max(size + change, 0) & 0xFFFFFFFF for change in (-8, -1, 1, 8, 1 << 20)]
    struct.pack_into(">I", data, at - 4, int(rng.choice([*near, *EXTREMES])))


def set_box_fields(data: Data, rng: Rng) -> None:
    at = _box(data, rng) + 4
    for i in rng.integers(0, 12, int(rng.integers(1, 4))).tolist():
        if at + 4 * i + 4 <= len(data):
            struct.pack_into(">I", data, at + 4 * i, _extreme(rng))


def set_box_name(data: Data, rng: Rng) -> None:
    at, names = _box(data, rng), BOXES.pattern.split(b"|")
    data[at : at + 4] = names[int(rng.integers(len(names)))].ljust(4)[:4]


def set_dimensions(data: Data, rng: Rng) -> None:
    places = [(data.find(marker) + offset, form) for marker, offset, form in SIZES if marker in data]
    if start := data.find(b"\0\0\1\xb3") + 1:  # MPEG: 12 bits each
        data[start + 3 : start + 6] = rng.bytes(3)
    for at, form in places:
        if at + struct.calcsize(form) <= len(data):
            limit = 2 ** (8 * struct.calcsize(form) // 2)
            struct.pack_into(form, data, at, *(min(_extreme(rng), limit - 1) for _ in range(2)))


def claim_many_samples(data: Data, rng: Rng) -> None:
    """An index of one byte for each of up to four billion samples."""
    count = int(rng.choice([10**5, 10**6, 2 * 10**7, 2**31 - 1, 2**32 - 1]))
    stsz, stts, stsc = (data.find(name) for name in SAMPLE_TABLES)
    if min(stsz, stts, stsc) < 0:
        set_header_fields(data, rng)
        return
    struct.pack_into(">II", data, stsz + 8, 1, count)
    struct.pack_into(">I", data, stts + 12, count)
    struct.pack_into(">I", data, stsc + 16, count)


def repeat_whole(data: Data, rng: Rng) -> None:
    data += bytes(data)


def compress(data: Data, rng: Rng) -> None:
    data[:] = gzip.compress(bytes(data))


MUTATIONS: tuple[Callable[[Data, Rng], None], ...] = (
    flip_bits,
    flip_bits_at_the_start,
    cut,
    swap_chunks,
    repeat_chunk,
    remove_chunk,
    zero_chunk,
    insert_noise,
    set_header_fields,
    set_box_size,
    set_box_fields,
    set_box_name,
    set_dimensions,
    claim_many_samples,
    repeat_whole,
    compress,
)


def _span(data: Data, rng: Rng) -> tuple[int, int]:
    start = int(rng.integers(len(data)))
    return start, min(len(data), start + int(2 ** rng.uniform(0, 14)))


def _extreme(rng: Rng) -> int:
    return int(rng.choice(EXTREMES)) if rng.random() < 0.8 else int(rng.integers(2**32))


def _box(data: Data, rng: Rng) -> int:
    """Where the name of a box starts; anywhere in a file without boxes."""
    places = [match.start() for match in BOXES.finditer(data) if match.start() >= 4]
    return places[int(rng.integers(len(places)))] if places else int(rng.integers(4, max(5, min(len(data), START) - 8)))


def write_mutants(clips: Sequence[Path], folder: Path, count: int, seed: int) -> list[Path]:
    """`count` damaged copies of the clips; in every eighth, two mutations meet, or the suffix is that of another."""
    written = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        clip = clips[int(rng.integers(len(clips)))]
        data = bytearray(clip.read_bytes())
        mutation = MUTATIONS[i % len(MUTATIONS)]
        mutation(data, rng)
        if i % 8 == 0 and len(data) > 100:
            flip_bits(data, rng)
        suffix = clips[int(rng.integers(len(clips)))].suffix if i % 8 == 4 else clip.suffix
        written.append(folder / f"m{i:04d}-{mutation.__name__}{suffix}")
        written[-1].write_bytes(data)
        if mutation is claim_many_samples and i % 3 == 0:
            with written[-1].open("r+b") as file:  # a file in which there is something for each sample, but not on disk
                file.truncate(2 * 10**7)
    return written


def deep_boxes(depth: int = 20_000) -> bytes:
    """Boxes in boxes, each of which ends where the file does."""
    return b"".join(struct.pack(">I", 8 * (depth - i)) + b"moov" for i in range(depth))


BUILT: dict[str, bytes] = {
    "empty.mp4": b"",
    "one.mp4": b"\0",
    "text.mp4": b"no video\n" * 100,
    "page.mkv": b"<!doctype html><script>alert(1)</script>",
    "passwords.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "passwords.ts": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "concat.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "concat.mkv": b"ffconcat version 1.0\nfile '" + b"a" * 5000 + b"'\n",
    "session.mp4": b"v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\na=rtpmap:96 H264/90000\n",
    "manifest.mp4": b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>",
    "large.y4m": b"YUV4MPEG2 W100000 H100000 F25:1 C420\nFRAME\n",
    "flat.y4m": b"YUV4MPEG2 W16384 H16384 F25:1 C420\nFRAME\n" + bytes(10_000),
    "negative.y4m": b"YUV4MPEG2 W-1 H-1 F0:0 C420\nFRAME\n",
    "large.gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;",
    "boxes.mp4": struct.pack(">I", 16) + b"ftypisom\0\0\0\0" + deep_boxes(),
    "zeros.mp4": bytes(1 << 20),
    "zeros.ts": bytes(1 << 20),
    "ones.avi": b"\xff" * (1 << 20),
    "sync.ts": (b"G\x1f\xff\x10" + bytes(184)) * 5000,
    "streams.ts": b"".join(struct.pack(">BHBI", 71, 0x4000 | i, 16, 0x1E0) + bytes(180) for i in range(8000)),
    "ebml.mkv": b"\x1a\x45\xdf\xa3" + b"\x01" + b"\xff" * 7 + (b"\x18\x53\x80\x67\x01" + b"\xff" * 7) * 5000,
    "riff.avi": b"RIFF\xff\xff\xff\xffAVI " + b"LIST\xff\xff\xff\xffhdrl" * 5000,
    "sound.mp4": struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 2**16, b"WAVEfmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data",
    2**16)
    + bytes(2**16),
    "subtitles.mkv": b"1\n00:00:00,000 --> 00:00:01,000\nnothing\n",
    "keys.mp4": struct.pack(">I", 16) + b"ftypisom\0\0\0\0" + struct.pack(">IIQ", 1, 0x6D646174, 2**63),
}  # fmt: skip
GROWN_SIDES = (4000, 7000, 10_000)  # pixels to which the pictures of a stream grow


def write_grown(path: Path, side: int) -> None:
    """A transport stream of small pictures, in which a very large one follows."""
    with path.open("wb") as file:
        for size, frames in ((64, 12), (side, 1)):
            part = path.with_suffix(".part.ts")
            with av.open(str(part), "w") as out:
                stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "40"})
                stream.height = stream.width = size
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
                picture = av.VideoFrame(size, size, "yuv420p")
                for plane in picture.planes:
                    plane.update(bytes(plane.buffer_size))
                for i in range(frames):
                    picture.pts, picture.time_base = i, Fraction(1, 25)
                    out.mux(stream.encode(picture))
                out.mux(stream.encode(None))
            file.write(part.read_bytes())
            part.unlink()
