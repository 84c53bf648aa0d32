"""The indices of a blended lattice, section 9.6 of src/pack/FORMAT.md; written from that text alone.

Plain Python, some 40 us a weight; the library is five hundred times faster.
"""
from typing import Iterable, List

import numpy as np

from ._adaptive import mixer
from ._bits import Damaged
from ._logs import DEPTH, MOST_MAGNITUDE, clamp
from ._past import Past, trellis_next, trellis_point
from ._tokens import SCALE, Dead, Reader, begin, learn

TOP = 32752
_TARGETS = [[0 if i <= s else TOP for i in range(16)] for s in range(16)]


def _models(sizes: Iterable[int], times: int) -> List[List[int]]:
    """As of section 9.5: so many of each size."""
    models = []
    for size in sizes:
        model = [min(number, TOP) for number in begin(size)]
        models += [list(model) for _ in range(times)]
    return models


class _Signs:
    """The counters of SIGN, one after the other."""

    def __init__(self) -> None:
        self.chance, self.asked = [1 << 21] * (27 * 4 + 64 * 9 + 15 * 4 + 81), [4] * (27 * 4 + 64 * 9 + 15 * 4 + 81)
        self.mixers = [[16384] * 4 for _ in range(4)]

    def indices(self, s1: int, s2: int, sa: int, sc: int, m: int, size: int):
        g = 27 * 4
        h = g + 64 * 9
        return (s1 * 9 + sa * 3 + s2) * 4 + size, g + m * 9 + sc * 3 + s1, h + ((s1 + s2) * 3 + sa) * 4 + size, \
            h + 15 * 4 + s1 * 27 + s2 * 9 + sa * 3 + sc


def _symbol(reader: Reader, models: List[List[int]], blend: List[int], learns: bool) -> int:
    starts = [i + sum(g * model[i] >> 16 for g, model in zip(blend, models)) for i in range(16)] + [SCALE]
    slot = reader.state & SCALE - 1
    s = 15
    while starts[s] > slot:
        s -= 1
    frequency = starts[s + 1] - starts[s]
    reader.advance(starts[s], frequency)
    if learns:
        share = 2097152 // frequency
        for j, model in enumerate(models):
            g, own = blend[j], (model[s + 1] if s < 15 else SCALE) - model[s]
            goal = min((g * own >> 8) * share >> 13, 4 * g)
            blend[j] = max(g + (goal - g >> 4), 2048)
        rest = 65532 - sum(blend)
        for j in range(4):
            blend[j] += blend[j] * rest >> 16
    for model in models:
        learn(model, _TARGETS[s])
    return s


def decode_chunk(data: bytes, first: int, kernels: int, channels: int, k: int, row: int, start: int, trellis: bool,
                 signs: bool, resumed: bool) -> np.ndarray:
    """The points of the kernels from `first` on, [kernels][k]."""
    reader = Reader(data)
    by_size = [_models(range(-78, 66, 4), 1) for _ in range(2)]
    by_level, by_local, by_both = ([_models(range(-76, 68, 8), n) for _ in range(2)] for n in (8, 16, 32))
    blends = [[[16383] * 4 for _ in range(9)] for _ in range(2)]
    worth = [32768, 3276, 6553, 3276, 3276]
    deaths, sign_counters = Dead(), _Signs()
    ask_mixed = mixer(sign_counters, lambda one: reader.bit(one >> 1))
    past = Past(first, channels, k, start)
    columns, place_sum, place_number, place_lg = past.columns, past.place_sum, past.place_number, [0] * 64
    before = [0] * k
    i1 = i2 = i3 = 0
    state = coded = 0
    points = np.zeros((kernels, k), np.int64)

    for n in range(kernels):
        c = past.enter(n)
        every = past.every
        if k > 1:
            if deaths.ask(reader, past, c):
                state = reader.plain(3) if resumed else state
                continue
            if coded % 8 == 0:
                place_lg = [past.lgmean(place_sum[p], place_number[p], 8) for p in range(min(64, k))]
            coded += 1
        channel_lg = past.channel_lg(c)
        both = past.filter_lg + channel_lg - every - 64
        deviation = kernel_sum = 0
        indices: List[int] = []
        for s in range(k):
            m = s if s < 63 else 63
            level = clamp(both + (place_lg[m] - every if k > 1 else 0), -48, 400)
            column = columns[c * k + s]
            above = indices[s - row] if row and s >= row else i2 if k > 1 else i3
            other = before[s] if k > 1 else i2
            last, second_last, *depths = (DEPTH[min(abs(i), MOST_MAGNITUDE)] for i in (i1, i2, column, above, other))
            if k > 1:
                local = level + (deviation * (65536 // (s + 4)) >> 16)
                second = min(m, 31)
            else:
                local = level + ((last + second_last - 2 * level) * 13107 >> 16)
                second = clamp((channel_lg - every + 4 >> 3) + 16, 0, 31)
            clues = [depth - level for depth in (local, last, *depths)]
            foretold = level + (sum(a * x for a, x in zip(worth, clues)) + 32768 >> 16)
            estimate = clamp(foretold, -48, 400)
            shift = clamp((estimate >> 4) - 3, 0, 20)
            base = 16 * shift - 80
            odd = state & 1
            models = [by_size[odd][clamp(estimate - base >> 2, 0, 35)],
                      by_level[odd][8 * clamp(level - base >> 3, 0, 17) + clamp((last - level + 8 >> 4) + 5, 0, 7)],
                      by_local[odd][16 * clamp(local - base >> 3, 0, 17) + clamp((estimate - level + 4 >> 3) + 8, 0, 15)],
                      by_both[odd][32 * clamp(both - base >> 3, 0, 17) + second]]
            symbol = _symbol(reader, models, blends[odd][clamp(estimate - base >> 4, 0, 8)], (s if k > 1 else c) % 4 == 1)
            index = reader.magnitude(symbol, shift)
            if index and signs:
                octave = index.bit_length()
                size = clamp((estimate - 16 * (octave - 1) + 8 >> 4) + 1, 0, 3)
                s1, s2, sa, sc = (((x > 0) - (x < 0)) + 1 for x in (i1, i2, above, column))
                if ask_mixed(sign_counters.indices(s1, s2, sa, sc, m, size), sign_counters.mixers[size]):
                    index = -index
            elif index and reader.plain(1):
                index = -index
            indices.append(index)
            magnitude = min(abs(index), MOST_MAGNITUDE)
            deviation += DEPTH[magnitude] - level + 6
            miss = DEPTH[magnitude] + 6 - foretold
            worth = [clamp(a + (x * miss + 2 >> 2), -131072, 131072) for a, x in zip(worth, clues)]
            i1, i2, i3 = index, i1, i2
            columns[c * k + s] = -magnitude if index < 0 else magnitude
            place_sum[m] += 16 * magnitude
            place_number[m] += 1
            kernel_sum += 16 * magnitude
            if trellis:
                points[n, s] = trellis_point(state, index)
                state = trellis_next(state, index)
            else:
                points[n, s] = index
        past.leave(c, kernel_sum)
        before = indices

    if not reader.ends():
        raise Damaged("a chunk of a lattice does not end where its weights do")
    return points
