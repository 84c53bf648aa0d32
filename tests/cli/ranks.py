"""One corpus, made in parts, by ranks of Open MPI and MPICH, and by processes that were killed: always the same bytes.

The program of ranks is linked here, with mpicc.openmpi and mpicc.mpich, where they are (Debian: libopenmpi-dev and
openmpi-bin, libmpich-dev and mpich); what is missing is said. FILTERPRUNE_RANKS has what to link."""
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import harness

MODELS = 17
LINK = os.environ.get("FILTERPRUNE_RANKS", "").split()
SANITIZED = os.environ.get("FILTERPRUNE_RANKS_SANITIZED") == "1"
# mpirun wants a home and says no to root, as which containers run tests.
RANK_ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                    "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl_base_warn_component_unused": "0",
                    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


class Ranks(harness.Case):
    def setUp(self):
        super().setUp()
        lines = ["file,task"]
        for i in range(MODELS):
            harness.write_checkpoint(f"m{i:02d}.safetensors", {
                f"c{j}.weight": harness.weights(100 * i + j, 8 + 3 * j + i, 16, dead=0.3 * (i % 2)) for j in range(1 + i % 3)})
            lines.append(f"m{i:02d},{'abcd'[i % 4]}")
        Path("models.csv").write_text("\n".join(lines) + "\n")
        self.inputs = [f"m{i:02d}.safetensors" for i in range(MODELS)]
        self.words = ["corpus", "-q", "--table", "models.csv", "--by", "task"]
        self.ok(*self.words, "-j1", "--out", "whole", *self.inputs)
        self.whole = self.result("whole")

    def result(self, folder):
        """Every file of a corpus but the profiles, whose place a run that was killed may have left behind."""
        return {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith(".")}

    def same(self, folder):
        found = self.result(folder)
        self.assertEqual(sorted(found), sorted(self.whole))
        for name, data in found.items():
            self.assertTrue(data == self.whole[name], f"{folder}/{name} differs")

    def test_parts(self):
        dice = random.Random(5)
        basis = ["--basis", "whole/basis.json"]
        low, high = harness.json.loads(Path("whole/basis.json").read_text())["range"]
        for parts in (1, 2, 7, 16):
            made = []
            for part in range(parts):
                os.makedirs(f"part{parts}.{part}")
                for i in range(part, MODELS, parts):
                    made.append(f"part{parts}.{part}/m{i:02d}.fpp")
                    self.ok("profile", f"-j{1 + i % 2}", self.inputs[i], made[-1], *basis, f"--range={low!r}:{high!r}")
            for threads in ("-j1", "-j2"):
                dice.shuffle(made)
                out = f"of{parts}{threads}"
                self.ok(*self.words, threads, "--out", out, *made)
                self.same(out)

    def test_killed_and_started_again(self):
        for kept in (0, 1, 5, 12, MODELS):
            out = f"killed{kept}"
            child = subprocess.Popen([harness.PROGRAM, *self.words, "-j2", "--out", out, *self.inputs],
                                     env=harness.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while child.poll() is None and len(list(Path(out).glob("profiles/*.fpp"))) < kept:
                time.sleep(0.001)
            child.send_signal(signal.SIGKILL)
            child.wait()
            self.ok(*self.words, "-f", "--out", out, *self.inputs)
            self.same(out)

    def of_mpi(self, kind):
        compiler, mpirun = shutil.which(f"mpicc.{kind}"), shutil.which(f"mpirun.{kind}")
        if not compiler or not mpirun:
            self.skipTest(f"mpicc.{kind} or mpirun.{kind} is missing: ranks of {kind} were not tried")
        if SANITIZED or not LINK:
            self.skipTest("only a build for release is linked with MPI")
        source = harness.SOURCE
        env = {**os.environ, **RANK_ENVIRONMENT, "TMPDIR": str(self.home)}
        subprocess.run([compiler, "-std=c11", "-D_GNU_SOURCE", "-Dmain=filterprune_main", f"-I{source}/include", f"-I{source}/src",
                        f"{source}/src/mpi/main.c", "-o", "ranks", *LINK], check=True, env=env)
        run = lambda n, *more: subprocess.run([mpirun, "-n", str(n), "./ranks", *more], env=env, stdout=subprocess.PIPE,
                                              stderr=subprocess.PIPE, timeout=200)
        for n in (1, 2, 3, 4):
            dice = random.Random(n)
            inputs = dice.sample(self.inputs, MODELS)
            for again in ((), ("-f",)) if n == 3 else ((),): # and once over the profiles that are there
                done = run(n, *self.words, f"-j{1 + n % 2}", *again, "--out", f"ranks{n}", *inputs)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.same(f"ranks{n}")
        # Ended in the middle by who started it, begun again by more.
        child = subprocess.Popen([mpirun, "-n", "2", "./ranks", *self.words, "--out", "ended", *self.inputs], env=env,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and len(list(Path("ended").glob("profiles/*.fpp"))) < 4:
            time.sleep(0.001)
        child.terminate()
        child.wait(timeout=60)
        done = run(3, *self.words, "-f", "--out", "ended", *self.inputs)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.same("ended")
        # One rank's trouble ends all of them, with what was the matter.
        Path("m07.safetensors").write_bytes(b"no checkpoint at all")
        done = run(3, *self.words, "--out", "trouble", *self.inputs)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"m07.safetensors", done.stderr)
        self.assertFalse(Path("trouble/corpus.json").exists())

    def test_open_mpi(self):
        self.of_mpi("openmpi")

    def test_mpich(self):
        self.of_mpi("mpich")


harness.main()
