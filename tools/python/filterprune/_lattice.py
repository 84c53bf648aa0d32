"""The indices of a lattice, section 9 of src/pack/FORMAT.md; written from that text alone.

Every bit depends on the one before, so this is plain Python: some 30 us a weight. The library is a hundred times faster.
"""
import struct
from functools import partial
from typing import List, Tuple

import numpy as np

from . import _blend, _tokens
from ._adaptive import _coder
from ._bits import Bits, Damaged
from ._logs import DEPTH as _DEPTH
from ._logs import MOST_MAGNITUDE
from ._logs import clamp as _clamp
from ._logs import lg as _lg
from ._past import Past, trellis_next, trellis_point

LARGER, UP, DOWN, UPPER, LOWER = range(5)  # LOWER + the second digit
# By question: the lowest octave that has a row, and the rows from there on.
_ROWS = (
    (0, (
        (16, 16, 16, 16, 16, 16, 19, 141, 492, 1068, 1723,
         2321, 2803, 3167, 3434, 3626, 3763, 3860, 3929, 3978, 4013),
        (16, 16, 16, 16, 16, 16, 16, 16, 107, 414, 960,
         1613, 2226, 2729, 3113, 3395, 3598, 3743, 3846, 3919, 3971),
        (16, 16, 16, 16, 16, 16, 16, 16, 46, 245, 694,
         1320, 1965, 2521, 2956, 3281, 3516, 3685, 3805, 3890, 3950),
        (16, 16, 16, 16, 16, 16, 16, 16, 21, 146, 503,
         1083, 1738, 2333, 2812, 3175, 3439, 3630, 3766, 3862, 3931),
    )),
    (1, (
        (16, 4064, 4080, 4080, 4080, 4080, 4080, 4048, 3842, 3366, 2693,
         2010, 1441, 1013, 708, 494, 345, 242, 170, 120, 84),
        (16, 16, 3804, 4080, 4080, 4080, 4080, 4062, 3898, 3475, 2820,
         2115, 1511, 1055, 731, 506, 352, 245, 172, 120, 85),
        (16, 16, 16, 4078, 4080, 4080, 4080, 4070, 3932, 3552, 2921,
         2205, 1574, 1093, 752, 518, 358, 248, 173, 121, 85),
    )),
    (1, (
        (16, 16, 16, 16, 19, 141, 491, 1059, 1660, 2121, 2407,
         2564, 2646, 2688, 2709, 2720, 2725, 2728, 2729, 2730, 2730),
        (16, 16, 16, 16, 16, 16, 107, 411, 924, 1455, 1845,
         2079, 2207, 2273, 2307, 2323, 2332, 2336, 2338, 2340, 2340),
        (16, 16, 16, 16, 16, 16, 22, 150, 496, 987, 1424,
         1716, 1883, 1972, 2017, 2041, 2052, 2058, 2061, 2063, 2063),
    )),
    (2, (
        (1229, 1229, 1229, 16, 16, 16, 118, 402, 847, 1295, 1623,
         1822, 1932, 1989, 2018, 2033, 2041, 2044, 2046, 2047, 2048),
        (1229, 1229, 1229, 1229, 16, 16, 94, 346, 762, 1210, 1561,
         1785, 1911, 1978, 2013, 2030, 2039, 2044, 2046, 2047, 2047),
    )),
    (3, (
        (1229, 1229, 1229, 1229, 23, 214, 580, 996, 1373, 1654, 1833,
         1935, 1990, 2019, 2033, 2041, 2044, 2046, 2047, 2048, 2048),
    )),
    (3, (
        (1229, 1229, 1229, 1229, 1229, 95, 463, 893, 1266, 1561, 1768,
         1896, 1969, 2007, 2027, 2038, 2043, 2045, 2047, 2047, 2048),
    )),
)
CHUNK = 131072
MOST_KERNEL = 4096
_DCT = (0.57735026918962576451, 0.70710678118654752440, 0.40824829046386301637)


class _Tables:
    """All counters of a chunk, one after the other: where each table begins."""

    def __init__(self) -> None:
        self.chance: List[int] = []
        self.asked: List[int] = []
        quarters = [(i - 20) >> 1 for i in range(40)]
        halves = range(-12, 12)
        self.a = [[self._add(q, o, quarters, 1) for o in range(10)] for q in range(6)]
        self.b = [[self._add(q, o, halves, 8) for o in range(10)] for q in range(6)]
        self.c = [[self._add(q, o, halves, 16) for o in range(10)] for q in range(6)]
        self.d = [[self._add(q, o, halves, 32) for o in range(10)] for q in range(6)]
        self.e, self.g, self.h, self.i = (self._add_equal(n, 1 << 21, 4) for n in (27 * 4, 64 * 9, 15 * 4, 81))
        self.j, self.n = self._add_equal(8, 1 << 16, 2), self._add_equal(64, 1 << 16, 2)

    def _add(self, question: int, slot: int, halves, times: int) -> int:
        at = len(self.chance)
        first, rows = _ROWS[question]
        row = rows[_clamp((slot if slot < 8 else slot - 8) - first, 0, len(rows) - 1)]
        for h in halves:
            self.chance += [1024 * row[_clamp(h + 10, 0, 20)]] * times
        self.asked += [16 if question < UPPER else 32] * (len(self.chance) - at)
        return at

    def _add_equal(self, count: int, chance: int, asked: int) -> int:
        at = len(self.chance)
        self.chance += [chance] * count
        self.asked += [asked] * count
        return at


_RATE = [65536 // (2 * n + 3) for n in range(256)]


def decode_chunk(data: bytes, first: int, kernels: int, channels: int, k: int, row: int, start: int,
                 trellis: bool) -> np.ndarray:
    """The points of the kernels from `first` on, [kernels][k]."""
    tables = _Tables()
    ask_mixed, bit, ends = _coder(data, tables)
    chance, asked = tables.chance, tables.asked
    mixers = [[16384] * 4 for _ in range(6 * 10 * 4)]
    sign_mixers = [[16384] * 4 for _ in range(4)]

    def ask_plainly(i: int, j: int) -> int:
        result = bit(_clamp((chance[i] >> 6) + (chance[j] >> 6) >> 1, 64, 65472))
        goal = 4194048 if result else 256
        for n in (i, j):
            chance[n] += (goal - chance[n] >> 7) * _RATE[asked[n]] >> 8
            if asked[n] < 255:
                asked[n] += 1
        return result

    past = Past(first, channels, k, start)
    columns, place_sum, place_number = past.columns, past.place_sum, past.place_number
    before = [0] * k
    i1 = i2 = i3 = 0
    state = 0
    points = np.zeros((kernels, k), np.int64)

    for n in range(kernels):
        c = past.enter(n)
        every = past.every
        if k > 1:
            dead = ask_plainly(tables.j + past.dead_near(c), tables.n + past.dead_share(c))
            past.saw(c, dead)
            if dead:
                continue
        channel_lg = past.channel_lg(c)
        both = past.filter_lg + channel_lg - every - 64
        deviation = kernel_sum = 0
        indices: List[int] = []
        for s in range(k):
            m = s if s < 63 else 63
            place = past.lgmean(place_sum[m], place_number[m], 8) if k > 1 else every
            level = _clamp(both + place - every, -48, 400)
            m1 = min(abs(i1), MOST_MAGNITUDE)
            last = _DEPTH[m1]
            column = columns[c * k + s]
            above = indices[s - row] if row and s >= row else i2 if k > 1 else i3
            other = before[s] if k > 1 else i2
            near = 2 * abs(column) + m1 + min(abs(above), MOST_MAGNITUDE) + min(abs(other), MOST_MAGNITUDE)
            around = _lg((near * 13107 >> 12) + 2) - 64
            if k > 1:
                local = level + (deviation * (65536 // (s + 4)) >> 16)
                second = min(m, 31)
            else:
                local = level + ((last + _DEPTH[min(abs(i2), MOST_MAGNITUDE)] - 2 * level) * 13107 >> 16)
                second = _clamp((channel_lg - every + 4 >> 3) + 16, 0, 31)
            estimate = 2 * local + level + around + 2 >> 2
            odd = state & 1
            by_last = _clamp((last - level + 8 >> 4) + 5, 0, 7)
            by_around = _clamp((around - level + 4 >> 3) + 8, 0, 15)

            def ask(question: int, o: int) -> int:
                slot = 8 + o if odd and o < 2 else min(o, 7)
                e = 16 * (o - 1)
                a = tables.a[question][slot] + _clamp((estimate - e + 2 >> 2) + 20, 0, 39)
                b = tables.b[question][slot] + _clamp((level - e + 4 >> 3) + 12, 0, 23) * 8 + by_last
                return ask_mixed((a, tables.c[question][slot] + _clamp((local - e + 4 >> 3) + 12, 0, 23) * 16 + by_around,
                                  tables.d[question][slot] + _clamp((both - e + 4 >> 3) + 12, 0, 23) * 32 + second, b),
                                 mixers[(question * 10 + slot) * 4 + _clamp(estimate - e + 16 >> 4, 0, 3)])

            o = _clamp(estimate + 20 >> 4, 0, 14)
            if ask(LARGER, o):
                o += 1
                while o < _tokens.MOST_DIGITS and not ask(UP, o):
                    o += 1
            else:
                while o > 0 and not ask(DOWN, o):
                    o -= 1
            index = 0
            if o:
                index = 1
                if o > 1:
                    upper = ask(UPPER, o)
                    index = 2 | upper
                    if o > 2:
                        index = index << 1 | ask(LOWER + upper, o)
                for _ in range(o - 3):
                    index = index << 1 | bit(32768)
                size = _clamp((estimate - 16 * (o - 1) + 8 >> 4) + 1, 0, 3)
                s1, s2, sa, sc = (((x > 0) - (x < 0)) + 1 for x in (i1, i2, above, column))
                negative = ask_mixed((tables.e + (s1 * 9 + sa * 3 + s2) * 4 + size, tables.g + m * 9 + sc * 3 + s1,
                                      tables.h + ((s1 + s2) * 3 + sa) * 4 + size, tables.i + s1 * 27 + s2 * 9 + sa * 3 + sc),
                                     sign_mixers[size])
                if negative:
                    index = -index
            indices.append(index)
            size_ = min(abs(index), MOST_MAGNITUDE)
            deviation += _DEPTH[size_] - level + 6
            i1, i2, i3 = index, i1, i2
            columns[c * k + s] = -size_ if index < 0 else size_
            place_sum[m] += 16 * size_
            place_number[m] += 1
            kernel_sum += 16 * size_
            if trellis:
                points[n, s] = trellis_point(state, index)
                state = trellis_next(state, index)
            else:
                points[n, s] = index
        past.leave(c, kernel_sum)
        before = indices

    if not ends():
        raise Damaged("a chunk of a lattice does not end where its weights do")
    return points


def _shape(shape: Tuple[int, ...], hwio: bool) -> Tuple[int, int, int, int, int, bool]:
    """F, C, K, row, axes of a cubic kernel or 0, and whether the layout is HWIO after all."""
    filters, channels, rest = (shape[-1], shape[-2], shape[:-2]) if hwio else (shape[0], shape[1], shape[2:])
    k = 1
    for dimension in rest:
        k *= dimension
    if k > MOST_KERNEL:
        return shape[0], filters * channels * k // shape[0], 1, 0, 0, False
    cubic = len(rest) if 1 <= len(rest) <= 3 and all(d == 3 for d in rest) else 0
    return filters, channels, k, rest[-1] if len(rest) > 1 and k > 1 else 0, cubic, hwio


def _inverse(w: np.ndarray, axes: int) -> np.ndarray:
    w = w.reshape((-1,) + (3,) * axes)
    even, slope, bend = _DCT
    for axis in range(axes, 0, -1):
        a, b, c = (np.take(w, i, axis) for i in range(3))
        p, q, r = a * even, b * slope, c * bend
        both = p + r
        w = np.stack([both + q, p - (r + r), both - q], axis)
    return w.reshape(w.shape[0], -1)


def _round(w: np.ndarray, dtype: str) -> np.ndarray:
    """Doubles to the bits of the dtype."""
    if dtype == "F64":
        return w.view(np.uint64)
    with np.errstate(over="ignore"):
        single = w.astype(np.float32)
        if dtype == "F32":
            return single.view(np.uint32)
        if dtype == "F16":
            return single.astype(np.float16).view(np.uint16)
    bits = single.view(np.uint32).astype(np.uint64)
    return (bits + np.uint64(0x7FFF) + (bits >> np.uint64(16) & np.uint64(1)) >> np.uint64(16)).astype(np.uint16)


def decode(data: memoryview, dtype: str, shape: Tuple[int, ...], hwio: bool) -> np.ndarray:
    """The values of the tensor, as unsigned integers of its width."""
    if dtype not in ("F64", "F32", "F16", "BF16") or len(shape) < (3 if hwio else 2) or 0 in shape:
        raise Damaged("a lattice in a tensor that has none")
    filters, channels, k, row, axes, still_hwio = _shape(shape, hwio)
    if still_hwio != hwio:
        raise Damaged("a lattice in a tensor that has none")
    cursor = Bits(data)
    flags, start = cursor.byte(), cursor.byte()
    (step,) = struct.unpack("<d", cursor.bytes(8))
    if flags > 127 or not 0 < step < float("inf"):
        raise Damaged("a lattice that is none")
    transformed, trellis, mixed, quick, blended, signs, resumed = (bool(flags >> i & 1) for i in range(7))
    if mixed + quick + blended != 1:
        raise Damaged("a lattice of a version that was never released")
    if signs and not blended:
        raise Damaged("signs in a lattice that has its own way with them")
    if resumed and not (blended and trellis and k > 1):
        raise Damaged("a path that goes on where there is none")
    if transformed and not axes:
        raise Damaged("a transform of kernels that have none")
    kernels, each = filters * channels, CHUNK // k
    bodies = []
    for at in range(0, kernels, each):
        bodies.append((at, cursor.bytes(cursor.varint()) if at + each < kernels else cursor.rest()))
    decode_one = partial(_blend.decode_chunk, signs=signs, resumed=resumed) if blended else _tokens.decode_chunk if quick else decode_chunk
    parts = [decode_one(bytes(body), at, min(each, kernels - at), channels, k, row, start, trellis) for at, body in bodies]
    w = np.concatenate(parts).astype(np.float64)
    if transformed:
        w = _inverse(w, axes)
    with np.errstate(over="ignore", under="ignore"):
        values = _round(np.ascontiguousarray(w * step).reshape(-1), dtype)
    if hwio:
        values = np.ascontiguousarray(values.reshape(filters, channels, k).transpose(2, 1, 0)).reshape(-1)
    return values
