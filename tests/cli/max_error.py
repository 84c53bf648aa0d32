"""--max-error: every tensor within its error, which is used up; what is left alone; what is said; the same bytes always."""
import array
import json
import math
import random
import struct
from pathlib import Path

import harness

R = 0.03


def read(path):
    """{name: (dtype, shape, bytes)} of a dense file."""
    raw = Path(path).read_bytes()
    n, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + n])
    return {name: (t["dtype"], t["shape"], raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in header.items() if name != "__metadata__"}


def numbers(dtype, data):
    if dtype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    return list(struct.unpack(f"<{len(data) // {'F64': 8, 'F32': 4, 'F16': 2}[dtype]}" + {"F64": "d", "F32": "f", "F16": "e"}[dtype],
                              data))


def error(dtype, before, after):
    """Largest difference and relative L2 norm, exactly summed."""
    a, b = numbers(dtype, before), numbers(dtype, after)
    norm = math.fsum(x * x for x in a)
    return (max((abs(x - y) for x, y in zip(a, b)), default=0),
            math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b)) / norm) if norm else 0)


def tensor(seed, dtype, *shape, scale=0.1, tail=1.5):
    dice = random.Random(seed)
    values = [scale * math.copysign(abs(x) ** tail, x) for x in (dice.gauss(0, 1) for _ in range(math.prod(shape)))]
    if dtype == "BF16":
        return dtype, shape, b"".join(struct.pack("<f", x)[2:] for x in values)
    return dtype, shape, struct.pack(f"<{len(values)}" + {"F64": "d", "F32": "f", "F16": "e"}[dtype], *values)


class MaxError(harness.Case):
    @staticmethod
    def few():
        """Of 3,024 weights one in twenty: fewer values than a palette holds, and no palette."""
        dtype, shape, data = tensor(18, "F32", 28, 12, 3, 3)
        dice = random.Random(19)
        return dtype, shape, b"".join(data[4 * i:4 * i + 4] if dice.random() < 0.05 else bytes(4) for i in range(len(data) // 4))

    def zoo(self):
        nan = bytearray(tensor(9, "F32", 8, 8, 3, 3)[2])
        nan[:4] = struct.pack("<f", math.nan)
        self.rounded = {
            "conv.weight": tensor(1, "F32", 16, 12, 3, 3), "point.weight": tensor(2, "F32", 32, 24, 1, 1),
            "volume.weight": tensor(3, "F32", 8, 6, 3, 3, 3), "line.weight": tensor(4, "F32", 8, 9, 5),
            "linear.weight": tensor(5, "F32", 20, 60), "half.weight": tensor(6, "F16", 12, 12, 3, 3),
            "brain.weight": tensor(7, "BF16", 16, 16, 3, 3), "double.weight": tensor(8, "F64", 8, 8, 3, 3),
            "tiny.weight": tensor(10, "F32", 16, 16, 3, 3, scale=1e-41), "huge.weight": tensor(11, "F32", 16, 16, 3, 3, scale=1e36),
            "dead.weight": harness.weights(12, 16, 16, dead=0.3), "few.weight": self.few()}
        levels = harness.binary_weights(13, 32, 16)
        self.kept = {
            "nan.weight": ("F32", (8, 8, 3, 3), bytes(nan)), "bias": tensor(14, "F32", 400), "scale": tensor(15, "F32", 300, 1, 1, 1),
            "levels.weight": levels, "rows.weight": ("F32", (32, 144), levels[2]),
            "palette.weight": ("F32", (32, 32, 3, 3), array.array("f", random.Random(16).choices([0.1, -0.3, 0.5, 2.0], k=9216)).tobytes()),
            "constant.weight": ("F32", (16, 16, 3, 3), array.array("f", [0.25] * 2304).tobytes()),
            "zero.weight": ("F32", (16, 16, 3, 3), bytes(9216)),
            "counts": ("I64", (20, 20), struct.pack("<400q", *range(400))), "mine.weight": tensor(17, "F32", 16, 16, 3, 3)}
        harness.write_checkpoint("in.safetensors", {**self.rounded, **self.kept})

    def check(self, path, before, r=R):
        """The bound holds for all, and is used up by what is rounded and large enough to gain."""
        after, used = read(path), {}
        self.assertEqual(list(after), list(before))
        for name, (dtype, shape, data) in before.items():
            self.assertEqual((after[name][0], after[name][1]), (dtype, list(shape)))
            if name in self.kept:
                self.assertEqual(after[name][2], data, name)
                continue
            used[name] = error(dtype, data, after[name][2])[1] / r
            self.assertLessEqual(used[name], 1, name)
        return used

    def test_pruning_stays_within_it(self):
        """Also where nothing is rounded: few values, two levels, a dtype that is no finer; and whatever the order of axes."""
        palette = array.array("f", random.Random(16).choices([0.1, -0.3, 0.5, 2.0], k=9216)).tobytes()
        tensors = {"palette.weight": ("F32", (32, 32, 3, 3), palette), "levels.weight": harness.binary_weights(13, 32, 16),
                   "brain.weight": tensor(7, "BF16", 16, 16, 3, 3), "conv.weight": tensor(1, "F32", 16, 12, 3, 3)}
        self.kept = {}
        for layout, r in (("oihw", 0.01), ("oihw", 0.2), ("ohwi", 0.05)):
            before = tensors
            if layout == "ohwi":
                before = {name: tensor(i, dtype, *shape) for i, (name, dtype, shape) in enumerate((
                    ("a.weight", "F32", (32, 7, 7, 3)), ("b.weight", "F16", (64, 3, 3, 32)), ("c.weight", "F32", (64, 3, 3, 64))))}
            harness.write_checkpoint("in.safetensors", before)
            for more in (["--amount", "0.4"], ["--amount", "0.3", "--structure", "filter", "--level", "8"],
                         ["--eps", "0.05", "--level", "8"]):
                with self.subTest(layout=layout, r=r, more=more):
                    self.ok("--max-error", str(r), "--layout", layout, *more, "in.safetensors", "out.safetensors", "-f")
                    self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
                    used = self.check("dense.safetensors", before, r)
                    for name, share in used.items():  # in this order of axes, too
                        if layout == "ohwi":
                            self.assertGreaterEqual(share, 0.99, name)
                    warnings = json.loads(Path("out.report.json").read_text())["warnings"]
                    if "--amount" in more:
                        self.assertEqual(sum("is not pruned" in w for w in warnings), len(before), warnings)
                    self.ok("verify", "out.safetensors", "in.safetensors")

    def test_kernels_that_rounding_takes_are_counted(self):
        """A kernel all of whose weights are nearest to zero goes without having been chosen: 1x1 kernels, mostly."""
        before = {"point.weight": tensor(2, "F32", 32, 24, 1, 1), "conv.weight": tensor(3, "F32", 16, 16, 1, 2),
                  "up.weight": tensor(4, "F32", 24, 32, 1, 1)}
        harness.write_checkpoint("in.safetensors", before)
        self.ok("--max-error", "0.3", "--no-prune", "--transposed", "up*", "in.safetensors", "out.safetensors", "-f")
        self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
        after, zeroed, live = read("dense.safetensors"), {}, {}
        report = json.loads(Path("out.report.json").read_text())
        for row in report["layers"]:
            name, (o, i, *taps) = row["name"], row["shape"]
            a, b, k = numbers("F32", before[name][2]), numbers("F32", after[name][2]), math.prod(taps)
            peak = [[max(map(abs, x[j:j + k])) for j in range(0, len(x), k)] for x in (a, b)]
            limit = 0.01 * max(peak[0])
            live[name] = [p >= limit and q > 0 for p, q in zip(*peak)]
            zeroed[name] = sum(p > 0 and q == 0 for p, q in zip(*peak))
            self.assertEqual((row["pruned_kernels"], row["live_after"]), (zeroed[name], sum(live[name])), name)
            rows = [j for j in range(o) if not any(live[name][j * i:(j + 1) * i])]
            columns = [j for j in range(i) if not any(live[name][j::i])]
            dead = (columns, rows) if name == "up.weight" else (rows, columns)
            self.assertEqual((row["dead_filters"], row["dead_channels"]), dead, name)
        self.assertGreater(zeroed["point.weight"], 50)
        self.assertEqual(report["changes"]["kernels_zeroed"], sum(zeroed.values()))
        self.assertTrue(report["verdict"].startswith(f"{sum(zeroed.values())} of "), report["verdict"])
        statement = json.loads(harness.run("info", "--json", "out.safetensors").out)["statement"]
        self.assertEqual(statement["kernels_zeroed"], sum(zeroed.values()))
        difference = json.loads(harness.run("diff", "--json", "in.safetensors", "out.safetensors").out)
        self.assertEqual({t["name"]: t["kernels_zeroed"] for t in difference["tensors"]}, zeroed)

    def test_every_tensor_within_its_error(self):
        self.zoo()
        for level in ("1", "6", "12"):
            self.ok("--max-error", str(R), "--skip", "mine*", "--level", level, "in.safetensors", "out.safetensors", "-f")
            self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
            used = self.check("dense.safetensors", {**self.rounded, **self.kept})
            for name, share in used.items():
                if name != "tiny.weight":  # the steps of denormals are coarse
                    self.assertGreaterEqual(share, 0.97 if "brain" in name else 0.99, name)
            report = json.loads(Path("out.report.json").read_text())
            self.assertEqual(report["options"]["max_error"], R)
            rows = {row["name"]: row for row in report["layers"] + report["tensors"]}
            self.assertEqual({n for n, row in rows.items() if row["stored"]["codec"] == "lattice"}, set(self.rounded))
            dense = read("dense.safetensors")
            for name, (dtype, _, data) in self.rounded.items():
                most, l2 = error(dtype, data, dense[name][2])
                self.assertAlmostEqual(rows[name]["error"]["relative_l2"], l2, delta=1e-9 * l2)
                self.assertEqual(rows[name]["error"]["max_abs"], most)
            self.ok("verify", "out.safetensors", "in.safetensors")
            # What is stated is proved: against another original it is not.
            other = {**self.rounded, **self.kept}
            flipped = bytearray(other["conv.weight"][2])
            flipped[3] ^= 0x80
            other["conv.weight"] = ("F32", (16, 12, 3, 3), bytes(flipped))
            harness.write_checkpoint("other.safetensors", other)
            self.assertEqual(harness.run("verify", "out.safetensors", "other.safetensors").status, 5)

    def test_dense_output_is_on_the_same_points(self):
        self.zoo()
        arguments = ("--max-error", str(R), "--skip", "mine*", "in.safetensors")
        self.ok(*arguments, "packed.safetensors")
        self.ok("unpack", "packed.safetensors", "restored.safetensors")
        self.ok(*arguments, "--dense", "dense.safetensors")
        self.assertEqual(read("dense.safetensors"), read("restored.safetensors"))
        # Where nothing else may change, it says so, too.
        self.ok(*arguments, "--no-prune", "--no-binary", "--dense", "rounded.safetensors")
        self.ok("verify", "rounded.safetensors", "in.safetensors")
        self.assertIn("changed, at most 3", self.ok("verify", "rounded.safetensors").out)

    def test_the_report_decides_nothing(self):
        self.zoo()
        for options in ((), ("--no-prune",), ("--no-binary",), ("--no-prune", "--no-binary"), ("--eps", "0.2", "--cast", "f16")):
            outputs = []
            for report in ("-q", "--no-report"), ("--report", "report.json"):
                self.ok("--max-error", str(R), *options, *report, "in.safetensors", "out.safetensors", "-f")
                outputs.append(Path("out.safetensors").read_bytes())
            self.assertEqual(*outputs, options)

    def test_the_same_bytes_on_any_number_of_threads(self):
        self.zoo()
        for level in ("3", "12"):
            for threads in ("1", "4"):
                self.ok("--max-error", "0.01", "--level", level, "-j", threads, "in.safetensors", threads, "--no-report", "-f")
            self.assertEqual(Path("1").read_bytes(), Path("4").read_bytes())

    def test_pruning_counts_and_yields(self):
        """Kernels of 1 % of the layer's peak go, unless they alone would take the error; zero kernels stay zero."""
        data = harness.weights(21, 32, 32, dead=0.5)
        harness.write_checkpoint("in.safetensors", {"a.weight": data})
        self.kept = {}
        for r in (0.02, 0.002):
            self.ok("--max-error", str(r), "in.safetensors", "out.safetensors", "-f")
            self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
            self.assertGreaterEqual(self.check("dense.safetensors", {"a.weight": data}, r)["a.weight"], 0.99)
            after = numbers("F32", read("dense.safetensors")["a.weight"][2])
            zero = sum(not any(after[i:i + 9]) for i in range(0, len(after), 9))
            row = json.loads(Path("out.report.json").read_text())["layers"][0]
            self.assertGreaterEqual(zero, row["pruned_kernels"])
            self.assertGreater(row["pruned_kernels"], 400)
        # Without 30 % of its kernels a layer of equal kernels misses far more than that.
        plain = harness.weights(22, 32, 32)
        harness.write_checkpoint("in.safetensors", {"a.weight": plain})
        self.ok("--max-error", "0.02", "--amount", "0.3", "in.safetensors", "out.safetensors", "-f")
        said = json.loads(Path("out.report.json").read_text())
        self.assertEqual(said["layers"][0]["pruned_kernels"], 0)
        self.assertTrue(any("a.weight: is not pruned" in warning for warning in said["warnings"]), said["warnings"])
        self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
        self.assertGreaterEqual(self.check("dense.safetensors", {"a.weight": plain}, 0.02)["a.weight"], 0.99)

    def test_a_lattice_stays_one(self):
        """Packed again, by whatever does not change it, it takes no more, and restores the same."""
        self.zoo()
        for level in ("3", "6", "12"):
            self.ok("--max-error", str(R), "--no-prune", "--level", level, "--pool", "never", "in.safetensors", "out.safetensors",
                    "--no-report", "-f")
            self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
            for options in (("--lossless",), ("--lossless", "--pool", "always"), ("--no-prune", "--max-error", "0.1")):
                self.ok(*options, "out.safetensors", "again.safetensors", "--no-report", "-f")
                self.assertLess(Path("again.safetensors").stat().st_size, 1.02 * Path("out.safetensors").stat().st_size)
                self.ok("unpack", "again.safetensors", "back.safetensors", "-f")
                self.assertEqual(read("back.safetensors"), read("dense.safetensors"))
                self.ok("verify", "again.safetensors", "out.safetensors")

    def test_pruning_leaves_a_lattice_as_it_is(self):
        """What is pruned of a file that was rounded makes it smaller: the other kernels keep every bit, and their lattice."""
        names = {"conv.weight": (32, 24, 3, 3), "half.weight": (24, 16, 3, 3), "volume.weight": (12, 10, 3, 3, 3),
                 "point.weight": (32, 64, 1, 1)}
        before = {n: tensor(50 + i, "F16" if n.startswith("half") else "F32", *s) for i, (n, s) in enumerate(names.items())}
        harness.write_checkpoint("in.safetensors", {**before, "conv.bias": tensor(60, "F32", 32)})
        for level in ("3", "6", "12"):
            self.ok("--max-error", str(R), "--no-prune", "--level", level, "in.safetensors", "out.safetensors", "--no-report", "-f")
            self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
            dense, whole = read("dense.safetensors"), Path("out.safetensors").stat().st_size
            zeros = dict.fromkeys(names, 0)
            for options in ((), ("--max-error", "0.6"), ("--structure", "filter")):
                self.ok("--amount", "0.15", "--pointwise", "--no-binary", "--level", level, *options, "out.safetensors", "less.safetensors", "-f")
                rows = {r["name"]: r for r in json.loads(Path("less.report.json").read_text())["layers"]}
                self.ok("unpack", "less.safetensors", "back.safetensors", "-f")
                back = read("back.safetensors")
                for name, shape in names.items():
                    self.assertEqual(rows[name]["stored"]["codec"], "lattice", (level, name))
                    wide = len(dense[name][2]) // (shape[0] * shape[1])
                    zero = 0
                    for at in range(0, len(dense[name][2]), wide):
                        old, new = dense[name][2][at:at + wide], back[name][2][at:at + wide]
                        zero += not any(new)
                        self.assertTrue(new == old or not any(new), (level, name, at))
                    zeros[name] += zero
                self.assertLess(Path("less.safetensors").stat().st_size, whole)
                self.ok("verify", "less.safetensors", "out.safetensors")
            self.assertTrue(all(zeros.values()), zeros)
        # More than the error allows is not pruned.
        self.ok("--amount", "0.3", "--no-binary", "--max-error", "0.01", "out.safetensors", "same.safetensors", "--no-report")
        self.ok("unpack", "same.safetensors", "same.dense.safetensors", "-f")
        self.assertEqual({n: read("same.dense.safetensors")[n] for n in names}, {n: dense[n] for n in names})

    def test_distributions_after_are_those_of_the_output(self):
        """Projected and counted here from the restored file: rounded and cast, in either order of axes."""
        o, i, bins = 40, 24, 70
        values = numbers("F32", tensor(61, "F32", o, i, 3, 3)[2])
        turned = [values[(f * i + c) * 9 + t] for f in range(o) for t in range(9) for c in range(i)]
        for layout, shape, data in (("oihw", (o, i, 3, 3), values), ("ohwi", (o, 3, 3, i), turned)):
            harness.write_checkpoint("in.safetensors", {"a.weight": ("F32", shape, array.array("f", data).tobytes())})
            for options in (["--max-error", "0.3"], ["--cast", "bf16"], ["--cast", "f16", "--max-error", "0.2"]):
                self.ok(*options, "--layout", layout, "in.safetensors", "out.safetensors", "-f")
                self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
                dtype, _, raw = read("dense.safetensors")["a.weight"]
                after = numbers(dtype, raw)
                step, first = (1, lambda f, c: (f * i + c) * 9) if layout == "oihw" else (i, lambda f, c: f * 9 * i + c)
                group = json.loads(Path("out.report.json").read_text())["groups"][0]
                basis, (low, high) = group["basis"], group["range"]
                counts = [[0] * bins for _ in range(9)]
                for kernel in (after[n:n + 9 * step:step] for n in (first(f, c) for f in range(o) for c in range(i))):
                    peak = max(map(abs, kernel)) or 1
                    x = [w / peak - m for w, m in zip(kernel, basis["mean"])]
                    for component, row in zip(basis["components"], counts):
                        c = math.fsum(a * b for a, b in zip(x, component))
                        if low <= c <= high:
                            row[min(int((c - low) * bins / (high - low)), bins - 1)] += 1
                wrong = sum(abs(a - b) for x, y in zip(counts, group["after"]["histogram"]["counts"]) for a, b in zip(x, y))
                self.assertLessEqual(wrong, 4, (layout, options))  # on the edges of bins
                if options[0] == "--max-error":
                    self.assertGreater(sum(abs(a - b) for x, y in zip(counts, group["before"]["histogram"]["counts"])
                                           for a, b in zip(x, y)), 1000)

    def test_small_tensors_are_not_changed_for_nothing(self):
        small = {"a.weight": tensor(31, "F32", 2, 2, 3, 3), "b.weight": tensor(32, "F32", 3, 5)}
        harness.write_checkpoint("in.safetensors", {**small, "c.weight": tensor(33, "F32", 32, 32, 3, 3)})
        self.ok("--max-error", "0.02", "in.safetensors", "out.safetensors")
        self.ok("unpack", "out.safetensors", "dense.safetensors")
        after = read("dense.safetensors")
        for name, (_, _, data) in small.items():
            self.assertEqual(after[name][2], data)

    def test_doubles_whose_squares_have_no_double(self):
        """Pruning is within the error there, too; and diff finds it."""
        before = {f"{name}.weight": tensor(70, "F64", 24, 20, 3, 3, scale=scale, tail=1)
                  for name, scale in (("tiny", 1e-200), ("small", 1e-155), ("large", 1e153), ("huge", 1e200))}
        harness.write_checkpoint("in.safetensors", before)
        self.ok("--amount", "0.2", "in.safetensors", "pruned.safetensors")
        rows = json.loads(harness.run("diff", "--json", "in.safetensors", "pruned.safetensors").out)["tensors"]
        self.assertGreater(rows[0]["relative_l2"], 0.1)
        for row in rows:
            self.assertAlmostEqual(row["relative_l2"], rows[0]["relative_l2"], delta=1e-9, msg=row["name"])
        self.ok("--amount", "0.2", "--max-error", "0.05", "in.safetensors", "out.safetensors")
        self.ok("unpack", "out.safetensors", "dense.safetensors")
        after = read("dense.safetensors")
        for name, (dtype, _, data) in before.items():
            factor = 1 / max(map(abs, numbers(dtype, data)))
            a, b = (array.array("d", (factor * x for x in numbers(dtype, d))).tobytes() for d in (data, after[name][2]))
            self.assertLessEqual(error("F64", a, b)[1], 0.05, name)
        self.ok("verify", "out.safetensors", "in.safetensors")

    def test_no_error_changes_nothing(self):
        before = {"a.weight": harness.weights(21, 32, 32, dead=0.5), "b.weight": harness.binary_weights(13, 32, 16)}
        harness.write_checkpoint("in.safetensors", before)
        for more in ([], ["--amount", "0.3"], ["--dense"]):
            self.ok("--max-error", "0", *more, "in.safetensors", "out.safetensors", "-f")
            self.ok("diff", "in.safetensors", "out.safetensors")
        # Of little, a bound in two places.
        self.ok("--max-error", "0.00005", "in.safetensors", "out.safetensors", "-f")
        self.assertIn("changed, by at most 0.01 % (", json.loads(Path("out.report.json").read_text())["verdict"])
        self.assertIn("changed, at most 0.01 % in", self.ok("verify", "out.safetensors").out)

    def test_half_floats_of_fine_steps(self):
        """Steps near the dtype's own: what is rounded is stored as a lattice, with weights far larger than most, too, which
        the dtype rounds by more than a step."""
        dice = random.Random(71)
        wide = [dice.gauss(0, 0.01) * (300 if dice.random() < 1e-4 else 1) for _ in range(64 * 64 * 9)]
        flat = [m * (40 if dice.random() < 1e-3 else 1) + dice.gauss(0, 0.003) for m in
                (dice.gauss(0, 0.1) for _ in range(64 * 64)) for _ in range(9)]
        half = lambda values: ("F16", (64, 64, 3, 3), struct.pack(f"<{len(values)}e", *values))
        before = {"wide.weight": half(wide), "flat.weight": half(flat), "plain.weight": tensor(72, "F16", 64, 64, 3, 3, tail=1),
                  "brain.weight": tensor(73, "BF16", 64, 64, 3, 3, tail=1)}
        harness.write_checkpoint("in.safetensors", before)
        self.kept = {}
        for r, level in ((0.01, "3"), (0.01, "6"), (0.002, "6"), (0.002, "12")):
            self.ok("--max-error", str(r), "--no-prune", "--level", level, "in.safetensors", "out.safetensors", "-f")
            rows = json.loads(Path("out.report.json").read_text())["layers"]
            self.assertEqual({row["name"]: row["stored"]["codec"] for row in rows}, dict.fromkeys(before, "lattice"), (r, level))
            self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
            for name, used in self.check("dense.safetensors", before, r).items():
                self.assertGreaterEqual(used, 0.97 if "brain" in name else 0.99, name)

    def test_what_weights_are_computed_from_keeps_every_bit(self):
        """An error of v, of g, or of a mask is none of the weights."""
        mask = array.array("f", random.Random(81).choices([0, 1], k=9216)).tobytes()
        before = {"a.weight_g": tensor(82, "F32", 32, 1, 1, 1), "a.weight_v": tensor(83, "F32", 32, 24, 3, 3),
                  "b.weight_orig": tensor(84, "F32", 32, 32, 3, 3), "b.weight_mask": ("F32", (32, 32, 3, 3), mask),
                  "c.weight": tensor(85, "F32", 32, 32, 3, 3),
                  # of matrices, by other axes, and of all weights
                  "d.weight_g": tensor(86, "F32", 64, 1), "d.weight_v": tensor(87, "F32", 64, 40),
                  "e.parametrizations.weight.original0": tensor(88, "F32", 1, 40),
                  "e.parametrizations.weight.original1": tensor(89, "F32", 64, 40),
                  "f.weight_g": tensor(90, "F32"), "f.weight_v": tensor(91, "F32", 64, 40),
                  "g.weight_orig": tensor(92, "F32", 32, 36), "g.weight_mask": ("F32", (32, 36), mask[:4 * 32 * 36]),
                  # no such pairs
                  "h.attention_g": tensor(93, "F32", 64, 64), "h.attention_v": tensor(94, "F32", 64, 64)}
        changed = ["c.weight", "h.attention_g", "h.attention_v"]
        harness.write_checkpoint("in.safetensors", before)
        for more in (["--amount", "0.3"], ["--amount", "0.3", "--global"], ["--eps", "0.3"],
                     ["--amount", "0.3", "--structure", "filter", "--criterion", "l2"]):
            self.ok("--max-error", "0.02", *more, "in.safetensors", "out.safetensors", "-f")
            self.ok("unpack", "out.safetensors", "dense.safetensors", "-f")
            after = read("dense.safetensors")
            self.assertEqual([name for name in before if after[name][2] != before[name][2]], changed)
            for name in changed:
                self.assertLessEqual(error("F32", before[name][2], after[name][2])[1], 0.02)
            warnings = json.loads(Path("out.report.json").read_text())["warnings"]
            self.assertEqual(sum("computed from several tensors" in w for w in warnings), 2, warnings)

    def test_what_packing_does_not_make_smaller_keeps_every_bit(self):
        """Rounded weights in a file that is dense after all would have lost their bits for nothing; the distributions are
        those of the input, too."""
        dense = {"a.weight": tensor(1, "F32", 8, 1, 3, 3)}
        harness.write_checkpoint("tiny.safetensors", dense)
        self.ok("tiny.safetensors", "out.safetensors", "--max-error", str(R), "-q")
        self.assertEqual(read("out.safetensors"), read("tiny.safetensors"))
        self.ok("verify", "out.safetensors", "tiny.safetensors")
        report = json.loads(Path("out.report.json").read_text())
        self.assertTrue(report["verdict"].startswith("Nothing was changed"))
        before, after = (report["groups"][0][which] for which in ("before", "after"))
        self.assertEqual(before["histogram"], after["histogram"])
        self.assertEqual(sum(map(sum, after["histogram"]["counts"])), 9 * 8)

    def test_what_a_command_accepts(self):
        """The largest error that passes is found to a quarter octave; what passes is what the output restores."""
        import shlex
        import sys
        data = tensor(41, "F32", 32, 32, 3, 3)
        harness.write_checkpoint("in.safetensors", {"a.weight": data})
        Path("limit.py").write_text("""
import math, struct, sys
def read(path):
    raw = open(path, "rb").read()
    n, = struct.unpack("<Q", raw[:8])
    return struct.unpack("<9216f", raw[8 + n:])
a, b = read(sys.argv[2]), read(sys.argv[3])
error = math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)) / sum(x * x for x in a))
print("judged", sys.argv[3])
sys.exit(error > float(sys.argv[1]))
""")
        command = f"{shlex.quote(sys.executable)} limit.py 0.05 in.safetensors"
        result = self.ok("--accept", command, "in.safetensors", "out.safetensors")
        self.assertEqual(result.out, "")
        report = json.loads(Path("out.report.json").read_text())
        found = report["options"]["max_error"]
        self.assertTrue(0.05 / 2 ** 0.25 / 1.01 <= found <= 0.05 * 1.01, found)
        tried = report["options"]["accept"]["tried"]
        self.assertEqual(report["options"]["accept"]["command"], command)
        self.assertTrue(any(t["accepted"] and t["max_error"] == found for t in tried))
        self.assertTrue(all(t["max_error"] > found for t in tried if not t["accepted"] and t["eps"] == 0.01))
        self.ok("unpack", "out.safetensors", "dense.safetensors")
        self.ok("verify", "out.safetensors", "in.safetensors")
        self.assertLessEqual(error("F32", data[2], read("dense.safetensors")["a.weight"][2])[1], 0.05)
        self.assertEqual(self.listing(), ["dense.safetensors", "in.safetensors", "limit.py", "out.report.html",
                                          "out.report.json", "out.safetensors"])
        # Nothing passes: nothing is written.
        result = harness.run("--accept", "false", "in.safetensors", "none.safetensors", "-q")
        self.assertEqual(result.status, 4, result)
        self.assertFalse(any("none" in name for name in self.listing()))
        self.fails(4, "--accept", "true", "in.safetensors", "out.safetensors")
        self.fails(2, "--accept", "true", "--max-error", "0.1", "in.safetensors", "x.safetensors")

    def test_sweep_says_what_the_jobs_do(self):
        self.small()
        rows = json.loads(self.ok("inspect", "--sweep", "--json", "--html", "page.html", "in.safetensors").out)["sweep"]
        self.assertEqual([row["eps"] for row in rows["eps"]], sorted(row["eps"] for row in rows["eps"]))
        self.assertIn("What other settings would give", Path("page.html").read_text())
        for row in (rows["eps"][3], rows["max_error"][1], rows["max_error"][3]):
            more = ("--max-error", str(row["max_error"])) if "max_error" in row else ()
            self.ok("--eps", str(row["eps"]), *more, "in.safetensors", "out.safetensors", "-f")
            self.assertEqual(Path("out.safetensors").stat().st_size, row["bytes"])
            changes = json.loads(Path("out.report.json").read_text())["changes"]
            self.assertEqual((changes["kernels_zeroed"], changes["relative_l2"]), (row["kernels_zeroed"], row["relative_l2"]))
        self.assertIn("max-error 0.05", self.ok("inspect", "--sweep", "in.safetensors").out)

    def test_usage(self):
        self.small()
        for value in ("1.5", "-0.1", "nan", "much"):
            self.fails(2, "--max-error", value, "in.safetensors", "out.safetensors")
        self.fails(2, "--max-error", "1", "in.safetensors", "out.safetensors")
        self.fails(2, "--lossless", "--max-error", "0.1", "in.safetensors", "out.safetensors")
        self.assertEqual(self.listing(), ["in.safetensors"])


if __name__ == "__main__":
    harness.main()
