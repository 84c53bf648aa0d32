"""Report files and JSON on standard output."""
import json
import os
import pathlib

import harness


class Reports(harness.Case):
    def test_main_job(self):
        self.small()
        self.ok("in.safetensors", "out.safetensors")
        report = json.load(open("out.report.json"))
        self.assertEqual(report["schema"], "filterprune-report-1")
        self.assertEqual(report["input"]["path"], "in.safetensors")
        self.assertEqual(report["input"]["bytes"], os.path.getsize("in.safetensors"))
        self.assertEqual(report["input"]["tensors"], 4)
        self.assertEqual(report["input"]["layers"], 3)
        self.assertEqual(report["output"]["bytes"], os.path.getsize("out.safetensors"))
        self.assertEqual(report["output"]["format"], "packed")
        names = [layer["name"] for layer in report["layers"]]
        self.assertEqual(names, ["conv1.weight", "conv2.weight", "conv3.weight"])
        self.assertEqual(report["layers"][2]["binary"]["scope"], "filter")
        self.assertTrue(report["layers"][2]["binary"]["symmetric"])
        self.assertEqual([tensor["name"] for tensor in report["tensors"]], ["fc.bias"])
        self.assertEqual(report["groups"][0]["kernel_shape"], [3, 3])
        self.assertEqual(report["groups"][0]["kernels"], 8 * 3 + 16 * 8 + 32 * 16)
        page = open("out.report.html").read()
        self.assertTrue(page.lower().startswith("<!doctype html>"))
        self.assertIn("conv2.weight", page)

    def test_what_nobody_reads_changes_no_byte(self):
        """With -q and --no-report layers are not measured where nothing is decided by it."""
        self.small()
        for options in ([], ["--lossless"], ["--lossless", "--level", "12"], ["--no-prune", "--no-binary", "--cast", "bf16"],
                        ["--max-error", "0.01"], ["--amount", "0.3", "--global"], ["--target-size", "0.5"], ["--dense"]):
            self.ok("in.safetensors", "read.safetensors", "-f", *options)
            self.ok("in.safetensors", "unread.safetensors", "-q", "-f", "--no-report", *options)
            with open("read.safetensors", "rb") as read, open("unread.safetensors", "rb") as unread:
                self.assertEqual(read.read(), unread.read(), options)
        # and damage is found all the same
        self.ok("in.safetensors", "packed.safetensors", "-q", "--no-report")
        with open("packed.safetensors", "r+b") as file:
            file.seek(-20, os.SEEK_END)
            last = file.read(1)
            file.seek(-20, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        self.fails(3, "packed.safetensors", "no.safetensors", "--lossless", "-q", "--no-report")
        self.assertFalse(os.path.exists("no.safetensors"))

    def again(self, page, output):
        """Runs the command that a page tells, to another output."""
        import html
        import re
        import shlex
        with open(page) as file:
            words = shlex.split(html.unescape(re.search("<pre>(filterprune .*?)</pre>", file.read()).group(1)))
        self.ok(*words[1:-1], output, "--no-report", "-f")

    def test_the_command_of_a_page_makes_the_same_output(self):
        import torch_files
        self.small()
        values = [torch_files.floats(name, (24, 16, 3, 3), start)[0] for name, start in (("0", 1), ("1", 3))]
        with open("in.pth", "wb") as file:
            file.write(torch_files.zipped({"model": {"a.weight": values[0]}, "it's mine": {"a.weight": values[1]}}))
        for source, options in (
                ("in.safetensors", ["--lossless"]), ("in.safetensors", ["--no-prune"]), ("in.safetensors", ["--target-size", "0.7"]),
                ("in.safetensors", ["--no-binary", "--amount", "0.2", "--structure", "filter", "--criterion", "l2"]),
                ("in.safetensors", ["--max-error", "0.05", "--pool", "never", "--drop", "fc.b*"]),
                ("in.safetensors", ["--accept", "true"]), ("in.safetensors", ["--skip", "conv2*", "--dense", "--eps", "0.05"]),
                ("in.pth", []), ("in.pth", ["--key", "it's mine"])):
            self.ok(*options, source, "out.safetensors", "-f")
            self.again("out.report.html", "again.safetensors")
            with open("out.safetensors", "rb") as one, open("again.safetensors", "rb") as other:
                self.assertEqual(one.read(), other.read(), options)
        self.assertEqual(json.loads(pathlib.Path("out.report.json").read_text())["options"]["key"], "it's mine")

    def test_live_by_the_signed_maximum(self):
        import array
        one = array.array("f", [-1] * 9 + [0.5] + [-2] * 8 + [0.004] * 9 + [0.005] * 9 + [-0.001] * 8 + [0.0049])
        harness.write_checkpoint("s.safetensors", {"conv.weight": ("F32", (5, 1, 3, 3), one.tobytes()),
                                                   "none.weight": ("F32", (1, 2, 3, 3), array.array("f", [-1] * 18).tobytes()),
                                                   "mixed.weight": harness.weights(1, 16, 8)})
        report = json.loads(self.ok("inspect", "--json", "s.safetensors").out)
        # Of the first layer: no positive weight; 0.5; 0.004 and 0.0049 below a hundredth of 0.5; and exactly that, in
        # float32, which is a little less.
        limit = 0.01 * 0.5
        peaks = [max(one[i:i + 9]) for i in range(0, 45, 9)]
        self.assertEqual(report["layers"][0]["live_signed"], sum(p >= limit for p in peaks))
        self.assertEqual(report["layers"][0]["sparse"], 3)
        self.assertEqual(report["layers"][1]["live_signed"], 0)
        values = array.array("f", harness.weights(1, 16, 8)[2])
        peaks = [max(values[i:i + 9]) for i in range(0, len(values), 9)]
        self.assertEqual(report["layers"][2]["live_signed"], sum(p >= 0.01 * max(peaks) for p in peaks))
        self.assertEqual(report["groups"][0]["live_signed"], sum(l["live_signed"] for l in report["layers"]))

    def test_kernels_on_the_page(self):
        """The largest kernel, a typical one, and the largest of those that go, as they are."""
        import array
        import random
        import re
        dice = random.Random(3)
        values = array.array("f", (dice.uniform(0.9, 1) * dice.choice((-1, 1)) for _ in range(32 * 32 * 9)))
        signs = [1, -1, -1, 1, 1, -1, -1, 1, -1]
        values[9 * 517:9 * 518] = array.array("f", [3 * s for s in signs])      # the largest
        for kernel in range(40, 60):                                            # sparse: below a hundredth of 3
            values[9 * kernel:9 * kernel + 9] = array.array("f", [1e-3 * dice.uniform(-1, 1) for _ in range(9)])
        values[9 * 47:9 * 48] = array.array("f", [-0.02 * s for s in signs])    # the largest of them
        harness.write_checkpoint("in.safetensors", {"a.weight": ("F32", (32, 32, 3, 3), values.tobytes()),
                                                    "b.weight": harness.weights(1, 4, 4, kernel=(1, 1))})
        self.ok("in.safetensors", "out.safetensors", "-q")
        self.ok("inspect", "-q", "--html", "inspect.html", "in.safetensors")

        def first(svg):
            """Shades of the cells of the first kernel, row by row."""
            shades = {}
            for shade, path in re.findall(r'<path class="d(\d+)" d="([^"]*)"', svg):
                x = y = 0
                for letter, numbers in re.findall(r"([MmhvHVz])([-\d., ]*)", path):
                    n = [int(v) for v in re.findall(r"-?\d+", numbers)]
                    if letter == "M":
                        x, y = n
                    elif letter == "m":
                        x, y = x + n[0], y + n[1]
                    elif letter == "h" and n[0] > 0:
                        shades.update({(x + i, y): int(shade) for i in range(n[0])})
            return [shades[x, y] for y in range(3) for x in range(3)]

        for name, gone in (("out.report.html", "Pruned"), ("inspect.html", "Sparse")):
            page = pathlib.Path(name).read_text()
            strips = {}
            for title, svg in re.findall(r'<svg role="img" class="strip"[^>]*><title>(\w+) kernels</title>(.*?)</svg>', page):
                strips[title] = svg
            self.assertEqual(set(strips), {"Largest", "Typical", gone})
            self.assertEqual(first(strips["Largest"]), [14 if s > 0 else 0 for s in signs])
            self.assertEqual(first(strips[gone]), [0 if s > 0 else 14 for s in signs])
            self.assertTrue(all(s < 3 or s > 11 for s in first(strips["Typical"])))

    def test_table_of_layers(self):
        """The table, the JSON and the terminal have the same figures."""
        import csv
        self.small()
        self.ok("inspect", "--csv", "layers.csv", "-q", "in.safetensors")
        with open("layers.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        report = json.loads(self.ok("inspect", "--json", "in.safetensors").out)
        self.assertEqual([row["layer"] for row in rows], [layer["name"] for layer in report["layers"]])
        figures = list(rows[0])[list(rows[0]).index("sparsity"):list(rows[0]).index("relative_l2")]
        self.assertIn("orthogonality", figures)
        for row, layer in zip(rows, report["layers"]):
            self.assertEqual(row["shape"], "x".join(map(str, layer["shape"])))
            self.assertEqual((int(row["live_before"]), int(row["kernels"])), (layer["live_before"], layer["kernels"]))
            for figure in figures:
                self.assertEqual(float(row[figure]) if row[figure] else None, layer[figure], figure)
        self.fails(4, "inspect", "--csv", "layers.csv", "in.safetensors")
        self.fails(2, "inspect", "--csv", "x", "--html", "x", "in.safetensors")

    def test_a_thousandth_weight_is_dead(self):
        # half of the kernels of conv2 were made a thousand times smaller; exactly they are pruned
        import array
        import struct
        dtype, shape, data = harness.weights(2, 16, 8, dead=0.5)
        values = array.array("f", data)
        peaks = [max(abs(v) for v in values[i:i + 9]) for i in range(0, len(values), 9)]
        dead = sum(p < 0.01 * max(peaks) for p in peaks)
        self.assertTrue(40 < dead < 90)
        self.small()
        self.ok("in.safetensors", "out.safetensors", "-q")
        layer = json.load(open("out.report.json"))["layers"][1]
        self.assertEqual((layer["sparse"], layer["pruned_kernels"]), (dead, dead))
        self.ok("unpack", "out.safetensors", "dense.safetensors")
        restored = open("dense.safetensors", "rb").read()
        begin = 8 + struct.unpack("<Q", restored[:8])[0]
        offsets = json.loads(restored[8:begin])["conv2.weight"]["data_offsets"]
        expected = array.array("f", values)
        for kernel, peak in enumerate(peaks):
            if peak < 0.01 * max(peaks):
                for i in range(9):
                    expected[9 * kernel + i] = 0.0
        self.assertEqual(restored[begin + offsets[0]:begin + offsets[1]], expected.tobytes())

    def test_where_it_goes(self):
        self.small()
        os.mkdir("sub")
        self.ok("in.safetensors", "a.safetensors", "--no-report", "-q")
        self.ok("in.safetensors", "b.safetensors", "--report", "sub/name", "-q")
        self.ok("in.safetensors", "c.bin", "-q")
        self.assertEqual(self.listing(), ["a.safetensors", "b.safetensors", "c.bin", "c.bin.report.html",
                                          "c.bin.report.json", "in.safetensors", "sub", "sub/name.report.html",
                                          "sub/name.report.json"])

    def test_dry_run_writes_only_a_report_that_was_asked_for(self):
        self.small()
        self.assertIn("size", self.ok("--dry-run", "in.safetensors").err)
        self.ok("--dry-run", "in.safetensors", "out.safetensors")
        self.assertEqual(self.listing(), ["in.safetensors"])
        self.ok("--dry-run", "in.safetensors", "--report", "r", "-q")
        self.assertEqual(self.listing(), ["in.safetensors", "r.report.html", "r.report.json"])
        dry = json.load(open("r.report.json"))
        self.ok("in.safetensors", "out.safetensors", "-q")
        self.assertEqual(dry["output"]["bytes"], os.path.getsize("out.safetensors"))

    def test_lossless_restores_the_bytes(self):
        for model in (harness.SPARSE_MODEL, harness.PLAIN_MODEL):
            with self.subTest(model=model.name):
                self.ok("--lossless", model, "packed.safetensors", "-fq")
                self.ok("unpack", "packed.safetensors", "dense.safetensors", "-fq")
                self.assertEqual(open("dense.safetensors", "rb").read(), model.read_bytes())
                self.assertLess(os.path.getsize("packed.safetensors"), model.stat().st_size)

    def test_json_of_each_command(self):
        self.small()
        self.ok("in.safetensors", "out.safetensors", "-q")
        inspected = json.loads(self.ok("inspect", "--json", "in.safetensors").out)
        self.assertEqual(inspected["schema"], "filterprune-report-1")
        self.assertIsNone(inspected["output"])
        compared = json.loads(self.ok("compare", "--json", "in.safetensors", "out.safetensors").out)
        self.assertEqual(compared["schema"], "filterprune-compare-1")
        self.assertEqual(len(compared["divergence"]), 2)
        verified = json.loads(self.ok("verify", "--json", "out.safetensors", "in.safetensors").out)
        self.assertEqual((verified["schema"], verified["ok"]), ("filterprune-verify-1", True))
        self.assertEqual(len(verified["tensors"]), 4)
        info = json.loads(self.ok("info", "--json", "out.safetensors").out)
        self.assertEqual(info["schema"], "filterprune-info-1")
        names = [tensor["name"] for tensor in info["tensors"]]
        self.assertEqual(names, ["conv1.weight", "conv2.weight", "conv3.weight", "fc.bias"])

    def test_pages(self):
        self.small()
        self.ok("inspect", "--html", "one.html", "in.safetensors", "-q")
        self.ok("compare", "--html", "two.html", "in.safetensors", harness.SPARSE_MODEL, "-q")
        for name in ("one.html", "two.html"):
            self.assertTrue(open(name).read().lower().startswith("<!doctype html>"), name)

    def test_threads_change_nothing(self):
        outputs = []
        for threads in ("1", "2", "5"):
            self.ok("-j", threads, "-qf", harness.SPARSE_MODEL, "out.safetensors")
            report = json.load(open("out.report.json"))
            del report["timing"]
            for volatile in ("threads",):
                report["options"].pop(volatile, None)
            outputs.append((open("out.safetensors", "rb").read(), report))
        self.assertEqual(outputs[0], outputs[1])
        self.assertEqual(outputs[0], outputs[2])

    def test_target_size(self):
        model = harness.PLAIN_MODEL
        half = model.stat().st_size // 2
        self.ok("--target-size", "0.5", model, "out.safetensors", "-q")
        self.assertLessEqual(os.path.getsize("out.safetensors"), half)
        self.ok("--target-size", f"{half / 1000}kB", model, "same.safetensors", "-q")
        self.assertEqual(open("same.safetensors", "rb").read(), open("out.safetensors", "rb").read())

    def test_info_names_the_metadata(self):
        self.small(metadata={"format": "pt", "note": "x" * 500})
        text = self.ok("info", "in.safetensors").out
        self.assertIn("format: pt\n", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertIn("x" * 500, self.ok("info", "-v", "in.safetensors").out)


if __name__ == "__main__":
    harness.main()
