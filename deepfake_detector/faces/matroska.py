"""What the headers of Matroska and WebM files say that PyAV does not tell (RFC 8794, RFC 9559)."""

import re
from pathlib import Path

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
HEADER = 1 << 16  # bytes, in which the kinds of the tracks are stated
VIDEO_CODEC = re.compile(rb"\x86([\x82-\xbf])(V_.{,61})", re.DOTALL)  # CodecID: its length in one byte, and its text


def ends_early(path: Path | str) -> bool:
    """Whether a Matroska file is shorter than its header states; False for one that states no length."""
    head = _header(path)
    start = head.find(SEGMENT) + len(SEGMENT)
    if start < len(SEGMENT) or start == len(head):
        return False
    count = 9 - head[start].bit_length()  # of the bytes that state the length
    length = int.from_bytes(head[start : start + count], "big") - (1 << 7 * count)
    is_known = length != (1 << 7 * count) - 1  # unknown in recordings that were sent live or were not ended properly
    return is_known and start + count + length > Path(path).stat().st_size


def video_codec(path: Path | str) -> str:
    """The codec of the first video track, as 'V_MPEG4/ISO/AVC'; empty if `path` is no Matroska file."""
    match = VIDEO_CODEC.search(_header(path))
    return match[2][: match[1][0] & 0x3F].rstrip(b"\0").decode("ascii", "replace") if match else ""


def _header(path: Path | str) -> bytes:
    """The start of a Matroska file; empty for another one."""
    with Path(path).open("rb") as file:
        head = file.read(HEADER)
    return head if head.startswith(EBML) else b""
