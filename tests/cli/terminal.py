"""What is printed suits the terminal, or is plain where there is none."""
import array
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios

import harness

ESCAPE = "\x1b"
COLOUR = r"\x1b\[[\d;]*m"


def on_terminal(*arguments, width=80, **env):
    """Runs the program with all three streams on a terminal; returns what it wrote there."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    settings = harness.environment(**{"TERM": "xterm-256color", "COLUMNS": None, **env})
    process = subprocess.Popen([harness.PROGRAM, *arguments], stdin=secondary, stdout=secondary, stderr=secondary,
                               env=settings)
    os.close(secondary)
    text = b""
    while True:
        ready, _, _ = select.select([primary], [], [], 60)
        try:
            piece = os.read(primary, 65536) if ready else b""
        except OSError:  # the other end was closed
            piece = b""
        if not piece:
            break
        text += piece
    os.close(primary)
    return process.wait(), text.decode("utf-8", "replace")


class Terminal(harness.Case):
    def models(self):
        long = "model.diffusion_model.input_blocks.%d.1.transformer_blocks.0.attention.to_q.conv.weight"
        harness.write_checkpoint("in.safetensors", {long % i: harness.weights(i, 8, 8, dead=i / 30) for i in range(24)})
        harness.write_checkpoint("other.safetensors", {"a.weight": harness.weights(99, 8, 8)})
        return "in.safetensors"

    def test_lines_fit_any_width(self):
        self.models()
        self.ok("in.safetensors", "packed.safetensors", "-q")
        for width in (60, 80, 200):
            for arguments in (["in.safetensors", "out.safetensors", "-f"], ["inspect", "in.safetensors"],
                              ["info", "in.safetensors"], ["info", "packed.safetensors"],
                              ["compare", "in.safetensors", "other.safetensors"],
                              ["verify", "-v", "packed.safetensors", "in.safetensors"],
                              ["--out-dir", "many", "-f", "in.safetensors", "other.safetensors"]):
                with self.subTest(width=width, arguments=arguments):
                    result = self.ok(*arguments, env=harness.environment(COLUMNS=str(width)))
                    # Paths are never shortened: they are there to be copied.
                    lines = [line for line in (result.out + result.err).splitlines()
                             if not re.match(r"in\.safetensors|  report |OK  |filterprune: warning: ", line)]
                    self.assertTrue(lines or arguments[0] == "unpack", result)
                    self.assertLessEqual(max(map(len, lines), default=0), width, result)

    def test_width_comes_from_the_terminal(self):
        self.models()
        _, wide = on_terminal("inspect", "in.safetensors", width=200)
        _, narrow = on_terminal("inspect", "in.safetensors", width=60)
        self.assertIn("transformer_blocks.0.attention", wide)
        self.assertIn("orthogonal", wide)
        self.assertIn("dead channels", wide)
        self.assertNotIn("dead channels", narrow)
        self.assertLessEqual(max(len(re.sub(r"\x1b\[\d*m", "", line)) for line in narrow.splitlines()
                                 if re.match(r"  \S+ .*  ", line)), 60)

    def test_names_keep_what_tells_them_apart(self):
        """What all have in common at both ends goes first, from dot to dot; nothing is cut when piped."""
        names = [f"model.backbone.encoder.stage{i}.block.convolution.parametrizations.weight" for i in range(4)]
        harness.write_checkpoint("in.safetensors", {name: harness.weights(i, 8, 8) for i, name in enumerate(names)})
        _, narrow = on_terminal("inspect", "in.safetensors", width=60)
        for i in range(4):
            self.assertRegex(narrow, rf"\u2026stage{i}\u2026 ")
        self.assertNotIn("backbone", narrow)
        piped = self.ok("inspect", "in.safetensors", env=harness.environment(COLUMNS=None)).out
        for name in names:
            self.assertIn(name + " ", piped)

    def test_what_rounding_leaves_is_nothing(self):
        ones = array.array("f", [1, 0, 0, 0, 0, 0, 0, 0, 0] * 16)  # one direction: its variance is zero
        harness.write_checkpoint("in.safetensors", {"a.weight": ("F32", (4, 4, 3, 3), ones.tobytes())})
        self.ok("in.safetensors", "out.safetensors", "--cast", "f16", "-f")
        shown = self.ok("inspect", "in.safetensors").out
        self.assertNotRegex(shown, r"\de-1[2-9]")
        # Weights may be as small as they are.
        tiny = array.array("f", [1e-20] * 144)
        harness.write_checkpoint("in.safetensors", {"a.weight": ("F32", (4, 4, 3, 3), tiny.tobytes())})
        self.assertIn("1.0e-20", self.ok("inspect", "in.safetensors", env=harness.environment(COLUMNS="200")).out)

    def test_untrained_layers_are_called_so(self):
        import random
        dice, bound = random.Random(1), (32 * 9) ** -0.5
        drawn = array.array("f", [dice.uniform(-bound, bound) for _ in range(64 * 32 * 9)])
        harness.write_checkpoint("in.safetensors", {"new.weight": ("F32", (64, 32, 3, 3), drawn.tobytes()),
                                                    "old.weight": harness.weights(1, 64, 32, dead=0.3)})
        shown = self.ok("inspect", "in.safetensors", env=harness.environment(COLUMNS="200")).out
        self.assertIn("1 layer looks untrained", shown)
        self.assertIn("new.weight looks untrained: uniform, the default of torch.nn.Conv", shown)
        layers = json.loads(self.ok("inspect", "--json", "in.safetensors").out)["layers"]
        self.assertEqual([layer["untrained"] for layer in layers],
                         [{"distribution": "uniform", "initialiser": "the default of torch.nn.Conv"}, None])

    def test_ten_layers_or_all(self):
        self.models()
        few = self.ok("inspect", "in.safetensors").out
        every = self.ok("inspect", "-v", "in.safetensors").out
        self.assertEqual(len(re.findall(r"\u2026\d+\u2026  ", few)), 10)
        self.assertIn("all 24 with -v", few)
        self.assertEqual(len(re.findall(r"\u2026\d+\u2026  ", every)), 24)
        layers = json.loads(self.ok("inspect", "--json", "in.safetensors").out)["layers"]
        sparsest = sorted(layers, key=lambda layer: (-layer["sparse"], layer["depth"]))[:10]
        for layer in sparsest:
            self.assertRegex(few, rf"\u2026{layer['depth']}\u2026 ")

    def test_colour_only_where_it_is_wanted(self):
        self.small()
        arguments = ("inspect", "in.safetensors")
        self.assertIn(ESCAPE + "[1m", on_terminal(*arguments)[1])
        self.assertIn(ESCAPE, on_terminal(*arguments, NO_COLOR="")[1])
        self.assertNotRegex(on_terminal(*arguments, NO_COLOR="1")[1], COLOUR)
        self.assertNotIn(ESCAPE, on_terminal(*arguments, TERM="dumb")[1])
        self.assertNotIn(ESCAPE, on_terminal(*arguments, TERM=None)[1])
        self.assertNotIn(ESCAPE, self.ok(*arguments).out)
        result = self.ok("in.safetensors", "out.safetensors", env=harness.environment(TERM="xterm"))
        self.assertNotIn(ESCAPE, result.err)
        self.assertNotIn("\r", result.err)

    def test_ascii_where_the_locale_is(self):
        self.small()
        utf8 = self.ok("in.safetensors", "a.safetensors").err
        ascii_only = self.ok("in.safetensors", "b.safetensors", env=harness.environment(LC_ALL="C")).err
        self.assertIn("→", utf8)
        self.assertTrue(ascii_only.isascii(), ascii_only)
        self.assertIn("in.safetensors -> b.safetensors", ascii_only)

    def test_quiet_prints_errors_only(self):
        self.small()
        for arguments in (["in.safetensors", "out.safetensors"], ["inspect", "in.safetensors"],
                          ["info", "in.safetensors"], ["verify", "out.safetensors", "in.safetensors"],
                          ["unpack", "out.safetensors", "dense.safetensors"],
                          ["compare", "in.safetensors", "out.safetensors"], ["--out-dir", "many", "in.safetensors"]):
            with self.subTest(arguments=arguments):
                result = self.ok(*arguments, "-q")
                self.assertEqual((result.out, result.err), ("", ""))
        self.fails(4, "-q", "in.safetensors", "out.safetensors")
        # JSON that was asked for is a result.
        self.assertTrue(self.ok("inspect", "-q", "--json", "in.safetensors").out.startswith("{"))

    def test_results_and_messages_part(self):
        self.small()
        result = self.ok("in.safetensors", "out.safetensors")
        self.assertEqual(result.out, "")
        self.assertIn("out.report.html", result.err)
        for arguments in (["inspect", "in.safetensors"], ["info", "in.safetensors"], ["verify", "out.safetensors"],
                          ["compare", "in.safetensors", "out.safetensors"]):
            result = self.ok(*arguments)
            self.assertEqual(result.err, "")
            self.assertNotEqual(result.out, "")

    def test_names_cannot_mislead_a_terminal(self):
        evil = "conv\x1b]0;owned\x07\x1b[2J\r\nfilterprune: fine\u202e\u200b\x9b31m"
        harness.write_checkpoint("in.safetensors", {evil: harness.weights(1, 16, 16, dead=0.5)},
                                 metadata={"\x1b[31mkey": "line\nbreak"})
        self.ok("in.safetensors", "out.safetensors", "-q")
        for arguments in (["in.safetensors", "out.safetensors", "-f"], ["inspect", "in.safetensors"],
                          ["info", "in.safetensors"], ["verify", "-v", "out.safetensors", "in.safetensors"]):
            result = self.ok(*arguments, env=harness.environment(COLUMNS="300"))
            text = result.out + result.err
            self.assertIn(r"conv\x1b]0;owned\x07\x1b[2J\r\nfilterprune: fine\u{202e}\u{200b}\u{9b}31m", text)
            for character in "\x1b\x07\r\x9b\u202e\u200b":
                self.assertNotIn(character, text)
        odd = "a\x1b[31m\nb.safetensors"
        self.assertEqual(self.fails(1, "inspect", odd).count(r"a\x1b[31m\nb.safetensors"), 1)

    def test_progress_is_seen_on_a_terminal_and_gone_at_the_end(self):
        harness.write_checkpoint("in.safetensors", {f"conv{i}.weight": harness.big_noise(24) for i in range(4)})
        status, text = on_terminal("in.safetensors", "out.safetensors", "--level", "19", "-j1")
        self.assertEqual(status, 0)
        self.assertRegex(text, r"\r\x1b\[K[a-z]+ [█░]{20} +\d+ % of [\d.]+ [kMG]?B, [\d.]+ [kMG]?B/s")
        # The last thing the bar did was to erase itself.
        self.assertRegex(text.replace("\r\n", "\n"), r"\r\x1b\[K(?!.*\r)[^\r]*in\.safetensors")


if __name__ == "__main__":
    harness.main()
