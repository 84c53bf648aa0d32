"""Chunks of the entropy coder, section 5 of src/pack/FORMAT.md; written from that text alone.

Numpy is slow by the call and fast by the element. So the chunks of many tensors are decoded together: one step decodes
one symbol in every lane of every chunk.
"""
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ._bits import Bits, Damaged

TOTAL = 4096
LOW_STATE = 65536
# Below this many lanes at a time, plain Python takes less time than the calls into numpy.
SCALAR_LANES = 48
_B = (16, 19, 23, 27)
_P = (4096, 4277, 4467, 4664, 4871, 5087, 5312, 5547, 5793, 6049, 6317, 6597, 6889, 7194, 7512, 7845)


class KeyTables:
    """What the tables of KEYS need to know when they list groups of keys: 5.3."""

    def __init__(self, mantissa: int, top: int, extra: int) -> None:
        self.mantissa, self.top, self.first = mantissa, top, 2 + extra


class Chunk:
    """One coded chunk: what its lanes start from, and room for its symbols."""

    def __init__(self, count: int, states: np.ndarray, words: np.ndarray, tables: List[np.ndarray],
                 which: Optional[np.ndarray]) -> None:
        self.count, self.states, self.words, self.tables = count, states, words, tables
        self.which = which  # table of each symbol, when there are two
        self.symbols = np.empty(count, np.uint8)
        self.escapes = np.empty(0, np.uint16)


# ---------------------------------------------------------------- tables


def _weight(code: int) -> int:
    return _B[(code - 1) & 3] << (((code - 1) >> 2) + 4) if code else 0


def _group_bits(grain: int, keys: KeyTables) -> int:
    """G: a group is 2^G keys."""
    return keys.mantissa - (2 - grain) if grain else 0


def _read_codes(bits: Bits, grain: int, keys: Optional[KeyTables]) -> List[int]:
    """The code of every entry from 0 to the last listed."""
    first, last, k = bits.take(8), bits.take(8), bits.take(2)
    if last < first:
        raise Damaged("a table ends before it begins")
    code = bits.take(6)
    codes = [0] * first + [code]
    group = _group_bits(grain, keys) if keys is not None else 0
    for entry in range(first + 1, last + 1):
        if keys is not None and entry > keys.first:
            # Densities fall by half with every octave, a whole step of four codes.
            place = (keys.top >> group) - (entry - keys.first)
            if place >> (keys.mantissa - group) < (place + 1) >> (keys.mantissa - group):
                code = max(code - 4, 0)
        q = 0
        while q < 7 and bits.take(1):
            q += 1
        z = bits.take(7) if q == 7 else (q << k) + bits.take(k)
        code += -(z + 1) // 2 if z & 1 else z // 2
        if not 0 <= code <= 63:
            raise Damaged("a code of a table is out of range")
        codes.append(code)
    return codes


def _group_shape(codes: Sequence[int], entry: int, first: int, size: int, whole: bool, odd: int) -> List[int]:
    """v[0 .. R-1]: how the density runs within a group, by the codes of its neighbours."""

    def at(e: int) -> int:
        return codes[e] if first <= e < len(codes) else 0

    code, lower, higher = codes[entry], at(entry + 1), at(entry - 1)
    below = above = 0
    if lower:
        below = max(-16, min(16, code - lower - (4 if whole or not odd else 0)))
    above = below
    if higher:
        above = max(-16, min(16, higher - code - (4 if whole or odd else 0)))
    sb = (16 if whole or not odd else 12) // size
    sa = (8 if whole or odd else 12) // size
    shape = []
    for j in range(size):
        d = 2 * j + 1 - size
        e = ((below * sb if d < 0 else above * sa) * d + 3) // 6
        shape.append(_P[e & 15] << (4 + (e >> 4)))
    return shape


def _weights(codes: Sequence[int], grain: int, keys: Optional[KeyTables]) -> List[int]:
    """w[s] of all 256 symbols."""
    if grain == 0 or keys is None:
        return [_weight(c) for c in codes] + [0] * (256 - len(codes))
    first, group = keys.first, _group_bits(grain, keys)
    size, whole = 1 << group, grain == 2
    weights = [_weight(c) for c in codes[:first]]
    weights += [0] * (first - len(weights))
    shapes: Dict[int, Tuple[List[int], int, int]] = {}
    for s in range(first, 256):
        key = keys.top - (s - first)
        entry = first + (keys.top >> group) - (key >> group)
        if entry >= len(codes) or not codes[entry]:
            weights.append(0)
            continue
        if entry not in shapes:
            shape = _group_shape(codes, entry, first, size, whole, (key >> group) & 1)
            shapes[entry] = shape, sum(shape), _weight(codes[entry])
        shape, total, weight = shapes[entry]
        weights.append(max(1, weight * shape[key & (size - 1)] // total))
    return weights


def _table(weights: Sequence[int]) -> Optional[np.ndarray]:
    """For each of the 4096 slots: f - 1 in bits 20..31, slot - start in bits 8..19, the symbol in bits 0..7."""
    total = sum(weights)
    if total == 0:
        return None
    f = [max(1, w * TOTAL // total) if w else 0 for w in weights]
    largest = f.index(max(f))
    f[largest] += TOTAL - sum(f)
    if f[largest] < 1:
        raise Damaged("the frequencies of a table do not sum up")
    counts = np.array(f, np.int64)
    symbol = np.repeat(np.arange(256), counts)
    start = np.repeat(np.cumsum(counts) - counts, counts)
    return (((counts[symbol] - 1) << 20) | ((np.arange(TOTAL) - start) << 8) | symbol).astype(np.uint32)


# ---------------------------------------------------------------- reading chunks


def read_chunk(body: memoryview, count: int, keys: Optional[KeyTables], classes: Optional[np.ndarray]) -> Chunk:
    """body: the chunk after its length. classes: of each symbol, or None where there are no scales."""
    bits = Bits(body)
    flags = bits.byte()
    lanes, grain = 1 << (flags & 7), flags >> 4 & 3
    if flags & 7 > 5 or grain > 2 or flags >> 7:
        raise Damaged("unknown flags of a coded chunk")
    if grain and (keys is None or keys.mantissa not in (2, 3)):
        raise Damaged("a table of grouped keys where there are none")
    two = bool(flags & 8)
    if two and classes is None:
        raise Damaged("two tables without scales")
    escapes = np.empty(0, np.uint16)
    if flags & 64:
        n = bits.varint()
        if keys is None or not 1 <= n <= count:
            raise Damaged("more escapes than symbols, or none")
        escapes = np.frombuffer(bits.bytes(2 * n), "<u2")
    tables = [_table(_weights(_read_codes(bits, grain, keys), grain, keys)) for _ in range(1 + two)]
    bits.align()
    which = (classes & 1).astype(np.uint8) if two and classes is not None else None
    for t, table in enumerate(tables):
        if table is not None:
            continue
        if which is None or (which == t).any():
            raise Damaged("an empty table")
        tables[t] = np.zeros(TOTAL, np.uint32)
    states = np.frombuffer(bits.bytes(4 * lanes), "<u4").astype(np.uint32)
    if (states < LOW_STATE).any():
        raise Damaged("a state of a coded chunk is too small")
    rest = bits.rest()
    if len(rest) % 2:
        raise Damaged("half a word at the end of a coded chunk")
    chunk = Chunk(count, states, np.frombuffer(rest, "<u2"), [t for t in tables if t is not None], which)
    chunk.escapes = escapes
    return chunk


# ---------------------------------------------------------------- decoding


def _decode_scalar(chunk: Chunk) -> None:
    """One chunk by the letter of 5.1."""
    tables = [t.tolist() for t in chunk.tables]
    x, words, used = chunk.states.tolist(), chunk.words.tolist(), 0
    lanes, table = len(x), tables[0]
    which = chunk.which.tolist() if chunk.which is not None else None
    words += [0] * chunk.count  # a damaged chunk may want more than it has: that shows in `used`
    symbols = bytearray(chunk.count)
    for i in range(chunk.count):
        lane = i % lanes
        if which is not None:
            table = tables[which[i]]
        state = x[lane]
        e = table[state & 4095]
        state = ((e >> 20) + 1) * (state >> 12) + (e >> 8 & 4095)
        if state < LOW_STATE:
            state = state << 16 | words[used]
            used += 1
        x[lane] = state
        symbols[i] = e & 255
    if used != len(chunk.words) or any(state != LOW_STATE for state in x):
        raise Damaged("a coded chunk does not end where it should")
    chunk.symbols[:] = np.frombuffer(symbols, np.uint8)


class _Batch:
    """Chunks with the same number of lanes, the longest first."""

    def __init__(self, chunks: List[Chunk], lanes: int) -> None:
        self.chunks, self.lanes = chunks, lanes
        self.x = np.stack([c.states for c in chunks])
        self.words = np.concatenate([c.words for c in chunks] + [np.zeros(1, np.uint16)]).astype(np.uint32)
        ends = np.cumsum([len(c.words) for c in chunks])
        self.ends = ends
        self.next = (ends - [len(c.words) for c in chunks]).astype(np.int64)
        tables = [t for c in chunks for t in c.tables]
        self.tables = np.concatenate(tables)
        self.base = np.cumsum([0] + [len(c.tables) for c in chunks])[:-1].astype(np.int64)[:, None] * TOTAL

    def step(self, rows: slice, columns: int, which: Optional[np.ndarray]) -> np.ndarray:
        """One symbol in the first `columns` lanes of the chunks `rows`."""
        x = self.x[rows, :columns]
        at = (x & 4095) + self.base[rows]
        if which is not None:
            at += which
        e = self.tables.take(at)
        x = ((e >> 20) + 1) * (x >> 12) + ((e >> 8) & 4095)
        low = x < LOW_STATE
        taken = low.cumsum(1)
        word = self.words.take(self.next[rows, None] + taken - 1, mode="clip")
        self.x[rows, :columns] = np.where(low, x << 16 | word, x)
        self.next[rows] += taken[:, -1]
        return e.astype(np.uint8)

    def decode(self) -> None:
        lanes = self.lanes
        steps = np.array([c.count // lanes for c in self.chunks])
        if not len(steps):
            return
        symbols = np.empty((int(steps[0]), len(self.chunks), lanes), np.uint8)
        which = None
        if any(c.which is not None for c in self.chunks):
            which = np.zeros((int(steps[0]), len(self.chunks), lanes), np.int64)
            for j, c in enumerate(self.chunks):
                if c.which is not None:
                    full = steps[j] * lanes
                    which[:steps[j], j] = c.which[:full].reshape(-1, lanes).astype(np.int64) * TOTAL
        active = len(self.chunks)
        for t in range(int(steps[0])):
            while steps[active - 1] <= t:
                active -= 1
            symbols[t, :active] = self.step(slice(0, active), lanes, None if which is None else which[t, :active])
        for j, c in enumerate(self.chunks):
            full = int(steps[j]) * lanes
            c.symbols[:full] = symbols[:steps[j], j].reshape(-1)
            if c.count > full:
                tail = None if c.which is None else c.which[None, full:].astype(np.int64) * TOTAL
                c.symbols[full:] = self.step(slice(j, j + 1), c.count - full, tail)[0]
        if (self.next != self.ends).any() or (self.x != LOW_STATE).any():
            raise Damaged("a coded chunk does not end where it should")


def decode(chunks: Sequence[Chunk]) -> None:
    """Fills the symbols of all chunks."""
    groups: Dict[Tuple[int, bool], List[Chunk]] = {}
    for chunk in chunks:
        groups.setdefault((len(chunk.states), chunk.which is not None), []).append(chunk)
    for (lanes, _), group in groups.items():
        group.sort(key=lambda c: -c.count)
        # The longest few, where numpy would take steps for hardly any lanes, are better done by themselves.
        if lanes * len(group) < SCALAR_LANES:
            for chunk in group:
                _decode_scalar(chunk)
        else:
            _Batch(group, lanes).decode()
