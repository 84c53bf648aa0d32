"""--help, --version, the man page and completion tell the same."""
import pathlib
import re
import shutil
import subprocess
import time
import unittest

import harness

COMMANDS = ["", "inspect", "compare", "unpack", "convert", "verify", "info", "diff", "export", "profile", "corpus"]


def help_of(command):
    return harness.run(*([command] if command else []), "--help").out


def options_of(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


class Help(harness.Case):
    def test_text_is_as_written_down(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                path = harness.SOURCE / "tests" / "cli" / "expected" / f"help_{command or 'main'}.txt"
                self.assertEqual(help_of(command), path.read_text())
                self.assertEqual(harness.run("help", *([command] if command else [])).out, help_of(command))

    def test_fits_a_screen(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                lines = help_of(command).splitlines()
                # These have more options than the smallest screen has lines.
                self.assertLessEqual(len(lines), {"": 60, "compare": 40, "corpus": 40}.get(command, 30))
                self.assertLessEqual(max(map(len, lines)), 80)
                self.assertRegex(help_of(command), r"Example: +filterprune")

    def test_man_page_has_every_option_and_no_other(self):
        page = (harness.SOURCE / "src" / "cli" / "filterprune.1").read_text()
        in_page = {"--" + name for name in re.findall(r"Fl -([a-z][a-z-]+)", page)}
        in_page |= {"--" + name for name in re.findall(r", -([a-z][a-z-]+)", page)}
        in_help = set().union(*(options_of(help_of(c)) for c in COMMANDS))
        self.assertEqual(in_page, in_help)

    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is not installed")
    def test_man_page_is_clean(self):
        page = harness.SOURCE / "src" / "cli" / "filterprune.1"
        done = subprocess.run(["mandoc", "-Tlint", page], capture_output=True, text=True)
        self.assertEqual([line for line in done.stdout.splitlines() if "mandoc.db" not in line], [])
        self.assertEqual(done.returncode, 0)

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_man_page_is_clean_for_groff(self):
        page = harness.SOURCE / "src" / "cli" / "filterprune.1"
        done = subprocess.run(["groff", "-mdoc", "-ww", "-z", page], capture_output=True, text=True)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("", "", 0))

    def test_version(self):
        header = (harness.SOURCE / "include" / "filterprune.h").read_text()
        version = re.search(r'FPR_VERSION_STRING "([^"]+)"', header).group(1)
        packed = re.search(r"FPR_PACKED_FORMAT (\d+)", header).group(1)
        self.assertEqual(self.ok("--version").out, f"filterprune {version} (packed format {packed})\n")

    def test_starts_at_once(self):
        program = pathlib.Path(harness.PROGRAM).read_bytes()
        if b"__asan_init" in program or b"__tsan_init" in program:
            self.skipTest("a sanitizer takes its time")
        best = 1.0
        for _ in range(200):  # the machine may be busy with other tests
            begin = time.perf_counter()
            harness.run("--version")
            best = min(best, time.perf_counter() - begin)
            if best < 0.010:
                break
        self.assertLess(best, 0.010)

    @unittest.skipUnless(shutil.which("bash"), "bash is not installed")
    def test_bash_completion(self):
        script = harness.SOURCE / "src" / "cli" / "completions" / "filterprune.bash"
        open("model.safetensors", "w").close()

        def complete(*words):
            # The words after "filterprune", the last one incomplete.
            program = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _filterprune 2>/dev/null; ' \
                      'printf "%s\\n" "${COMPREPLY[@]}"'
            done = subprocess.run(["bash", "--norc", "-c", program, "bash", script, harness.PROGRAM, *words],
                                  capture_output=True, text=True, env=harness.environment())
            return sorted(done.stdout.split())

        self.assertEqual(complete("insp"), ["inspect"])
        self.assertEqual(complete("mod"), ["model.safetensors"])
        self.assertEqual(complete("--lay"), ["--layout"])
        self.assertEqual(complete("--layout", ""), ["auto", "hwio", "ohwi", "oihw"])
        self.assertEqual(complete("--structure", "=", "f"), ["filter"])
        self.assertEqual(complete("compare", "--basis", "rob"), ["robustness"])
        self.assertEqual(complete("--eps", ""), [])
        self.assertEqual(complete("help", "c"), ["compare", "convert", "corpus"])
        for command in COMMANDS:
            words = ([command] if command else []) + ["--"]
            self.assertEqual(set(complete(*words)), options_of(help_of(command)))

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_completion_parses(self):
        script = harness.SOURCE / "src" / "cli" / "completions" / "_filterprune"
        done = subprocess.run(["zsh", "-n", script], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    harness.main()
