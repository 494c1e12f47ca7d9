"""The timestamps of packets, as cameras, cuts and broken clocks leave them, as one order and one clock of frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

HIDDEN = -1  # in place of a frame number: the packet is needed for others and is not shown itself
RESTART = 0.5  # seconds by which decoding times run backwards where a clock restarts; less is a slip of the muxer
REORDERED = 16  # packets among which the one that is shown first is
LONGEST_LEAD = 3600.0  # seconds, as of a call with a late camera; a stream that starts even earlier has another clock


@dataclass(frozen=True, slots=True)
class PacketStamps:
    """Of one packet: `pts` and `dts` in units of the stream's time base, and its flags."""

    pts: int | None
    dts: int | None
    is_keyframe: bool
    is_hidden: bool = False


@dataclass(frozen=True)
class DisplayOrder:
    """`numbers`, `times` and `offsets` are those of `VideoInfo`: decode_order, times and offsets."""

    times: tuple[float, ...]
    numbers: tuple[int, ...] = ()
    offsets: tuple[float, ...] = (0.0,)


def display_order(
    packets: Sequence[PacketStamps], time_base: Fraction, rate: Fraction, start: Fraction | None
) -> DisplayOrder:
    """The frames of `packets` in display order.

    Packets before the first keyframe cannot be decoded and are hidden. Where a clock restarts, the second part follows
    the first. Frames that share a timestamp are spread evenly to the next one. Without timestamps the frames follow
    each other at the nominal rate.

    Args:
        packets: in the order of the file; at least one of them is shown.
        time_base: seconds of one unit of the stamps.
        rate: nominal frames per second.
        start: seconds at which the earliest stream of the file starts, where it is known.
    """
    step = float(1 / rate)
    hidden = _hide_before_keyframe(packets)
    shown = [packet for packet, is_hidden in zip(packets, hidden, strict=True) if not is_hidden]
    pts, dts = [packet.pts for packet in shown], [packet.dts for packet in shown]
    stamps = pts if None not in pts else dts
    seconds = np.array([stamp for stamp in stamps if stamp is not None], np.int64) * float(time_base)
    if len(seconds) < len(shown):
        first = _first_seconds(pts if any(stamp is not None for stamp in pts) else dts, time_base, step)
        zero = _zero(first, start)
        return DisplayOrder(tuple((first - zero + step * np.arange(len(shown))).tolist()), (), (-zero,))
    least_restart = RESTART / float(time_base)
    parts = _clock_parts(packets, least_restart)[~hidden]
    offsets = [-_zero(float(seconds[parts == parts[0]].min()), start)]
    for part in range(1, parts.max() + 1):
        end = (seconds + np.take(offsets, parts.clip(0, part - 1)))[parts < part].max() + step
        offsets.append(end - seconds[parts == part].min(initial=end))
    order = np.lexsort((seconds, parts))
    times = _spread_evenly((seconds + np.take(offsets, parts))[order], step)
    numbers: tuple[int, ...] = ()
    if stamps is pts and len(set(zip(parts, pts, strict=True))) == len(pts) and _rises_in_parts(packets, least_restart):
        number = np.full(len(packets), HIDDEN)
        number[np.flatnonzero(~hidden)[order]] = np.arange(len(shown))
        numbers = tuple(number.tolist())
    return DisplayOrder(tuple(times.tolist()), numbers, tuple(float(offset) for offset in offsets))


def _hide_before_keyframe(packets: Sequence[PacketStamps]) -> np.ndarray:
    """Which packets show no frame, also because a keyframe would have to come before them: bool (packets,).

    Packets behind the first keyframe that are shown before it need an earlier one, too.
    """
    hidden = np.array([packet.is_hidden for packet in packets])
    key = next((i for i, packet in enumerate(packets) if packet.is_keyframe), 0)
    if key == 0:
        return hidden
    hidden[:key] = True
    key_pts = packets[key].pts
    for i, packet in enumerate(packets[key + 1 :], key + 1):
        if key_pts is None or packet.pts is None or packet.pts > key_pts:
            break
        hidden[i] = True
    return hidden


def _first_seconds(stamps: Sequence[int | None], time_base: Fraction, step: float) -> float:
    """Seconds of the first frame, by the earliest of the first `stamps`; packets before these come a `step` apart."""
    missing = next((i for i, stamp in enumerate(stamps) if stamp is not None), 0)
    known = [stamp for stamp in stamps[missing : missing + REORDERED] if stamp is not None]
    return float(min(known, default=0) * time_base) - missing * step


def _zero(first: float, start: Fraction | None) -> float:
    """Seconds on the clock of the file at which the clock of a player is 0; `first` are those of the first frame."""
    return float(start) if start is not None and first - LONGEST_LEAD <= start <= first else first


def _clock_parts(packets: Sequence[PacketStamps], least_restart: float) -> np.ndarray:
    """For each packet how often decoding times ran back by more than `least_restart` before it: int (packets,)."""
    restarts, latest = [], None
    for packet in packets:
        restarts.append(latest is not None and packet.dts is not None and latest - packet.dts > least_restart)
        latest = latest if packet.dts is None else packet.dts
    return np.cumsum(restarts)


def _rises_in_parts(packets: Sequence[PacketStamps], least_restart: float) -> bool:
    """Whether decoding times never run backwards but where the clock restarts."""
    known = [packet.dts for packet in packets if packet.dts is not None]
    return not any(0 < a - b <= least_restart for a, b in pairwise(known))


def _spread_evenly(times: np.ndarray, step: float) -> np.ndarray:
    """Ascending `times` (n,) in seconds, where equal ones are spread up to the next one, or by `step` at the end."""
    known, first = np.unique(times, return_index=True)
    end = known[-1] + step * (len(times) - first[-1])
    return np.interp(np.arange(len(times)), [*first, len(times)], [*known, end])
