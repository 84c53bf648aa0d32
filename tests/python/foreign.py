"""load_file on files of PyTorch and numpy, through the library: the same arrays as those of the safetensors file."""
import json
import os
import sys

import common
import numpy as np
from common import LIBRARY, SOURCE

if not LIBRARY:
    common.skip("no library that Python could load")
os.environ["FILTERPRUNE_LIBRARY"] = LIBRARY

import filterprune  # noqa: E402
from filterprune import SafetensorError, load_file, safe_open  # noqa: E402

PTH = SOURCE / "fixtures" / "models" / "mnist_cnn_plain.pth"
DENSE = SOURCE / "fixtures" / "models" / "mnist_cnn_plain.safetensors"


class Foreign(common.Case):
    def same(self, got, want):
        self.assertEqual(set(got), set(want))
        for name, array in want.items():
            self.assertEqual((got[name].dtype, got[name].shape), (array.dtype, array.shape), name)
            self.assertEqual(got[name].tobytes(), array.tobytes(), name)

    def test_a_trained_network(self):
        want = load_file(DENSE)
        self.same(load_file(PTH), want)
        self.same(load_file(PTH, key="state_dict"), want)
        with safe_open(PTH) as f:
            self.assertIsNone(f.metadata())
            self.assertEqual(f.keys(), sorted(want))
            rows = f.get_slice("conv2.weight")
            self.assertEqual(rows.get_dtype(), "F32")
            self.assertTrue((rows[3:5] == want["conv2.weight"][3:5]).all())

    def test_arrays_of_numpy(self):
        arrays = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.asfortranarray(np.ones((2, 3), ">f8") * 3)}
        np.savez(self.home / "x.npz", **arrays)
        np.savez_compressed(self.home / "y.npz", **arrays)
        want = {"a": arrays["a"], "b": np.ascontiguousarray(arrays["b"].astype("<f8"))}
        self.same(load_file(self.home / "x.npz"), want)
        self.same(load_file(self.home / "y.npz"), want)

    def test_an_index_of_files_of_pytorch(self):
        want = load_file(DENSE)
        (self.home / "model-00001-of-00001.bin").write_bytes(PTH.read_bytes())
        index = self.home / "pytorch_model.bin.index.json"
        index.write_text(json.dumps({"weight_map": {name: "model-00001-of-00001.bin" for name in want}}))
        self.same(load_file(index), want)
        self.same(load_file(self.home), want)

    def test_hdf5_behind_a_user_block(self):
        path = self.home / "x.h5"
        path.write_bytes(bytes(2048) + b"\x89HDF\r\n\x1a\n" + bytes(2048))
        with self.assertRaisesRegex(SafetensorError, "not wanted"):
            load_file(path, decoder="python")

    def test_what_is_wrong_is_said(self):
        with self.assertRaisesRegex(SafetensorError, "there is: epoch"):
            load_file(PTH, key="nothing")
        with self.assertRaisesRegex(SafetensorError, "has no dictionaries"):
            load_file(DENSE, key="state_dict")
        with self.assertRaisesRegex(SafetensorError, "not wanted"):
            load_file(PTH, decoder="python")
        with open(PTH, "rb") as f:
            raw = f.read()
        with open(self.home / "half.pth", "wb") as f:
            f.write(raw[:len(raw) // 2])
        with self.assertRaisesRegex(SafetensorError, "cut short"):
            load_file(self.home / "half.pth")

    def test_torch_tensors(self):
        try:
            import torch
        except ImportError:
            self.skipTest("torch is not installed")
        got = load_file(PTH, "pt")
        want = torch.load(PTH)["state_dict"]
        self.assertEqual(list(sorted(got)), list(sorted(want)))
        for name, tensor in want.items():
            self.assertTrue(torch.equal(got[name], tensor), name)


if __name__ == "__main__":
    common.main()
