"""What was changed is said first, with the same words and numbers in the terminal, the page and the JSON."""
import array
import html
import json
import math
import random
import re
import struct
from pathlib import Path

import harness


def kernels(data, k=9):
    values = array.array("f", data)
    return [values[i:i + k] for i in range(0, len(values), k)]


def squares(kernel):
    return sum(float(w) * w for w in kernel)


class Changes(harness.Case):
    def said(self, *arguments):
        """The report, and its sentence, which terminal and page say, too."""
        result = self.ok(*arguments, "out.safetensors", "-f", env=harness.environment(COLUMNS="1000"))
        report = json.loads(Path("out.report.json").read_text())
        page = Path("out.report.html").read_text()
        lede = re.search(r'<p class="lede[ a-z]*">(.*?)</p>', page).group(1)
        self.assertEqual(html.unescape(lede), report["verdict"])
        self.assertEqual(result.err.splitlines()[1].strip(), report["verdict"])
        self.assertEqual(list(report)[1], "verdict")
        return report, page, result.err

    def check_sums(self, report):
        """One definition of counts: the totals are those of the layers and of the groups."""
        changes, layers, groups = report["changes"], report["layers"], report["groups"]
        finite = [layer for layer in layers if layer["finite"]]
        for total, row, group in (("kernels", "kernels", "kernels"), ("kernels_zeroed", "pruned_kernels", "zeroed"),
                                  ("live_before", "live_before", "live"),
                                  ("live_after", "live_after", "live_kernels_after")):
            self.assertEqual(changes[total], sum(layer[row] for layer in finite))
            self.assertEqual(changes[total], sum(g[group] for g in groups))
        everything = layers + report["tensors"]
        self.assertEqual(changes["weights_changed"], sum(t["error"]["weights_changed"] for t in everything))
        self.assertEqual(changes["tensors_changed"], sum(t["error"]["weights_changed"] > 0 for t in everything))

    def test_half_of_the_kernels(self):
        a, b = harness.weights(1, 16, 8), harness.weights(2, 8, 16)
        harness.write_checkpoint("in.safetensors", {"a.weight": a, "b.weight": b, "p.weight": harness.weights(3, 4, 4, (1, 1))})
        report, page, terminal = self.said("--amount", "0.5", "in.safetensors")
        error, norm, worst = 0.0, 0.0, []
        for name, (_, _, data) in (("a.weight", a), ("b.weight", b)):
            rows = sorted(kernels(data), key=lambda k: max(map(abs, k)))
            gone, whole = sum(map(squares, rows[:64])), sum(map(squares, rows))
            worst.append((math.sqrt(gone / whole), name))
            error, norm = error + gone, norm + whole
        changes = report["changes"]
        self.assertEqual(changes["kernels"], 128 + 128 + 16)
        self.assertEqual(changes["kernels_zeroed"], 128)
        self.assertEqual(changes["weights_changed"], 128 * 9)
        self.assertEqual(changes["tensors_changed"], 2)
        self.assertEqual(changes["worst"]["name"], max(worst)[1])
        self.assertAlmostEqual(changes["worst"]["relative_l2"], max(worst)[0], places=12)
        self.assertAlmostEqual(changes["relative_l2"], math.sqrt(error / norm), places=12)
        self.assertEqual(changes["live_after"], changes["live_before"] - 128)
        self.check_sums(report)
        self.assertIn("128 of 272 kernels (1x1 counted, too) became zero", report["verdict"])
        self.assertIn(f"{100 * max(worst)[0]:.1f} % ({max(worst)[1]}", report["verdict"])
        self.assertIn("test it before it is used", report["verdict"])
        self.assertTrue('class="lede test"' in page)
        self.assertFalse("None" in page[:page.index("</header>")])
        self.assertTrue(any("more than 10 %" in w for w in report["warnings"]))
        self.assertIn("  warning  ", terminal)

    def test_two_levels_count_as_changes(self):
        dtype, shape, data = harness.binary_weights(3, 8, 8)
        values = array.array("f", data)
        for i in range(0, len(values), 3):
            values[i] *= 1.003
        harness.write_checkpoint("in.safetensors", {"w.weight": (dtype, shape, values.tobytes())})
        report, _, _ = self.said("in.safetensors")
        self.ok("unpack", "out.safetensors", "dense.safetensors")
        raw = Path("dense.safetensors").read_bytes()
        restored = array.array("f", raw[8 + struct.unpack("<Q", raw[:8])[0]:])
        self.assertEqual(report["changes"]["weights_changed"], sum(a != b for a, b in zip(values, restored)))
        error = math.sqrt(sum((float(a) - b) ** 2 for a, b in zip(values, restored)) / sum(float(a) ** 2 for a in values))
        self.assertAlmostEqual(report["changes"]["relative_l2"], error, places=12)
        self.check_sums(report)

    def test_a_layer_that_becomes_zero_is_named(self):
        harness.write_checkpoint("in.safetensors", {"a.weight": harness.weights(1, 8, 8), "b.weight": harness.weights(2, 4, 4)})
        report, _, _ = self.said("--amount", "1", "--only", "b.weight", "in.safetensors")
        self.assertEqual(report["changes"]["wholly_zero"], ["b.weight"])
        self.assertIn("wholly zero now: b.weight", report["verdict"])
        self.assertTrue(any(w.startswith("b.weight: ") and "wholly zero" in w for w in report["warnings"]))

    def test_nothing_changed(self):
        harness.write_checkpoint("in.safetensors", {"a.weight": harness.weights(1, 32, 32)})
        report, page, _ = self.said("--lossless", "in.safetensors")
        self.assertTrue(report["verdict"].startswith("Nothing was changed"), report["verdict"])
        self.assertIsNone(report["changes"]["worst"])
        self.assertTrue("None" in page)
        self.check_sums(report)

    def test_zeros_that_lose_their_sign_are_a_change(self):
        """What a mask leaves: -0 in half of the places. Its kernels, zero before, become +0: diff tells the bits apart."""
        dtype, shape, data = harness.weights(1, 8, 8)
        values = array.array("f", data)
        for i in range(9 * 20):
            values[i] = -0.0 if i % 2 else 0.0
        harness.write_checkpoint("in.safetensors", {"a.weight": (dtype, shape, values.tobytes())})
        report, _, _ = self.said("in.safetensors")
        changes = report["changes"]
        self.assertEqual((changes["kernels_zeroed"], changes["weights_changed"], changes["tensors_changed"]), (0, 90, 1))
        self.assertTrue(report["verdict"].startswith("None of 64 kernels became zero; in 1 of 1 tensor zeros lost their sign"),
                        report["verdict"])
        self.assertEqual((changes["relative_l2"], changes["live_before"], changes["live_after"]), (0, 44, 44))
        self.check_sums(report)
        result = harness.run("diff", "--json", "in.safetensors", "out.safetensors")
        self.assertEqual((result.status, json.loads(result.out)["changed"]), (5, 1))
        statement = json.loads(harness.run("info", "--json", "out.safetensors").out)["statement"]
        self.assertEqual(statement["kernels_zeroed"], 0)
        self.assertIn("zeros lost their sign", statement["verdict"])
        self.assertNotIn("became zero", statement["verdict"])
        self.ok("verify", "out.safetensors", "in.safetensors")

    def test_what_was_dropped_is_said_in_the_smallest_file(self):
        values = struct.pack("<4f", 1, 2, 3, 4)
        harness.write_checkpoint("in.safetensors", {"v": ("F32", (4,), values), "w": ("F32", (1,), values[:4])})
        report, _, terminal = self.said("--drop", "w", "in.safetensors")
        self.assertEqual(self.ok("verify", "out.safetensors", "in.safetensors").status, 0)
        self.assertGreater(report["output"]["bytes"], report["input"]["bytes"])
        self.assertIn("is larger than the input", terminal.replace("\n  ", " "))
        self.ok("unpack", "out.safetensors", "back.safetensors")
        self.assertNotIn(b'"w"', Path("back.safetensors").read_bytes())

    def test_a_cast_is_counted(self):
        values = struct.pack("<4f", 1e-9, 7e4, 1.0, 0.0)
        harness.write_checkpoint("in.safetensors", {"v": ("F32", (4,), values), "b.weight": harness.weights(2, 16, 16)})
        report, _, _ = self.said("--cast", "f16", "in.safetensors")
        self.assertEqual(report["changes"]["cast"], {"tensors": 2, "to_inf": 1, "to_zero": 1})
        other = report["tensors"][0]["error"]
        self.assertEqual((other["weights_changed"], other["to_inf"], other["to_zero"]), (2, 1, 1))
        self.assertIn("1 value became infinite, 1 value became zero", report["verdict"])

    def test_kernels_that_a_cast_makes_zero_are_counted(self):
        """Weights of 2e-8 are live beside others of 1e-6, and zero as F16: in every order of axes, and where weights are
        computed."""
        o, i, k = 16, 12, 9
        dice = random.Random(3)
        gone = {(f, c) for f in range(o) for c in range(i) if f == 5 or dice.random() < 0.2}
        value = {(f, c, t): dice.choice((-1, 1)) * (2e-8 if (f, c) in gone else 1e-6) for f in range(o) for c in range(i)
                 for t in range(k)}

        def floats(places):
            return array.array("f", (value[place] for place in places)).tobytes()
        oihw = floats((f, c, t) for f in range(o) for c in range(i) for t in range(k))
        ohwi = floats((f, c, t) for f in range(o) for t in range(k) for c in range(i))
        hwio = floats((f, c, t) for t in range(k) for c in range(i) for f in range(o))
        ones = array.array("f", [1] * (o * i * k)).tobytes()
        for layout, tensors in (
                ("oihw", {"a.weight": ("F32", (o, i, 3, 3), oihw)}), ("ohwi", {"a.weight": ("F32", (o, 3, 3, i), ohwi)}),
                ("hwio", {"a.weight": ("F32", (3, 3, i, o), hwio)}),
                ("oihw", {"a.weight_orig": ("F32", (o, i, 3, 3), oihw), "a.weight_mask": ("F32", (o, i, 3, 3), ones)})):
            for dense in ([], ["--dense"]):
                with self.subTest(layout=layout, tensors=list(tensors), dense=dense):
                    harness.write_checkpoint("in.safetensors", tensors)
                    report, _, _ = self.said("-f", "--no-prune", "--no-binary", "--layout", layout, "--cast", "f16", *dense, "in.safetensors")
                    row = report["layers"][0]
                    self.assertEqual((row["live_before"], row["live_after"], row["pruned_kernels"]), (o * i, o * i - len(gone), len(gone)))
                    self.assertEqual(row["dead_filters"], [5])
                    self.assertEqual(report["changes"]["kernels_zeroed"], len(gone))

    def test_nan_is_warned_of_once(self):
        dtype, shape, data = harness.weights(2, 16, 16)
        harness.write_checkpoint("in.safetensors", {"n.weight": (dtype, shape, struct.pack("<f", math.nan) + data[4:])})
        report, _, terminal = self.said("in.safetensors")
        self.assertEqual(sum("NaN" in w for w in report["warnings"]), 1)
        self.assertEqual(terminal.count("NaN"), 1)

    def test_inspection_and_no_convolutions(self):
        harness.write_checkpoint("in.safetensors", {"fc.weight": ("F32", (4, 2), bytes(32))})
        for arguments in (["inspect", "in.safetensors"], ["in.safetensors", "o.safetensors"]):
            result = self.ok(*arguments)
            self.assertIn("holds no convolution layer", (result.out + result.err).replace("\n  ", " "))
        self.small()
        result = self.ok("inspect", "in.safetensors").out
        self.assertIn("Nothing was changed", result.replace("\n  ", " "))

    def test_a_file_says_what_was_done_to_it(self):
        self.small()
        for arguments, last in ((["--amount", "0.5"], "changed, at most"), (["--lossless"], "lossless: every bit"),
                                (["--dense", "--amount", "0.5"], "changed, at most")):
            with self.subTest(arguments=arguments):
                self.ok("-q", "-f", *arguments, "in.safetensors", "out.safetensors")
                report = json.loads(Path("out.report.json").read_text())
                said = json.loads(self.ok("info", "--json", "out.safetensors").out)["statement"]
                self.assertIn(last, said["verdict"])
                self.assertEqual(said["input"], {"name": "in.safetensors", "bytes": report["input"]["bytes"],
                                                 "xxh3_128": report["input"]["xxh3_128"]})
                self.assertEqual(said["kernels_zeroed"], report["changes"]["kernels_zeroed"])
                self.assertEqual(said["tensors_changed"], report["changes"]["tensors_changed"])
                self.assertEqual(said["options"].get("amount"), report["options"]["amount"])
                for command in (["info"], ["verify"]):
                    text = self.ok(*command, "out.safetensors").out
                    self.assertIn(last, re.sub(r"\s+", " ", text))
                self.assertIn("unpack out.safetensors", self.ok("info", "out.safetensors").out.replace("\n  ", " ")
                              if "--dense" not in arguments else "unpack out.safetensors")

    def test_an_old_statement_is_forgotten_with_the_data(self):
        """A dense output that is pruned again, where packing gains nothing, keeps its header: not what that said of other data."""
        harness.write_checkpoint("in.safetensors", {"a.weight": harness.weights(1, 4, 3)}, metadata={"by": "somebody"})
        self.ok("in.safetensors", "one.safetensors", "--dense", "--amount", "0.3", "-q")
        self.assertIn("Made of in.safetensors", self.ok("info", "one.safetensors").out)
        self.ok("one.safetensors", "two.safetensors", "--amount", "0.9", "-q")
        self.assertEqual(Path("one.safetensors").stat().st_size, Path("two.safetensors").stat().st_size)
        told = self.ok("info", "two.safetensors").out
        self.assertNotIn("Made of", told)
        self.assertIn("by: somebody", told)
        self.ok("verify", "two.safetensors")
        self.ok("verify", "two.safetensors", "one.safetensors")
        self.ok("one.safetensors", "same.safetensors", "--no-prune", "--no-binary", "-q")
        self.assertEqual(Path("one.safetensors").read_bytes(), Path("same.safetensors").read_bytes())

    def test_a_wrong_original_is_one_line(self):
        self.small()
        self.ok("-q", "in.safetensors", "out.safetensors")
        harness.write_checkpoint("other.safetensors", {f"{i}.weight": harness.weights(i, 8, 8) for i in range(20)})
        for arguments, words in ((["out.safetensors", "other.safetensors"], "was not made from other.safetensors"),
                                 (["other.safetensors", "out.safetensors"], "wrong way round")):
            result = harness.run("verify", *arguments)
            self.assertEqual(result.status, 5)
            self.assertEqual(len(result.err.splitlines()), 1, result)
            self.assertIn(words, result.err)

    def test_diff(self):
        a, b = harness.weights(1, 16, 8), harness.weights(2, 8, 16)
        harness.write_checkpoint("a.safetensors", {"module.a.weight": a, "module.b.weight": b, "gone": b})
        zeroed = a[2][:0] + bytes(36 * 5) + a[2][36 * 5:]
        harness.write_checkpoint("b.safetensors", {"new": b, "b.weight": b, "a.weight": (a[0], a[1], zeroed)})
        self.assertEqual(harness.run("diff", "a.safetensors", "a.safetensors").status, 0)
        self.assertEqual(harness.run("diff", "-q", "a.safetensors", "b.safetensors").status, 5)
        result = harness.run("diff", "--json", "--strip", "module.", "a.safetensors", "b.safetensors")
        self.assertEqual(result.status, 5, result)
        found = json.loads(result.out)
        self.assertEqual((found["equal"], found["changed"], found["only_a"], found["only_b"]), (1, 1, 1, 1))
        row = found["tensors"][0]
        rows = kernels(a[2])
        self.assertEqual((row["name"], row["status"], row["kernels"], row["kernels_zeroed"]),
                         ("module.a.weight", "changed", 128, 5))
        self.assertAlmostEqual(row["relative_l2"], math.sqrt(sum(map(squares, rows[:5])) / sum(map(squares, rows))), places=12)
        self.assertEqual(row["max_abs"], max(max(map(abs, k)) for k in rows[:5]))


if __name__ == "__main__":
    harness.main()
