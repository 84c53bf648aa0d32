"""Binary layers in the bit order of Larq Compute Engine, against numpy: fpr_export_lce by ctypes, and the program."""
import ctypes
import json
import subprocess

import common
import numpy as np
from common import LIBRARY, PROGRAM, SOURCE, Case, item, write

import filterprune
from filterprune._native import _Error

XNOR = SOURCE / "fixtures" / "models" / "mnist_xnor.safetensors"


class Exported(ctypes.Structure):
    _fields_ = [("layers", ctypes.c_size_t), ("left_out", ctypes.POINTER(ctypes.c_char_p)),
                ("left_out_count", ctypes.c_size_t)]


def by_library(source, target):
    """(layers written, names left out), or the message of the failure."""
    library = ctypes.CDLL(LIBRARY)
    library.fpr_options_init.argtypes = [ctypes.c_void_p]
    library.fpr_options_init.restype = None
    library.fpr_export_lce.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(Exported),
                                       ctypes.POINTER(_Error)]
    library.fpr_exported_free.argtypes = [ctypes.POINTER(Exported)]
    library.fpr_exported_free.restype = None
    options = ctypes.create_string_buffer(4096)  # more than fpr_options takes; init says how much it is
    library.fpr_options_init(options)
    exported, error = Exported(), _Error()
    if library.fpr_export_lce(str(source).encode(), str(target).encode(), options, ctypes.byref(exported),
                              ctypes.byref(error)):
        return error.message.decode()
    result = exported.layers, [exported.left_out[i].decode() for i in range(exported.left_out_count)]
    library.fpr_exported_free(ctypes.byref(exported))
    return result


def words(weights):
    """[O, k..., words]: the channels of a position, channel c in bit c % 32 of word c / 32, bit 1 = negative."""
    negative = np.moveaxis(weights < 0, 1, -1)
    padding = -negative.shape[-1] % 32
    negative = np.pad(negative, [(0, 0)] * (negative.ndim - 1) + [(0, padding)])
    return np.packbits(negative, axis=-1, bitorder="little").view("<i4")


class Export(Case):
    def exported(self, source, left_out=()):
        """The tensors that both ways of exporting give."""
        target = self.home / "program.safetensors"
        done = subprocess.run([PROGRAM, "export", "--bits", "lce", source, target], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        for name in left_out:
            self.assertIn(name, (done.stdout + done.stderr).decode())
        tensors = filterprune.load_file(target)
        if LIBRARY:
            layers, names = by_library(source, self.home / "library.safetensors")
            self.assertEqual((layers, sorted(names)), (len(tensors) // 2, sorted(left_out)))
            self.assertEqual((self.home / "library.safetensors").read_bytes(), target.read_bytes())
        return tensors

    def agrees(self, tensors, weights):
        self.assertEqual(set(tensors), {n for name in weights for n in (name, name + ".scale")})
        for name, w in weights.items():
            np.testing.assert_array_equal(tensors[name], words(w))
            self.assertEqual(tensors[name].dtype, np.int32)
            self.assertEqual(tensors[name].shape, (w.shape[0], *w.shape[2:], -(-w.shape[1] // 32)))
            scale = tensors[name + ".scale"]
            self.assertEqual((scale.dtype, scale.shape), (np.float32, (w.shape[0],)))
            np.testing.assert_array_equal(scale, np.abs(w).reshape(w.shape[0], -1)[:, 0])
            # And back: bits and scales are the weights.
            bits = np.unpackbits(tensors[name].view("u1"), axis=-1, bitorder="little")[..., :w.shape[1]]
            signs = np.moveaxis(1 - 2 * bits.astype("<f4"), -1, 1)
            np.testing.assert_array_equal(signs * scale.reshape([-1] + [1] * (w.ndim - 1)), w)

    def test_trained_network(self):
        weights = filterprune.load_file(XNOR)
        self.agrees(self.exported(XNOR), {name: weights[name] for name in
                                          ("conv2.weight", "conv3.weight", "conv4.weight")})

    def test_packed_network(self):
        weights = filterprune.load_file(XNOR)
        packed = common.pack(XNOR, self.home / "packed.safetensors")
        self.agrees(self.exported(packed), {name: weights[name] for name in
                                            ("conv2.weight", "conv3.weight", "conv4.weight")})

    def test_ranks_channels_and_layers_that_are_left_out(self):
        rng = np.random.default_rng(1)
        binary = {}
        for name, shape in {"one.weight": (8, 33, 5), "two.weight": (16, 64, 3, 3), "three.weight": (4, 31, 3, 3, 3),
                            "wide.weight": (3, 100, 1, 7), "few.weight": (12, 5, 3, 3)}.items():
            alpha = rng.uniform(0.1, 2, (shape[0],) + (1,) * (len(shape) - 1)).astype("<f4")
            binary[name] = np.where(rng.random(shape) < 0.4, -alpha, alpha)
        others = {"not_symmetric.weight": common.two_level(rng, (16, 16, 3, 3), -0.25, 0.5),
                  "by_kernel.weight": common.two_level(rng, (16, 16, 3, 3), *(lambda a: (-a, a))(
                      rng.uniform(0.1, 1, (16, 16, 1, 1)))),
                  "dense.weight": common.convolution(rng, 16, 16, 3, 3)}
        source = self.home / "in.safetensors"
        write(source, {name: item(a) for name, a in {**others, **binary}.items()})
        self.agrees(self.exported(source, ["not_symmetric.weight", "by_kernel.weight"]), binary)

    def test_nothing_to_export(self):
        source, target = self.home / "in.safetensors", self.home / "out.safetensors"
        write(source, {"a.weight": item(common.convolution(np.random.default_rng(1), 16, 16, 3, 3))})
        done = subprocess.run([PROGRAM, "export", "--bits", "lce", source, target], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("nothing to export", done.stderr.decode())
        if LIBRARY:
            self.assertIn("nothing to export", by_library(source, target))
        self.assertFalse(target.exists())

    def test_the_file_is_an_ordinary_checkpoint(self):
        self.exported(XNOR)
        info = json.loads(common.run("info", "--json", self.home / "program.safetensors"))
        self.assertEqual(len(info["tensors"]), 6)


if __name__ == "__main__":
    common.main()
