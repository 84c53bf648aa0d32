"""Many inputs in one call."""
import html
import json
import os
import re

import harness


class Batch(harness.Case):
    def test_one_bad_file_does_not_stop_the_rest(self):
        self.small("a.safetensors")
        open("bad.safetensors", "wb").write(b"nonsense")
        self.small("z & <b>.safetensors")
        result = harness.run("--out-dir", "out", "a.safetensors", "bad.safetensors", "z & <b>.safetensors")
        self.assertEqual(result.status, 3, result)
        self.assertEqual(result.out, "")
        lines = result.err.splitlines()
        self.assertEqual([line for line in lines if line.startswith("filterprune: ")],
                         [line for line in lines if line.startswith("filterprune: bad.safetensors: ")])
        self.assertRegex(result.err, r"(?m)^a\.safetensors +done +[\d.]+ kB")
        self.assertRegex(result.err, r"(?m)^bad\.safetensors +invalid$")
        self.assertEqual(sorted(os.listdir("out")),
                         ["a.report.html", "a.report.json", "a.safetensors", "index.csv", "index.html", "index.json", "z & <b>.report.html",
                          "z & <b>.report.json", "z & <b>.safetensors"])
        page = open("out/index.html").read()
        self.assertIn("2 of 3 done", page)
        links = re.findall(r'href="([^"]+)"', page)
        self.assertEqual(links, ["./a.report.html", "./z%20%26%20%3Cb%3E.report.html"])
        self.assertIn("z &amp; &lt;b&gt;.safetensors", page)
        self.assertNotIn("<b>", page)
        self.ok("verify", "-q", "out/a.safetensors", "a.safetensors")

    def test_status_is_that_of_the_worst(self):
        self.small("a.safetensors")
        open("bad.safetensors", "wb").write(b"nonsense")
        names = ("a.safetensors", "bad.safetensors", "none.safetensors")
        self.assertEqual(harness.run("--out-dir", "one", *names).status, 1)
        self.ok("--out-dir", "two", "a.safetensors", "-q")
        os.remove("two/index.html")
        self.assertEqual(harness.run("--out-dir", "two", "a.safetensors").status, 4)
        self.ok("--out-dir", "two", "a.safetensors", "-fq")

    def test_an_existing_index_page_needs_force(self):
        self.small("a.safetensors")
        self.small("b.safetensors")
        self.ok("--out-dir", "out", "a.safetensors", "-q")
        before = self.listing()
        self.assertIn("out/index.html: exists", self.fails(4, "--out-dir", "out", "b.safetensors"))
        self.assertEqual(self.listing(), before)
        self.ok("--out-dir", "out", "b.safetensors", "--no-report", "-q")

    def test_two_inputs_of_one_name(self):
        os.mkdir("one")
        os.mkdir("two")
        self.small("one/a.safetensors")
        self.small("two/a.safetensors")
        self.ok("--out-dir", "out", "./one/a.safetensors", "one/../two/a.safetensors")
        self.assertTrue({"out/one/a.safetensors", "out/two/a.safetensors", "out/one/a.report.json",
                         "out/two/a.report.html"} <= set(self.listing()))
        page = open("out/index.html").read()
        for folder in ("one", "two"):
            self.assertTrue(f'href="./{folder}/a.report.html"' in page)
        before = self.listing()
        line = self.fails(2, "--out-dir", "o", "one/a.safetensors", "./one/a.safetensors")
        self.assertIn("would both become o/a.safetensors", line)
        self.assertEqual(self.listing(), before)

    def test_folders_lists_and_what_is_done(self):
        os.makedirs("in/deep/er")
        self.small("in/a.safetensors")
        self.small("in/deep/er/b.safetensors")
        self.ok("--out-dir", "out", "in")
        self.assertTrue({"out/a.safetensors", "out/deep/er/b.safetensors"} <= set(self.listing()))
        index = json.load(open("out/index.json"))["checkpoints"]
        self.assertEqual([row["result"] for row in index], ["done", "done"])
        report = json.load(open("out/a.report.json"))
        for name in ("kernels", "kernels_zeroed", "live_before", "live_after"):
            self.assertEqual(index[0][name], report["changes"][name])
        self.assertEqual(len(open("out/index.csv").read().splitlines()), 3)
        # Of two done ones, one input is another now.
        harness.write_checkpoint("in/a.safetensors", {"w.weight": harness.weights(9, 32, 32)})
        open("list", "w").write("in/a.safetensors\nin/deep/er/b.safetensors\n")
        self.ok("--out-dir", "out", "--files-from", "list", "--skip-existing", "-f")
        index = json.load(open("out/index.json"))["checkpoints"]
        self.assertEqual([row["result"] for row in index], ["done", "was done"])

    def test_a_warning_may_be_a_failure(self):
        self.small("a.safetensors")
        self.ok("--out-dir", "one", "--amount", "0.5", "a.safetensors")
        result = harness.run("--out-dir", "two", "--strict", "--amount", "0.5", "a.safetensors")
        self.assertEqual(result.status, 1, result)

    def test_into_the_inputs_own_directory(self):
        self.small("a.safetensors")
        data = open("a.safetensors", "rb").read()
        self.assertEqual(harness.run("--out-dir", ".", "-f", "a.safetensors").status, 4)
        self.assertEqual(open("a.safetensors", "rb").read(), data)

    def test_a_file_where_the_directory_should_be(self):
        self.small("a.safetensors")
        open("out", "w").write("x")
        self.fails(4, "--out-dir", "out", "a.safetensors")
        self.fails(1, "--out-dir", "no/where", "a.safetensors")

    def test_a_sharded_checkpoint(self):
        self.small("a.safetensors")
        harness.write_checkpoint("model-1.safetensors", {"conv1.weight": harness.weights(1, 8, 3, dead=0.3)})
        harness.write_checkpoint("model-2.safetensors", {"conv2.weight": harness.weights(2, 8, 8, dead=0.3)})
        json.dump({"metadata": {"total_size": 4 * 9 * (24 + 64)},
                   "weight_map": {"conv1.weight": "model-1.safetensors", "conv2.weight": "model-2.safetensors"}},
                  open("model.safetensors.index.json", "w"))
        self.ok("model.safetensors.index.json", "alone", "-q")
        self.assertIn("model.report.html", os.listdir("alone"))
        self.ok("--out-dir", "out", "a.safetensors", "model.safetensors.index.json", "-q")
        page = open("out/index.html").read()
        links = [html.unescape(link) for link in re.findall(r'href="([^"]+)"', page)]
        self.assertEqual(links, ["./a.report.html", "./model/model.report.html"])
        for link in links:
            self.assertTrue(os.path.isfile(os.path.join("out", link)), link)
        self.assertIn("model-1.safetensors", os.listdir("out/model"))

    def shards(self, index, **tensors):
        os.makedirs(os.path.dirname(index), exist_ok=True)
        files = {}
        for shard, seed in tensors.items():
            files[f"w{seed}.weight"] = shard.replace("__", "/") + ".safetensors"
            os.makedirs(os.path.dirname(os.path.join(os.path.dirname(index), files[f"w{seed}.weight"])), exist_ok=True)
            harness.write_checkpoint(os.path.join(os.path.dirname(index), files[f"w{seed}.weight"]),
                                     {f"w{seed}.weight": harness.weights(seed, 16, 16, dead=0.3)})
        json.dump({"metadata": {}, "weight_map": files}, open(index, "w"))

    def test_shards_are_the_same_bytes_by_a_layout_that_is_found_and_one_that_is_told(self):
        self.shards("in/m.safetensors.index.json", **{"m-0": 1, "m-1": 2})
        for out, options in (("found", []), ("told", ["--layout", "oihw"])):
            self.ok(*options, "in/m.safetensors.index.json", out, "-q", "--no-report")
            self.ok("verify", os.path.join(out, "m.safetensors.index.json"), "in/m.safetensors.index.json", "-q")
        for name in sorted(os.listdir("found")):
            with open(os.path.join("found", name), "rb") as one, open(os.path.join("told", name), "rb") as other:
                self.assertEqual(one.read(), other.read(), name)

    def test_shards_of_any_name_in_a_folder(self):
        """An index says which files are its own: all of these, and none besides."""
        self.shards("in/m.safetensors.index.json", **{"m-0": 1, "parts__m-1": 2})
        self.shards("in/deep/x.safetensors.index.json", a=3, b=4)
        self.small("in/other-00001-of-00002.safetensors")
        self.small("in/deep/m-0.safetensors")
        self.ok("--out-dir", "out", "in")
        rows = json.load(open("out/index.json"))["checkpoints"]
        self.assertEqual([row["input"] for row in rows], ["in/deep/m-0.safetensors", "in/deep/x.safetensors.index.json",
                                                          "in/m.safetensors.index.json", "in/other-00001-of-00002.safetensors"])
        # An index that cannot be read fails alone: its shards are not tried one by one.
        self.shards("bad/m.safetensors.index.json", **{"m-00001-of-00002": 1, "m-00002-of-00002": 2})
        os.remove("bad/m-00002-of-00002.safetensors")
        result = harness.run("--out-dir", "none", "bad")
        self.assertNotEqual(result.status, 0)
        rows = json.load(open("none/index.json"))["checkpoints"]
        self.assertEqual([row["input"] for row in rows], ["bad/m.safetensors.index.json"])


if __name__ == "__main__":
    harness.main()
