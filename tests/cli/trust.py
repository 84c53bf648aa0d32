"""What contradicts itself is refused by every command alike; what says nothing is no crash; a page draws no NaN."""
import json
import re
import shutil
import struct
from pathlib import Path

import harness
from harness import write_checkpoint, weights

INDEX = "model.safetensors.index.json"


class Trust(harness.Case):
    def packed(self, **tensors):
        """A packed file of a palette, small enough to be changed by hand."""
        values = struct.pack("<144f", *([0.25, 0.5, 1.0] * 48))
        write_checkpoint("in.safetensors", tensors or {"conv.weight": ("F32", (4, 4, 3, 3), values)})
        self.ok("-q", "--lossless", "--no-report", "in.safetensors", "packed.safetensors")
        raw = Path("packed.safetensors").read_bytes()
        self.assertIn(b"filterprune", raw)
        return raw

    def refused(self, raw, why=""):
        """verify says 3 or 5, unpack and the main job 3, and nothing is written."""
        Path("bad.safetensors").write_bytes(raw)
        before = self.listing()
        result = harness.run("verify", "-q", "bad.safetensors")
        self.assertIn(result.status, (3, 5), result)
        self.assertIn(why, self.fails(3, "unpack", "-q", "bad.safetensors", "o"))
        self.fails(3, "-q", "bad.safetensors", "o")
        self.fails(3, "-q", "--dry-run", "bad.safetensors")
        self.assertEqual(self.listing(), before)

    def test_a_check_has_one_spelling(self):
        raw = self.packed()
        at = re.search(rb'check\\":\\"([0-9a-f]{16})', raw).start(1)
        tried = 0
        for i in range(at, at + 16):
            if raw[i:i + 1].isalpha():
                self.refused(raw[:i] + raw[i:i + 1].upper() + raw[i + 1:])
                tried += 1
        for other in (b" ", b"g", b"+", b"-"):
            self.refused(raw[:at] + other + raw[at + 1:])
        self.ok("verify", "-q", "packed.safetensors")

    def test_the_key_says_what_the_tensor_says(self):
        raw = self.packed()
        for old, new in ((rb"[4,4,3,3]", rb"[8,2,3,3]"), (rb'\"F32\"', rb'\"I32\"'), (rb'\"bytes\":576', rb'\"bytes\":575'),
                         (rb'\"palette\"', rb'\"kernels\"'), (rb'{\"conv.weight\"', rb'{\"conv.Weight\"')):
            self.assertIn(old, raw)
            self.refused(raw.replace(old, new, 1))

    def test_an_index_that_names_no_tensor(self):
        Path(INDEX).write_text('{"metadata":{"total_size":0},"weight_map":{}}')
        for command in ((), ("--dry-run",), ("--lossless",), ("--dense",), ("--amount", "0.5"), ("--cast", "f16")):
            self.fails(3, "-q", *command, INDEX, *(() if command == ("--dry-run",) else ("o",)))
        for command in ("inspect", "info", "verify"):
            self.fails(3, command, INDEX)
        self.fails(3, "unpack", INDEX, "o")
        self.small("good.safetensors")
        result = harness.run("-q", "--out-dir", "out", INDEX, "good.safetensors")
        self.assertEqual(result.status, 3, result)
        self.assertTrue(Path("out/good.safetensors").exists(), "the rest of a batch is done")

    def sharded(self, index=INDEX):
        Path("in").mkdir()
        for i in (1, 2):
            write_checkpoint(f"in/m-{i}.safetensors", {f"l{i}.weight": weights(i, 16, 8, dead=0.3)})
        Path("in", index).write_text(json.dumps(
            {"metadata": {}, "weight_map": {f"l{i}.weight": f"m-{i}.safetensors" for i in (1, 2)}}))
        return f"in/{index}"

    def test_what_every_shard_says_is_listed_once(self):
        index = self.sharded()
        for i in (1, 2):
            write_checkpoint(f"in/m-{i}.safetensors", {f"l{i}.weight": weights(i, 16, 8)}, {"format": "pt", f"of{i}": "x"})
        def once(pairs):
            self.assertEqual(len(dict(pairs)), len(pairs), pairs)
            return dict(pairs)
        self.ok("-q", index, "packed")
        for path in (index, f"packed/{INDEX}"):
            info = json.loads(self.ok("info", "--json", path).out, object_pairs_hook=once)
            self.assertEqual(info["metadata"], {"format": "pt", "of1": "x", "of2": "x"})

    def test_shards_without_tensors_are_not_written(self):
        index = self.sharded()
        self.fails(2, "-q", "--no-report", "--drop", "*", index, "o")
        self.assertFalse(Path("o").exists())
        self.ok("-q", "--no-report", "--drop", "l1*", index, "o")
        self.assertEqual(sorted(p.name for p in Path("o").iterdir()), ["m-2.safetensors", INDEX])
        self.ok("verify", "-q", f"o/{INDEX}")

    def test_shards_of_two_outputs_are_not_mixed(self):
        """Copied together by hand, they are refused: by their own digits and by those of the index."""
        index = self.sharded()
        jobs = {"a": ("--lossless",), "b": ("--lossless", "--level", "4"), "c": ("--cast", "f16", "--dense"),
                "d": ("--amount", "0.5"), "e": ("--amount", "0.5", "--max-error", "0.5"), "f": ("--lossless", "--pool", "always")}
        for name, options in jobs.items():
            self.ok("-q", "--no-report", *options, index, name)
        self.ok("-q", "--no-report", "-j1", "--lossless", index, "again")
        for file in (INDEX, "m-1.safetensors", "m-2.safetensors"):
            self.assertEqual(Path("again", file).read_bytes(), Path("a", file).read_bytes())
        sets = {name: json.loads(Path(name, INDEX).read_text())["metadata"]["filterprune_set"] for name in jobs}
        self.assertEqual(len(set(sets.values())), len(jobs), sets)
        for one in jobs:
            for other in (*jobs, "in"):
                if one == other:
                    continue
                shutil.copytree(one, "mixed")
                shutil.copy(f"{other}/m-2.safetensors", "mixed")
                for i in range(2):
                    for command in (("verify",), ("inspect",), ("info",), ("unpack", "-q")):
                        said = self.fails(3, *command, f"mixed/{INDEX}", *(("gone",) if command[0] == "unpack" else ()))
                        self.assertIn("shards of two are mixed", said)
                    self.assertFalse(Path("gone").exists())
                    # The same where the index says nothing.
                    Path("mixed", INDEX).write_text(Path("in", INDEX).read_text())
                shutil.rmtree("mixed")
        # An index of another output over shards that fit each other.
        shutil.copytree("a", "mixed")
        shutil.copy(f"b/{INDEX}", "mixed")
        self.fails(3, "verify", f"mixed/{INDEX}")
        # One that says nothing, as those before there were sets.
        Path("mixed", INDEX).write_text(Path("in", INDEX).read_text())
        self.ok("verify", "-q", f"mixed/{INDEX}", index)
        self.ok("unpack", "-q", f"a/{INDEX}", "u")
        self.assertNotIn("filterprune_set", Path("u", INDEX).read_text())
        for bad in ('""', "1", "null", '"0123456789ABCDEF"', '"0123456789abcdef0"'):
            Path("mixed", INDEX).write_text(Path("a", INDEX).read_text().replace(f'"{sets["a"]}"', bad))
            self.fails(3, "verify", f"mixed/{INDEX}")

    def test_the_index_of_a_variant(self):
        index = self.sharded("model.safetensors.index.fp16.json")
        self.ok("-q", "--lossless", index, "o")
        self.assertEqual(sorted(p.name for p in Path("o").iterdir()),
                         ["m-1.safetensors", "m-2.safetensors", "model.fp16.report.html", "model.fp16.report.json",
                          "model.safetensors.index.fp16.json"])
        self.ok("unpack", "-q", "o/model.safetensors.index.fp16.json", "u")
        for name in ("m-1.safetensors", "m-2.safetensors"):
            self.assertEqual(Path("u", name).read_bytes(), Path("in", name).read_bytes())
        self.assertIn("l2.weight", self.ok("info", index).out)

    def test_a_cast_that_makes_a_file_larger_says_so(self):
        write_checkpoint("empty.safetensors", {f"a{i:04}": ("F32", (0,), b"") for i in range(1000)})
        result = self.ok("--cast", "bf16", "empty.safetensors", "o")
        larger = Path("o").stat().st_size > Path("empty.safetensors").stat().st_size
        warned = any("larger than the input" in w for w in json.loads(Path("o.report.json").read_text())["warnings"])
        self.assertEqual(larger, warned)
        self.assertEqual(larger, "larger than the input" in result.err, result)

    def test_pages_of_constant_kernels(self):
        one = struct.pack("<9f", *range(1, 10))
        for name, tensor in (("equal", ("F32", (8, 4, 3, 3), one * 32)), ("single", ("F32", (1, 1, 3, 3), one)),
                             ("zeros", ("F32", (8, 4, 3, 3), bytes(1152)))):
            write_checkpoint(f"{name}.safetensors", {"conv.weight": tensor})
            self.ok("-q", f"{name}.safetensors", f"{name}.out")
            page = Path(f"{name}.out.report.html").read_text()
            self.assertNotIn("nan", "".join(re.findall(r'<(?:path|circle|rect|line|text)[^>]*>', page)).lower())
            for x, y in re.findall(r'<path class="(?:before|after)" d="M(-?[0-9.]+) (-?[0-9.]+)L', page):
                self.assertTrue(46 <= float(x) <= 350 and 30 <= float(y) <= 184, (name, x, y))

    def test_very_many_filters(self):
        """Sampled, and said so everywhere; exact below."""
        for filters, sampled in ((2048, False), (2049, True)):
            write_checkpoint("in.safetensors", {"w.weight": weights(1, filters, 1, (3,))})
            layer = json.loads(self.ok("inspect", "--json", "in.safetensors").out)["layers"][0]
            self.assertEqual(layer["orthogonality_sampled"], sampled)
            self.assertTrue(0 < layer["orthogonality"] < 1)
            said = self.ok("inspect", "--html", "p.html", "-f", "in.safetensors", env=harness.environment(COLUMNS="200"))
            self.assertEqual("~ over 2,048 evenly spaced filters" in said.out + said.err, sampled, said)
            self.assertEqual(">~0." in Path("p.html").read_text(), sampled)


if __name__ == "__main__":
    harness.main()
