"""Checkpoints of PyTorch and numpy: read without either, and refused by rule. The files are made here."""
import collections
import json
import os
import re
import shutil
import struct
import subprocess
import time

import harness
import torch_files as T


def load(path):
    with open(path, "rb") as f:
        return f.read()


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}"""
    raw = load(path)
    begin = 8 + struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:begin])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], raw[begin + t["data_offsets"][0]:begin + t["data_offsets"][1]])
            for name, t in header.items()}


def save(name, data):
    with open(name, "wb") as f:
        f.write(data)


def pack(*values, kind="f"):
    return struct.pack("<%d%s" % (len(values), kind), *values)


# ---- ONNX, as onnx.proto has it: fields of a number and its text

def varint(n):
    out = b""
    while n > 0x7f:
        out, n = out + bytes([n & 0x7f | 0x80]), n >> 7
    return out + bytes([n])


def number(key, n):
    return varint(key << 3) + varint(n)


def field(key, text):
    return varint(key << 3 | 2) + varint(len(text)) + text


def onnx_weight(name, shape):
    """Of a TensorProto, all but its data: FLOAT."""
    return b"".join(number(1, n) for n in shape) + number(2, 1) + field(8, name.encode())


def onnx_chain(weights, op=b"Conv", domain=b""):
    """A model of one convolution after the other."""
    nodes = b"".join(field(1, field(1, b"x%d" % i) + field(1, b"w%d" % i) + field(2, b"x%d" % (i + 1)) +
                           field(3, b"conv%d" % i) + field(4, op) + (field(7, domain) if domain else b"")) for i in range(len(weights)))
    graph = nodes + field(2, b"g") + b"".join(field(5, w) for w in weights) + field(11, field(1, b"x0")) + \
        field(12, field(1, b"x%d" % len(weights)))
    return number(1, 8) + field(8, number(2, 13)) + field(7, graph)


def onnx_one(op, attributes, weight=None):
    """A model of one operator, of x of 2 x 8 x 4 x 6; the weight is (shape, values)."""
    node = field(1, b"x") + (field(1, b"w") if weight else b"") + field(2, b"y") + field(4, op)
    for name, value in attributes.items():
        kind = (number(3, value) + number(20, 2) if isinstance(value, int) else field(4, value) + number(20, 3) if isinstance(value, bytes)
                else b"".join(number(8, v) for v in value) + number(20, 7))
        node += field(5, field(1, name) + kind)
    sides = b"".join(field(1, number(1, n)) for n in (2, 8, 4, 6))
    graph = field(1, node) + field(2, b"g") + field(11, field(1, b"x") + field(2, field(1, number(1, 1) + field(2, sides)))) + \
        field(12, field(1, b"y"))
    if weight:
        graph += field(5, onnx_weight("w", weight[0]) + field(9, pack(*weight[1])))
    return number(1, 8) + field(8, number(2, 13)) + field(7, graph)


class Formats(harness.Case):
    def test_blocks_of_a_picture_as_convolutions(self):
        """DepthToSpace is a transposed convolution with one 1 in each filter, SpaceToDepth a convolution of stride 2."""
        for mode, place in ((b"DCR", lambda out, at: at * 2 + out), (b"CRD", lambda out, at: out * 4 + at)):
            ones = [float(place(out, at) == i) for i in range(8) for out in range(2) for at in range(4)]
            save("same.onnx", onnx_one(b"ConvTranspose", {b"strides": (2, 2)}, ((8, 2, 2, 2), ones)))
            save("moves.onnx", onnx_one(b"DepthToSpace", {b"blocksize": 2, b"mode": mode}))
            self.ok("verify", "same.onnx", "moves.onnx")
            save("other.onnx", onnx_one(b"DepthToSpace", {b"blocksize": 2, b"mode": b"CRD" if mode == b"DCR" else b"DCR"}))
            self.assertEqual(harness.run("verify", "same.onnx", "other.onnx").status, 5)
        ones = [float(at * 8 + i == out) for out in range(32) for i in range(8) for at in range(4)]
        save("same.onnx", onnx_one(b"Conv", {b"strides": (2, 2)}, ((32, 8, 2, 2), ones)))
        save("moves.onnx", onnx_one(b"SpaceToDepth", {b"blocksize": 2}))
        self.ok("verify", "same.onnx", "moves.onnx")

    def convert(self, data, *options, name="in.pth"):
        save(name, data)
        self.ok("convert", "-f", *options, name, "out.safetensors")
        return read_safetensors("out.safetensors")

    def refused(self, data, words, *options, status=3, name="in.pth"):
        save(name, data)
        if os.path.exists("none.safetensors"):
            os.unlink("none.safetensors")
        line = self.fails(status, "convert", *options, name, "none.safetensors")
        self.assertIn(words, line)
        self.assertFalse(os.path.exists("none.safetensors"))

    def test_a_folder_of_every_format(self):
        """What is a checkpoint by its name is taken; each output is called what it is, and the page leads to each report."""
        os.makedirs("in/deep")
        for name in ("net.pth", "deep/pytorch_model.bin", "optimizer.pt", "data.bin", "notes.txt"):
            shutil.copy(harness.MODELS / "mnist_cnn_plain.pth", os.path.join("in", name))
        shutil.copy(harness.MODELS / "mnist_cnn_plain.safetensors", "in/net.safetensors")
        save("in/net.onnx", onnx_chain([onnx_weight("w0", (4, 4, 3, 3)) + field(9, pack(*range(1, 145)))]))
        self.ok("--out-dir", "out", "in")
        rows = json.load(open("out/index.json"))["checkpoints"]
        self.assertEqual({row["output"] for row in rows},
                         {"out/net.pth.safetensors", "out/deep/pytorch_model.bin.safetensors", "out/net.safetensors", "out/net.onnx"})
        for row in rows:
            self.assertEqual(load(row["output"])[8:9] == b"{", row["output"] != "out/net.onnx")
        links = re.findall(r'href="([^"]+)"', open("out/index.html").read())
        self.assertEqual(len(links), 4)
        for link in links:
            self.assertTrue(os.path.exists(os.path.join("out", link)), link)
        self.ok("verify", "-q", "out/net.pth.safetensors", "in/net.pth")

    def test_convolutions_of_a_runtime(self):
        """FusedConv is a Conv with what follows it; kernels in the order of a processor are said to be no kernels."""
        weights = [onnx_weight("w0", (4, 4, 3, 3)) + field(9, pack(*range(1, 145)))]
        read = []
        for domain, op in ((b"com.microsoft", b"FusedConv"), (b"com.microsoft.nchwc", b"Conv"), (b"my.own", b"DeformConv")):
            save("runtime.onnx", onnx_chain(weights, op, domain))
            report = json.loads(self.ok("inspect", "--json", "runtime.onnx").out)
            read.append(([layer["name"] for layer in report["layers"]], [t["why"].split(" by ")[0] for t in report["lookalikes"]]))
        self.assertEqual(read, [(["w0"], []), ([], ["reordered"]), ([], ["read"])])

    def test_convolutions_of_integers(self):
        """Weights as int8, of ConvInteger, QLinearConv, and behind DequantizeLinear: no kernels, and why is said."""
        for op, inputs in ((b"ConvInteger", (b"x", b"w")), (b"QLinearConv", (b"x", b"s", b"z", b"w")), (b"Conv", (b"x", b"d"))):
            nodes = field(1, field(1, b"w") + field(1, b"s") + field(2, b"d") + field(4, b"DequantizeLinear")) + \
                field(1, b"".join(field(1, i) for i in inputs) + field(2, b"y") + field(4, op))
            w = b"".join(number(1, n) for n in (4, 4, 3, 3)) + number(2, 3) + field(8, b"w") + field(9, bytes(range(144)))
            save("integers.onnx", number(1, 8) + field(8, number(2, 13)) +
                 field(7, nodes + field(2, b"g") + field(5, w) + field(11, field(1, b"x")) + field(12, field(1, b"y"))))
            report = json.loads(self.ok("inspect", "--json", "integers.onnx").out)
            self.assertEqual(([], [("w", "quantized to integers")]),
                             (report["layers"], [(t["name"], t["why"].split(":")[0]) for t in report["lookalikes"]]))
            told, = json.loads(self.ok("info", "--json", "integers.onnx").out)["tensors"]
            self.assertEqual((told["kind"], told.get("groups"), told.get("depth")), ("conv", 1, 0) if op == b"Conv" else ("other", None, None))

    def test_what_else_the_file_holds_is_told(self):
        """The state of an optimizer in a list, as Lightning writes it: nobody is told that leaving it out made the file
        smaller. What shares a storage with a weight, as the flat weights of an LSTM do, is nothing else."""
        weight, bias = T.floats("0", (8, 4, 3, 3))[0], T.floats("1", (8,))[0]
        state = {i: {"exp_avg": T.floats("2%d" % i, (8, 4, 3, 3))[0], "step": T.floats("3%d" % i, (1,))[0]} for i in range(2)}
        flat = T.tensor(T.Storage("FloatStorage", "0", T.floats("0", (288,))[1]), (288,))
        save("in.ckpt", T.zipped({"state_dict": {"weight": weight, "bias": bias}, "optimizer_states": [{"state": state}], "flat": [flat]}))
        told = json.loads(self.ok("info", "--json", "in.ckpt").out)
        self.assertEqual(told["not_read"], {"tensors": 4, "bytes": 2 * (1152 + 4)})
        self.assertIn("4 more tensors, 2,312 bytes", self.ok("info", "in.ckpt").out)
        text = self.ok("in.ckpt", "out.safetensors").err
        report = json.loads(load("out.report.json"))
        self.assertEqual((report["input"]["not_read"], report["input"]["tensor_bytes"]), (told["not_read"], 1184))
        self.assertIn("4 more tensors of the input, 2,312 bytes, are not in the output.", report["verdict"])
        self.assertIn("%.1f" % (report["output"]["bytes"] / 1184 * 100), text.split("size")[1].split("layers")[0])
        self.assertIn("of the 1,184 of its tensors", text)
        self.ok("in.ckpt", "out.safetensors", "-f", "--key", "state_dict")
        self.assertIn("4 more tensors", json.loads(load("out.report.json"))["verdict"])
        save("in.pth", T.zipped({"weight": weight, "bias": bias}))
        self.ok("in.pth", "out.safetensors", "-f")
        report = json.loads(load("out.report.json"))
        self.assertEqual(report["input"]["not_read"], {"tensors": 0, "bytes": 0})
        self.assertNotIn("not in the output", report["verdict"])

    def test_constants_of_a_graph_are_told(self):
        """A scale held by a Constant node is no weight of a layer, and not in OUTPUT; nor is it in an ONNX output lost."""
        scale = b"".join(number(1, n) for n in (4,)) + number(2, 1) + field(9, pack(1, 2, 3, 4))
        nodes = field(1, field(2, b"s") + field(4, b"Constant") + field(5, field(1, b"value") + field(5, scale) + number(20, 4))) + \
            field(1, field(1, b"x") + field(1, b"w") + field(2, b"c") + field(4, b"Conv")) + \
            field(1, field(1, b"c") + field(1, b"s") + field(2, b"y") + field(4, b"Mul"))
        w = field(5, onnx_weight("w", (4, 4, 3, 3)) + field(9, pack(*range(1, 145))))
        save("scaled.onnx", number(1, 8) + field(8, number(2, 13)) +
             field(7, nodes + field(2, b"g") + w + field(11, field(1, b"x")) + field(12, field(1, b"y"))))
        self.assertEqual(json.loads(self.ok("info", "--json", "scaled.onnx").out)["not_read"], {"tensors": 1, "bytes": 16})
        self.ok("scaled.onnx", "out.safetensors")
        report = json.loads(load("out.report.json"))
        self.assertIn("1 more tensor of the input, 16 bytes, is not in the output.", report["verdict"])

    def test_weights_that_the_graph_computes(self):
        """w = v * g, as an optimizer leaves a batch normalization that it moved in front of the convolution."""
        nodes = field(1, field(1, b"v") + field(1, b"g") + field(2, b"w") + field(4, b"Mul")) + \
            field(1, field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Conv"))
        tensors = field(5, onnx_weight("v", (4, 4, 3, 3)) + field(9, pack(*range(1, 145)))) + \
            field(5, onnx_weight("g", (4, 1, 1, 1)) + field(9, pack(*range(1, 5))))
        save("computed.onnx", number(1, 8) + field(8, number(2, 13)) +
             field(7, nodes + field(2, b"g") + tensors + field(11, field(1, b"x")) + field(12, field(1, b"y"))))
        report = json.loads(self.ok("inspect", "--json", "computed.onnx").out)
        self.assertEqual(([], [("v", "the graph computes the weights of a convolution from it")]),
                         (report["layers"], [(t["name"], t["why"].split(":")[0]) for t in report["lookalikes"]]))

    # ---- what is read

    def test_protocols_and_both_containers(self):
        a, a_bytes = T.floats("0", (2, 3, 3, 3))
        b, b_bytes = T.floats("1", (2,), 7)
        state = collections.OrderedDict([("conv.weight", a), ("conv.bias", b), ("text", "é"), ("big", 1 << 80),
                                         ("list", [1, (2.5, None)]), ("bytes", b"\0\1"), ("set", {1, 2})])
        want = {"conv.weight": ("F32", [2, 3, 3, 3], a_bytes), "conv.bias": ("F32", [2], b_bytes)}
        for protocol in range(1, 6):
            with self.subTest(protocol=protocol):
                self.assertEqual(self.convert(T.zipped(state, protocol)), want)
                self.assertEqual(self.convert(T.zipped(state, protocol, zip64=True)), want)
                self.assertEqual(self.convert(T.archive(T.members(state, protocol, deflate=True))), want)
                self.assertEqual(self.convert(T.legacy(state, protocol)), want)

    def test_a_thousand_tensors(self):
        state, want = collections.OrderedDict(), {}
        for i in range(1000):
            state["t%d" % i], data = T.floats(str(i), (3,), i)
            want["t%d" % i] = ("F32", [3], data)
        self.assertEqual(self.convert(T.zipped(state)), want)
        self.assertEqual(self.convert(T.legacy(state, 4)), want)

    def test_strides(self):
        s = T.Storage("FloatStorage", "s", pack(*range(60)))
        rows = {"plain": ((3, 4, 5), (20, 5, 1), 0), "turned": ((5, 4, 3), (1, 5, 20), 0),
                "last": ((3, 5, 4), (20, 1, 5), 0), "step": ((2, 2, 2), (20, 10, 3), 1), "row": ((5,), (0,), 59),
                "square": ((4, 4), (1, 1), 3), "one": ((1, 7, 1), (999, 2, 999), 4), "scalar": ((), (), 17),
                "none": ((0, 3), (3, 1), 0)}
        got = self.convert(T.zipped({n: T.tensor(s, *row) for n, row in rows.items()}))
        for name, (shape, stride, offset) in rows.items():
            values = [offset]
            for size, step in zip(shape, stride):
                values = [v + i * step for v in values for i in range(size)]
            self.assertEqual(got[name], ("F32", list(shape), pack(*values)), name)

    def test_pending_signs(self):
        c = T.Storage("ComplexFloatStorage", "c", pack(1, 2, 3, -4))
        got = self.convert(T.zipped({"conj": T.tensor(c, (2,), flags={"conj": True}),
                                     "neg": T.tensor(c, (2,), flags={"neg": True}),
                                     "both": T.tensor(c, (2,), flags={"conj": True, "neg": True}),
                                     "long": T.tensor(T.Storage("LongStorage", "l", pack(1, -(1 << 40), kind="q")), (2,),
                                                      flags={"neg": True})}))
        self.assertEqual(got["conj"], ("C64", [2], pack(1, -2, 3, 4)))
        self.assertEqual(got["neg"], ("C64", [2], pack(-1, -2, -3, 4)))
        self.assertEqual(got["both"], ("C64", [2], pack(-1, 2, -3, -4)))
        self.assertEqual(got["long"], ("I64", [2], pack(-1, 1 << 40, kind="q")))

    def test_big_endian(self):
        a, data = T.floats("0", (2, 2))
        c = T.Storage("ComplexFloatStorage", "c", struct.pack(">2f", 1, 2))
        a.arguments[0].data = struct.pack(">4f", 0, 1, 2, 3)
        parts = T.members({"a": a, "c": T.tensor(c, (1,))})
        parts[1].data = b"big"
        self.assertEqual(self.convert(T.archive(parts)), {"a": ("F32", [2, 2], data), "c": ("C64", [1], pack(1, 2))})

    def module(self, fleeting=()):
        self.w, self.w_bytes = T.floats("0", (4, 2, 3, 3))
        self.g, self.g_bytes = T.floats("1", (4,), 5)
        conv = T.Module("torch.nn.modules.conv", "Conv2d", {"weight": self.w, "bias": None}.items(), groups=2,
                        transposed=False, plain=self.g)
        norm = T.Module("torch.nn.modules.batchnorm", "BatchNorm2d", [], {"mean": self.g, "seen": self.g}.items(),
                        fleeting=fleeting)
        return T.Module("nowhere.nets", "Net", [], [], [("conv", conv), ("norm", norm), ("again", conv), ("off", None)])

    def test_whole_modules(self):
        for protocol in (2, 4):
            got = self.convert(T.zipped(self.module(["seen"]), protocol))
            self.assertEqual(set(got), {"conv.weight", "norm.mean", "again.weight"})
            self.assertEqual(got["again.weight"], ("F32", [4, 2, 3, 3], self.w_bytes))
            self.assertEqual(set(self.convert(T.zipped(self.module(), protocol))),
                             {"conv.weight", "norm.mean", "norm.seen", "again.weight"})

    def test_script_takes_what_its_code_lists(self):
        w, w_bytes = T.floats("0", (2, 1, 3, 3))
        plain, _ = T.floats("1", (5,))
        text, storages = T.dump({"weight": w, "plain": plain, "training": True})
        # An object of the class that the code has, with that state.
        text = b"\x80\x02c__torch__.nets\nNet\n)\x81" + text[2:-1] + b"b."
        code = (b'class Other(Module):\n  __parameters__ = ["plain", ]\n  __buffers__ = []\n'
                b'class Net(Module):\n  __parameters__ = []\n  __buffers__ = ["weight", ]\n  weight : Tensor\n')
        data = T.archive([T.Member("n/data.pkl", text), *(T.Member("n/data/" + s.key, s.data) for s in storages),
                          T.Member("n/code/__torch__/nets.py", code, deflate=True), T.Member("n/constants.pkl", b"\x80\x02).")])
        self.assertEqual(self.convert(data), {"weight": ("F32", [2, 1, 3, 3], w_bytes)})
        self.assertEqual(json.loads(self.ok("info", "--json", "in.pth").out)["format"], "torchscript")

    def test_a_trained_network_saved_by_pytorch(self):
        """fixtures/models/mnist_cnn_plain.pth is PyTorch's own: dictionary, epoch beside it, channels_last."""
        self.ok("convert", harness.MODELS / "mnist_cnn_plain.pth", "out.safetensors")
        self.assertEqual(read_safetensors("out.safetensors"), read_safetensors(harness.PLAIN_MODEL))
        told = json.loads(self.ok("info", "--json", harness.MODELS / "mnist_cnn_plain.pth").out)
        self.assertEqual((told["format"], told["key"]), ("torch-zip", "state_dict"))
        self.assertIn("\ntorch-zip, key state_dict\n", self.ok("info", harness.MODELS / "mnist_cnn_plain.pth").out)
        self.assertNotIn("\nsafetensors", self.ok("info", harness.PLAIN_MODEL).out)

    # ---- which dictionary

    def key_of(self, value, *options):
        save("in.pth", T.zipped(value))
        told = json.loads(self.ok("info", "--json", *options, "in.pth").out)
        return told["key"], [t["name"] for t in told["tensors"]], told.get("skipped", {})

    def test_the_dictionary_taken(self):
        a, b, c = (T.floats(str(i), (i + 1,))[0] for i in range(3))
        for value, key, names in (
            ({"a": a, "state_dict": {"b": b}}, "", ["a", "state_dict.b"]),
            ({"epoch": 3, "state_dict": {"b": b}, "model": {"c": c}}, "state_dict", ["b"]),
            ({"state_dict": {}, "model_state_dict": {"b": b}}, "model_state_dict", ["b"]),
            ({"model": None, "net": {"b": b}, "ema": {"c": c}}, "net", ["b"]),
            ({"model": {"state_dict": {"b": b}, "args": 1}}, "model.state_dict", ["b"]),
            ({"small": {"a": a}, "large": {"x": {"c": c}}, "optimizer": {"b": b, "c": c}}, "large", ["x.c"]),
            ({"first": {"a": a}, "second": {"b": a}}, "first", ["a"]),
            ({"model": self.module()}, "model", ["again.weight", "conv.weight", "norm.mean", "norm.seen"]),
        ):
            with self.subTest(key=key, names=names):
                got, tensors, _ = self.key_of(value)
                self.assertEqual((got, sorted(tensors)), (key, names))

    def test_key_chooses_and_says(self):
        a, b = (T.floats(str(i), (i + 1,))[0] for i in range(2))
        value = {"state_dict": {"a": a}, "ema.x": {"inner": {"b": b}}, "state": {0: {"momentum": b}}, "log": {"loss": 1.5}}
        self.assertEqual(self.key_of(value)[0], "state_dict")
        left = self.key_of(value)[2]
        self.assertEqual(set(left), {"ema.x", "state"})
        self.assertIn("1 tensor", left["ema.x"])
        self.assertEqual(self.key_of(value, "--key", "ema.x.inner")[:2], ("ema.x.inner", ["b"]))
        line = self.fails(2, "info", "--key", "other", "in.pth")
        self.assertIn("there is: state_dict, ema.x, state, log", line)
        self.assertIn("holds no tensor", self.fails(2, "info", "--key", "log", "in.pth"))
        self.assertEqual(self.key_of(value, "--key", "state")[:2], ("state", ["0.momentum"]))

    def test_what_cannot_be_written_is_named(self):
        a, _ = T.floats("0", (2,))
        odd = {"sparse": T.Call("torch._utils", "_rebuild_sparse_tensor", 1, (a, a)),
               "quantized": T.Call("torch._utils", "_rebuild_qtensor", 1),
               "wide": T.tensor(T.Storage("ComplexDoubleStorage", "w", bytes(16)), (1,)), "a": a}
        _, names, left = self.key_of(odd)
        self.assertEqual(names, ["a"])
        self.assertEqual(left, {"sparse": "sparse", "quantized": "quantized", "wide": "complex128"})
        self.assertIn("wide: complex128", self.ok("convert", "in.pth", "out.safetensors").err)

    def test_values_that_may_be_weights_are_named_too(self):
        a, a_bytes = T.floats("0", (2,))
        b, b_bytes = T.floats("1", (3,), 9)
        jagged = T.Call("torch._tensor", "_rebuild_from_type_v2",
                        T.named("torch.nested._internal.nested_tensor", "_rebuild_njt", "function"),
                        T.named("torch.nested._internal.nested_tensor", "NestedTensor"), ({"values": b},), {})
        array = T.Call("numpy._core.multiarray", "_reconstruct", T.named("numpy", "ndarray"), (0,), b"b")
        odd = {"a": a, "jagged": jagged, "own": T.Call("torch._utils", "_rebuild_parameter", T.Call("torchao", "Q", 1)),
               "in": {"array": array}, "rows": [1, a], "numbers": [1, 2], (1, 2): a, 7: {-1: b}}
        _, names, left = self.key_of(odd)
        self.assertEqual(sorted(names), ["7.-1", "a"])
        unnamed, = (name for name in left if name.startswith("?"))
        self.assertEqual(left, {"jagged": "a tensor class of its own", "own": "a tensor class of its own",
                                "in.array": "a numpy array", "rows": "tensors in a list, without names",
                                unnamed: "its key is neither text nor number"})
        self.assertEqual(self.convert(T.zipped({"state_dict": {0: a, 12: b}})),
                         {"0": ("F32", [2], a_bytes), "12": ("F32", [3], b_bytes)})
        self.refused(T.zipped(a), "a single tensor without a name")

    def test_compiled_modules(self):
        def compiled(inner):
            return T.Call("torch._dynamo.eval_frame", "OptimizedModule", inner, None)
        want = {"_orig_mod.conv.weight", "_orig_mod.norm.mean", "_orig_mod.norm.seen", "_orig_mod.again.weight"}
        self.assertEqual(set(self.convert(T.zipped(compiled(self.module())))), want)
        self.assertEqual(self.key_of({"epoch": 1, "net": compiled(self.module())})[::2], ("net", {}))
        outer = T.Module("nowhere", "Outer", [], [], [("twice", compiled(compiled(self.module())))])
        self.assertEqual(set(self.convert(T.zipped(outer))), {"twice._orig_mod." + name for name in want})

    # ---- all commands

    def test_every_command_reads_it(self):
        a, _ = T.floats("0", (8, 4, 3, 3), -100)
        save("a.pth", T.zipped({"net.weight": a}))
        self.ok("convert", "a.pth", "a.safetensors")
        self.ok("a.pth", "small.safetensors")
        self.ok("--lossless", "a.pth", "same.safetensors")
        self.ok("verify", "small.safetensors", "a.pth")
        self.ok("unpack", "same.safetensors", "back.safetensors")
        self.assertEqual(load("back.safetensors"), load("a.safetensors"))
        told = [json.loads(self.ok("inspect", "--json", name).out) for name in ("a.pth", "a.safetensors")]
        self.assertEqual([(t["input"]["format"], t["input"]["key"], t["input"]["skipped"]) for t in told],
                         [("torch-zip", "", {}), ("safetensors", None, {})])
        self.assertEqual(told[0]["layers"], told[1]["layers"])
        self.ok("compare", "a.pth", "a.safetensors")
        self.fails(4, "a.pth", "small.safetensors")
        self.fails(4, "-f", "a.pth", "a.pth")

    # ---- refused by rule

    def test_archives(self):
        a, _ = T.floats("0", (2, 3))
        good = T.members({"a": a})
        def changed(which, **how):
            parts = T.members({"a": a})
            for name, value in how.items():
                setattr(parts[which], name, value)
            return T.archive(parts)
        self.convert(T.archive(good))
        self.convert(T.archive(good, tail=b"a comment"))
        self.refused(T.archive(good + [T.Member("archive/data/0", b"x" * 24)]), "is there twice")
        self.refused(changed(2, local_name=b"archive/data/1"), "another name in its header")
        self.refused(changed(2, local_name=b"archive/data/10"), "differs from the directory")
        self.refused(changed(2, place=1), "no header where the directory says")
        self.refused(changed(2, place=1 << 30), "lies outside of the archive")
        self.refused(changed(2, local_size=20), "another size in its header")
        self.refused(changed(2, local_method=8), "differs from the directory")
        self.refused(changed(2, flags=1), "is encrypted")
        self.refused(changed(2, deflate=True, size=20), "bytes, 24 are needed")
        self.refused(changed(2, deflate=True, size=1 << 30), "claims more bytes than it can inflate to")
        self.refused(T.archive(good, count=3), "longer than its members")
        self.refused(T.archive(good, count=60000), "more members than its directory can hold")
        self.refused(T.archive(good)[:-9], "without an end")
        self.refused(T.archive(good) + b"x", "without an end")
        self.refused(T.archive([T.Member("readme.txt", b"hello")]), "neither data.pkl (PyTorch) nor .npy")
        # Two members of different names on the same bytes.
        inner = T.Member("archive/data/1", b"y" * 24)
        parts = [*good, T.Member("archive/x", T.archive([inner])), inner]
        sizes = [30 + len(p.local_name) + len(p.data) for p in parts]
        parts[-1] = T.Member("archive/data/1", b"y" * 24, place=sum(sizes[:len(good)]) + 30 + len("archive/x"))
        self.refused(T.archive(parts), "lies on the bytes of another")

    def test_deflated_members_are_as_long_as_they_say(self):
        def one(elements, there, size):
            a = T.tensor(T.Storage("FloatStorage", "0", pack(*range(there)), elements), (elements,))
            parts = T.members({"a": a}, deflate=True)
            parts[2].size = size
            return T.archive(parts)
        self.assertEqual(self.convert(one(20, 24, 96))["a"][2], pack(*range(20)))
        self.refused(one(20, 24, 80), "holds more than the directory says")
        self.refused(one(25, 24, 100), "holds less than the directory says")

    def test_storages(self):
        def one(data=bytes(24), shape=(2, 3), stride=None, offset=0, count=None, key="0"):
            s = T.Storage("FloatStorage", key, data, count)
            return {"a": T.tensor(s, shape, stride, offset)}
        self.convert(T.zipped(one()))
        self.refused(T.archive([m for m in T.members(one()) if b"data/0" not in m.name]), 'the storage "0" of a tensor is missing')
        self.refused(T.zipped(one(count=7)), "has 24 bytes, 28 are needed")
        self.refused(T.zipped(one(shape=(2, 4))), "reaches beyond its storage")
        self.refused(T.zipped(one(offset=1)), "reaches beyond its storage")
        self.refused(T.zipped(one(offset=-1)), "has no offset")
        self.refused(T.zipped(one(stride=(4, 1))), "reaches beyond its storage")
        self.refused(T.zipped(one(stride=(-1, 1))), "size or stride")
        self.refused(T.zipped(one(shape=(1 << 33, 1 << 33), stride=(0, 0))), "overflow")
        self.refused(T.zipped(one(shape=(2, 3), stride=(3,))), "another number of strides")
        self.refused(T.zipped(one(shape=(1,) * 65, stride=(1,) * 65)), "more than 64 axes")
        self.refused(T.zipped({"a": T.Call("torch._utils", "_rebuild_tensor_v2", 1)}), "too few arguments")
        self.refused(T.zipped({"b": 1, "state_dict": {"x": T.Call("torch._utils", "_rebuild_parameter", 5)}}), "no tensor")

    def test_a_broken_tensor_anywhere_refuses_the_file(self):
        a, _ = T.floats("0", (2,))
        bad = T.tensor(T.Storage("FloatStorage", "1", bytes(4)), (2,))
        self.refused(T.zipped({"state_dict": {"a": a}, "optimizer": {"b": [bad]}}), "reaches beyond its storage")

    def test_legacy_storages(self):
        a, _ = T.floats("11", (2,))
        b, _ = T.floats("12", (3,))
        value = {"a": a, "b": b}
        self.assertEqual(set(self.convert(T.legacy(value))), {"a", "b"})
        self.refused(T.legacy(value, keys=["11", "12", "13"]), "a storage that no tensor names")
        self.refused(T.legacy(value, keys=["11", "11", "12"]), 'the storage "11" twice')
        self.refused(T.legacy(value, keys=["11"]), 'the storage "12" of a tensor is missing')
        self.refused(T.legacy(value, counts=[2, 4]), "another size than its tensors say")
        self.refused(T.legacy(value, counts=[2, -3]), "another size than its tensors say")
        self.refused(T.legacy(value)[:-1], "is cut short")

    def test_expansion(self):
        s = T.Storage("FloatStorage", "0", pack(1.5))
        self.assertEqual(self.convert(T.zipped({"a": T.tensor(s, (5, 5), (0, 0))}))["a"][2], pack(*[1.5] * 25))
        large = T.zipped({"a": T.tensor(s, (1 << 10, 1 << 10), (0, 0))})
        self.refused(large, "--allow-expand takes them")
        self.assertEqual(self.convert(large, "--allow-expand")["a"][2], pack(1.5) * (1 << 20))
        # One storage under very many names is the same.
        block = T.Storage("FloatStorage", "0", bytes(1 << 20))
        self.refused(T.zipped({"t%d" % i: T.tensor(block, (1 << 18,)) for i in range(100)}), "--allow-expand takes them")

    def test_names(self):
        a, _ = T.floats("0", (2,))
        self.refused(T.zipped({"a.b": a, "a": {"b": a}}), "two tensors of one name")
        self.refused(T.zipped({"__metadata__": a}), "__metadata__")
        self.refused(T.zipped({"n" * 40000: a}), "longer than 32 KiB")
        deep = {"x": a}
        for _ in range(300):
            deep = {"d": deep}
        self.refused(T.zipped(deep), "more than 200 deep")
        # 60 modules, each with the next one under two names: 2^60 names.
        value = T.Module("nowhere", "Leaf", [("w", a)])
        for _ in range(60):
            value = T.Module("nowhere", "Twice", [], [], [("a", value), ("b", value)])
        begin = time.monotonic()
        self.refused(T.zipped(value), "more")
        self.assertLess(time.monotonic() - begin, 20)

    def test_a_dictionary_in_itself(self):
        a, data = T.floats("0", (2,))
        value = {"a": a}
        value["self"] = value
        self.assertEqual(self.convert(T.zipped(value)), {"a": ("F32", [2], data)})

    def test_pickles(self):
        a, _ = T.floats("0", (2,))
        text, storages = T.dump({"a": a})
        def with_pickle(data):
            return T.archive([T.Member("x/data.pkl", data), *(T.Member("x/data/" + s.key, s.data) for s in storages)])
        self.convert(with_pickle(text))
        self.refused(with_pickle(text[:-1]), "is cut short")
        self.refused(with_pickle(text[:-1] + b"\xfe."), "an opcode that is none")
        self.refused(with_pickle(b"\x80\x06."), "a protocol that is not known")
        self.refused(with_pickle(b"R."), "takes more from its stack than is there")
        self.refused(with_pickle(b"(0."), "takes more from its stack")
        self.refused(with_pickle(b"h\x05."), "has not remembered")
        self.refused(with_pickle(b"Nr\xff\xff\xff\xff."), "remembers more than")
        self.refused(with_pickle(b"X\xff\xff\xff\x7fabc."), "longer than itself")
        self.refused(with_pickle(b"\x8d" + b"\xff" * 8 + b"."), "longer than itself")
        self.refused(with_pickle(b"\x8b\xff\xff\xff\xff."), "negative length")
        self.refused(with_pickle(b"}K\x01s."), "sets items of nothing")
        self.refused(with_pickle(b"K\x05."), "holds a number, not a dictionary")
        self.refused(with_pickle(b"]" * 2000000 + b"."), "builds more than")
        self.refused(with_pickle(b"(" * 2000000 + b"."), "needs more than")
        self.refused(T.zipped({"epoch": 1, "best": 2.5}), "at its top there is: epoch, best")

    ALLOWED = {"openat", "openat2", "newfstatat", "fstat", "stat", "read", "pread64", "fadvise64", "mmap", "munmap", "mremap",
               "madvise", "brk", "write", "close", "exit_group", "lseek", "ioctl", "futex", "mprotect", "+++"}

    def traced(self, *command, opens):
        """Every system call from the opening of the first file named to the output: reading, memory, and no more; nothing
        is opened but what is named."""
        done = subprocess.run(["strace", "-f", "-o", "trace", harness.PROGRAM, *command], env=harness.environment(),
                              capture_output=True)
        if done.returncode and b"ptrace" in done.stderr:
            self.skipTest("strace may not trace here")
        self.assertEqual(done.returncode, 0, done.stderr)
        calls = [line.split(None, 1)[1] for line in load("trace").decode().splitlines()]
        first = next(i for i, call in enumerate(calls) if opens[0] in call and call.startswith("open"))
        opened = set()
        for call in calls[first:]:
            self.assertIn(call.split("(")[0].split()[0], self.ALLOWED, call)
            if call.startswith("openat") and '"/proc/self/status"' not in call:  # how much memory the program has
                names = [name for name in opens if f'"{name}"' in call]
                self.assertTrue(names, call)
                opened.update(names)
            if call.startswith("write(1,"):
                break  # all is said
        self.assertEqual(opened, set(opens))
        return done.stdout

    def test_nothing_is_run_and_nothing_but_reading_is_done(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        a, _ = T.floats("0", (4, 4, 3, 3))
        evil = T.Call("os", "system", "touch was_here")
        for name, data in (("z.pth", T.zipped({"a.weight": a, "evil": evil})), ("l.pth", T.legacy({"a.weight": a, "evil": evil})),
                           ("d.pth", T.archive(T.members({"a.weight": a, "evil": evil}, deflate=True)))):
            save(name, data)
            self.traced("info", "--json", name, opens=[name])
            self.assertFalse(os.path.exists("was_here"))

    def test_what_info_and_diff_tell_is_documented(self):
        """Every field stands in SCHEMA.md, of packed, pooled and foreign files; below some, names are the file's own."""
        words = set(re.findall(r"\w+", (harness.SOURCE / "src/report/SCHEMA.md").read_text()))
        save("net.onnx", onnx_chain([onnx_weight("w0", [4, 4, 3, 3]) + field(9, pack(*(0.01 * i for i in range(144))))]))
        self.small()
        self.ok("--max-error", "0.02", "--pool", "always", "in.safetensors", "out.safetensors", "--no-report")
        seen = set()

        def look(value):
            for inner in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
                look(inner)
            if isinstance(value, dict):
                seen.update(value)

        for name in ("in.safetensors", "out.safetensors", "net.onnx", harness.MODELS / "mnist_cnn_plain.pth"):
            told = json.loads(self.ok("info", "--json", name).out)
            told["metadata"] = told["skipped"] = None
            look(told)
        look(json.loads(self.ok("diff", "--json", "in.safetensors", "in.safetensors").out))
        self.assertLessEqual({"codec", "statement", "layer_name", "key"}, seen)
        self.assertEqual(seen - words, set())

    def test_an_onnx_model_is_read_and_nothing_else(self):
        """Its graph, its weights in every kind of field, and weights in a file beside it: info lists, inspect reads them all."""
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        values = [0.01 * (i % 37) - 0.2 for i in range(4 * 4 * 9)]
        raw, typed, beside = (onnx_weight(f"w{i}", [4, 4, 3, 3]) for i in range(3))
        raw += field(9, pack(*values))
        typed += field(4, pack(*values))
        beside += field(13, field(1, b"location") + field(2, b"w.bin")) + number(14, 1)
        save("net.onnx", onnx_chain([raw, typed]))
        save("split.onnx", onnx_chain([raw, typed, beside]))
        save("w.bin", pack(*values))
        for name, opens in (("net.onnx", ["net.onnx"]), ("split.onnx", ["split.onnx", ".", "w.bin"])):
            listed = json.loads(self.traced("info", "--json", name, opens=opens))
            self.assertEqual([t["name"] for t in listed["tensors"]], [f"w{i}" for i in range(3 if "w.bin" in opens else 2)])
            seen = json.loads(self.traced("inspect", "--json", "-j1", name, opens=opens))
            self.assertEqual(sum(layer["kernels"] for layer in seen["layers"]), 16 * len(listed["tensors"]))

    def test_little_memory_and_time(self):
        """A file that says much of itself: a second and 64 MiB."""
        a, _ = T.floats("0", (2,))
        value = {"a": a, "lists": []}
        inner = value["lists"]
        text = b"\x80\x02}(X\x01\x00\x00\x00l" + b"]" + b"(" * 5 + b"]" * 900000 + b"e" + b"0" * 4 + b"u."
        for data in (T.archive([T.Member("x/data.pkl", text)]),
                     T.archive([T.Member("x/data.pkl", b"\x80\x02" + b"]" * 1000000 + b".", deflate=True)]),
                     T.archive([T.Member("x/data.pkl", b"(" * 1000000, deflate=True)])):
            save("big.pth", data)
            job = subprocess.Popen([harness.PROGRAM, "info", "big.pth"], env=harness.environment(), stderr=subprocess.PIPE)
            said = job.stderr.read()
            _, status, usage = os.wait4(job.pid, 0)
            job.returncode = os.waitstatus_to_exitcode(status)
            job.stderr.close()
            self.assertEqual(job.returncode, 3, said)
            self.assertLess(usage.ru_maxrss, 200 << 10 if os.environ.get("ASAN_OPTIONS") else 80 << 10)
        del inner

    # ---- what is no checkpoint

    def test_false_checkpoints_are_named(self):
        for data, words in (
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer, not the file itself; git lfs pull"),
            (b"\n <!DOCTYPE HTML><html>not found</html>" * 3, "an HTML page"), (b"<?xml version='1.0'?><Error>" * 3, "an HTML page"),
            (b'<?xml version="1.0"?>\n<net name="a" version="11">' + bytes(60), "the graph of an OpenVINO model"),
            (b"\x1f\x8b\x08" + bytes(60), "a gzip file"), (b"\xfd7zXZ" + bytes(60), "an xz file"),
            (b"\x04\x22\x4d\x18" + bytes(60), "an LZ4 file"), (b"\x15\0\0\0\2" + bytes(59) + b"\xef\xbe\xad\xde", "a Core ML model"),
            (b"7767517\n59 71\n" + bytes(60), "the graph of an ncnn model"), (b"\x47\x6b\x30\1" + bytes(60), "the weights of an ncnn model"),
            (b"\1\1\1\x0dloss_metric_" + bytes(60), "a network of dlib"), (b"GGUF\3" + bytes(60), "a GGUF file"),
            (b"\x1c\0\0\0TFL3" + bytes(60), "a TFLite model"), (b'model_checkpoint_path: "model.ckpt-1"\n', "TensorFlow"),
            (b"\1\2\3" * 30 + struct.pack("<Q", 0xDB4775248B80FB57), "the index of a TensorFlow checkpoint"),
            (bytes(257) + b"ustar\x0000" + bytes(300), "a tar archive"), (b"\x80\x04\x95" + bytes(20), "a pickle of Python, but none"),
            (b"\x78\x5e" + bytes(60), "joblib"), (b"\xff\xfeh\0e\0" * 9, "a text in UTF-16"), (b"PAR1" + bytes(60), "a Parquet table"),
            (b"\x82\xa6params\x81\xa4conv" + bytes(60), "a MessagePack file, such as Flax writes"),
            (b"\x08\x01\x12\x8e\x5c\x0a\x96\x0e\x12\xe6\x0d\x0a\x5e\x0a\x10AssignVariableOp" + bytes(60), "a graph of TensorFlow"),
            (b"\x0a\x57\x0a\x01x\x12\x0bPlaceholder*" + bytes(60), "a graph of TensorFlow"),
            (T.archive([T.Member("m/data/weights/model_weights_config.json", b"{}")]), "torch.export.load"),
            (T.archive([T.Member("model.safetensors", b"x")]), "unpack it (unzip)"),
            (bytes(4096), "zeros from its first byte"), (b"", "an empty file"), (b'{"a": 1, "weight_map": {}}', "a JSON text"),
            (b"some words\n" * 9, "a text"), (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x9e\x02\n\x10\n\x05input\x12\x01x" + bytes(300), "ONNX"),
        ):
            with self.subTest(words=words):
                self.refused(data, words)
                for command in (["info"], ["inspect"], ["verify"]):
                    self.assertIn(words, self.fails(3, *command, "in.pth"))

    def test_a_truncated_file_says_how_long_it_should_be(self):
        harness.write_checkpoint("whole.safetensors", {"a": harness.weights(1, 8, 8), "b": harness.weights(2, 8, 8)})
        whole = load("whole.safetensors")
        save("half.safetensors", whole[:len(whole) // 2])
        line = self.fails(3, "info", "half.safetensors")
        self.assertIn("truncated: the file has %d bytes and should have %d" % (len(whole) // 2, len(whole)), line)
        save("head.safetensors", whole[:60])
        self.assertIn("truncated", self.fails(3, "info", "head.safetensors"))

    def test_a_folder_stands_for_the_checkpoint_in_it(self):
        a, _ = T.floats("0", (2, 2, 3, 3))
        os.mkdir("model")
        self.assertIn("without a checkpoint in it; there is: nothing", self.fails(3, "info", "model"))
        save("model/README.md", b"hello")
        self.assertIn("there is: README.md", self.fails(3, "info", "model"))
        save("model/__0_0.distcp", T.zipped(a))
        self.assertIn("dcp_to_torch_save", self.fails(3, "info", "model"))
        save("model/one.pth", T.zipped({"a": a}))
        save("model/optimizer.pt", b"")
        self.assertEqual(json.loads(self.ok("info", "--json", "model").out)["path"], "model/one.pth")
        save("model/two.ckpt", T.zipped({"a": a}))
        line = self.fails(2, "info", "model")
        self.assertIn("2 checkpoints in it", line)
        self.assertIn("one.pth", line)
        self.assertIn("two.ckpt", line)
        self.ok("convert", "model/one.pth", "model/model.safetensors")
        self.assertEqual(json.loads(self.ok("inspect", "--json", "model/").out)["input"]["format"], "safetensors")
        self.fails(4, "-f", "model", "model/model.safetensors")

    def test_a_folder_of_variants(self):
        """As hubs of models have them: shards for two libraries, and in two precisions."""
        def index(name, shard):
            save("hub/" + name, json.dumps({"metadata": {}, "weight_map": {"a": shard}}).encode())
        def taken():
            return json.loads(self.ok("info", "--json", "hub").out)["path"]
        a, _ = T.floats("0", (2, 2, 3, 3))
        os.mkdir("hub")
        save("hub/pytorch_model-00001-of-00001.bin", T.zipped({"a": a}))
        index("pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin")
        index("tf_model.h5.index.json", "tf_model-00001-of-00001.h5")
        self.assertEqual(taken(), "hub/pytorch_model.bin.index.json")
        self.ok("convert", "hub/pytorch_model-00001-of-00001.bin", "hub/model.ema.v2-1.safetensors")
        self.assertEqual(taken(), "hub/model.ema.v2-1.safetensors")
        index("model.safetensors.index.ema.v2.json", "model.ema.v2-1.safetensors")
        self.assertEqual(taken(), "hub/model.safetensors.index.ema.v2.json")
        self.ok("--lossless", "-q", "hub", "packed")
        self.assertIn("model.safetensors.index.ema.v2.json", os.listdir("packed"))
        self.ok("convert", "hub/pytorch_model-00001-of-00001.bin", "hub/model-00001-of-00001.safetensors")
        index("model.safetensors.index.json", "model-00001-of-00001.safetensors")
        self.assertEqual(taken(), "hub/model.safetensors.index.json")

    def test_shards_of_pytorch_are_called_what_they_become(self):
        """Whoever reads an index of .bin files unpickles them: what is written is safetensors, and called so."""
        values = {n: T.floats(n, (24, 16, 3, 3), i)[0] for i, n in enumerate("ab")}
        os.makedirs("hub/deep")
        files = {"a": "pytorch_model-00001-of-00002.bin", "b": "deep/part.bin"}
        for name, file in files.items():
            save("hub/" + file, T.zipped({name: values[name]}))
        save("hub/pytorch_model.bin.index.json", json.dumps({"metadata": {"x": 1}, "weight_map": files}).encode())
        want = {n: f.replace(".bin", ".safetensors") for n, f in files.items()}
        for command, out in ((["convert"], "converted"), (["--max-error", "0.05"], "packed"), (["--dense", "--amount", "0.1"], "dense")):
            self.ok(*command, "hub", out)
            index = json.loads(load(out + "/pytorch_model.safetensors.index.json"))
            self.assertEqual((index["weight_map"], index["metadata"]["x"]), (want, 1))
            self.assertEqual({f for f in self.listing() if f.startswith(out + "/") and os.path.isfile(f) and ".report." not in f},
                             {out + "/" + f for f in (*want.values(), "pytorch_model.safetensors.index.json")})
            self.ok("verify", out, "hub")
        self.ok("diff", "hub", "converted")
        self.ok("unpack", "packed", "restored")
        self.assertIn("pytorch_model.safetensors.index.json", os.listdir("restored"))
        self.fails(4, "convert", "hub", "converted")
        for result in ("done", "was done"):
            self.ok("--out-dir", "many", "--skip-existing", "hub")
            self.assertEqual([r["result"] for r in json.loads(load("many/index.json"))["checkpoints"]], [result])

    # ---- numpy

    def npy(self, descr, shape, data, fortran=False, version=1, head=None):
        text = head if head is not None else "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, fortran, shape)
        text = text.encode() + b"\n"
        size = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
        return b"\x93NUMPY" + bytes((version, 0)) + size + text + data

    def test_arrays(self):
        data = pack(*range(6))
        arrays = {
            "plain": self.npy("'<f4'", (2, 3), data), "turned": self.npy("'<f4'", (2, 3), data, True),
            "big": self.npy("'>f4'", (2, 3), struct.pack(">6f", *range(6))), "two": self.npy("'|u1'", (3,), b"abc", version=2),
            "three": self.npy("'<i8'", (), pack(-5, kind="q"), version=3), "c": self.npy("'>c8'", (1,), struct.pack(">2f", 1, 2)),
            "old": self.npy("", (), b"ab", head="{\"shape\": (2L,), 'fortran_order': False, 'descr': '|b1'}"),
            "text": self.npy("'<U3'", (1,), bytes(12)), "rows": self.npy("[('a', '<f4'), ('b', '<i2')]", (1,), bytes(6)),
            "objects": self.npy("'|O'", (1,), b"\x80\x02N."), "wide": self.npy("'<c16'", (1,), bytes(16)),
            "narrow": self.npy("'<f1'", (4,), bytes(4))}
        want = {"plain": ("F32", [2, 3], data), "turned": ("F32", [2, 3], pack(0, 2, 4, 1, 3, 5)),
                "big": ("F32", [2, 3], data), "two": ("U8", [3], b"abc"), "three": ("I64", [], pack(-5, kind="q")),
                "c": ("C64", [1], pack(1, 2)), "old": ("BOOL", [2], b"ab")}
        for deflate in (False, True):
            file = T.archive([T.Member(n + ".npy", d, deflate) for n, d in arrays.items()] + [T.Member("readme", b"hello")])
            self.assertEqual(self.convert(file, name="in.npz"), want)
        left = json.loads(self.ok("info", "--json", "in.npz").out)["skipped"]
        self.assertEqual(left, {"text": "text", "rows": "structured", "objects": "objects", "wide": "complex128",
                                "narrow": "eight-bit floats that numpy cannot read", "readme": "no array"})
        self.assertEqual(self.convert(arrays["turned"], name="x.npy"), {"x": want["turned"]})

    def test_an_output_larger_than_its_file(self):
        """Sizes are compared with the tensors, but that a deflated file has become larger is said. It is skipped all the same."""
        os.mkdir("in")
        save("in/a.npz", T.archive([T.Member("w.npy", self.npy("'<f4'", (100,), bytes(400)), True)]))
        self.ok("in/a.npz", "out.safetensors")
        before, after = os.path.getsize("in/a.npz"), os.path.getsize("out.safetensors")
        self.assertGreater(after, before)
        said = [w for w in json.loads(load("out.report.json"))["warnings"] if "larger than the input" in w]
        self.assertEqual(len(said), 1)
        self.assertIn("%d bytes, before %d;" % (after, before), said[0])
        for result in ("done", "was done"):
            self.ok("--out-dir", "many", "--skip-existing", "in")
            self.assertEqual(json.loads(load("many/index.json"))["checkpoints"][0]["result"], result)
        save("in/a.npz", T.archive([T.Member("w.npy", self.npy("'<f4'", (100,), pack(*range(100))))]))
        self.ok("--out-dir", "many", "--skip-existing", "-f", "in")
        self.assertEqual(json.loads(load("many/index.json"))["checkpoints"][0]["result"], "done")

    def test_arrays_refused(self):
        good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"
        for head, words in ((good[:-1], "does not end"), (good.replace("(2,)", "(2"), "no tuple"), (good.replace("(2,)", "(-2,)"), "no number"),
                            (good.replace("(2,)", "(99,)"), "fewer bytes"), (good.replace("(2,)", "(%d,)" % 2 ** 70), "too large"),
                            (good.replace("(2,)", "(%d, 4)" % 2 ** 62), "overflow"), (good.replace("<f4", "<f3"), "type that is none"),
                            (good.replace("(2,)", "os.getpid()"), "no tuple"), (good.replace("'shape'", "'shade'"), "unknown"),
                            (good.replace("'<f4'", "[" * 30000), "without end"), (good + "x", "behind its end")):
            with self.subTest(head=head[:60]):
                self.refused(self.npy("", (), bytes(8), head=head), words, name="in.npy")
        self.refused(b"\x93NUMPY\x09\x00\x10\x00" + bytes(40), "a version that is not known", name="in.npy")
        self.refused(b"\x93NUMPY\x01\x00\xff\xff{}", "cut short", name="in.npy")


if __name__ == "__main__":
    harness.main()
