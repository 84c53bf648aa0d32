"""Collections: profiles of checkpoints and corpora of them, as rows that a DataFrame is made of.

`read_profile` reads a profile by src/collect/PROFILE.md alone; the rest runs the program.
"""
import csv
import json
import os
import struct
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

from ._errors import SafetensorError
from ._program import PathLike, Progress, arguments_of, start

try:
    from xxhash import xxh3_64_intdigest
except ImportError:  # the checksum is not looked at then
    xxh3_64_intdigest = None

_HEAD = 24


class _Feed:
    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at

    def take(self, form: str) -> Any:
        form = "<" + form
        try:
            values = struct.unpack_from(form, self.data, self.at)
        except struct.error as problem:
            raise SafetensorError("the profile ends too early") from problem
        self.at += struct.calcsize(form)
        return values[0] if len(values) == 1 else values

    def text(self) -> str:
        count = self.take("H")
        self.at += count
        return self.data[self.at - count:self.at].decode("utf-8", "surrogateescape")

    def shape(self) -> List[int]:
        return [self.take("Q") for _ in range(self.take("B"))]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def counts(self, length: int) -> List[int]:
        values: List[int] = []
        while len(values) < length:
            values.append(self.varint())
            if values[-1] == 0:
                values += [0] * self.varint()
        if len(values) > length:
            raise SafetensorError("the profile contradicts itself")
        return values


def _layer(feed: _Feed, grid: Optional[Dict[str, Any]], deep: bool) -> Dict[str, Any]:
    row: Dict[str, Any] = {"name": feed.text(), "kernel_shape": feed.shape(), "kernels": feed.take("Q")}
    depth = feed.take("d") if deep else None
    row["depth"] = depth if depth == depth else None
    row["finite"] = bool(feed.take("B"))
    if not row["finite"]:
        return row
    row["sparse"] = feed.take("Q")
    row["live"] = row["kernels"] - row["sparse"]
    row["max_abs"], row["variance_entropy"], row["variance_entropy_clean"], row["orthogonality"] = feed.take("4d")
    k = 1
    for size in row["kernel_shape"]:
        k *= size
    row["mean"] = list(feed.take(f"{k}d"))
    upper = iter(feed.take(f"{k * (k + 1) // 2}d"))
    scatter = [[0.0] * k for _ in range(k)]
    for i in range(k):
        for j in range(i, k):
            scatter[i][j] = scatter[j][i] = next(upper)
    row["scatter"] = scatter
    if grid and grid["kernel_shape"] == row["kernel_shape"]:
        feed.take("I")
        row["cells"] = [feed.counts(grid["bins"] << grid["zoom"]) for _ in range(k)]
        row["plane"] = feed.counts(grid["side"] ** 2)
        width = 1 << grid["zoom"]
        row["counts"] = [[sum(c[b:b + width]) for b in range(0, len(c), width)] for c in row["cells"]]
    return row


def read_profile(path: PathLike) -> Dict[str, Any]:
    """A profile: "name", "eps", "half", "source_bytes", "extent" and "grid" (None where they are not known), and
    "layers", a list of dictionaries."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"FPP1" or len(data) < _HEAD:
        raise SafetensorError(f"{os.fspath(path)}: no profile")
    version, flags, size, checksum = struct.unpack_from("<HHQQ", data, 4)
    if version > 1:
        raise SafetensorError(f"{os.fspath(path)}: a profile of version {version}")
    if size != len(data) or (xxh3_64_intdigest and xxh3_64_intdigest(data[_HEAD:]) != checksum):
        raise SafetensorError(f"{os.fspath(path)}: the profile is damaged")
    feed = _Feed(data, _HEAD)
    found: Dict[str, Any] = {"name": feed.text(), "source_bytes": feed.take("Q"), "eps": feed.take("d"),
                             "half": bool(flags & 1), "extent": None, "grid": None}
    ranged, counted = bool(flags & 2), bool(flags & 4)
    shape, basis = (feed.shape(), feed.take("Q")) if ranged or counted else (None, None)
    if ranged:
        found["extent"] = list(feed.take("2d"))
    if counted:
        low, high, bins, zoom, side = feed.take("ddHBB")
        found["grid"] = {"kernel_shape": shape, "basis": basis, "range": [low, high], "bins": bins, "zoom": zoom,
                         "side": side}
    found["layers"] = [_layer(feed, found["grid"], bool(flags & 8)) for _ in range(feed.take("I"))]
    if feed.at != len(data):
        raise SafetensorError(f"{os.fspath(path)}: the profile contradicts itself")
    return found


def profile(path: PathLike, output: Optional[PathLike] = None, *, progress: Optional[Progress] = None,
            **options: Any) -> List[Dict[str, Any]]:
    """The layers of a checkpoint as rows; the profile stays at output, if that is given."""
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "profile.fpp") if output is None else os.fspath(output)
        start("profile", [path, target], arguments_of(options), progress)
        found = read_profile(target)
    return [{"model": found["name"], **layer} for layer in found["layers"]]


class Corpus(NamedTuple):
    """document: corpus.json; layers, groups: the lines of layers.csv and groups.csv; pairs: a row for every two groups."""
    document: Dict[str, Any]
    layers: List[Dict[str, Any]]
    groups: List[Dict[str, Any]]
    pairs: List[Dict[str, Any]]


def _number(text: str) -> Any:
    if text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _table(path: str, words: Sequence[str]) -> List[Dict[str, Any]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [{key: value if key in words else _number(value) for key, value in row.items()}
                for row in csv.DictReader(file)]


def corpus(inputs: Sequence[PathLike], out: PathLike, by: Union[str, Sequence[str]] = (), *,
           progress: Optional[Progress] = None, **options: Any) -> Corpus:
    """Groups of checkpoints and profiles: corpus(paths, "zoo", table="models.csv", by=["Task", "depth:10"])."""
    columns = [by] if isinstance(by, str) else list(by)
    start("corpus", inputs, ["--quiet", f"--out={os.fspath(out)}", *(f"--by={c}" for c in columns),
                             *arguments_of(options)], progress)
    folder = os.fspath(out)
    with open(os.path.join(folder, "corpus.json"), encoding="utf-8") as file:
        document = json.load(file)
    pairs = []
    for grouping in document["by"]:
        names = [group["name"] for group in grouping["groups"]]
        for i, a in enumerate(names):
            for j in range(i + 1, len(names)):
                shift, floor = grouping["divergence"][i][j], grouping["noise"]["q95"][i][j]
                pairs.append({"column": grouping["column"], "a": a, "b": names[j], "divergence": shift,
                              "noise_median": grouping["noise"]["median"][i][j], "noise_q95": floor,
                              "resolved": shift > floor})
    return Corpus(document, _table(os.path.join(folder, "layers.csv"), ("model", "tensor")),
                  _table(os.path.join(folder, "groups.csv"), ("column", "group", "nearest")), pairs)
