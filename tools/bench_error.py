#!/usr/bin/env python3
"""Bytes of --max-error against NNCodec's, tensor by tensor at the error that NNCodec left in it.

    tools/bench_error.py BUILD/filterprune [--speed] CHECKPOINT...    in an environment with numpy and nncodec==2.1.3 of PyPI

NNCodec's quantization parameters are searched until each tensor's relative L2 error is near 2 %, since one step for all
ruins the small ones. Then each tensor is packed with exactly the error that it got, at levels 3 and 12, without
pruning; what counts is what it takes in the file. Floating-point tensors of two and more dimensions. Last, or with --speed alone,
how many times as fast as NNCodec, a library, each level packs and unpacks the network at 2 %: as a library, called from one
process (BUILD/bench_calls: ninja -C BUILD bench_calls), and from the start of the program to its end; and what two threads gain.
"""
import json
import math
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from nncodec import nn

TARGET, ROUNDS, LEVELS = 0.02, 4, (3, 12)
KINDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
LEAST = 1e-6  # where NNCodec left no error at all, as in networks of two levels
BESIDE = 65536  # bytes of zeros in a tensor beside, for which packing pays however small the other one is


def read(path):
    raw = Path(path).read_bytes()
    n, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] in KINDS and len(entry["shape"]) > 1:
            data = raw[8 + n + begin:8 + n + end]
            values = np.frombuffer(data, KINDS[entry["dtype"]])
            if entry["dtype"] == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            yield name, entry, data, values.reshape(entry["shape"]).astype(np.float32)


def nncodec(weights, scratch):
    """Bytes, the error of each tensor, seconds to encode and to decode: the least of the last rounds, which are alike."""
    steps = {name: -30 for name in weights}
    times = []
    for last in range(ROUNDS + 1):
        begin = time.process_time()
        stream = nn.encode(weights, {"qp": -30, "qp_per_tensor": steps, "verbose": False, "results": scratch})
        middle = time.process_time()
        decoded = nn.decode(stream)
        times.append((middle - begin, time.process_time() - middle))
        errors = {}
        for name, w in weights.items():
            exact = w.astype(np.float64)
            other = np.asarray(decoded[name], np.float64).reshape(w.shape)
            errors[name] = float(np.linalg.norm(exact - other) / np.linalg.norm(exact))
        if last < ROUNDS:  # four parameters to an octave
            steps = {name: max(-70, min(0, steps[name] - round(4 * math.log2(max(errors[name], 1e-4) / TARGET)))) for name in steps}
    return len(stream), errors, *(min(each) for each in zip(*times[-3:]))


def packed(program, entry, data, error, level, scratch):
    source, target = Path(scratch, "in.safetensors"), Path(scratch, "out.safetensors")
    text = json.dumps({"conv.weight": {**entry, "data_offsets": [0, len(data)]},
                       "zeros": {"dtype": "U8", "shape": [BESIDE], "data_offsets": [len(data), len(data) + BESIDE]}}).encode()
    source.write_bytes(struct.pack("<Q", len(text)) + text + data + bytes(BESIDE))
    subprocess.run([program, "-q", "-f", "--no-report", "--no-prune", "--level", str(level), "--max-error", repr(error), source,
                    target], check=True)
    raw = target.read_bytes()
    begin, end = json.loads(raw[8:8 + struct.unpack("<Q", raw[:8])[0]])["conv.weight"]["data_offsets"]
    return end - begin


def seconds(*command):
    """Processor time of a program, on one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "-q", "-f", "-j1"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def timed(program, path, level, scratch):
    """Of the whole network, to pack and to unpack."""
    target, back = Path(scratch, "whole.safetensors"), Path(scratch, "back.safetensors")
    packing = seconds(program, path, target, "--no-report", "--no-prune", "--level", str(level), "--max-error", str(TARGET))
    return packing, seconds(program, "unpack", target, back)


def called(program, path, level, scratch, threads):
    """The same as calls of the library; and by the clock."""
    command = Path(program).with_name("bench_calls"), path, Path(scratch, "called.safetensors"), Path(scratch, "back.safetensors")
    done = subprocess.run([*command, str(level), str(TARGET), str(threads)], check=True, stdout=subprocess.PIPE)
    return tuple(map(float, done.stdout.split()))


def main():
    program, logs = sys.argv[1], {level: [] for level in LEVELS}
    speed = "--speed" in sys.argv
    for path in sys.argv[2 + speed:]:
        tensors = list(read(path))
        weights = {name: w.copy() for name, _, _, w in tensors if w.any()}
        with tempfile.TemporaryDirectory() as scratch:
            theirs, errors, encoding, decoding = nncodec(weights, scratch)
            line = f"{Path(path).stem:32} NNCodec {theirs:9}"
            for level in () if speed else LEVELS:
                ours = sum(packed(program, entry, data, max(errors[name], LEAST), level, scratch)
                           for name, entry, data, _ in tensors if name in errors)
                logs[level].append(math.log(ours / theirs))
                line += f"  level {level}: {ours:9} {ours / theirs:.3f}"
            size = sum(w.nbytes for w in weights.values()) / 1e6
            line += f"  NNCodec {size / encoding:.1f} MB/s in, {size / decoding:.1f} out"
            for level in LEVELS:
                packing, unpacking = (min(times) for times in zip(*(timed(program, path, level, scratch) for _ in range(5))))
                one, two = (called(program, path, level, scratch, threads) for threads in (1, 2))
                line += (f"  level {level}: {encoding / one[0]:.1f} x, {decoding / one[1]:.1f} x"
                         f" (program {encoding / packing:.1f}, {decoding / unpacking:.1f};"
                         f" two threads {one[2] / two[2]:.2f}, {one[3] / two[3]:.2f})")
        print(line, flush=True)
    for level, values in () if speed else logs.items():
        print(f"level {level}: geometric mean {math.exp(sum(values) / len(values)):.3f}, largest {math.exp(max(values)):.3f}")


if __name__ == "__main__":
    main()
