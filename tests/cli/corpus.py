"""profile and corpus: the same bytes however the work is cut; against numpy."""
import csv
import json
import os
import shutil
import struct
import sys
from pathlib import Path

import harness

try:
    import numpy
except ImportError:
    numpy = None

TASKS = {"unet": ("seg", "medical"), "vdsr": ("sr", "natural"), "resnet": ("cls", "natural"), "vgg": ("cls", "natural"),
         "dead": ("seg", "medical"), "wide": ("sr", "")}


def field(number, value):
    """A field of a protobuf message: a number, or bytes."""
    varint = lambda v: bytes([v & 127 | 128]) + varint(v >> 7) if v > 127 else bytes([v])
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def write_onnx(path, nodes, weights):
    """A graph of nodes (op, inputs, output) from x to y, its initializers in the given order."""
    graph = b"".join(field(1, b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, op))
                     for op, inputs, output in nodes) + field(2, "g")
    for name, (_, shape, data) in weights.items():
        graph += field(5, b"".join(field(1, n) for n in shape) + field(2, 1) + field(8, name) + field(9, data))
    value = lambda name: field(1, name) + field(2, field(1, field(1, 1)))
    graph += field(11, value("x")) + field(12, value("y"))
    Path(path).write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17)))


def kernels_of(path):
    """Scaled 3x3 kernels of each layer, in double."""
    raw = Path(path).read_bytes()
    begin = 8 + struct.unpack("<Q", raw[:8])[0]
    layers = {}
    for name, tensor in json.loads(raw[8:begin]).items():
        if name == "__metadata__" or tensor["shape"][2:] != [3, 3]:
            continue
        first, last = tensor["data_offsets"]
        rows = numpy.frombuffer(raw[begin + first:begin + last], "<f4").reshape(-1, 9).astype(float)
        peak = numpy.abs(rows).max(1, keepdims=True)
        layers[name] = rows / numpy.where(peak == 0, 1, peak)
    return layers


class Corpus(harness.Case):
    def setUp(self):
        super().setUp()
        for seed, name in enumerate(TASKS):
            layers = {f"c{i}.weight": harness.weights(10 * seed + i, 4 + 5 * i + seed, 3 + 4 * i,
                                                      dead=0.4 if name == "dead" else 0) for i in range(1 + seed % 4)}
            layers["signs.weight"] = harness.binary_weights(seed, 8, 3 + seed)
            layers["big.weight"] = harness.weights(seed, 4, 4, kernel=(5, 5))
            harness.write_checkpoint(f"{name}.safetensors", layers)
        with open("models.csv", "w") as table:
            table.write("file,task,domain\n" + "".join(f"{n},{t},{d}\n" for n, (t, d) in TASKS.items()))
        with open("layers.csv", "w") as table:
            table.write("file,tensor,conv_depth_norm\n")
            for name in TASKS:
                for i in range(4):
                    table.write(f"{name},c{i}.weight,{i / 3}\n")
        self.inputs = [f"{n}.safetensors" for n in TASKS]

    def corpus(self, out, inputs, *more, ok=True):
        arguments = ("corpus", "-q", "--table", "models.csv", "--layers", "layers.csv", "--by", "task", "--by", "domain",
                     "--by", "depth:10", "--out", out, *more, *inputs)
        if ok:
            self.ok(*arguments)
            return Path(out, "corpus.json").read_bytes()
        return harness.run(*arguments)

    def test_same_bytes(self):
        first = self.corpus("a", self.inputs)
        self.assertEqual(self.corpus("b", self.inputs[::-1], "-j1"), first)
        self.assertEqual(self.corpus("c", self.inputs, "-j5"), first)
        # Kept profiles: none, some, all of them; those of an older checkpoint are made anew.
        self.assertEqual(self.corpus("a", self.inputs, "-f"), first)
        shutil.rmtree("b/profiles")
        self.assertEqual(self.corpus("b", self.inputs, "-f"), first)
        os.remove("c/profiles/vgg.fpp")
        Path("c/basis.json").unlink()
        self.assertEqual(self.corpus("c", self.inputs, "-f"), first)
        os.utime("c/profiles/vdsr.fpp", (1, 1))
        self.assertEqual(self.corpus("c", self.inputs, "-f"), first)
        self.assertEqual(self.corpus("a", self.inputs, "-f"), first)
        # A result that stands there is in the way, and damage in a kept profile is mended.
        self.assertEqual(self.corpus("a", self.inputs, ok=False).status, 4)
        Path("a/profiles/unet.fpp").write_bytes(b"FPP1 nonsense")
        self.assertEqual(self.corpus("a", self.inputs, "-f"), first)

    def test_profiles_made_elsewhere(self):
        first = self.corpus("a", self.inputs)
        basis = json.loads(Path("a/basis.json").read_text())
        for parts in (1, 2, 7):
            made = []
            for part in range(parts):
                os.makedirs(f"part{parts}.{part}", exist_ok=True)
                for name in list(TASKS)[part::parts]:
                    made.append(f"part{parts}.{part}/{name}.fpp")
                    self.ok("profile", f"{name}.safetensors", made[-1], "--basis", "a/basis.json",
                            "--range", "%.17g:%.17g" % tuple(basis["range"]))
            self.assertEqual(self.corpus(f"out{parts}", made[::-1]), first)
            self.assertEqual(self.corpus(f"mixed{parts}", made[:3] + [f"{n}.safetensors" for n in TASKS
                                                                    if not any(n in m for m in made[:3])]), first)
        # Moments alone give the basis; the rest is asked for, by the command that makes it.
        bare = []
        for name in TASKS:
            bare.append(f"{name}.fpp")
            self.ok("profile", f"{name}.safetensors", bare[-1])
        asked = self.corpus("steps", bare, ok=False)
        self.assertEqual(asked.status, 2)
        self.assertIn("filterprune profile --basis steps/basis.json", asked.err)
        for name in TASKS:
            self.ok("profile", "-f", f"{name}.safetensors", f"{name}.fpp", "--basis", "steps/basis.json")
        asked = self.corpus("steps", bare, ok=False)
        self.assertEqual(asked.status, 2)
        limits = asked.err.split("--range ")[1].split()[0]
        for name in TASKS:
            self.ok("profile", "-f", f"{name}.safetensors", f"{name}.fpp", "--basis", "steps/basis.json", "--range=" + limits)
        self.assertEqual(self.corpus("steps", bare), first)

    def test_model_without_such_kernels(self):
        harness.write_checkpoint("five.safetensors", {"c.weight": harness.weights(1, 4, 4, kernel=(5, 5))})
        self.ok("profile", "five.safetensors", "five.fpp")
        first = json.loads(self.corpus("a", self.inputs))
        for out, more in (("b", "five.safetensors"), ("c", "five.fpp")):
            c = json.loads(self.corpus(out, self.inputs + [more]))
            self.assertEqual(c["by"], first["by"])
            self.assertEqual([m["kernels"] for m in c["models"] if m["name"] == "five"], [0])
            self.corpus(out, self.inputs + [more], "-f")
        self.assertEqual(self.corpus("d", ["five.fpp"], "--kernel", "3x3", ok=False).status, 2)
        five = self.corpus("e", self.inputs + ["five.safetensors"], "--kernel", "5x5")
        self.assertEqual(json.loads(five)["kernel_shape"], [5, 5])

    def test_refusals(self):
        run = lambda *more: self.fails(2, "corpus", "--table", "models.csv", *more, *self.inputs)
        run("--by", "task")
        self.assertIn("no column 'colour'", run("--by", "colour", "--out", "x"))
        self.assertIn("need ONNX models, or --layers", run("--by", "depth:10", "--out", "x"))
        self.assertEqual(list(Path("x/profiles").iterdir()), [])
        run("--by", "depth:0", "--out", "x")
        self.assertIn("two models are called", self.fails(2, "corpus", "--out", "y", "unet.safetensors", "./unet.safetensors"))
        Path("bad.csv").write_text('file,task\n"unet,seg\n')
        self.assertIn("quotes", self.fails(3, "corpus", "--table", "bad.csv", "--by", "task", "--out", "z", *self.inputs))
        self.ok("profile", "unet.safetensors", "p.fpp")
        self.fails(4, "profile", "unet.safetensors", "p.fpp")
        good = Path("p.fpp").read_bytes()
        for at in (0, 4, 9, 17, 40, len(good) - 1):
            Path("q.fpp").write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1:])
            self.fails(3, "corpus", "--out", f"q{at}", "q.fpp")
        Path("q.fpp").write_bytes(good[:-9])
        self.fails(3, "corpus", "--out", "q", "q.fpp")

    def test_rows_of_a_dataset(self):
        """All kernels in one tensor, cut by a table: the same sums as of separate files."""
        rows, lines, at = b"", ["file,tensor,conv_depth_norm,filter_ids"], 0
        for seed, name in enumerate(("one", "two")):
            layers = {f"c{i}.weight": harness.weights(seed * 10 + i, 6, 5 + i) for i in range(3)}
            harness.write_checkpoint(f"{name}.safetensors", layers)
            for i, (tensor, (_, shape, data)) in enumerate(layers.items()):
                count = shape[0] * shape[1]
                lines.append(f"{name},{tensor},{i / 2},{at}:{at + count - 1}")
                at += count
                values = struct.unpack(f"<{len(data) // 4}f", data)
                rows += struct.pack(f"<{len(values)}d", *values)
        harness.write_checkpoint("dataset.safetensors", {"filters": ("F64", (at, 3, 3), rows)})
        Path("rows.csv").write_text("\n".join(lines) + "\n")
        Path("two.csv").write_text("file,task\none,a\ntwo,b\n")
        for out, inputs in (("files", ["one.safetensors", "two.safetensors"]), ("rows", ["dataset.safetensors"])):
            self.ok("corpus", "-q", "--table", "two.csv", "--layers", "rows.csv" if out == "rows" else "depths.csv",
                    "--by", "task", "--by", "depth:2", "--out", out, *inputs) if out == "rows" else (
                Path("depths.csv").write_text("".join(",".join(l.split(",")[:3]) + "\n" for l in lines)),
                self.ok("corpus", "-q", "--table", "two.csv", "--layers", "depths.csv", "--by", "task", "--by", "depth:2",
                        "--out", out, *inputs))
        self.assertEqual(Path("files/corpus.json").read_bytes(), Path("rows/corpus.json").read_bytes())
        Path("wrong.csv").write_text("\n".join(lines[:-1] + [lines[-1].rsplit(":")[0] + ":999999"]) + "\n")
        self.fails(2, "corpus", "--layers", "wrong.csv", "--out", "w", "dataset.safetensors")

    def test_rows_of_a_database(self):
        """dataset.h5 as CNN Filter DB has it: /filters float64 [N, 3, 3] in one piece, its table as text in /meta."""
        try:
            import h5py # which needs numpy
        except ImportError:
            self.skipTest("h5py or numpy is missing: no dataset.h5 was read")
        dice, meta, at = numpy.random.default_rng(4), ["model,tensor,conv_depth_norm,filter_ids"], 0
        for model in range(5):
            for layer in range(4):
                count = int(dice.integers(1, 400))
                meta.append(f"net{model},l{layer},{layer / 3},{at}:{at + count - 1}")
                at += count
        rows = dice.normal(size=(at, 3, 3))
        rows[::7] *= 1e-4
        text = "\n".join(meta) + "\n"
        with h5py.File("dataset.h5", "w") as file:
            file.create_dataset("filters", data=rows)
            file.create_dataset("meta", data=numpy.frombuffer(text.encode(), "u1"))
        with h5py.File("pieces.h5", "w") as file:
            file.create_dataset("filters", data=rows, chunks=(64, 3, 3), compression="gzip")
        harness.write_checkpoint("dataset.safetensors", {"filters": ("F64", rows.shape, rows.tobytes())})
        Path("layers.csv").write_text(text)
        Path("models.csv").write_text("model,task\n" + "".join(f"net{m},{'ab'[m % 2]}\n" for m in range(5)))
        run = lambda out, source: self.ok("corpus", "-q", "--table", "models.csv", "--layers", "layers.csv", "--by", "task",
                                          "--by", "depth:10", "--out", out, source)
        for out, source in (("h5", "dataset.h5"), ("plain", "dataset.safetensors")):
            run(out, source)
        found = json.loads(Path("h5/corpus.json").read_text())
        self.assertEqual(sum(m["kernels"] for m in found["models"]), at)
        self.assertEqual(len(found["models"]), 5)
        self.assertEqual(Path("h5/corpus.json").read_bytes(), Path("plain/corpus.json").read_bytes())
        self.assertEqual(Path("h5/layers.csv").read_bytes(), Path("plain/layers.csv").read_bytes())
        # Of one layer, by numpy: the rows are those of its range, the last one included.
        _, tensor, _, ids = meta[6].split(",")
        first, last = map(int, ids.split(":"))
        row = next(r for r in csv.DictReader(Path("h5/layers.csv").read_text().splitlines())
                   if (r["model"], r["tensor"]) == ("net1", tensor))
        peaks = numpy.abs(rows[first:last + 1]).max((1, 2))
        self.assertEqual((int(row["kernels"]), int(row["sparse"])), (last - first + 1, int((peaks < 0.01 * peaks.max()).sum())))
        # In compressed pieces there are no ranges to read.
        self.assertIn("do not lie in the file as they are",
                      self.fails(2, "corpus", "--layers", "layers.csv", "--out", "p", "pieces.h5"))

    def test_depth_of_a_graph(self):
        """By the longest path to a convolution, whatever the order in the file; 1x1 layers count, others' depths do not."""
        some = {name: harness.weights(i, 4, 4, kernel=(1, 1) if name == "skip" else (3, 3))
                for i, name in enumerate(("last", "right", "first", "skip", "left"))}
        # x - first - left - right - + - last; first - skip - +
        nodes = [("Conv", ["x", "first"], "a"), ("Conv", ["a", "skip"], "s"), ("Conv", ["a", "left"], "b"),
                 ("Relu", ["b"], "r"), ("Conv", ["r", "right"], "c"), ("Add", ["c", "s"], "d"), ("Conv", ["d", "last"], "y")]
        write_onnx("net.onnx", nodes, some)
        wanted = {"first": 0, "left": 1 / 3, "right": 2 / 3, "last": 1}
        run = lambda out, *inputs: self.ok("corpus", "-q", "--by", "depth:3", "--out", out, *inputs)
        run("a", "net.onnx")
        rows = {r["tensor"]: float(r["conv_depth_norm"]) for r in csv.DictReader(Path("a/layers.csv").read_text().splitlines())}
        self.assertEqual(sorted(rows), sorted(wanted))
        for name, depth in wanted.items():
            self.assertAlmostEqual(rows[name], depth, delta=1e-12)
        by = json.loads(Path("a/corpus.json").read_text())["by"][0]
        self.assertEqual([(g["name"], g["layers"]) for g in by["groups"]],
                         [("[0, 0.333333]", 2), ("(0.333333, 0.666667]", 1), ("(0.666667, 1]", 1)])
        # A profile keeps it, whoever made it.
        basis = json.loads(Path("a/basis.json").read_text())
        self.ok("profile", "net.onnx", "net.fpp", "--basis", "a/basis.json", "--range=%.17g:%.17g" % tuple(basis["range"]))
        run("b", "net.fpp")
        self.assertEqual(Path("a/corpus.json").read_bytes(), Path("b/corpus.json").read_bytes())
        # A table has the last word, for the layers that it names.
        Path("own.csv").write_text("file,tensor,conv_depth_norm\nnet,left,0.9\n")
        self.ok("corpus", "-q", "--by", "depth:3", "--layers", "own.csv", "--out", "c", "net.onnx")
        rows = {r["tensor"]: r["conv_depth_norm"] for r in csv.DictReader(Path("c/layers.csv").read_text().splitlines())}
        self.assertEqual((rows["left"], rows["last"]), ("0.9", "1"))

    def test_against_numpy(self):
        if numpy is None:
            self.skipTest("numpy is missing: the sums were compared with nothing")
        c = json.loads(self.corpus("a", self.inputs))
        layers = {n: kernels_of(f"{n}.safetensors") for n in TASKS}
        whole = numpy.concatenate([k for n in sorted(TASKS) for k in layers[n].values()])
        mean = whole.mean(0)
        _, s, v = numpy.linalg.svd(whole - mean, full_matrices=False)
        ratio = s ** 2 / (s ** 2).sum()
        numpy.testing.assert_allclose(c["basis"]["explained_variance_ratio"], ratio, atol=1e-9)
        v *= numpy.sign(v[numpy.arange(9), numpy.abs(v).argmax(1)])[:, None]
        project = lambda k: (k - numpy.array(c["basis"]["mean"])) @ numpy.array(c["basis"]["components"]).T
        self.assertLess(numpy.abs(numpy.abs((v * c["basis"]["components"]).sum(1)) - 1).max(), 1e-6)
        coefficients = project(whole)
        numpy.testing.assert_allclose(c["range"], [coefficients.min(), coefficients.max()], rtol=1e-12)

        def histogram(kernels):
            return numpy.stack([numpy.histogram(x, 70, c["range"])[0] for x in project(kernels).T])

        def divergence(p, q):
            width, eps = (c["range"][1] - c["range"][0]) / 70, numpy.finfo(numpy.float32).eps
            p, q = (numpy.where(h > 0, h / (h.sum(1, keepdims=True) * width), eps) for h in (p, q))
            p, q = (h / h.sum(1, keepdims=True) for h in (p, q))
            return float((ratio * ((p - q) * numpy.log(p / q)).sum(1)).sum())

        def group(which, value):
            chosen = []
            for n in sorted(TASKS):
                for tensor, k in layers[n].items():
                    if which == "depth:10":
                        depth = int(tensor[1]) / 3 if tensor[0] == "c" else numpy.nan
                        low, high = (float(x) for x in value[1:-1].split(", "))
                        fits = low < depth <= high or (low == 0 and depth == 0)
                    else:
                        fits = TASKS[n][which == "domain"] == value
                    if fits:
                        chosen.append(k)
            return numpy.concatenate(chosen)

        self.assertEqual([b["column"] for b in c["by"]], ["task", "domain", "depth:10"])
        self.assertEqual([g["name"] for g in c["by"][0]["groups"]], ["cls", "seg", "sr"])
        # An empty field is no group.
        self.assertEqual([g["name"] for g in c["by"][1]["groups"]], ["medical", "natural"])
        self.assertEqual([g["name"] for g in c["by"][2]["groups"]], ["[0, 0.1]", "(0.3, 0.4]", "(0.6, 0.7]", "(0.9, 1]"])
        for by in c["by"]:
            counts = []
            for g in by["groups"]:
                kernels = group(by["column"], g["name"])
                self.assertEqual(g["kernels"], len(kernels))
                counts.append(histogram(kernels))
                self.assertTrue((counts[-1] == g["counts"]).all(), g["name"])
                own = numpy.linalg.svd(kernels - kernels.mean(0), compute_uv=False) ** 2
                numpy.testing.assert_allclose(g["explained_variance_ratio"], own / own.sum(), atol=1e-9)
            for i, p in enumerate(counts):
                for j, q in enumerate(counts):
                    self.assertAlmostEqual(by["divergence"][i][j], divergence(p, q) if i != j else 0, delta=1e-6)
                    self.assertLessEqual(by["noise"]["median"][i][j], by["noise"]["q95"][i][j])

    def test_tables_and_pages(self):
        self.corpus("a", self.inputs)
        rows = list(csv.DictReader(Path("a/layers.csv").read_text().splitlines()))
        for row in rows:
            report = json.loads(self.ok("inspect", "--json", f"{row['model']}.safetensors").out)
            layer = next(l for l in report["layers"] if l["name"] == row["tensor"])
            for field in ("kernels", "sparse"):
                self.assertEqual(int(row[field]), layer[field])
            for field in ("max_abs", "variance_entropy", "variance_entropy_normalized", "orthogonality"):
                self.assertAlmostEqual(float(row[field]), layer[field], delta=1e-12)
        groups = list(csv.DictReader(Path("a/groups.csv").read_text().splitlines()))
        self.assertEqual([g["group"] for g in groups][:5], ["cls", "seg", "sr", "medical", "natural"])
        page = Path("a/by-1.html").read_text()
        for part in ("figure-3a", "figure-3b", "boxes", "plane", "bases"):
            self.assertIn(f'id="{part}"', page)
        self.assertIn('id="depth"', Path("a/corpus.html").read_text())
        self.assertEqual(sorted(p.name for p in Path("a").iterdir()),
                         ["basis.json", "by-1.html", "by-2.html", "by-3.html", "corpus.html", "corpus.json", "groups.csv",
                          "layers.csv", "profiles"])

    def test_papers(self):
        plain = json.loads(self.corpus("a", self.inputs))
        med = json.loads(self.corpus("b", self.inputs, "--paper", "med22"))
        self.assertEqual((med["paper"], med["range"], med["weights"]), ("med22", [-3, 3], [1 / 9] * 9))
        self.assertEqual(med["basis"], plain["basis"])
        half = json.loads(self.corpus("c", self.inputs, "--paper", "cvpr22"))
        self.assertEqual((half["paper"], half["weights"]), ("cvpr22", half["basis"]["explained_variance_ratio"]))
        # Two groups of the corpus are two models for compare.
        c = json.loads(self.ok("compare", "--json", "unet.safetensors", "vdsr.safetensors").out)
        Path("models.csv").write_text("file,task,domain\nunet,u,u\nvdsr,v,v\n")
        two = json.loads(self.corpus("d", ["unet.safetensors", "vdsr.safetensors"]))
        self.assertAlmostEqual(two["by"][0]["divergence"][0][1], c["divergence"][0][1], delta=1e-9)
        self.assertEqual([g["counts"] for g in two["by"][0]["groups"]],
                         [m["histogram"]["counts"] for m in c["models"]])
        self.assertAlmostEqual(two["by"][0]["noise"]["q95"][0][1], c["noise"]["q95"][0][1], delta=1e-9)


harness.main()
