#!/usr/bin/env python3
"""Measures what a corpus costs on rows as CNN Filter DB has them.

    tools/measure_corpus.py PROGRAM FOLDER [--sizes 1000000,10000000,100000000] [--h5] [--keep]

Makes FOLDER/rows-N.safetensors, float32 [N, 3, 3] (with --h5 rows-N.h5, float64, the database's own layout; needs h5py), with
a table of its layers and of its models: as many kernels a layer and layers a model as make 21,436 layers of 647 models of
10^8 kernels. Then runs corpus by 16 groups and ten depths, nothing kept, with one thread and with two; then again, over the
profiles that the last run has left, by another column. Prints seconds, user and system time, the largest memory, and
microseconds a kernel. Rows are made in pieces, so that the tool itself stays small.
"""
import argparse
import json
import os
import shutil
import struct
import sys
import time

import numpy as np

LAYERS, MODELS, ALL = 21436, 647, 10**8
PIECE = 1 << 20


def pieces(kernels):
    dice = np.random.default_rng(22)
    turn = (np.linalg.qr(dice.normal(size=(9, 9)))[0] * np.sqrt([.4, .18, .12, .1, .07, .05, .03, .03, .02])).T
    for first in range(0, kernels, PIECE):
        rows = dice.standard_normal((min(PIECE, kernels - first), 9), dtype=np.float32)
        yield first, rows @ turn.astype(np.float32)


def write_tables(stem, kernels):
    layers = max(1, round(LAYERS * kernels / ALL))
    models = max(1, round(MODELS * kernels / ALL))
    edges = np.linspace(0, kernels, layers + 1).astype(int)
    place = np.linspace(0, layers, models + 1).astype(int)
    with open(f"{stem}.layers.csv", "w") as rows, open(f"{stem}.models.csv", "w") as table:
        rows.write("file,tensor,conv_depth_norm,filter_ids\n")
        table.write("file,group,other\n")
        for m in range(models):
            table.write(f"m{m:03d},g{m % 16:02d},o{m % 13:02d}\n")
            for i in range(place[m], place[m + 1]):
                depth = (i - place[m]) / max(1, place[m + 1] - place[m] - 1)
                rows.write(f"m{m:03d},l{i - place[m]},{depth:.6f},{edges[i]}:{edges[i + 1] - 1}\n")
    return layers


def write_rows(path, kernels, hdf5):
    if hdf5:
        import h5py
        with h5py.File(path, "w") as file:
            filters = file.create_dataset("filters", (kernels, 3, 3), "f8")
            for first, rows in pieces(kernels):
                filters[first:first + len(rows)] = rows.reshape(-1, 3, 3)
        return
    head = json.dumps({"filters": {"dtype": "F32", "shape": [kernels, 3, 3], "data_offsets": [0, kernels * 36]}}).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for _, rows in pieces(kernels):
            file.write(rows.astype("<f4").tobytes())


def run(command):
    """Seconds, user and system seconds, MiB, seconds of the busiest thread; of a child of its own, whose memory alone is
    counted. On a machine that others use, too, all of the time over that of the busiest thread is what threads gain."""
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        os.execv(command[0], command)
    threads = {}
    while True:
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            break
        for thread in os.listdir(f"/proc/{child}/task"):
            try:
                with open(f"/proc/{child}/task/{thread}/schedstat") as file:
                    threads[thread] = int(file.read().split()[0]) / 1e9
            except (OSError, IndexError):
                pass
        time.sleep(0.01)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.monotonic() - begin, used.ru_utime, used.ru_stime, used.ru_maxrss / 1024, max(threads.values(), default=0)


def line(what, kernels, measured):
    wall, user, system, memory, busiest = measured
    print(f"{what:24} {kernels:>11,} {wall:8.2f} s {user:8.2f} + {system:6.2f} s {memory:6.0f} MiB "
          f"{(user + system) / kernels * 1e6:7.3f} us a kernel, busiest thread {busiest:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("program")
    words.add_argument("folder")
    words.add_argument("--sizes", default="1000000,10000000,100000000")
    words.add_argument("--h5", action="store_true")
    words.add_argument("--keep", action="store_true", help="leave the rows that were made, for the next time")
    asked = words.parse_args()
    program = os.path.abspath(asked.program)
    os.makedirs(asked.folder, exist_ok=True)
    for kernels in map(int, asked.sizes.split(",")):
        stem = os.path.join(asked.folder, f"rows-{kernels}")
        layers = write_tables(stem, kernels)
        path = f"{stem}.h5" if asked.h5 else f"{stem}.safetensors"
        if not os.path.exists(path):
            write_rows(path, kernels, asked.h5)
        out = f"{stem}.out"
        tables = ["--table", f"{stem}.models.csv", "--layers", f"{stem}.layers.csv", "--by", "depth:10", "--out", out, path]
        for threads in (1, 2):
            shutil.rmtree(out, ignore_errors=True)
            line(f"{layers:,} layers, -j{threads}", kernels, run([program, "corpus", "-q", "-j", str(threads), "--by", "group", *tables]))
        line("by another column, -j2", kernels, run([program, "corpus", "-q", "-f", "-j", "2", "--by", "other", *tables]))
        if not asked.keep:
            os.remove(path)
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
