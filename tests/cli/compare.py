"""compare: what chance alone shows, the order of rows, the table of pairs."""
import csv
import json
import random
import struct
from pathlib import Path

import harness


class Compare(harness.Case):
    def setUp(self):
        super().setUp()
        # Two samples of one distribution, one of another, one very small one.
        harness.write_checkpoint("b.safetensors", {"c.weight": harness.weights(1, 64, 32)})
        harness.write_checkpoint("a.safetensors", {"c.weight": harness.weights(2, 64, 32)})
        harness.write_checkpoint("signs.safetensors", {"c.weight": harness.binary_weights(3, 64, 32)})
        harness.write_checkpoint("few.safetensors", {"c.weight": harness.weights(4, 12, 5)})
        self.names = ["b.safetensors", "signs.safetensors", "a.safetensors", "few.safetensors"]

    def compare(self, *more):
        return json.loads(self.ok("compare", "--json", *self.names, *more).out)

    def test_noise(self):
        c = self.compare()
        for which in ("median", "q95"):
            matrix = c["noise"][which]
            for i in range(4):
                self.assertEqual(matrix[i][i], 0)
                for j in range(4):
                    self.assertEqual(matrix[i][j], matrix[j][i])
                    self.assertLessEqual(c["noise"]["median"][i][j], c["noise"]["q95"][i][j])
        resolved = [[c["divergence"][i][j] > c["noise"]["q95"][i][j] for j in range(4)] for i in range(4)]
        # The true shift of b, a and few is 0.
        self.assertEqual(resolved, [[False, True, False, False], [True, False, True, True],
                                    [False, True, False, False], [False, True, False, False]])
        self.assertEqual([m["nearest"] for m in c["models"]][0], 2)
        for threads in ("1", "2", "5"):
            self.assertEqual(self.compare("-j", threads), c)
        # The floor of a pair has nothing to do with where the models stand.
        self.names.reverse()
        back = self.compare()
        for i in range(4):
            for j in range(4):
                self.assertAlmostEqual(back["noise"]["q95"][3 - i][3 - j], c["noise"]["q95"][i][j], delta=1e-9)

    def test_draws_from_a_network_are_not_resolved(self):
        """25 draws of each size from the kernels of a trained network, against all of them: one distribution."""
        raw = harness.SPARSE_MODEL.read_bytes()
        begin = 8 + struct.unpack("<Q", raw[:8])[0]
        kernels = []
        for name, tensor in json.loads(raw[8:begin]).items():
            if name != "__metadata__" and tensor["shape"][2:] == [3, 3]:
                first, last = (begin + at for at in tensor["data_offsets"])
                kernels += [raw[at:at + 36] for at in range(first, last, 36)]
        write = lambda name, some: harness.write_checkpoint(name, {"c.weight": ("F32", (len(some), 1, 3, 3), b"".join(some))})
        write("all.safetensors", kernels)
        dice, draws = random.Random(1), []
        for n in (10, 50, 500, 5000):
            for i in range(25):
                draws.append(f"n{n}.{i}.safetensors")
                write(draws[-1], dice.sample(kernels, n))
        c = json.loads(self.ok("compare", "--json", "all.safetensors", *draws).out)
        unresolved = sum(c["divergence"][0][i] <= c["noise"]["q95"][0][i] for i in range(1, 101))
        self.assertGreaterEqual(unresolved, 90)
        # Another network is resolved, trained on the same digits though it is.
        c = json.loads(self.ok("compare", "--json", "all.safetensors", harness.PLAIN_MODEL).out)
        self.assertGreater(c["divergence"][0][1], 5 * c["noise"]["q95"][0][1])

    def test_order(self):
        order = lambda *more: [self.names[i][:-12] for i in self.compare(*more)["order"]]
        self.assertEqual(order("--order", "given"), ["b", "signs", "a", "few"])
        self.assertEqual(order("--order", "name"), ["a", "b", "few", "signs"])
        mean = self.compare("--order", "mean")
        shifts = [mean["models"][i]["mean_shift"] for i in mean["order"]]
        self.assertEqual(shifts, sorted(shifts, reverse=True))
        alike = order()
        self.assertEqual(abs(alike.index("a") - alike.index("b")), 1)
        self.assertIn(alike.index("signs"), (0, 3))
        self.fails(2, "compare", *self.names, "--order", "colour")

    def test_papers(self):
        plain = self.compare()
        self.assertIsNone(plain["paper"])
        self.assertEqual(plain["weights"], plain["basis"]["explained_variance_ratio"])
        half = self.compare("--float16")
        first = self.compare("--paper", "cvpr22")
        self.assertEqual(first["paper"], "cvpr22")
        first["paper"] = None
        self.assertEqual(first, half)
        second = self.compare("--paper", "med22")
        self.assertEqual((second["range"], second["weights"], second["order"]), ([-3, 3], [1 / 9] * 9, [0, 1, 2, 3]))
        self.assertEqual(second["basis"], plain["basis"])
        self.assertEqual(len(second["warnings"]), 1)
        by_hand = self.compare("--weights", "uniform", "--range=-3:3", "--order", "given")
        self.assertEqual(by_hand["divergence"], second["divergence"])
        # The mean over components, in the bins of the fixed range.
        for i in range(4):
            for j in range(4):
                self.assertAlmostEqual(second["divergence"][i][j], sum(second["per_component"][i][j]) / 9, delta=1e-12)
        # What lies outside of a range is not counted.
        narrow = self.compare("--range", "0:0.25")
        for model, all_of in zip(narrow["models"], plain["models"]):
            self.assertLess(sum(model["histogram"]["counts"][0]), all_of["kernels"])
        for wrong in ("1", "1:", ":1", "2:1", "1:1", "a:b", "0:inf"):
            self.fails(2, "compare", *self.names, "--range", wrong)
        for denied in (["--half"], ["--float16"], ["--weights", "uniform"], ["--range", "0:1"], ["--bins", "9"],
                       ["--order", "name"]):
            self.fails(2, "compare", *self.names, "--paper", "med22", *denied)

    def test_captions_say_how_it_was_counted(self):
        words = {(): ("weighted by explained variance", "linearly from 0."), ("--weights", "uniform"): ("the mean over",),
                 ("--paper", "med22"): ("the mean over the components", "from 0 to 0.5, the last one also beyond")}
        for more, wanted in words.items():
            self.ok("compare", "-q", "-f", "--html", "p.html", *more, self.names[0], self.names[2], harness.PLAIN_MODEL)
            page = Path("p.html").read_text()
            for text in wanted:
                self.assertIn(text, page)

    def test_terminal(self):
        out = self.ok("compare", *self.names).out
        self.assertIn("closest pairs", out)
        self.assertIn("not resolved: no farther than chance (3 of 6)", out)
        # What is not resolved is never called far.
        far = out[out.index("farthest pairs"):]
        self.assertNotIn("a - few", far)
        self.assertIn("signs", far)

    def test_page_and_table(self):
        self.ok("compare", "-q", "--html", "p.html", "--csv", "p.csv", *self.names)
        page = Path("p.html").read_text()
        # Twice three pairs in the heat map; the key and the style name the class as well.
        self.assertEqual(page.count('<rect class="unsure"'), 6)
        rows = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
        c = self.compare()
        self.assertEqual(len(rows), 6)
        for row in rows:
            i, j = self.names.index(row["a"]), self.names.index(row["b"])
            self.assertEqual(float(row["shift"]), c["divergence"][i][j])
            self.assertEqual(float(row["noise_q95"]), c["noise"]["q95"][i][j])
            self.assertEqual(float(row["pc9"]), c["per_component"][i][j][8])
            self.assertEqual(row["resolved"] == "1", "signs.safetensors" in (row["a"], row["b"]))
        self.fails(4, "compare", "-q", "--csv", "p.csv", *self.names)
        self.fails(4, "compare", "-q", "-f", "--csv", "a.safetensors", *self.names)
        self.fails(2, "compare", "-q", "-f", "--csv", "p.html", "--html", "p.html", *self.names)


harness.main()
