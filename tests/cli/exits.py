"""Each class of failure has its exit status and exactly one line."""
import json
import os
import struct

import harness


class Exits(harness.Case):
    def packed(self, *options):
        self.small()
        self.ok("in.safetensors", "packed.safetensors", "--no-report", "-q", *options)
        return "packed.safetensors"

    def test_0_done(self):
        self.packed()
        self.assertEqual(self.ok("verify", "packed.safetensors", "in.safetensors").err, "")

    def test_1_the_machine(self):
        self.small()
        self.assertIn("none.safetensors: ", self.fails(1, "none.safetensors", "out.safetensors"))
        for command in (["inspect"], ["info"], ["verify"]):
            self.assertIn("none.safetensors: ", self.fails(1, *command, "none.safetensors"))
        self.fails(1, "unpack", "none.safetensors", "out.safetensors")
        self.fails(1, "compare", "in.safetensors", "none.safetensors")

    def test_3_a_folder_without_a_checkpoint(self):
        os.mkdir("directory.safetensors")
        self.fails(3, "inspect", "directory.safetensors")

    def test_3_an_invalid_checkpoint(self):
        bad = {
            "empty": b"",
            "short": b"\x10\0\0",
            "past the end": struct.pack("<Q", 1000) + b"{}",
            "too long": struct.pack("<Q", 1 << 40) + b"{}      ",
            "no object": struct.pack("<Q", 8) + b"[]      ",
            "no json": struct.pack("<Q", 8) + b"{nonsens",
            "hole": struct.pack("<Q", 64) + b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'.ljust(64) + b"xy",
        }
        for name, data in bad.items():
            with self.subTest(name=name):
                open("bad.safetensors", "wb").write(data)
                for command in ([], ["inspect"], ["info"], ["verify"], ["unpack"]):
                    operands = ["bad.safetensors"] + (["out.safetensors"] if command in ([], ["unpack"]) else [])
                    line = self.fails(3, *command, *operands)
                    self.assertTrue(line.startswith("filterprune: bad.safetensors: "), line)
        self.assertEqual(self.listing(), ["bad.safetensors"])

    def test_3_every_bad_fixture(self):
        for path in sorted((harness.SOURCE / "fixtures" / "bad").glob("*.safetensors")):
            with self.subTest(path=path.name):
                self.fails(3, "info", path)

    def test_3_a_damaged_packed_file(self):
        packed = self.packed("--lossless")
        data = bytearray(open(packed, "rb").read())
        # The last tensors are packed layers: a bit in the middle of the data belongs to one of them.
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        data[begin + (len(data) - begin) // 2] ^= 0x10
        open(packed, "wb").write(data)
        line = self.fails(3, "unpack", packed, "out.safetensors")
        self.assertRegex(line, r"^filterprune: packed\.safetensors: .* \(tensor conv\d\.weight")
        # An ordinary reader of the file would not notice; this one names the tensor.
        result = harness.run("verify", packed)
        self.assertIn(result.status, (3, 5), result)
        self.assertIn("tensor conv", result.err)
        self.assertEqual(self.listing(), ["in.safetensors", "packed.safetensors"])

    def test_3_an_index_that_leads_nowhere(self):
        for name, weight_map in (("missing", {"a": "none.safetensors"}), ("escaping", {"a": "../x.safetensors"}),
                                 ("no map", None)):
            with self.subTest(name=name):
                text = {} if weight_map is None else {"weight_map": weight_map}
                json.dump(text, open("model.safetensors.index.json", "w"))
                self.fails(3, "inspect", "model.safetensors.index.json")

    def test_3_a_basis_that_is_none(self):
        self.small()
        open("basis.json", "w").write('{"mean": [1, 2]}')
        self.fails(3, "compare", "--basis", "basis.json", "in.safetensors", "in.safetensors")

    def test_4_refused(self):
        self.packed()
        self.assertIn("packed.safetensors: ", self.fails(4, "in.safetensors", "packed.safetensors", "--no-report"))
        self.assertIn("in.safetensors: ", self.fails(4, "in.safetensors", "in.safetensors", "-f"))

    def test_5_a_difference(self):
        packed = self.packed()
        tensors = {"conv1.weight": harness.weights(1, 8, 3), "conv2.weight": harness.weights(7, 16, 8, dead=0.5),
                   "conv3.weight": harness.binary_weights(3, 32, 16),
                   "fc.bias": ("F32", (4,), struct.pack("<4f", 1, 2, 3, 5))}
        harness.write_checkpoint("changed.safetensors", tensors)
        result = harness.run("verify", packed, "changed.safetensors")
        self.assertEqual(result.status, 5, result)
        self.assertIn("DIFFERS", result.out)
        lines = result.err.splitlines()
        self.assertEqual(len(lines), 2, result)
        for name, line in zip(("conv2.weight", "fc.bias"), lines):
            self.assertRegex(line, rf"^filterprune: packed\.safetensors: .+ \(tensor {name}\)$")
        result = harness.run("verify", "--json", packed, "changed.safetensors")
        self.assertEqual(result.status, 5)
        found = json.loads(result.out)
        self.assertFalse(found["ok"])
        self.assertEqual({t["name"]: t["ok"] for t in found["tensors"]},
                         {"conv1.weight": True, "conv2.weight": False, "conv3.weight": True, "fc.bias": False})
        self.assertEqual(harness.run("verify", "-q", packed, "changed.safetensors").out, "")


if __name__ == "__main__":
    harness.main()
