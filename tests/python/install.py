"""pip installs the package without network into a venv on the system's numpy, and the README's examples run there."""
import os
import re
import shutil
import subprocess
import sys

import common
from common import LIBRARY, PROGRAM, SOURCE, Case, skip

try:
    import ensurepip  # noqa: F401 (Debian keeps it in python3-venv)
    import torch  # noqa: F401 (the README's examples want it)
except ImportError as missing:
    skip(missing)

README = SOURCE / "tools" / "python" / "README.md"
# No index, no proxy, no cache: what is not here cannot be had.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
           "PIP_CONFIG_FILE": os.devnull}


class Install(Case):
    def run_in(self, directory, *command, **environment):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
        done = subprocess.run(list(map(str, command)), cwd=directory, env={**env, **environment},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout.decode()}")
        return done.stdout.decode()

    def test_pip_and_readme(self):
        source = self.home / "python"
        shutil.copytree(SOURCE / "tools" / "python", source, ignore=shutil.ignore_patterns("__pycache__"))

        def listing():
            return sorted(str(p.relative_to(source)) for p in source.rglob("*") if "__pycache__" not in p.parts)

        before = listing()
        self.run_in(self.home, sys.executable, "-m", "venv", "--system-site-packages", "venv")
        pip, python = self.home / "venv" / "bin" / "pip", self.home / "venv" / "bin" / "python"
        self.run_in(self.home, pip, "install", "./python", **OFFLINE)
        self.assertEqual(listing(), before, "pip left something behind")
        where = self.run_in(self.home, python, "-c", "import filterprune; print(filterprune.__file__)")
        self.assertTrue(where.startswith(str(self.home / "venv")), where)
        self.run_in(self.home, python, "-c", "import filterprune, importlib.resources as r; "
                    "assert r.files(filterprune).joinpath('py.typed').is_file()")

        # The README's examples, in their order, at a place that looks like the top of the source tree.
        (self.home / "build").mkdir()
        os.symlink(PROGRAM, self.home / "build" / "filterprune")
        os.symlink(SOURCE / "fixtures", self.home / "fixtures")
        blocks = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.S)
        shell = [text for kind, text in blocks if kind == "sh"]
        self.assertIn("pip install ./tools/python", shell[0])
        ran = 0
        for kind, text in blocks:
            if text == shell[0] or (".pth" in text and not LIBRARY):  # only the library reads those
                continue
            if kind == "sh":
                command = text.split()
                command[0] = python if command[0] == "python3" else command[0]
                self.run_in(self.home, *command)
            else:
                self.assertEqual(kind, "python")
                self.run_in(self.home, python, "-W", "ignore", "-c", text, FILTERPRUNE=PROGRAM,
                            FILTERPRUNE_LIBRARY=LIBRARY)
            ran += 1
        self.assertGreaterEqual(ran, 6)
        self.assertEqual((self.home / "restored.safetensors").stat().st_size,
                         (self.home / "fixtures" / "models" / "mnist_cnn_overparam_l1.safetensors").stat().st_size)

        # The same wheel each time.
        build = "import sys, wheel_backend as b; print(b.build_wheel(sys.argv[1]))"
        wheels = []
        for name in ("first", "second"):
            (self.home / name).mkdir()
            wheel = self.run_in(source, sys.executable, "-B", "-c", build, self.home / name).strip()
            wheels.append((self.home / name / wheel).read_bytes())
        self.assertEqual(*wheels)

    def test_version_is_that_of_the_library(self):
        import filterprune

        header = (SOURCE / "include" / "filterprune.h").read_text()
        version = re.search(r'FPR_VERSION_STRING "([^"]+)"', header).group(1)
        self.assertEqual(filterprune.__version__, version)
        project = (SOURCE / "tools" / "python" / "pyproject.toml").read_text()
        self.assertIn(f'version = "{version}"', project)


if __name__ == "__main__":
    common.main()
