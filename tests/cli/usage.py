"""Wrong usage: exit status 2, one line that says what was meant."""
import harness

MAIN = "see filterprune --help"

# arguments, the line
LINES = [
    ([], f"the main job wants INPUT and OUTPUT; {MAIN}"),
    (["a.safetensors"], f"no OUTPUT given; {MAIN}, or filterprune inspect to diagnose only"),
    (["a", "b", "c"], "INPUT and OUTPUT are two files, 3 are given; --out-dir DIR takes many"),
    (["inspect"], "inspect wants one INPUT; see filterprune inspect --help"),
    (["inspect", "a", "b"], "inspect takes one INPUT, not 'b' too"),
    (["compare", "a"], "compare wants at least two checkpoints; see filterprune compare --help"),
    (["unpack", "a"], "unpack wants PACKED and OUTPUT; see filterprune unpack --help"),
    (["unpack", "a", "b", "c"], "unpack takes PACKED and OUTPUT, not 'c' too"),
    (["verify"], "verify wants PACKED (and ORIGINAL, if you like); see filterprune verify --help"),
    (["info"], "info wants one FILE; see filterprune info --help"),
    (["", "b"], "a file name is empty"),
    (["-", "b"], "'-' is not supported: a checkpoint is read in many places"),
    # the nearest name
    (["--amonut", "1", "a", "b"], "unknown option '--amonut'; did you mean '--amount'?"),
    (["--los-less", "a", "b"], "unknown option '--los-less'; did you mean '--lossless'?"),
    (["--thread=2", "a", "b"], "unknown option '--thread'; did you mean '--threads'?"),
    (["--struct=filter", "a", "b"], "unknown option '--struct'; did you mean '--structure'?"),
    (["--frobnicate", "a", "b"], f"unknown option '--frobnicate'; {MAIN}"),
    (["--frob\x1b[31m\n", "a", "b"], f"unknown option '--frob\\x1b[31m\\n'; {MAIN}"),
    (["-Z"], f"unknown option '-Z'; {MAIN}"),
    (["inspct", "a"], "unknown command 'inspct'; did you mean 'inspect'?"),
    (["unpakc", "a", "b"], "unknown command 'unpakc'; did you mean 'unpack'?"),
    (["-q", "inspect", "a"], "the command comes first: filterprune inspect ..."),
    (["inspect", "--dense", "a"], "option '--dense' belongs to the main job; see filterprune inspect --help"),
    (["verify", "--basis=x", "a"], "option '--basis' belongs to compare; see filterprune verify --help"),
    (["help", "nothing"],
     "no command 'nothing'; the commands are inspect, compare, unpack, convert, verify, info, diff, export, profile, corpus and help"),
    # values
    (["--eps"], "option '--eps' wants a value"),
    (["-j"], "option '-j' wants a value"),
    (["--force=yes", "a", "b"], "option '--force' takes no value"),
    (["--level", "20", "a", "b"], "option '--level' wants a whole number from 1 to 19, not '20'"),
    (["--level", "0", "a", "b"], "option '--level' wants a whole number from 1 to 19, not '0'"),
    (["--level=3.5", "a", "b"], "option '--level' wants a whole number from 1 to 19, not '3.5'"),
    (["--level=+3", "a", "b"], "option '--level' wants a whole number from 1 to 19, not '+3'"),
    (["--bins=1", "a", "b"], "option '--bins' wants a whole number from 2 to 4096, not '1'"),
    (["--bins=99999999999999999999", "a", "b"],
     "option '--bins' wants a whole number from 2 to 4096, not '99999999999999999999'"),
    (["-j2000", "a", "b"], "option '--threads' wants a whole number from 0 to 1024, not '2000'"),
    (["-jx", "a", "b"], "option '--threads' wants a whole number from 0 to 1024, not 'x'"),
    (["--layout", "nchw", "a", "b"], "option '--layout' wants auto|oihw|hwio|ohwi, not 'nchw'"),
    (["--structure", "kern", "a", "b"], "option '--structure' wants kernel|filter|channel, not 'kern'"),
    (["--criterion=", "a", "b"], "option '--criterion' wants peak|l1|l2|bn, not ''"),
    (["--cast", "f64", "a", "b"], "option '--cast' wants none|f32|f16|bf16, not 'f64'"),
    (["--bandwidth", "0", "a", "b"], "option '--bandwidth' wants silverman, scott or a number above 0, not '0'"),
    (["--report", "", "a", "b"], "option '--report' wants a name, not ''"),
    (["--only", "", "a", "b"], "option '--only' wants a pattern, not ''"),
    # contradictions
    (["--lossless", "--amount", "0.5", "a", "b"], "--lossless and --amount contradict each other"),
    (["--lossless", "--cast", "f16", "a", "b"], "--lossless and --cast contradict each other"),
    (["--no-prune", "--global", "a", "b"], "--no-prune and --global contradict each other"),
    (["--no-binary", "--binary-tol", "0.1", "a", "b"], "--no-binary and --binary-tol contradict each other"),
    (["--amount", "0.1", "--target-size", "0.5", "a", "b"], "--amount and --target-size contradict each other"),
    (["--report", "x", "--no-report", "a", "b"], "--report and --no-report contradict each other"),
    (["-qv", "a", "b"], "--quiet and --verbose contradict each other"),
]

NO_NUMBERS = ["", "x", "0x1p-3", "nan", "inf", "-inf", "1e400", " 0.5", "0.5 ", "0,5", "0.5f", "--", "-0.1", "1.001",
              "+0.5"]
NO_SIZES = ["", "0", "-5", "20M", "20 MB", "MB", "1e999", "0.1B", "nan"]


class Usage(harness.Case):
    def test_each_line(self):
        for arguments, line in LINES:
            with self.subTest(arguments=arguments):
                self.assertEqual(self.fails(2, *arguments), f"filterprune: {line}\n")
        self.assertEqual(self.listing(), [])

    def test_numbers_are_read_strictly(self):
        for text in NO_NUMBERS:
            with self.subTest(text=text):
                line = self.fails(2, f"--eps={text}", "a", "b")
                self.assertEqual(line, f"filterprune: option '--eps' wants a number from 0 to 1, not '{text}'\n")
        for text in NO_SIZES:
            with self.subTest(text=text):
                self.assertIn("'--target-size' wants bytes, such as", self.fails(2, f"--target-size={text}", "a", "b"))

    def test_library_refuses_what_makes_no_sense_together(self):
        self.small()
        self.assertIn("amount", self.fails(2, "--criterion", "l1", "in.safetensors", "out.safetensors"))
        self.assertIn("amount", self.fails(2, "--global", "in.safetensors", "out.safetensors"))
        self.assertEqual(self.listing(), ["in.safetensors"])

    def test_options_follow_operands_and_dashes_end_them(self):
        self.small("-odd.safetensors")
        self.ok("--", "-odd.safetensors", "one.safetensors")
        self.ok("one.safetensors", "--no-report", "two.safetensors", "-j1", "--level=1", "--eps", "0.02", "-q")
        self.assertIn("two.safetensors", self.listing())
        self.assertNotIn("two.report.json", self.listing())

    def test_last_of_a_repeated_option_wins(self):
        self.small()
        self.ok("inspect", "--bins", "5", "--bins=7", "--json", "in.safetensors")
        self.assertIn('"bins": 7', self.ok("inspect", "--bins", "5", "--bins=7", "--json", "in.safetensors").out
                      .replace('"bins":7', '"bins": 7'))

    def test_a_file_named_like_a_command(self):
        self.small("inspect")
        self.ok("./inspect", "out.safetensors", "-q")
        # Misspelt commands that are files are files.
        self.small("inspct")
        self.ok("inspct", "out2.safetensors", "-q")

    def test_help_wins_over_what_follows(self):
        self.assertIn("usage:", self.ok("--help", "--nonsense").out)
        self.assertIn("usage:", self.ok("inspect", "-h").out)


if __name__ == "__main__":
    harness.main()
