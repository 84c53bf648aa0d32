"""The interface of the safetensors package; and that hostile files are exceptions that say what is wrong."""
import json
import os
import random
import shutil
import tempfile
import unittest
import warnings

import common
import numpy as np
from common import LIBRARY, MODELS, QUICK, SOURCE, Case, pack, write

import filterprune
import filterprune.numpy
from filterprune import SafetensorError, _format, _save, safe_open

try:
    import safetensors
    import safetensors.numpy
except ImportError:
    safetensors = None

MODEL = SOURCE / "fixtures" / "models" / "mnist_cnn_overparam_l1.safetensors"
DECODERS = ("python", "library") if LIBRARY else ("python",)


class Reads:
    """Counts what is read: [(offset, count)]."""

    def __enter__(self):
        self.preadv, self.places = os.preadv, []

        def preadv(fd, buffers, offset):
            n = self.preadv(fd, buffers, offset)
            self.places.append((offset, n))
            return n

        os.preadv = preadv
        return self

    def __exit__(self, *rest):
        os.preadv = self.preadv


class Interface(Case):
    def setUp(self):
        super().setUp()
        self.packed = pack(MODEL, self.home / "packed.safetensors", "--lossless", *QUICK)

    def test_names_of_the_safetensors_package(self):
        for name in ("__enter__", "__exit__", "get_slice", "get_tensor", "get_tensors", "keys", "metadata",
                     "offset_keys"):
            self.assertTrue(callable(getattr(safe_open, name)), name)
        for name in ("load_file", "save_file"):
            self.assertTrue(callable(getattr(filterprune.numpy, name)), name)
        self.assertTrue(issubclass(filterprune.SafetensorError, Exception))
        if safetensors is not None:
            theirs = {name for name in dir(safetensors.safe_open) if not name.startswith("_")}
            self.assertLessEqual(theirs, set(dir(safe_open)))

    def test_a_dense_and_a_packed_file_look_alike(self):
        for decoder in DECODERS:
            with safe_open(MODEL, "np", decoder=decoder) as dense, \
                    safe_open(str(self.packed), framework="numpy", device="cpu", decoder=decoder) as packed:
                self.assertEqual(packed.keys(), dense.keys())
                self.assertEqual(packed.keys(), sorted(packed.keys()))
                self.assertEqual(packed.offset_keys(), dense.offset_keys())
                self.assertEqual(packed.metadata(), dense.metadata())
                self.assertNotIn("filterprune", packed.metadata())
                for name in dense.keys():
                    a, b = dense.get_tensor(name), packed.get_tensor(name)
                    self.assertEqual((a.dtype, a.shape), (b.dtype, b.shape))
                    np.testing.assert_array_equal(a, b)
                    self.assertTrue(b.flags.writeable)
                all_of_them = packed.get_tensors()
                self.assertEqual(list(all_of_them), packed.offset_keys())

    def test_against_the_safetensors_package(self):
        if safetensors is None:
            self.skipTest("safetensors is not installed")
        theirs, ours = safetensors.numpy.load_file(MODEL), filterprune.numpy.load_file(self.packed)
        self.assertEqual(theirs.keys(), ours.keys())
        for name, array in theirs.items():
            self.assertEqual(array.dtype, ours[name].dtype)
            np.testing.assert_array_equal(array, ours[name])
        with safetensors.safe_open(MODEL, "np") as a, safe_open(self.packed, "np") as b:
            self.assertEqual((set(a.keys()), a.metadata()), (set(b.keys()), b.metadata()))
            one, other = a.get_slice("conv2.weight"), b.get_slice("conv2.weight")
            self.assertEqual((one.get_shape(), one.get_dtype()), (other.get_shape(), other.get_dtype()))
            for index in (np.s_[:2], np.s_[3], np.s_[:, 1:3], np.s_[-1, :, 0:2], np.s_[...]):
                np.testing.assert_array_equal(one[index], other[index])
        filterprune.numpy.save_file(ours, self.home / "ours.safetensors", {"a": "b"})
        safetensors.numpy.save_file(theirs, self.home / "theirs.safetensors", {"a": "b"})
        self.assertEqual((self.home / "ours.safetensors").read_bytes(),
                         (self.home / "theirs.safetensors").read_bytes())

    def test_only_the_bytes_of_the_tensor_are_read(self):
        for path in (MODEL, self.packed):
            with Reads() as reads:
                f = safe_open(path, decoder="python")
                # Length and header, then the head of each tensor that may be packed.
                self.assertEqual([place[0] for place in reads.places[:2]], [0, 8])
                self.assertTrue(all(n <= _format.HEAD_MAX for _, n in reads.places[2:]))
                for name in ("conv3.weight", "fc.bias"):
                    del reads.places[:]
                    f.get_tensor(name)
                    tensor = f._checkpoint.tensors[name]
                    begin = tensor.shard.data_begin + tensor.begin
                    self.assertEqual(reads.places, [(begin, tensor.end - tensor.begin)])
                if path == MODEL:
                    del reads.places[:]
                    rows = f.get_slice("conv3.weight")[5:7]
                    tensor = f._checkpoint.tensors["conv3.weight"]
                    row = 64 * 9 * 4
                    self.assertEqual(rows.shape, (2, 64, 3, 3))
                    self.assertEqual(reads.places, [(tensor.shard.data_begin + tensor.begin + 5 * row, 2 * row)])

    def test_slices(self):
        """What numpy gives for an index that safetensors takes (slices.py compares with it); what it refuses is refused."""
        array = np.random.default_rng(1).integers(-9, 9, (7, 5, 4)).astype("<i4")
        write(self.home / "a.safetensors", {"a": common.item(array), "s": common.item(np.array(3.5))})
        indices = [0, 3, -1, -7, np.s_[:], np.s_[2:5], np.s_[::2], np.s_[1:6:3], np.s_[2, 1:3], np.s_[1:4, ..., 2],
                   np.s_[..., 0], np.s_[:, 1], np.s_[-2, 4:, ::3], np.s_[0, -1, -4], (), ...]
        with safe_open(self.home / "a.safetensors") as f:
            view = f.get_slice("a")
            self.assertEqual((view.get_shape(), view.get_dtype()), ([7, 5, 4], "I32"))
            for index in indices:
                np.testing.assert_array_equal(view[index], array[index], str(index))
                self.assertIsInstance(view[index], np.ndarray)
            self.assertIsNone(view[0, 0].base, "a part keeps the whole in memory")
            for index, says in ((7, "dimension #0 of size 7"), (-8, "dimension 0 of size 7"), (np.s_[100:], "index 100 out"),
                                (np.s_[:, 7], r"\[:, 7\] with shape \[7, 5, 4\]: index 7 out .* #1 of size 5"),
                                (np.s_[::-1], "positive"), (None, "expected slice, int, or ellipsis"),
                                (np.s_[0, 0, 0, 0], "more slicing indexes than dimensions"), (np.s_[5:2], "before it begins")):
                with self.assertRaisesRegex(SafetensorError, says):
                    view[index]
            with self.assertRaises(OverflowError):
                view[-3:]
            self.assertEqual(f.get_slice("s")[()], 3.5)
            self.assertEqual(f.get_slice("s")[...], 3.5)
        with safe_open(self.packed, decoder="python") as f:
            for index in (3, np.s_[2:4, 1], np.s_[:, ::2]):
                np.testing.assert_array_equal(f.get_slice("conv2.weight")[index], f.get_tensor("conv2.weight")[index])

    def test_any_length_of_header(self):
        """128, 640, ... begin with the byte that pickles begin with; 8 and 2056 with that of ONNX."""
        path = self.home / "length.safetensors"
        for length in (*range(64, 700, 8), 2056):
            text = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
            path.write_bytes(length.to_bytes(8, "little") + text + b"\0\0\x80?")
            for decoder in DECODERS:
                self.assertEqual(filterprune.load_file(path, decoder=decoder)["a"].tolist(), [1.0], length)

    def test_metadata(self):
        for metadata, expected in ((None, None), ({}, {}), ({"a": "\u2603"}, {"a": "\u2603"})):
            write(self.home / "a.safetensors", {"a": common.item(np.zeros(4, "<f4"))}, metadata)
            with safe_open(self.home / "a.safetensors") as f:
                self.assertEqual(f.metadata(), expected)
        write(self.home / "a.safetensors", {"a": common.item(np.zeros(5000, "<f4"))})
        with safe_open(pack(self.home / "a.safetensors", self.home / "b.safetensors")) as f:
            self.assertIsNone(f.metadata())

    def test_wrong_use(self):
        with self.assertRaises(FileNotFoundError):
            safe_open(self.home / "nowhere.safetensors")
        with self.assertRaises(FileNotFoundError):
            filterprune.load_file(self.home / "nowhere.safetensors.index.json")
        for arguments in (("tensorflaw",), ("np", "cuda:0")):
            with self.assertRaisesRegex(SafetensorError, arguments[-1]):
                safe_open(MODEL, *arguments)
        with self.assertRaisesRegex(SafetensorError, "decoder"):
            safe_open(MODEL, decoder="none")
        f = safe_open(self.packed)
        for call in (f.get_tensor, f.get_slice):
            with self.assertRaisesRegex(SafetensorError, "File does not contain tensor nothing"):
                call("nothing")
        view = f.get_slice("conv1.weight")
        with f:
            pass
        for call in (f.keys, f.metadata, lambda: f.get_tensor("conv1.weight"), lambda: view[0]):
            with self.assertRaisesRegex(SafetensorError, "closed"):
                call()
        with self.assertRaises(FileExistsError):
            filterprune.unpack(self.packed, MODEL)
        with self.assertRaisesRegex(SafetensorError, "output is the input"):
            filterprune.unpack(self.packed, self.packed, force=True)

    def test_dtypes_of_numpy(self):
        tensors = common.zoo()
        write(self.home / "zoo.safetensors", tensors)
        with safe_open(self.home / "zoo.safetensors") as f:
            for name, (dtype, shape, data) in tensors.items():
                try:
                    array = f.get_tensor(name)
                except SafetensorError as error:
                    self.assertRegex(str(error), f"numpy has no {dtype}")
                    self.assertIn(dtype, ("BF16", "F8_E4M3", "F4", "F6_E2M3", "F6_E3M2"))
                else:
                    self.assertEqual((array.shape, array.tobytes()), (tuple(shape), data))

    def test_save_file(self):
        arrays = {"b": np.arange(6, dtype=">i2").reshape(2, 3), "a": np.arange(4.0)[::2], "c": np.array(True),
                  "empty": np.empty((0, 2), "<f4")}
        path = self.home / "saved.safetensors"
        filterprune.numpy.save_file(arrays, path, {"format": "np"})
        found = filterprune.load_file(path)
        # Wide dtypes first, then by name, as the reference has it.
        self.assertEqual(list(found), ["a", "empty", "b", "c"])
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
        json.loads(common.run("info", "--json", path))
        with self.assertRaises(SafetensorError):
            filterprune.numpy.save_file({"a": np.array(["text"])}, path)
        self.assertEqual(list(filterprune.load_file(path)), list(found))
        self.assertEqual(os.listdir(self.home).count("saved.safetensors"), 1)
        self.assertEqual([n for n in os.listdir(self.home) if n.startswith(".")], [])

    def test_profile_and_corpus(self):
        with tempfile.TemporaryDirectory() as folder:
            model = MODELS[0]
            rows = filterprune.profile(model, os.path.join(folder, "p.fpp"), basis="robustness", range="-3:3")
            report = {layer["name"]: layer for layer in filterprune.inspect(model)["layers"]}
            kernels = 0
            for row in rows:
                self.assertEqual(row["kernels"], report[row["name"]]["kernels"])
                self.assertEqual(row["sparse"], report[row["name"]]["sparse"])
                self.assertEqual(row["max_abs"], report[row["name"]]["max_abs"])
                if row["kernel_shape"] == [3, 3]:
                    kernels += row["kernels"]
                    self.assertLessEqual(max(sum(c) for c in row["counts"]), row["kernels"])
                    self.assertGreater(sum(row["counts"][0]), 0.99 * row["kernels"])
            self.assertGreater(kernels, 0)
            stems = [os.path.basename(m)[:-len(".safetensors")] for m in MODELS]
            with open(os.path.join(folder, "t.csv"), "w") as table:
                table.write("file,own\n" + "".join(f"{s},g{i}\n" for i, s in enumerate(stems)))
            found = filterprune.corpus(MODELS, os.path.join(folder, "out"), table=os.path.join(folder, "t.csv"), by="own")
            self.assertEqual(len(found.groups), len(MODELS))
            self.assertEqual(len(found.pairs), len(MODELS) * (len(MODELS) - 1) // 2)
            self.assertEqual(sum(g["kernels"] for g in found.groups), sum(l["kernels"] for l in found.layers))
            with open(os.path.join(folder, "broken.fpp"), "wb") as broken:
                with open(os.path.join(folder, "p.fpp"), "rb") as whole:
                    broken.write(whole.read()[:-3])
            with self.assertRaises(filterprune.SafetensorError):
                filterprune.read_profile(os.path.join(folder, "broken.fpp"))

    def test_inspect_and_compare(self):
        report = filterprune.inspect(MODEL, eps=0.02, half=True, verbose=False, html=None)
        self.assertEqual(report["schema"], "filterprune-report-1")
        self.assertEqual((report["options"]["eps"], report["options"]["half"]), (0.02, True))
        layers = filterprune.rows(report)
        self.assertTrue(all(not isinstance(v, dict) for row in layers for v in row.values()))
        self.assertIn("stored.bytes_before", layers[0])
        compared = filterprune.compare(MODELS)
        self.assertEqual(len(compared["models"]), len(MODELS))
        pairs = filterprune.rows(compared)
        self.assertEqual(len(pairs), len(MODELS) * (len(MODELS) - 1))
        with self.assertRaisesRegex(SafetensorError, "nowhere"):
            filterprune.inspect(self.home / "nowhere.safetensors")
        with self.assertRaisesRegex(SafetensorError, "frobnicate"):
            filterprune.inspect(MODEL, frobnicate=1)


class Pack(Case):
    """pack, diff and progress, through the program."""

    def test_a_checkpoint(self):
        path, told = self.home / "small.safetensors", []
        report = filterprune.pack(MODEL, path, amount=0.25, skip=["conv1*"], progress=lambda *step: told.append(step))
        self.assertEqual((report["options"]["amount"], report["options"]["skip"]), (0.25, ["conv1*"]))
        self.assertEqual(report["output"]["bytes"], path.stat().st_size)
        self.assertEqual(os.listdir(self.home), ["small.safetensors"])
        self.assertGreater(len(told), 0)
        for phase, done, total in told:
            self.assertTrue(phase and 0 <= done <= total and total > 0, (phase, done, total))
        self.assertIn(1, {done / total for _, done, total in told})
        with self.assertRaises(FileExistsError) as caught:
            filterprune.pack(MODEL, path)
        self.assertIsInstance(caught.exception, SafetensorError)
        filterprune.pack(MODEL, path, force=True, lossless=True, report=self.home / "kept")
        self.assertTrue((self.home / "kept.report.html").exists())
        self.assertTrue(filterprune.diff(MODEL, path)["identical"])

    def test_within_an_error(self):
        """Kernels that lie across the memory, as those turned from Keras' order do, are packed by their places."""
        state = filterprune.load_file(MODEL)
        hwio = np.ascontiguousarray(state["conv2.weight"].transpose(2, 3, 1, 0))
        state["conv2.weight"] = hwio.transpose(3, 2, 0, 1)
        report = filterprune.pack(state, self.home / "rounded.safetensors", max_error=0.02)
        self.assertEqual(report["options"]["max_error"], 0.02)
        restored = filterprune.load_file(self.home / "rounded.safetensors")
        self.assertEqual(restored.keys(), state.keys())
        for name, was in state.items():
            error = np.linalg.norm((restored[name] - was).astype(float)) / np.linalg.norm(was.astype(float))
            self.assertTrue(0.015 < error <= 0.02 if was.ndim > 1 and was.size > 1000 else error <= 0.02, (name, error))

    def test_tensors_in_memory(self):
        state = filterprune.load_file(MODEL)
        report = filterprune.pack(state, self.home / "state.safetensors", lossless=True, metadata={"a": "b"})
        self.assertEqual(report["changes"]["tensors_changed"], 0)
        with safe_open(self.home / "state.safetensors") as f:
            self.assertEqual(f.metadata(), {"a": "b"})
        state["conv2.weight"] = state["conv2.weight"] * np.float32(1.5)
        del state["fc.bias"]
        found = filterprune.diff(self.home / "state.safetensors", {"module." + k: v for k, v in state.items()}, strip="module.")
        self.assertFalse(found["identical"])
        rows = {row["name"]: row for row in found["tensors"]}
        self.assertEqual({name for name, row in rows.items() if row["status"] != "equal"}, {"conv2.weight", "fc.bias"})
        self.assertAlmostEqual(rows["conv2.weight"]["relative_l2"], 0.5)
        self.assertEqual(rows["fc.bias"]["status"], "only_a")
        with self.assertRaises(SafetensorError):
            filterprune.pack({"a": np.array(["text"])}, self.home / "text.safetensors")
        with self.assertRaises(FileNotFoundError) as caught:
            filterprune.diff(self.home / "nowhere.safetensors", MODEL)
        self.assertIsInstance(caught.exception, SafetensorError)

    def test_a_callback_may_end_it(self):
        def stop(phase, done, total):
            raise KeyboardInterrupt

        packed = pack(MODEL, self.home / "packed.safetensors")
        for work in (lambda: filterprune.pack(MODEL, self.home / "out.safetensors", progress=stop),
                     lambda: filterprune.unpack(packed, self.home / "out.safetensors", progress=stop)):
            with self.assertRaises(KeyboardInterrupt):
                work()
            self.assertEqual(os.listdir(self.home), ["packed.safetensors"])

    @unittest.skipIf(safetensors is None, "safetensors is not installed")
    def test_the_exception_of_safetensors(self):
        self.assertIs(SafetensorError, safetensors.SafetensorError)


class Shards(Case):
    """An unpacked sharded checkpoint is there whole or not at all."""

    def setUp(self):
        super().setUp()
        self.source = self.home / "source"
        names = {"a": "a.safetensors", "b": "./sub/b.safetensors", "c": "sub//c.safetensors"}
        (self.source / "sub").mkdir(parents=True)
        for name, shard in names.items():
            write(self.source / shard, {name: common.item(np.arange(9000, dtype="<f4"))})
        self.index = self.source / "m.safetensors.index.json"
        self.index.write_text(json.dumps({"weight_map": names}))

    def files(self, folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    def test_folders_below(self):
        self.assertEqual(sorted(filterprune.load_file(self.index)), ["a", "b", "c"])
        filterprune.unpack(self.index, self.home / "out")
        got, want = self.files(self.home / "out"), self.files(self.source)
        self.assertEqual(set(got), set(want))
        for name in set(want) - {self.index.name}:
            self.assertEqual(got[name], want[name])
        for outside in ("../a.safetensors", "sub/../../a.safetensors", "/a.safetensors", "sub/", ".", ""):
            self.index.write_text(json.dumps({"weight_map": {"a": outside}}))
            with self.subTest(outside), self.assertRaisesRegex(SafetensorError, "plain file name"):
                filterprune.load_file(self.index)

    def test_all_or_nothing(self):
        def stop(phase, done, total):
            if done == total:
                raise OSError("no room")

        def fail(source, target, name):
            if name == self.index.name and target == str(self.home / "out") and not source.endswith("before"):
                raise OSError("no room")
            return self.move(source, target, name)

        self.move = _save._move
        for force in (False, True):
            for how in ("written", "placed"):
                if force:
                    (self.home / "out" / "sub").mkdir(parents=True)
                    for name in ("a.safetensors", "sub/b.safetensors", self.index.name, "other"):
                        (self.home / "out" / name).write_text("old " + name)
                before = self.files(self.home / "out")
                self.addCleanup(setattr, _save, "_move", self.move)
                _save._move = fail if how == "placed" else self.move
                with self.subTest(force=force, how=how), self.assertRaisesRegex(OSError, "no room"):
                    filterprune.unpack(self.index, self.home / "out", force=force, progress=stop if how == "written" else None)
                _save._move = self.move
                self.assertEqual(self.files(self.home / "out"), before)
                self.assertEqual((self.home / "out").exists(), force)
                if force:
                    shutil.rmtree(self.home / "out")
        filterprune.unpack(self.index, self.home / "out")
        with self.assertRaises(FileExistsError):
            filterprune.unpack(self.index, self.home / "out")
        filterprune.unpack(self.index, self.home / "out", force=True)
        self.assertEqual([n for n in os.listdir(self.home / "out") if n.startswith(".")], [])
        with self.assertRaisesRegex(SafetensorError, "output is the input"):
            filterprune.unpack(self.index, self.source, force=True)


class Hostile(Case):
    def test_fixtures(self):
        for path in sorted((SOURCE / "fixtures" / "bad").glob("*.safetensors")):
            with self.subTest(path.name), self.assertRaises(SafetensorError):
                safe_open(path)
        for path in sorted((SOURCE / "fixtures" / "good").glob("*.safetensors")):
            with self.subTest(path.name), safe_open(path) as f:
                for name in f.keys():
                    self.assertEqual(len(f.get_bytes(name)), f._checkpoint.tensors[name].nbytes)

    def broken(self, raw, decoder="python"):
        """Whether reading all of a file is refused; any other exception is a fault of ours."""
        path = self.home / "broken.safetensors"
        path.write_bytes(raw)
        try:
            filterprune.unpack(path, self.home / "out.safetensors", force=True, decoder=decoder)
        except SafetensorError as error:
            self.assertIn("broken.safetensors", str(error))
            return True
        return False

    def small_files(self, seed=1):
        """Packed files of small tensors: of all kinds but under the adaptive code, and under it."""
        rng = np.random.default_rng(seed)
        zoo = {n: t for n, t in common.zoo(seed).items() if len(t[2]) < 50000}
        layers = {"conv": common.item(common.convolution(rng, 12, 10, 3, 3)),
                  "linear": common.item(common.convolution(rng, 20, 40).astype("<f2")),
                  "dead": common.item(common.bf16(common.convolution(rng, 16, 12, 3, 3) * (np.arange(16) % 3 > 0)
                                                  [:, None, None, None]))}
        for name, tensors, level in (("zoo", zoo, "2"), ("layers", layers, "3")):
            write(self.home / "source.safetensors", tensors)
            packed = self.home / f"{name}.packed.safetensors"
            yield pack(self.home / "source.safetensors", packed, "--lossless", "--level", level)

    def test_every_damaged_byte_is_found(self):
        if _format.xxhash is None:
            self.skipTest("without xxhash not every checksum is verified")
        rng = random.Random(1)
        for file in self.small_files():
            packed = file.read_bytes()
            self.assertFalse(self.broken(packed))
            for _ in range(60):
                at = rng.randrange(len(packed))
                wrong = packed[at] ^ 1 << rng.randrange(8)
                self.assertTrue(self.broken(packed[:at] + bytes([wrong]) + packed[at + 1:]), at)
                at = rng.randrange(len(packed))
                self.assertTrue(self.broken(packed[:at]), at)
            self.assertTrue(self.broken(packed + b"\0"))

    def test_no_damage_goes_deeper_than_it_should(self):
        """Without checksums damage reaches the decoder itself, which must not fall over."""
        self.addCleanup(setattr, _format, "xxhash", _format.xxhash)
        _format.xxhash = None
        warnings.simplefilter("error")
        self.addCleanup(warnings.resetwarnings)
        rng = random.Random(2)
        blobs = []
        for file in self.small_files(3):
            with safe_open(file, decoder="python") as f:
                blobs += [t.shard.read_data(t.begin, t.end).tobytes() for t in f._checkpoint.tensors.values() if t.packed]
        self.assertGreater(len(blobs), 10)
        kinds = {section.kind for blob in blobs for section in _format.read_head(blob, len(blob)).sections}
        self.assertEqual(kinds, set(range(1, 10)))
        refused = 0
        for blob in blobs:
            for _ in range(25):
                changed = bytearray(blob)
                for _ in range(rng.choice((1, 1, 3))):
                    # The beginning steers, the rest is weights.
                    at = rng.randrange(6, min(len(blob), 200) if rng.random() < 0.7 else len(blob))
                    changed[at] = rng.randrange(256)
                try:
                    _format.decode(bytes(changed))
                except SafetensorError:
                    refused += 1
        self.assertGreater(refused, 100)

    def test_messages(self):
        packed = pack(MODEL, self.home / "packed.safetensors", "--lossless", *QUICK)
        raw = packed.read_bytes()
        at = raw.index(b"FPZ1")
        for change, says in ((bytes([1, 9]), "needs a reader of packed format 9"),):
            self.broken(raw[:at + 4] + change + raw[at + 6:])
            with self.assertRaisesRegex(SafetensorError, says):
                safe_open(self.home / "broken.safetensors", decoder="python")
        newer = raw.replace(b'\\"reader\\":1', b'\\"reader\\":7', 1)
        self.assertNotEqual(newer, raw)
        (self.home / "newer.safetensors").write_bytes(newer)
        with self.assertRaisesRegex(SafetensorError, "newer.safetensors: needs a reader of packed format 7"):
            safe_open(self.home / "newer.safetensors")
        with safe_open(packed, decoder="python") as f:
            tensor = f._checkpoint.tensors["conv4.weight"]
            middle = tensor.shard.data_begin + (tensor.begin + tensor.end) // 2
        damaged = self.home / "damaged.safetensors"
        damaged.write_bytes(raw[:middle] + bytes([raw[middle] ^ 64]) + raw[middle + 1:])
        for decoder in DECODERS:
            with safe_open(damaged, decoder=decoder) as f:
                f.get_tensor("conv3.weight")
                with self.assertRaisesRegex(SafetensorError, "damaged.safetensors: conv4.weight: "):
                    f.get_tensor("conv4.weight")
            with self.assertRaisesRegex(SafetensorError, "damaged.safetensors: conv4.weight: "):
                filterprune.load_file(damaged, decoder=decoder)

    def test_indices(self):
        write(self.home / "a.safetensors", {"a": common.item(np.zeros(4, "<f4"))})
        write(self.home / "b.safetensors", {"b": common.item(np.zeros(4, "<f4"))})
        fine = {"a": "a.safetensors", "b": "b.safetensors"}
        cases = [(fine, None), ({**fine, "c": "a.safetensors"}, "c is not in"),
                 ({"a": "a.safetensors", "b": "a.safetensors"}, "b is not in"),
                 ({**fine, "a": "c.safetensors"}, "missing: c.safetensors"),
                 ({**fine, "a": "../a.safetensors"}, "plain file name"), ({**fine, "a": 1}, "plain file name"),
                 ({"a": "b.safetensors", "b": "b.safetensors"}, "b.safetensors"), ([], "no object weight_map")]
        path = self.home / "m.safetensors.index.json"
        for weight_map, says in cases:
            path.write_text(json.dumps({"weight_map": weight_map}))
            if says is None:
                self.assertEqual(list(filterprune.load_file(path)), ["a", "b"])
                continue
            with self.subTest(says), self.assertRaisesRegex(SafetensorError, says):
                filterprune.load_file(path)
        for text in ("{", "[]", "\xff", '{"weight_map": {"a": "a.safetensors", "a": "a.safetensors"}}'):
            path.write_text(text, "latin-1")
            with self.subTest(text), self.assertRaises(SafetensorError):
                filterprune.load_file(path)


if __name__ == "__main__":
    common.main()
