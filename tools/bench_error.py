#!/usr/bin/env python3
"""Bytes of --max-error against NNCodec's, tensor by tensor at the error that NNCodec left in it.

    tools/bench_error.py PROGRAM CHECKPOINT...          in an environment with numpy and nncodec==2.1.3 from PyPI

NNCodec's quantization parameters are searched until each tensor's relative L2 error is near 2 %, since one step for all
ruins the small ones. Then each tensor is packed alone with exactly the error that it got, at levels 3 and 12, without
pruning; what counts is the blob. Floating-point tensors of two and more dimensions of float32 and float16.
"""
import json
import math
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from nncodec import nn

TARGET, ROUNDS, LEVELS = 0.02, 4, (3, 12)


def read(path):
    raw = Path(path).read_bytes()
    n, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] in ("F32", "F16") and len(entry["shape"]) > 1:
            kind = "<f4" if entry["dtype"] == "F32" else "<f2"
            yield name, entry, raw[8 + n + begin:8 + n + end], \
                np.frombuffer(raw[8 + n + begin:8 + n + end], kind).reshape(entry["shape"]).astype(np.float32)


def nncodec(weights, scratch):
    """Bytes, the error of each tensor, seconds to encode and to decode."""
    steps = {name: -30 for name in weights}
    for last in range(ROUNDS + 1):
        begin = time.process_time()
        stream = nn.encode(weights, {"qp": -30, "qp_per_tensor": steps, "verbose": False, "results": scratch})
        middle = time.process_time()
        decoded = nn.decode(stream)
        end = time.process_time()
        errors = {}
        for name, w in weights.items():
            exact = w.astype(np.float64)
            other = np.asarray(decoded[name], np.float64).reshape(w.shape)
            errors[name] = float(np.linalg.norm(exact - other) / np.linalg.norm(exact))
        if last < ROUNDS:  # four parameters to an octave
            steps = {name: max(-70, min(0, steps[name] - round(4 * math.log2(max(errors[name], 1e-4) / TARGET)))) for name in steps}
    return len(stream), errors, middle - begin, end - middle


def packed(program, entry, data, error, level, scratch):
    source, target = Path(scratch, "in.safetensors"), Path(scratch, "out.safetensors")
    text = json.dumps({"conv.weight": {**entry, "data_offsets": [0, len(data)]}}).encode()
    source.write_bytes(struct.pack("<Q", len(text)) + text + data)
    subprocess.run([program, "-q", "-f", "--no-report", "--no-prune", "--level", str(level), "--max-error", repr(error), source,
                    target], check=True)
    raw = target.read_bytes()
    return len(raw) - 8 - struct.unpack("<Q", raw[:8])[0]


def main():
    program, logs = sys.argv[1], {level: [] for level in LEVELS}
    for path in sys.argv[2:]:
        tensors = list(read(path))
        weights = {name: w.copy() for name, _, _, w in tensors if w.any()}
        with tempfile.TemporaryDirectory() as scratch:
            theirs, errors, encoding, decoding = nncodec(weights, scratch)
            line = f"{Path(path).stem:32} NNCodec {theirs:9}"
            for level in LEVELS:
                ours = sum(packed(program, entry, data, errors[name], level, scratch)
                           for name, entry, data, _ in tensors if name in errors and errors[name] > 0)
                logs[level].append(math.log(ours / theirs))
                line += f"  level {level}: {ours:9} {ours / theirs:.3f}"
        size = sum(w.nbytes for w in weights.values()) / 1e6
        print(f"{line}  NNCodec {size / encoding:.1f} MB/s in, {size / decoding:.1f} out", flush=True)
    for level, values in logs.items():
        print(f"level {level}: geometric mean {math.exp(sum(values) / len(values)):.3f}, largest {math.exp(max(values)):.3f}")


if __name__ == "__main__":
    main()
