"""What the program packs, the decoder written from FORMAT.md restores: to the byte what the program restores."""
import collections
import re

import common
import numpy as np
from common import LIBRARY, MODELS, QUICK, Case, pack, run, write

import filterprune
from filterprune import SafetensorError, _format, _header, _rans
from filterprune._checkpoint import Checkpoint

VARIANTS = [
    (), ("--lossless",), ("--lossless", *QUICK), ("--lossless", "--level", "19"),
    ("--level", "19", "--drop", "large*"), ("--amount", "0.5", "--no-binary", *QUICK),
    ("--structure", "filter", "--amount", "0.3", *QUICK), ("--binary-tol", "0.4", *QUICK), ("--cast", "bf16"),
    ("--cast", "f16", "--no-prune", "--no-binary", *QUICK), ("--cast", "f32", *QUICK), ("--drop", "bias", *QUICK),
]
SLOW = [(), ("--lossless", "--level", "19"), ("--cast", "bf16")]
TRAINED = [(), ("--lossless",), ("--lossless", "--level", "1"), ("--cast", "bf16", *QUICK), ("--drop", "bn*", *QUICK)]


class Seen:
    """Which parts of the format a file uses."""

    def __init__(self):
        self.parts = collections.Counter()

    def look(self, path):
        checkpoint = Checkpoint(path, "python")
        for tensor in checkpoint.tensors.values():
            head = tensor.head
            if head is None:
                self.parts["plain"] += 1
                continue
            self.parts[("codec", head.codec)] += 1
            self.parts[("scope", head.scope)] += 1
            self.parts[("symmetric", head.symmetric, "layout", head.layout)] += 1
            for section in head.sections:
                self.parts[("kind", section.kind)] += 1
                self.parts[("encoding", section.encoding)] += 1
        checkpoint.close()

    def coded_chunks(self):
        """Counts also what coded chunks have."""
        inner, parts = _rans.read_chunk, self.parts

        def read_chunk(body, count, keys, classes):
            parts[("two tables", bool(body[0] & 8))] += 1
            parts[("grain", body[0] >> 4 & 3)] += 1
            parts[("scales", classes is not None)] += 1
            chunk = inner(body, count, keys, classes)
            parts[("escapes", len(chunk.escapes) > 0)] += 1
            parts[("extra keys", keys is not None and keys.first > 2)] += 1
            return chunk

        _rans.read_chunk = read_chunk
        return inner


class Decode(Case):
    def restores(self, packed, original=None):
        """Both decoders and the program give one and the same file."""
        by_program = self.home / "program.safetensors"
        run("unpack", "-q", "--force", packed, by_program)
        expected = by_program.read_bytes()
        if original is not None:
            self.assertEqual(expected, original.read_bytes(), f"{packed}: the program restores something else")
        for decoder in ("python", "library") if LIBRARY else ("python",):
            output = self.home / f"{decoder}.safetensors"
            filterprune.unpack(packed, output, force=True, decoder=decoder)
            self.assertTrue(output.read_bytes() == expected, f"{packed}: {decoder} restores something else")

    def test_trained_networks(self):
        for model in MODELS:
            for options in TRAINED:
                with self.subTest(model=model.stem, options=options):
                    packed = pack(model, self.home / "packed.safetensors", *options)
                    self.restores(packed, model if options[:1] == ("--lossless",) else None)

    def test_everything_the_format_has(self):
        seen = Seen()
        inner = seen.coded_chunks()
        self.addCleanup(setattr, _rans, "read_chunk", inner)
        whole, small = self.home / "zoo.safetensors", self.home / "small.safetensors"
        metadata = {"format": "pt", "n\u00efce": "\u2603 \"\\\n"}
        write(whole, common.zoo(), metadata)
        write(small, {n: t for n, t in common.zoo().items() if n != "large.weight"}, metadata)
        for options in VARIANTS:
            # The adaptive code of more than one chunk is met once.
            source = small if options in SLOW else whole
            with self.subTest(options=options):
                packed = pack(source, self.home / "packed.safetensors", *options)
                seen.look(packed)
                self.restores(packed, source if "--lossless" in options else None)
        source = self.home / "hwio.safetensors"
        write(source, common.hwio())
        for options in ((), ("--lossless",), ("--layout", "hwio", "--lossless")):
            with self.subTest("hwio", options=options):
                packed = pack(source, self.home / "packed.safetensors", *options)
                seen.look(packed)
                self.restores(packed, source if "--lossless" in options else None)
        wanted = ["plain", *(("codec", c) for c in (1, 2, 3)), *(("scope", s) for s in range(4)),
                  *(("kind", k) for k in range(1, 10)), *(("encoding", e) for e in range(3)),
                  *(("grain", g) for g in range(3)), ("two tables", True), ("two tables", False), ("scales", True),
                  ("escapes", True), ("extra keys", True), ("symmetric", True, "layout", 0),
                  ("symmetric", False, "layout", 1)]
        self.assertEqual([part for part in wanted if not seen.parts[part]], [], "not met in any file")

    def lattices(self):
        """Small tensors of every shape and dtype that a lattice takes."""
        rng = np.random.default_rng(5)
        dead = common.convolution(rng, 40, 30, 3, 3)
        dead[rng.random((40, 30)) < 0.4] = 0
        smooth = np.cumsum(np.cumsum(rng.normal(size=(32, 32, 3, 3)), 2), 3).astype("<f4")
        waves = np.cumsum(rng.normal(size=(100, 90)), 1).astype("<f4")
        return {
            "conv.weight": common.item(common.convolution(rng, 30, 20, 3, 3)), "dead.weight": common.item(dead),
            "smooth.weight": common.item(smooth), "linear.weight": common.item(common.convolution(rng, 60, 70)), "waves.weight": common.item(waves),
            "volume.weight": common.item(common.convolution(rng, 20, 16, 3, 3, 3)),
            "line.weight": common.item(common.convolution(rng, 16, 12, 7)),
            "patches.weight": common.item(common.convolution(rng, 2, 1, 70, 70)),
            "double.weight": common.item(common.convolution(rng, 16, 16, 3, 3).astype("<f8")),
            "half.weight": common.item(common.convolution(rng, 30, 20, 3, 3).astype("<f2")),
            "brain.weight": common.item(common.bf16(common.convolution(rng, 30, 20, 3, 3))),
        }

    def test_lattices(self):
        source, flags = self.home / "lattices.safetensors", set()
        for turned in (False, True):
            tensors = self.lattices()
            if turned:
                hwio = {"conv.weight", "dead.weight", "smooth.weight"}
                tensors = {n: (d, [s[2], s[3], s[1], s[0]], np.frombuffer(b, "<f4").reshape(s).transpose(2, 3, 1, 0).tobytes())
                           for n, (d, s, b) in tensors.items() if n in hwio}
            write(source, tensors)
            for options in (("0.2", "--level", "3"), ("0.04", "--level", "12"))[turned:]:
                with self.subTest(options=options, turned=turned):
                    more = ("--layout", "hwio") if turned else ()
                    packed = pack(source, self.home / "packed.safetensors", "--max-error", *options, *more)
                    checkpoint = Checkpoint(packed, "python")
                    codecs = {t.head.codec for t in checkpoint.tensors.values() if t.head}
                    checkpoint.close()
                    self.assertEqual(codecs, {4})
                    self.restores(packed)
                    flags |= set(self.flags_of(packed))
                    # What is left of lattices when kernels of them are pruned.
                    fewer = pack(packed, self.home / "fewer.safetensors", "--amount", "0.1", "--no-binary", *options[1:], *more)
                    self.restores(fewer)
                    flags |= set(self.flags_of(fewer))
        # By questions, tokens, and blends; without trellis, transformed, with signs, and resumed.
        self.assertTrue({6, 8, 9, 16, 18, 51, 82} <= flags, flags)

    def flags_of(self, packed):
        for blob in self.blobs(packed):
            head = _format.read_head(blob[:1024], len(blob))
            yield blob[head.length]

    def blobs(self, packed):
        raw = packed.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = _header.parse(raw[8:8 + length], len(raw) - 8 - length)
        for entry in header.entries:
            blob = raw[8 + length + entry.begin:8 + length + entry.end]
            if blob[:4] == b"FPZ1" and blob[6] == 4:
                yield blob

    def test_damaged_lattices(self):
        """Whatever byte of the section is another, with checks that agree: both readers say the same of it."""
        try:
            import xxhash
        except ImportError:
            self.skipTest("needs xxhash")
        rng = np.random.default_rng(6)
        tensors = {n: t for n, t in self.lattices().items() if n in ("line.weight", "volume.weight")}
        write(self.home / "in.safetensors", tensors)
        agreed = 0
        for level in ("3", "12"):
            packed = pack(self.home / "in.safetensors", self.home / "packed.safetensors", "--max-error", "0.1", "--level", level)
            for blob in self.blobs(packed):
                head = _format.read_head(blob[:1024], len(blob))
                for _ in range(12):
                    bad = bytearray(blob)
                    end = head.length + head.sections[0].stored_bytes
                    at = int(rng.integers(head.length, min(end, head.length + 40)))
                    bad[at] ^= 1 << int(rng.integers(8))
                    check = xxhash.xxh3_64(bytes(bad[head.length:end])).intdigest() & 0xFFFFFFFF
                    bad[head.length - 4:head.length] = check.to_bytes(4, "little")
                    bad[12:16] = bytes(4)
                    bad[12:16] = (xxhash.xxh3_64(bytes(bad[:head.length])).intdigest() & 0xFFFFFFFF).to_bytes(4, "little")
                    file = self.home / "bad.safetensors"
                    write(file, {"x": ("U8", [len(bad)], bytes(bad))})
                    by_program = common.attempt("unpack", "-q", "--force", file, self.home / "out.safetensors")
                    try:  # the last bits of the step may not matter to any weight
                        _format.decode(bytes(bad))
                        here = 0
                    except SafetensorError:
                        here = 3
                    self.assertEqual(by_program, here, at - head.length)
                    agreed += 1
        self.assertEqual(agreed, 48)

    def test_tensors_have_names_dtypes_and_shapes_of_the_original(self):
        tensors = common.zoo()
        write(self.home / "zoo.safetensors", tensors)
        packed = pack(self.home / "zoo.safetensors", self.home / "packed.safetensors", "--lossless", *QUICK)
        with filterprune.safe_open(packed, decoder="python") as f:
            self.assertEqual(f.offset_keys(), list(tensors))
            self.assertEqual(f.keys(), sorted(tensors))
            for name, (dtype, shape, data) in tensors.items():
                view = f.get_slice(name)
                self.assertEqual((view.get_dtype(), tuple(view.get_shape())), (dtype, tuple(shape)))
                self.assertTrue(f.get_bytes(name) == data, name)

    def test_headers_that_are_not_canonical(self):
        tensors = {name: item for name, item in common.zoo().items() if name != "large.weight"}
        for indent, pad in ((1, 1), (None, 1), (2, 64), (None, 4096)):
            source = self.home / "odd.safetensors"
            write(source, dict(reversed(tensors.items())), {"b": "1", "a": "2"}, indent, pad)
            self.restores(pack(source, self.home / "packed.safetensors", "--lossless", *QUICK), source)

    def test_a_file_that_lost_its_metadata(self):
        model = MODELS[0]
        packed = pack(model, self.home / "packed.safetensors", "--lossless", *QUICK)
        raw = packed.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = _header.parse(raw[8:8 + length], len(raw) - 8 - length)
        text = _header.write(header.entries, None)
        packed.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length:])
        expected = filterprune.load_file(model)
        found = filterprune.load_file(packed, decoder="python")
        self.assertEqual(list(found), list(expected))
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
        with self.assertRaisesRegex(SafetensorError, "metadata"):
            filterprune.unpack(packed, self.home / "out.safetensors")
        filterprune.unpack(packed, self.home / "out.safetensors", force=True)

    def test_shards(self):
        tensors = list(common.zoo().items())
        folder = self.home / "sharded"
        folder.mkdir()
        shards = {"a.safetensors": dict(tensors[2:20]), "b.safetensors": dict(tensors[20:33])}
        for name, part in shards.items():
            write(folder / name, part)
        index = {"metadata": {"total_size": sum(len(t[2]) for part in shards.values() for t in part.values())},
                 "weight_map": {name: shard for shard, part in shards.items() for name in part}, "kept": [1, {}]}
        path = folder / "model.safetensors.index.json"
        path.write_text(common.json.dumps(index))
        pack(path, self.home / "packed", "--lossless", *QUICK)
        packed = self.home / "packed" / path.name
        expected = filterprune.safe_open(path)
        with filterprune.safe_open(packed, decoder="python") as f:
            self.assertEqual(f.offset_keys(), expected.offset_keys())
            for name in f.keys():
                self.assertEqual(f.get_bytes(name), expected.get_bytes(name))
        run("unpack", "-q", packed, self.home / "program")
        filterprune.unpack(packed, self.home / "python")
        for name in (path.name, *shards):
            self.assertEqual((self.home / "python" / name).read_bytes(), (self.home / "program" / name).read_bytes())
        for name in shards:
            self.assertEqual((self.home / "python" / name).read_bytes(), (folder / name).read_bytes())

        # A shard of another output, or none of an output, is refused; without any set all is read.
        pack(path, self.home / "other", *QUICK)
        for source in (self.home / "other", folder):
            self.mixed(packed.parent, source / "a.safetensors", path.name)
        text = packed.read_text()
        for value in ('"0123456789abcdef"', '""', "null", "7"):
            packed.write_text(re.sub(r'"filterprune_set":\s*"[0-9a-f]+"', f'"filterprune_set":{value}', text))
            with self.assertRaisesRegex(SafetensorError, "mixed|none of ours"):
                filterprune.safe_open(packed, decoder="python")
        packed.write_text(path.read_text())
        filterprune.safe_open(packed, decoder="python").__exit__(None, None, None)

    def mixed(self, folder, shard, index):
        kept = (folder / shard.name).read_bytes()
        (folder / shard.name).write_bytes(shard.read_bytes())
        with self.assertRaisesRegex(SafetensorError, "shards of two are mixed"):
            filterprune.safe_open(folder / index, decoder="python")
        (folder / shard.name).write_bytes(kept)

    def test_scalar_and_vectorised_decoding_agree(self):
        write(self.home / "zoo.safetensors", {n: t for n, t in common.zoo().items() if n != "large.weight"})
        packed = pack(self.home / "zoo.safetensors", self.home / "packed.safetensors", "--lossless", *QUICK)
        results = []
        for limit in (0, 1 << 30):
            self.addCleanup(setattr, _rans, "SCALAR_LANES", _rans.SCALAR_LANES)
            _rans.SCALAR_LANES = limit
            with filterprune.safe_open(packed, decoder="python") as f:
                results.append([f.get_bytes(name) for name in f.keys()])
        self.assertEqual(*results)

    def test_without_xxhash(self):
        """Its checks are left out, nothing else."""
        packed = pack(MODELS[0], self.home / "packed.safetensors", "--lossless", *QUICK)
        self.addCleanup(setattr, _format, "xxhash", _format.xxhash)
        _format.xxhash = None
        filterprune.unpack(packed, self.home / "out.safetensors")
        self.assertEqual((self.home / "out.safetensors").read_bytes(), MODELS[0].read_bytes())


if __name__ == "__main__":
    common.main()
