"""Keras' and other HDF5 files as INPUT, made here with h5py; skipped where that or the helper is missing."""
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import harness

try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing} (Debian: apt install python3-h5py)")
    sys.exit(77)

HELPER = Path(harness.PROGRAM).with_name("filterprune-hdf5")
if not HELPER.exists():
    print("skipped: filterprune-hdf5 was not built (Debian: apt install libhdf5-dev)")
    sys.exit(77)


def tensors_of(path):
    data = Path(path).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in header.items()}


CONFIG = json.dumps({"class_name": "Functional", "config": {"name": "net", "layers": [
    {"class_name": "Conv2D", "config": {"name": "first"}},
    {"class_name": "DepthwiseConv2D", "config": {"name": "dw"}},
    {"class_name": "Conv2DTranspose", "config": {"name": "up"}},
    {"class_name": "Functional", "config": {"name": "inside", "layers": [
        {"class_name": "Conv2D", "config": {"name": "deep"}}]}},
    {"class_name": "Dense", "config": {"name": "logits"}}]}})


class Keras(harness.Case):
    def setUp(self):
        super().setUp()
        self.rng = np.random.default_rng(5)

    def kernel(self, *shape):
        return self.rng.normal(size=shape).astype("<f4")

    def converts(self, path, want, *options):
        self.ok("convert", "-f", "-q", path, "o.safetensors", *options)
        got = tensors_of("o.safetensors")
        self.assertEqual({n: (t[0], t[1]) for n, t in got.items()}, {n: (d, list(a.shape)) for n, (d, a) in want.items()})
        for name, (_, array) in want.items():
            self.assertEqual(got[name][2], array.tobytes(), name)

    def refused(self, path, words, **more):
        message = self.fails(3, "convert", path, "o.safetensors", **more)
        self.assertIn(words, message)
        self.assertFalse(os.path.exists("o.safetensors"))

    def legacy(self, path="net.h5"):
        arrays = {"first/first/kernel:0": self.kernel(3, 3, 4, 8), "first/first/bias:0": self.kernel(8),
                  "dw/dw/depthwise_kernel:0": self.kernel(3, 3, 8, 1), "up/up/kernel:0": self.kernel(2, 2, 6, 8),
                  "inside/deep/kernel:0": self.kernel(3, 3, 6, 2), "logits/logits/kernel:0": self.kernel(12, 3)}
        with h5py.File(path, "w") as h:
            h.attrs["model_config"] = CONFIG
            for name, a in arrays.items():
                h["model_weights/" + name] = a
            h["optimizer_weights/Adam/iterations:0"] = np.int64(3)
        return {"model_weights/" + n: ("F32", a) for n, a in arrays.items()}

    def test_legacy_h5(self):
        want = self.legacy()
        self.converts("net.h5", want)
        info = json.loads(self.ok("info", "--json", "net.h5").out)
        self.assertEqual((info["format"], info["key"]), ("keras-h5", "model_weights"))
        self.assertIn("optimizer_weights/Adam/iterations:0", info["skipped"])
        known = {t["name"].split("/", 1)[1]: (t.get("kind"), t.get("layer_name")) for t in info["tensors"]}
        self.assertEqual(known["first/first/kernel:0"], ("conv", "first"))
        self.assertEqual(known["first/first/bias:0"], ("conv", "first"))  # of its layer, though it is no kernel
        self.assertEqual(known["dw/dw/depthwise_kernel:0"], ("depthwise", "dw"))
        self.assertEqual(known["up/up/kernel:0"], ("transpose", "up"))
        self.assertEqual(known["inside/deep/kernel:0"], ("conv", "deep"))
        self.assertEqual(known["logits/logits/kernel:0"], ("other", "logits"))
        # It is INPUT of everything.
        report = json.loads(self.ok("inspect", "--json", "net.h5").out)
        layers = {l["name"]: l for l in report["layers"]}
        first = layers["model_weights/first/first/kernel:0"]
        self.assertEqual((first["layout"], first["kernels"]), ("hwio", 32))
        # The format tells the order: it is the file's, and nothing to be warned of.
        self.assertEqual(info["layout"], "hwio")
        self.assertEqual([w for w in report["warnings"] if " read as " in w], [])
        self.ok("net.h5", "small.safetensors", "-q")
        self.ok("verify", "small.safetensors")

    def test_weights_h5_and_keras(self):
        kernel, bias = self.kernel(3, 3, 2, 5), self.kernel(5)
        with h5py.File("net.weights.h5", "w") as h:
            h["layers/conv2d_1/vars/0"], h["layers/conv2d_1/vars/1"] = kernel, bias
            h["layers/conv2d_1/vars"].attrs["name"] = "entry"
            h["optimizer/vars/0"] = np.int64(1)
        want = {"layers/conv2d_1/vars/0": ("F32", kernel), "layers/conv2d_1/vars/1": ("F32", bias)}
        self.converts("net.weights.h5", want)
        for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            with zipfile.ZipFile("net.keras", "w", how) as z:
                z.writestr("metadata.json", "{}")
                z.writestr("config.json", CONFIG)
                z.write("net.weights.h5", "model.weights.h5")
            self.converts("net.keras", want)
            info = json.loads(self.ok("info", "--json", "net.keras").out)
            self.assertEqual(info["format"], "keras")
            self.assertEqual(info["tensors"][0]["layer_name"], "entry")
            self.assertEqual({t["kind"] for t in info["tensors"]}, {"conv"})

    def test_every_way_of_storing(self):
        a = self.kernel(7, 5, 3, 4)
        boolean = self.rng.integers(0, 2, (9, 4)).astype("?")
        with h5py.File("ways.h5", "w", userblock_size=1024) as h:
            h["big"] = a.astype(">f4")
            h["half"], h["big_half"] = a.astype("<f2"), a.astype(">f2")
            h["double"], h["bytes"], h["big_words"] = a.astype("<f8"), (a * 20).astype("i1"), (a * 9).astype(">i2")
            h["boolean"], h["scalar"], h["empty"] = boolean, np.float32(2.5), np.zeros((0, 3), "<f4")
            h.create_dataset("packed", data=a, chunks=(2, 2, 2, 2), compression="gzip", shuffle=True, fletcher32=True)
            h.create_dataset("filled", shape=(6, 6), dtype="<f4", chunks=(2, 2), fillvalue=0.5)[:1] = 3
            h.create_dataset("compact", data=a[:1, :1], chunks=True)
            h["bfloat"] = np.arange(6, dtype="<u2").view("V2")
            h["bfloat"].attrs["dtype"] = "bfloat16"
            for name, order in (b"brain", h5py.h5t.ORDER_LE), (b"big_brain", h5py.h5t.ORDER_BE):
                brain = h5py.h5t.IEEE_F32LE.copy()
                brain.set_fields(15, 7, 8, 0, 7)
                brain.set_size(2)
                brain.set_ebias(127)
                brain.set_order(order)
                h5py.h5d.create(h.id, name, brain, h5py.h5s.create_simple((5,))).write(
                    h5py.h5s.ALL, h5py.h5s.ALL, np.array([0, 1, -2, 0.15625, 3e38], "<f4"), h5py.h5t.IEEE_F32LE)
            h["text"] = "words"
            h["opaque"] = np.arange(6, dtype="<u2").view("V2")
        brain = np.array([0, 0x3f80, 0xc000, 0x3e20, 0x7f62], "<u2")
        filled = np.full((6, 6), 0.5, "<f4")
        filled[:1] = 3
        want = {"big": ("F32", a), "half": ("F16", a.astype("<f2")), "big_half": ("F16", a.astype("<f2")),
                "double": ("F64", a.astype("<f8")), "bytes": ("I8", (a * 20).astype("i1")),
                "big_words": ("I16", (a * 9).astype("<i2")), "boolean": ("BOOL", boolean),
                "scalar": ("F32", np.float32(2.5)), "empty": ("F32", np.zeros((0, 3), "<f4")), "packed": ("F32", a),
                "filled": ("F32", filled), "compact": ("F32", a[:1, :1]),
                "bfloat": ("BF16", np.arange(6, dtype="<u2")), "brain": ("BF16", brain), "big_brain": ("BF16", brain)}
        self.converts("ways.h5", want)
        self.assertEqual(set(json.loads(self.ok("info", "--json", "ways.h5").out)["skipped"]), {"text", "opaque"})

    def test_values_that_stand_elsewhere(self):
        np.zeros(4, "<f4").tofile("outside.bin")
        with h5py.File("external.h5", "w") as h:
            h.create_dataset("w", shape=(4,), dtype="<f4", external=[("outside.bin", 0, 16)])
        self.refused("external.h5", "another file")
        with h5py.File("linked.h5", "w") as h:
            h["w"] = np.zeros(4, "<f4")
            h["away"] = h5py.ExternalLink("external.h5", "/w")
            h["loop"] = h5py.SoftLink("/")
        self.converts("linked.h5", {"w": ("F32", np.zeros(4, "<f4"))})

    def test_more_than_the_file_explains(self):
        with h5py.File("huge.h5", "w") as h:
            h.create_dataset("w", shape=(1 << 15, 64), dtype="<f4", chunks=(1 << 10, 64))
        self.refused("huge.h5", "--allow-expand")
        self.assertEqual(self.ok("convert", "--allow-expand", "-q", "huge.h5", "o.safetensors").status, 0)
        self.assertGreater(os.path.getsize("o.safetensors"), 1 << 23)

    def test_damage(self):
        self.legacy()
        data = Path("net.h5").read_bytes()
        for n in (8, 100, 600, len(data) // 2):
            Path("cut.h5").write_bytes(data[:n])
            self.assertEqual(harness.run("convert", "cut.h5", "o.safetensors").status, 3, n)
        self.assertFalse(os.path.exists("o.safetensors"))

    def test_a_helper_that_is_missing_or_breaks(self):
        self.legacy()
        without = harness.environment(FILTERPRUNE_HDF5="/nonexistent/helper")
        self.assertIn("libhdf5-dev", self.fails(1, "info", "net.h5", env=without))
        self.ok("info", harness.PLAIN_MODEL, env=without)
        for name, text, status, words in (("dies", "kill -SEGV $$", 3, "signal 11"), ("leaves", "exit 4", 3, "status 4"),
                                          ("lies", "printf 'Txxxxxxxxxxxxx'", 3, "never says"),
                                          ("rambles", r"printf 'T\001\0\0\0\0\0\0\0\011Z'", 3, "not told whole")):
            Path(name).write_text(f"#!/bin/sh\n{text}\n")
            os.chmod(name, 0o755)
            env = harness.environment(FILTERPRUNE_HDF5=os.path.abspath(name))
            self.assertIn(words, self.fails(status, "info", "net.h5", env=env), name)

    def test_the_helper_is_confined(self):
        if not shutil.which("strace"):
            self.skipTest("strace is missing")
        self.legacy()
        with open("net.h5", "rb") as f:
            done = subprocess.run(["sh", "-c", f"exec 3<net.h5; strace -o trace {HELPER} 0 $(stat -c %s net.h5) | wc -c"],
                                  stdin=f, capture_output=True, text=True)
        self.assertGreater(int(done.stdout), 300)
        # What the filter refused has not happened.
        calls = [line.split("(", 1)[0] for line in Path("trace").read_text().splitlines() if "EACCES" not in line]
        after = calls[calls.index("prctl", calls.index("prctl") + 1) + 1:]  # no new privileges, then the filter
        allowed = {"read", "pread64", "write", "lseek", "close", "fstat", "brk", "mmap", "munmap", "mremap", "mprotect",
                   "madvise", "sigaltstack", "exit_group", "getpid", "clock_gettime", "gettimeofday", "futex"}
        self.assertLessEqual({c for c in after if c.isidentifier()}, allowed)
        self.assertIn("pread64", after)


if __name__ == "__main__":
    harness.main()
