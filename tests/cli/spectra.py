"""--spectra: figures in the JSON, the table and the page; the same whatever the threads; a clear line without OpenBLAS."""
import json
import math
import os
import subprocess

import harness


def spectra(text):
    report = json.loads(text)
    return {row["name"]: row.get("spectrum") for row in report["layers"] + report["tensors"]}


class Spectra(harness.Case):
    def setUp(self):
        super().setUp()
        probe = harness.run("inspect", "--spectra", "-q", harness.PLAIN_MODEL)
        if "is missing" in probe.err:
            self.skipTest(probe.err)

    def test_a_layer_whose_singular_values_are_known(self):
        # Rows e_i * s_i: the singular values are the s_i; energies 9 : 4 : 1 : 0.04.
        sizes, width = (3.0, 2.0, 1.0, 0.2), 36
        rows = [[sizes[r] if c == r else 0.0 for c in range(width)] for r in range(4)]
        data = harness.array("f", [x for row in rows for x in row]).tobytes()
        harness.write_checkpoint("known.safetensors", {
            "conv.weight": ("F32", (4, 4, 3, 3), data), "fc.weight": ("F32", (4, width), data),
            "flat.weight": ("F32", (4, width, 1, 1), data), "fc.bias": ("F32", (4,), bytes(16))})
        found = spectra(self.ok("inspect", "--json", "--spectra", "known.safetensors").out)
        total = sum(s * s for s in sizes)
        shares = [s * s / total for s in sizes]
        for name in ("conv.weight", "fc.weight", "flat.weight"):
            s = found[name]
            self.assertAlmostEqual(s["norm"], 3, delta=3e-7)
            self.assertAlmostEqual(s["stable_rank"], total / 9, delta=1e-7)
            self.assertAlmostEqual(s["effective_rank"], math.exp(-sum(p * math.log(p) for p in shares)), delta=1e-7)
            self.assertAlmostEqual(s["condition"], 15, delta=1e-6)
            self.assertEqual((s["rank90"], s["rank99"], s["rank999"]), (2, 3, 4 if shares[3] > 0.001 else 3))
        self.assertIsNone(found["fc.bias"])

    def test_only_when_asked(self):
        self.assertTrue(all(s is None for s in spectra(self.ok("inspect", "--json", harness.PLAIN_MODEL).out).values()))

    def test_threads_do_not_matter(self):
        one, two = (self.ok("inspect", "--json", "--spectra", "-j", n, harness.SPARSE_MODEL).out for n in "12")
        self.assertEqual(spectra(one), spectra(two))
        self.assertGreater(sum(s is not None for s in spectra(one).values()), 3)

    def test_the_main_job_has_them_of_its_input(self):
        self.ok(harness.SPARSE_MODEL, "o.safetensors", "--spectra", "-q")
        want = spectra(self.ok("inspect", "--json", "--spectra", harness.SPARSE_MODEL).out)
        self.assertEqual(spectra(harness.Path("o.report.json").read_text()), want)
        self.assertIn('id="spectra"', harness.Path("o.report.html").read_text())
        table = self.ok("inspect", "--spectra", harness.SPARSE_MODEL).out
        self.assertIn("effective rank", table)

    def test_a_layer_that_is_zero_and_one_with_nan(self):
        nan = harness.array("f", [math.nan] * 36).tobytes()
        harness.write_checkpoint("odd.safetensors", {"zero.weight": ("F32", (2, 2, 3, 3), bytes(144)),
                                                     "nan.weight": ("F32", (4, 9), nan),
                                                     "nan_conv.weight": ("F32", (2, 2, 3, 3), nan)})
        found = spectra(self.ok("inspect", "--json", "--spectra", "odd.safetensors").out)
        self.assertEqual(found["zero.weight"]["norm"], 0)
        self.assertIsNone(found["zero.weight"]["stable_rank"])
        self.assertIsNone(found["nan.weight"])
        self.assertIsNone(found["nan_conv.weight"])

    def test_without_the_libraries(self):
        os.mkdir("none")
        for name in ("libopenblas.so.0", "liblapacke.so.3"):
            # What is found first under that name is no library.
            with open(os.path.join("none", name), "wb") as f:
                f.write(b"no library")
        env = harness.environment(LD_LIBRARY_PATH=os.path.abspath("none"))
        error = self.fails(1, "inspect", "--spectra", harness.PLAIN_MODEL, env=env)
        self.assertIn("apt install", error)
        self.assertEqual(harness.run("inspect", harness.PLAIN_MODEL, env=env).status, 0)
        self.fails(1, harness.PLAIN_MODEL, "o.safetensors", "--spectra", env=env)
        self.assertFalse(os.path.exists("o.safetensors"))

    def test_it_is_not_loaded_otherwise(self):
        if not harness.shutil.which("strace"):
            self.skipTest("strace is missing")
        done = subprocess.run(["strace", "-f", "-e", "trace=openat", harness.PROGRAM, "info", harness.PLAIN_MODEL],
                              capture_output=True, text=True, env=harness.environment())
        self.assertNotIn("openblas", done.stderr)


if __name__ == "__main__":
    harness.main()
