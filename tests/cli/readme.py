"""The README's example runs as it stands there, and says what the program says."""
import os
import re
import shlex
import subprocess
import sys
from xml.etree import ElementTree

import harness

README = (harness.SOURCE / "README.md").read_text()


def figure_texts(path):
    return [element.text for element in ElementTree.parse(path).iter() if element.tag.endswith(("}text", "}title"))]


class Readme(harness.Case):
    def test_the_worked_example(self):
        example = re.search(r"<!-- example: begin -->\n```sh\n(.*?)```\n<!-- example: end -->", README, re.S).group(1)
        commands = [shlex.split(line) for line in example.splitlines()]
        self.assertEqual(len(commands), 3)
        os.symlink(harness.SOURCE / "fixtures", "fixtures")
        seen = ""
        for command in commands:
            self.assertEqual(command[0], "build/filterprune")
            result = self.ok(*command[1:])
            seen += result.out + result.err
        shown = re.search(r"<!-- example: end -->\n\n```\n(.*?)```", README, re.S).group(1)

        # Time and memory are the machine's; sizes may differ by what another version of zstd makes of a header.
        number = re.compile(r"\d[\d,]*(?:\.\d+)?")

        def steady(text):
            return re.sub(r" +", " ", re.sub(r"(?m)^  time .*$|[\d.]+ m?s$", "", text))

        seen, shown = steady(seen), steady(shown)
        self.assertEqual(number.sub("0", seen), number.sub("0", shown))
        for a, b in zip(number.findall(seen), number.findall(shown)):
            a, b = float(a.replace(",", "")), float(b.replace(",", ""))
            self.assertLessEqual(abs(a - b), 0.02 * abs(b), (a, b))

    def test_the_corpus(self):
        example = re.search(r"<!-- corpus: begin -->\n```sh\n(.*?)```\n<!-- corpus: end -->\n\n```\n(.*?)```", README, re.S)
        os.symlink(harness.SOURCE / "fixtures", "fixtures")
        command = shlex.split(example.group(1))
        self.assertEqual(command[:2], ["build/filterprune", "corpus"])
        self.assertEqual(self.ok(*command[1:], env=harness.environment(COLUMNS="100")).out, example.group(2))
        maker = harness.SOURCE / "tools" / "readme_figure.py"
        subprocess.run([sys.executable, "-B", maker, "zoo/by-1.html", "figure.svg"], check=True)
        self.assertEqual(figure_texts("figure.svg"), figure_texts(harness.SOURCE / "src" / "report" / "figure3.svg"))

    def test_the_figure_is_what_the_tool_makes(self):
        self.ok("-q", harness.SPARSE_MODEL, "small.safetensors")
        maker = harness.SOURCE / "tools" / "readme_figure.py"
        subprocess.run([sys.executable, "-B", maker, "small.report.html", "figure.svg"], check=True)

        self.assertEqual(figure_texts("figure.svg"), figure_texts(harness.SOURCE / "src" / "report" / "figure1.svg"))

    def test_paths_it_names_exist(self):
        for path in re.findall(r"`((?:src|tests|tools|fixtures|include)/[\w./-]+)`", README):
            self.assertTrue((harness.SOURCE / path).exists(), path)

    def test_commands_it_names_exist(self):
        text = harness.run("--help").out
        for option in set(re.findall(r"`(--[a-z-]+)`", README)):
            known = text + "".join(harness.run(c, "--help").out
                                   for c in ("inspect", "compare", "verify", "info", "convert", "corpus", "profile"))
            self.assertIn(option, known)


if __name__ == "__main__":
    harness.main()
