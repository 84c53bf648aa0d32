"""What a tensor is decides what happens to it: weight norm, masks, buffers, depthwise and transposed layers, orders of axes,
and patterns that name nothing."""
import array
import json
import math
import random
import struct
from pathlib import Path

import harness


WIDE = harness.environment(COLUMNS="300")


def values(tensor):
    return array.array("f", tensor[2])


def tensor(shape, numbers):
    return "F32", tuple(shape), array.array("f", numbers).tobytes()


def kernels(tensor, k=9):
    """Of an OIHW tensor: lists of k weights, filter by filter."""
    v = values(tensor)
    return [list(v[i:i + k]) for i in range(0, len(v), k)]


def peak(kernel):
    return max(map(abs, kernel))


def rows(tensor):
    v, n = values(tensor), math.prod(tensor[1][1:])
    return [list(v[i:i + n]) for i in range(0, len(v), n)]


def load(path):
    data = Path(path).read_bytes()
    n, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {k: (h["dtype"], tuple(h["shape"]), data[8 + n + h["data_offsets"][0]:8 + n + h["data_offsets"][1]])
            for k, h in header.items()}


class Roles(harness.Case):
    def job(self, tensors, *options, status=0):
        """The tensors and the report after the main job; `verify` against the input says that all is stated."""
        harness.write_checkpoint("in.safetensors", tensors)
        result = self.ok("-f", *options, "in.safetensors", "out.safetensors", env=WIDE)
        self.ok("unpack", "-f", "out.safetensors", "back.safetensors")
        self.ok("verify", "out.safetensors", "in.safetensors")
        report = json.loads(Path("out.report.json").read_text())
        return load("back.safetensors"), report, result.err

    def inspect(self, tensors, *options):
        harness.write_checkpoint("in.safetensors", tensors)
        return json.loads(self.ok("inspect", "--json", *options, "in.safetensors").out)

    def layer(self, report, name):
        return next(l for l in report["layers"] if l["name"] == name)

    # ---- weight normalization

    def normed(self, tensors, v, g):
        """w = g v / |v| by rows, as lists of kernels of nine."""
        lengths = values(tensors[g])
        w = []
        for length, row in zip(lengths, rows(tensors[v])):
            norm = math.sqrt(sum(x * x for x in row))
            w += [length * x / norm for x in row]
        return [w[i:i + 9] for i in range(0, len(w), 9)]

    def test_weight_norm(self):
        v = harness.weights(1, 16, 8)
        scaled = rows(v)
        scaled[3] = [1e-4 * x for x in scaled[3]]
        for j in range(2):  # two kernels of filter 5 are sparse in w
            scaled[5][9 * j:9 * j + 9] = [1e-4 * x for x in scaled[5][9 * j:9 * j + 9]]
        scaled[7] = [0.0] * 72
        scaled[7][0] = 1e-30
        v = tensor((16, 8, 3, 3), [x for row in scaled for x in row])
        dice = random.Random(2)
        lengths = [0.5 + dice.random() for _ in range(16)]
        lengths[9] = 1e-6  # a dead filter whose v is like any other
        g = tensor((16, 1, 1, 1), lengths)
        for gname, vname in (("c.weight_g", "c.weight_v"),
                             ("c.parametrizations.weight.original0", "c.parametrizations.weight.original1")):
            before = {gname: g, vname: v, "c.bias": tensor((16,), range(16))}
            w = self.normed(before, vname, gname)
            top = max(map(peak, w))
            for options, gone in (((), None), (("--dense",), None), (("--amount", "0.5"), 64),
                                  (("--structure", "filter", "--criterion", "l2", "--amount", "0.25"), 32)):
                with self.subTest(vname, options=options):
                    after, report, _ = self.job(before, *options)
                    row = self.layer(report, vname)
                    self.assertEqual(row["computed"], "weight_norm")
                    self.assertEqual(row["sparse"], sum(peak(k) < 0.01 * top for k in w))
                    now = self.normed(after, vname, gname)
                    zero = [peak(k) == 0 for k in now]
                    for a, b, z in zip(w, now, zero):
                        if not z:
                            self.assertLess(max(abs(x - y) for x, y in zip(a, b)), 0.002 * peak(a))
                    if gone is None:
                        self.assertEqual(zero, [peak(k) < 0.01 * top for k in w])
                    else:
                        self.assertGreaterEqual(sum(zero), gone)
                    for a, b in zip(rows(before[vname]), rows(after[vname])):
                        self.assertGreater(peak(b), 0)  # no whole row of v
                    self.assertEqual(values(after[gname])[9], 0.0)
                    self.assertEqual(after["c.bias"], before["c.bias"])

    def test_weight_norm_along_other_axes_is_left_alone(self):
        before = {"c.weight_g": tensor((1, 1, 5), [1] * 5), "c.weight_v": harness.weights(3, 16, 8, (5,), dead=0.5)}
        after, report, _ = self.job(before, "--amount", "0.5")
        self.assertEqual(after, before)
        self.assertEqual([l["name"] for l in report["lookalikes"]], ["c.weight_v"])

    # ---- masks

    def masked(self):
        before = {}
        for name, channels in (("0", 8), ("2", 16)):
            w = harness.weights(channels, 16, channels)
            norms = sorted((sum(x * x for x in row), i) for i, row in enumerate(rows(w)))
            low = {i for _, i in norms[:4]}
            mask = [float(i not in low) for i in range(16) for _ in range(channels * 9)]
            before.update({name + ".weight_orig": w, name + ".weight_mask": tensor((16, channels, 3, 3), mask),
                           name + ".bias": tensor((16,), range(16))})
        return before

    def test_masks(self):
        before = self.masked()
        for options, live in (((), (96, 192)), (("--amount", "0.5"), (64, 128)), (("--dense", "--amount", "0.5"), (64, 128)),
                              (("--amount", "0.6", "--criterion", "l1"), (51, 102))):
            with self.subTest(options=options):
                after, report, _ = self.job(before, *options)
                self.assertEqual([l["name"] for l in report["layers"]], ["0.weight_orig", "2.weight_orig"])
                for name, count in zip("02", live):
                    orig, mask = kernels(after[name + ".weight_orig"]), kernels(after[name + ".weight_mask"])
                    self.assertEqual(sum(peak([x * y for x, y in zip(a, b)]) > 0 for a, b in zip(orig, mask)), count)
                    if not options:
                        self.assertEqual(after[name + ".weight_mask"], before[name + ".weight_mask"])
                        self.assertEqual(after[name + ".weight_orig"], before[name + ".weight_orig"])
                    # Kernels that were live and went are cleared in both; the others keep every bit.
                    for was, w, m, m0 in zip(kernels(before[name + ".weight_orig"]), orig, mask,
                                             kernels(before[name + ".weight_mask"])):
                        self.assertIn((w, m), ((was, m0), ([0.0] * 9, [0.0] * 9)))

    # ---- buffers

    def test_buffers_stay_bit_for_bit(self):
        moments = harness.weights(7, 16, 4, dead=0.3)
        before = {"model.0.conv.weight": harness.weights(1, 16, 3, (6, 6)), "model.1.conv.weight": harness.weights(2, 32, 16),
                  "model.24.anchors": tensor((3, 3, 2), [1.25, 1.625, 2, 3.75, 4.125, 2.875, 1.875, 3.8125, 3.875, 2.8125,
                                                         3.6875, 7.4375, 3.625, 2.8125, 4.875, 6.1875, 11.65625, 10.1875]),
                  "relative_coords_table": tensor((1, 15, 15, 2), [x / 100 for x in range(450)]),
                  "synthesis.const": harness.weights(3, 1, 32, (4, 4)), "blur.kernel": harness.weights(4, 16, 1),
                  "optimizer.exp_avg.0.weight": moments, "state.0.exp_avg_sq": moments, "1.momentum_buffer": moments}
        kept = [name for name in before if "conv" not in name]
        for options in ((), ("--amount", "0.33"), ("--only", "*", "--amount", "0.5"),
                        ("--structure", "filter", "--criterion", "l1", "--amount", "0.34", "--pointwise")):
            with self.subTest(options=options):
                after, report, terminal = self.job(before, *options)
                for name in kept:
                    self.assertEqual(after[name], before[name], name)
                self.assertEqual([l["name"] for l in report["layers"]], ["model.0.conv.weight", "model.1.conv.weight"])
                self.assertEqual(report["options"]["layout"], "oihw")
                listed = {l["name"] for l in report["lookalikes"]}
                self.assertLessEqual({"model.24.anchors", "state.0.exp_avg_sq", "synthesis.const"}, listed)
                self.assertIn("model.24.anchors [3x3x2] looks like a convolution", terminal)
                self.assertIn("model.24.anchors", Path("out.report.html").read_text().replace("<wbr>", ""))
        # A pattern that names nothing else takes it in.
        after, report, _ = self.job(before, "--only", "*anchors", "--amount", "0.34")
        self.assertIn("model.24.anchors", [l["name"] for l in report["layers"]])
        self.assertNotEqual(after["model.24.anchors"], before["model.24.anchors"])

    def test_a_table_does_not_turn_the_file(self):
        report = self.inspect({"relative_coords_table": tensor((1, 15, 15, 2), range(450)), "l.weight": ("F32", (4, 4), bytes(64))})
        self.assertEqual((report["options"]["layout"], report["layers"]), ("oihw", []))

    # ---- depthwise, transposed, wholly zero

    def test_depthwise(self):
        torch = {"0.weight": harness.weights(1, 32, 3), "1.weight": harness.weights(2, 32, 1), "3.weight": harness.weights(3, 64, 1)}
        for structure in ("channel", "filter"):
            after, report, _ = self.job(torch, "--structure", structure, "--criterion", "l1", "--amount", "0.6")
            for name, kept in (("1.weight", 13), ("3.weight", 26)):
                lowest = sorted(range(len(kernels(torch[name]))), key=lambda i: sum(map(abs, kernels(torch[name])[i])))
                alive = [i for i, k in enumerate(kernels(after[name])) if peak(k) > 0]
                self.assertEqual(alive, sorted(lowest[-kept:]))
                self.assertEqual(self.layer(report, name)["kind"], "depthwise")
        keras = {"Conv1/kernel": ("F32", (3, 3, 3, 32), torch["0.weight"][2]),
                 "dw/depthwise_kernel": ("F32", (3, 3, 32, 1), torch["1.weight"][2])}
        for structure in ("channel", "filter"):
            after, report, _ = self.job(keras, "--structure", structure, "--criterion", "l1", "--amount", "0.6")
            v = values(after["dw/depthwise_kernel"])
            dead = [c for c in range(32) if not any(v[c::32])]
            self.assertEqual(len(dead), 19)
            self.assertEqual(self.layer(report, "dw/depthwise_kernel")["dead_filters"], dead)
        after, report, terminal = self.job(torch, "--structure", "channel", "--criterion", "l1", "--amount", "1", "--only", "1*")
        self.assertEqual(sum(peak(k) > 0 for k in kernels(after["1.weight"])), 1)
        self.assertIn("1.weight: the strongest unit stays", terminal)

    def test_a_layer_that_becomes_zero_is_named(self):
        _, report, terminal = self.job({"a.weight": harness.weights(1, 16, 8), "b.weight": harness.weights(2, 4, 16)}, "--amount", "1")
        for name in ("a.weight", "b.weight"):
            self.assertTrue(any(name in w and "wholly zero" in w for w in report["warnings"]), report["warnings"])
            self.assertIn(f"{name}: had weights and is wholly zero now", terminal)

    def test_transposed(self):
        u = rows(harness.weights(1, 8, 4))
        u[5] = [0.0] * 36
        for row in u:
            row[9:18] = [0.0] * 9
        up = tensor((8, 4, 3, 3), [x for row in u for x in row])
        for name, bias, options, known in (("up", 4, (), "bias"), ("x", 4, (), "bias"), ("up", 0, (), "name"),
                                           ("x", 0, ("--transposed", "x.*"), "option")):
            before = {name + ".weight": up, "out.weight": harness.weights(3, 2, 4)}
            if bias:
                before[name + ".bias"] = tensor((bias,), range(bias))
            row = self.layer(self.inspect(before, *options), name + ".weight")
            self.assertEqual((row["kind"], row["known_by"], row["dead_filters"], row["dead_channels"]),
                             ("transposed", known, [1], [5]))
        after, report, _ = self.job(before, "--transposed", "x.*", "--structure", "filter", "--criterion", "l1", "--amount", "0.5")
        gone = [c for c in range(4) if not any(any(row[9 * c:9 * c + 9]) for row in rows(after["x.weight"]))]
        sums = sorted(range(4), key=lambda c: sum(abs(x) for row in u for x in row[9 * c:9 * c + 9]))
        self.assertEqual(gone, sorted(sums[:2]))
        self.assertEqual(self.layer(report, "x.weight")["dead_filters"], gone)

    # ---- the order OHWI

    def turned(self, t):
        """[o, i, h, w] as [o, h, w, i]."""
        o, i, h, w = t[1]
        v = values(t)
        return tensor((o, h, w, i), [v[((a * i + b) * h + y) * w + x] for a in range(o) for y in range(h) for x in range(w)
                                     for b in range(i)])

    def test_ohwi(self):
        oihw = {"conv1.weight": harness.weights(1, 16, 3, (7, 7)), "l1.weight": harness.weights(2, 16, 16, dead=0.3),
                "p.weight": harness.weights(3, 16, 96, (1, 1))}
        ohwi = {name: self.turned(t) for name, t in oihw.items()}
        fields = ("kernels", "sparse", "sparsity", "orthogonality", "variance_entropy", "dead_filters", "dead_channels", "kernel_shape")
        expected = self.inspect(oihw)
        for options in ((), ("--layout", "ohwi")):
            report = self.inspect(ohwi, *options)
            self.assertEqual(bool(options), not any("OHWI" in w for w in report["warnings"]))
            for a, b in zip(expected["layers"], report["layers"]):
                self.assertEqual([a[f] for f in fields], [b[f] for f in fields])
                self.assertEqual(b["layout"], "ohwi")
        for options in ((), ("--amount", "0.4"), ("--structure", "filter", "--criterion", "l2", "--amount", "0.3", "--pointwise"),
                        ("--global", "--amount", "0.4", "--dense")):
            a, _, _ = self.job(oihw, *options)
            b, _, _ = self.job(ohwi, *options)
            self.assertEqual({name: self.turned(t) for name, t in a.items()}, b)

    def test_a_close_vote_is_told(self):
        report = self.inspect({"a.weight": harness.weights(1, 16, 16), "b.weight": ("F32", (3, 3, 16, 16), harness.weights(2, 16, 16)[2])})
        self.assertTrue(any("--layout" in w for w in report["warnings"]))

    # ---- casts

    def test_a_cast_beyond_the_range_is_told(self):
        before = {"conv.weight": harness.weights(1, 8, 4), "bn.running_var": tensor((256,), [1e-9, 7e4, 1, 2] * 64),
                  "bn.weight": tensor((256,), [1e5, 1, 1, 1] * 64)}
        harness.write_checkpoint("in.safetensors", before)
        for dense in ((), ("--dense",)):
            terminal = self.ok("-f", "--cast", "f16", *dense, "in.safetensors", "out.safetensors", env=WIDE).err
            self.ok("verify", "out.safetensors", "in.safetensors")
            report = json.loads(Path("out.report.json").read_text())
            for line in ("bn.running_var: of 256 values the cast to F16 made 64 infinite and 64 zero",
                         "bn.weight: of 256 values the cast to F16 made 64 infinite"):
                self.assertIn(line, report["warnings"])
                self.assertIn(line, terminal)
            errors = {t["name"]: t["error"] for t in report["tensors"]}
            self.assertEqual((errors["bn.running_var"]["to_inf"], errors["bn.running_var"]["to_zero"]), (64, 64))
            self.assertIsNone(errors["bn.weight"]["max_abs"])

    # ---- what an output states, verify knows

    def test_dense_outputs_verify(self):
        conv, fc = {"c.weight": harness.weights(1, 5, 4, (7,))}, {"fc.weight": harness.weights(2, 8, 8, (1,))}
        fc = {"fc.weight": ("F32", (8, 8), fc["fc.weight"][2])}
        both = {**conv, **fc, "extra.bias": tensor((4,), range(4))}
        for before, options in ((conv, ("--amount", "0.5")), (fc, ("--cast", "f16")), (both, ("--dense", "--drop", "extra*")),
                                (both, ("--dense", "--amount", "0.5", "--cast", "bf16"))):
            with self.subTest(options=options):
                harness.write_checkpoint("in.safetensors", before)
                self.ok("-f", *options, "in.safetensors", "out.safetensors")
                self.assertLessEqual(Path("out.safetensors").stat().st_size,
                                     Path("in.safetensors").stat().st_size + (1500 if "--dense" in options else 0))
                self.ok("verify", "out.safetensors", "in.safetensors")
                data = bytearray(Path("out.safetensors").read_bytes())
                data[-1] ^= 0x40  # a weight changed otherwise
                Path("out.safetensors").write_bytes(data)
                self.assertEqual(harness.run("verify", "out.safetensors", "in.safetensors").status, 5)

    # ---- patterns

    def test_patterns_that_name_nothing(self):
        harness.write_checkpoint("in.safetensors", {"conv1.weight": harness.weights(1, 8, 3), "conv2.weight": harness.weights(2, 8, 8)})
        for options, pattern in ((("--amount", "0.5", "--only", "conv9*"), "conv9*"), (("--skip", "covn1*"), "covn1*"),
                                 (("--only", "conv1*", "--only", "none"), "none"), (("--drop", "fc.*"), "fc.*"),
                                 (("--transposed", "up*"), "up*")):
            line = self.fails(2, *options, "in.safetensors", "out.safetensors")
            self.assertIn(f"'{pattern}' names no tensor", line)
            self.assertIn("conv1.weight", line)
            self.assertEqual(self.listing(), ["in.safetensors"])


if __name__ == "__main__":
    harness.main()
