"""--pool: small tensors share one entry. What comes back is the same, whatever their dtypes, order, names and shards."""
import json
import random
import struct
from pathlib import Path

import harness

POOL = "__filterprune_pool__"
WIDTH = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "C64": 8, "F4": 0.5}


def header(path):
    raw = Path(path).read_bytes()
    n, = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8:8 + n])


def small(dice, dtype, *shape):
    n = 1
    for d in shape:
        n *= d
    return dtype, shape, bytes(dice.choice((0, 0, 63, 128, dice.randrange(256))) for _ in range(int(n * WIDTH[dtype])))


def checkpoint(path, tensors, order=None, metadata=None):
    """tensors in data order; order: the names as the header has them."""
    entries, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    listed = {"__metadata__": metadata} if metadata else {}
    listed.update((name, entries[name]) for name in order or tensors)
    text = json.dumps(listed).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


class Pool(harness.Case):
    def zoo(self, seed=1):
        dice = random.Random(seed)
        tensors = {"conv.weight": harness.weights(seed, 64, 48)}
        for i in range(40):
            dtype = dice.choice(list(WIDTH))
            shape = dice.choice(((), (2,), (17,), (64,), (3, 4), (200,), (2, 3, 3, 3), (1, 1, 1), (0,), (3, 0)))
            if dtype == "F4":
                shape = (2 * dice.randrange(1, 30),)
            tensors[f"layer{i // 4}.{i % 4}.é"] = small(dice, dtype, *shape)
        tensors["other.weight"] = harness.weights(seed + 1, 40, 30)
        names = list(tensors)
        dice.shuffle(names)
        return {name: tensors[name] for name in names}

    def comes_back(self, *options, path="in.safetensors"):
        self.ok("--lossless", "--pool", "always", *options, path, "out.safetensors", "-f", "--no-report")
        self.ok("unpack", "out.safetensors", "back.safetensors", "-f")
        self.assertEqual(Path("back.safetensors").read_bytes(), Path(path).read_bytes())
        self.ok("verify", "out.safetensors", path)

    def test_every_dtype_and_order(self):
        for seed in range(3):
            tensors = self.zoo(seed)
            names = list(tensors)
            random.Random(seed).shuffle(names)
            for order in (None, names):
                checkpoint("in.safetensors", tensors, order, {"note": "x"} if seed else None)
                for level in ("1", "3", "12"):
                    self.comes_back("--level", level)
                    self.assertIn(POOL, header("out.safetensors"))
                    listed = json.loads(self.ok("info", "--json", "out.safetensors").out)["tensors"]
                    before = json.loads(self.ok("info", "--json", "in.safetensors").out)["tensors"]
                    self.assertEqual([t["name"] for t in listed], [t["name"] for t in before])
                    pooled = {t["name"] for t in listed if t["codec"] == "pool"}
                    self.assertEqual(set(header("out.safetensors")) - {POOL, "__metadata__"}, set(tensors) - pooled)
                    self.assertGreater(len(pooled), 25)
                    self.assertEqual({t["shape"] == [] for t in listed if t["name"] in pooled}, {True, False})
                    at = header("out.safetensors")[POOL]["data_offsets"]
                    self.assertEqual(sum(t["stored_bytes"] for t in listed if t["name"] in pooled), at[1] - at[0])

    def test_smaller_and_the_same_bytes_on_any_number_of_threads(self):
        checkpoint("in.safetensors", self.zoo(7))
        sizes = {}
        for pool in ("never", "always"):
            for threads in ("1", "4"):
                self.ok("--lossless", "--pool", pool, "-j", threads, "in.safetensors", threads, "--no-report", "-f")
            self.assertEqual(Path("1").read_bytes(), Path("4").read_bytes())
            sizes[pool] = Path("1").stat().st_size
        self.assertLess(sizes["always"], sizes["never"] - 1500)

    def test_by_default_with_rounding_only(self):
        checkpoint("in.safetensors", self.zoo(8))
        self.ok("in.safetensors", "out.safetensors", "--no-report")
        self.assertNotIn(POOL, header("out.safetensors"))
        self.assertEqual(json.loads(header("out.safetensors")["__metadata__"]["filterprune"])["reader"], 1)
        self.ok("--max-error", "0.02", "in.safetensors", "rounded.safetensors", "--no-report")
        self.assertIn(POOL, header("rounded.safetensors"))
        self.assertEqual(json.loads(header("rounded.safetensors")["__metadata__"]["filterprune"])["reader"], 3)
        self.ok("verify", "rounded.safetensors", "in.safetensors")
        self.ok("--max-error", "0.02", "--pool", "never", "in.safetensors", "listed.safetensors", "--no-report")
        self.assertNotIn(POOL, header("listed.safetensors"))

    def test_packed_again(self):
        """A packed file is an input like any other: with a pool or without one, it is the same checkpoint."""
        tensors = self.zoo(9)
        checkpoint("in.safetensors", tensors, list(reversed(tensors)))
        self.comes_back()
        for pool in ("always", "never"):
            self.ok("--lossless", "--pool", pool, "out.safetensors", "again.safetensors", "--no-report", "-f")
            self.ok("unpack", "again.safetensors", "back.safetensors", "-f")
            self.assertEqual(Path("back.safetensors").read_bytes(), Path("in.safetensors").read_bytes())
            self.assertEqual(POOL in header("again.safetensors"), pool == "always")
            self.ok("--pool", pool, "--spectra", "out.safetensors", "told.safetensors", "-f")
            self.assertEqual(json.loads(Path("told.report.json").read_text())["options"]["pool"], pool)
            command = Path("told.report.html").read_text().split("<pre>filterprune", 1)[1].split("</pre>")[0]
            self.assertIn(f" --pool {pool} ", command)
            self.assertIn(" --spectra ", command)
        self.ok("--lossless", "out.safetensors", "again.safetensors", "--no-report", "-f")
        self.assertIn(POOL, header("again.safetensors"))
        self.ok("diff", "out.safetensors", "in.safetensors")
        self.ok("--no-prune", "--no-binary", "--drop", "layer1*", "--pool", "always", "out.safetensors", "less.safetensors", "--no-report")
        self.ok("verify", "less.safetensors", "in.safetensors")
        self.assertEqual(len(json.loads(self.ok("info", "--json", "less.safetensors").out)["tensors"]),
                         sum(not name.startswith("layer1") for name in tensors))

    def test_names_that_the_pool_wants(self):
        tensors = self.zoo(10)
        tensors = {**{POOL: ("U8", (4,), b"FPZ1"), POOL + "1": ("U8", (4,), b"FPZ1")}, **tensors, POOL + "02": ("F32", (1,), bytes(4))}
        checkpoint("in.safetensors", tensors)
        self.comes_back()
        self.assertIn(POOL + "2", header("out.safetensors"))

    def test_too_few_or_too_large(self):
        large = {f"{i}.weight": harness.weights(i, 64, 32) for i in range(5)}
        checkpoint("in.safetensors", {**large, "a": ("F32", (4,), bytes(16)), "b": ("F32", (4,), bytes(16))})
        self.comes_back()
        self.assertNotIn(POOL, header("out.safetensors"))
        many = {f"t{i}": small(random.Random(i), "F32", 5000) for i in range(60)}
        checkpoint("in.safetensors", many)
        self.comes_back()
        listed = json.loads(self.ok("info", "--json", "out.safetensors").out)["tensors"]
        pooled = [t for t in listed if t["codec"] == "pool"]
        self.assertLessEqual(sum(t["bytes"] for t in pooled), 512 << 10)
        self.assertGreater(len(pooled), 20)

    def test_nothing_gained_is_dense(self):
        dice = random.Random(5)
        checkpoint("in.safetensors", {f"{i}": ("U8", (1000,), bytes(dice.randrange(256) for _ in range(1000))) for i in range(4)})
        self.ok("--lossless", "--pool", "always", "in.safetensors", "out.safetensors", "--no-report")
        self.assertLessEqual(Path("out.safetensors").stat().st_size, Path("in.safetensors").stat().st_size)

    def test_shards(self):
        """Each has a pool of its own; a shard alone is a checkpoint, and one that is missing is said to be."""
        Path("in").mkdir()
        whole, weight_map = self.zoo(11), {}
        names = list(whole)
        for s in range(3):
            part = {name: whole[name] for name in names[s::3]}
            checkpoint(f"in/m-{s}.safetensors", part)
            weight_map.update((name, f"m-{s}.safetensors") for name in part)
        Path("in/m.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))
        self.ok("--lossless", "--pool", "always", "in/m.safetensors.index.json", "out", "--no-report")
        self.ok("verify", "out/m.safetensors.index.json", "in/m.safetensors.index.json")
        self.ok("unpack", "out/m.safetensors.index.json", "back")
        index = json.loads(Path("out/m.safetensors.index.json").read_text())
        stored = 0
        for s in range(3):
            self.assertEqual(Path(f"back/m-{s}.safetensors").read_bytes(), Path(f"in/m-{s}.safetensors").read_bytes())
            entries = header(f"out/m-{s}.safetensors")
            self.assertIn(POOL, entries)
            stored += max(t["data_offsets"][1] for name, t in entries.items() if name != "__metadata__")
            self.ok("unpack", f"out/m-{s}.safetensors", "alone.safetensors", "-f")
            self.assertEqual(Path("alone.safetensors").read_bytes(), Path(f"in/m-{s}.safetensors").read_bytes())
        self.assertEqual(index["metadata"]["total_size"], stored)
        self.assertEqual(set(index["weight_map"]), set(whole))
        Path("out/m-1.safetensors").unlink()
        self.fails(3, "info", "out/m.safetensors.index.json")

    def test_damage_is_found(self):
        checkpoint("in.safetensors", self.zoo(12))
        self.comes_back()
        raw = Path("out.safetensors").read_bytes()
        n, = struct.unpack("<Q", raw[:8])
        begin, end = header("out.safetensors")[POOL]["data_offsets"]
        for at in range(begin, end - 8, 97):
            bad = bytearray(raw)
            bad[8 + n + at] ^= 16
            Path("bad.safetensors").write_bytes(bad)
            self.fails(3, "unpack", "bad.safetensors", "bad.out")
            self.assertIn(harness.run("verify", "bad.safetensors").status, (3, 5))
            self.assertFalse(Path("bad.out").exists())


harness.main()
