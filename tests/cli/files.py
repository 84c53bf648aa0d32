"""What the program does to files: nothing to INPUT, all or nothing to OUTPUT."""
import hashlib
import json
import os
import pathlib
import resource
import subprocess

import harness


FULL = "filterprune: standard output: cannot write: No space left on device\n"


def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.isfile(path) else None


class Files(harness.Case):
    def refused(self, *arguments, words="", **more):
        line = self.fails(4, *arguments, **more)
        self.assertIn(words, line)
        return line

    def unchanged(self, *arguments, status=4, words=""):
        """The program refuses and leaves every file as it was."""
        before = {name: digest(name) for name in self.listing()}
        self.assertIn(words, self.fails(status, *arguments))
        self.assertEqual({name: digest(name) for name in self.listing()}, before)

    def test_files_written(self):
        self.small()
        before = digest("in.safetensors")
        self.ok("in.safetensors", "out.safetensors")
        self.assertEqual(self.listing(), ["in.safetensors", "out.report.html", "out.report.json", "out.safetensors"])
        self.ok("unpack", "out.safetensors", "dense.safetensors")
        self.ok("inspect", "--html", "page.html", "in.safetensors")
        self.ok("compare", "--html", "pair.html", "in.safetensors", "out.safetensors")
        self.assertEqual(digest("in.safetensors"), before)
        self.assertEqual(len(self.listing()), 7)

    def test_mode_follows_the_mask(self):
        self.small()
        old = os.umask(0o027)
        try:
            self.ok("in.safetensors", "out.safetensors", "-q")
        finally:
            os.umask(old)
        for name in ("out.safetensors", "out.report.json", "out.report.html"):
            self.assertEqual(oct(os.stat(name).st_mode & 0o777), oct(0o640), name)

    def test_existing_output_needs_force(self):
        self.small()
        for name in ("out.safetensors", "dense.safetensors", "page.html", "pair.html"):
            open(name, "w").write("old")
        self.unchanged("in.safetensors", "out.safetensors", words="out.safetensors")
        self.unchanged("inspect", "--html", "page.html", "in.safetensors", words="page.html")
        self.unchanged("compare", "--html", "pair.html", "in.safetensors", "in.safetensors", words="pair.html")
        self.ok("--force", "in.safetensors", "out.safetensors")
        self.unchanged("unpack", "out.safetensors", "dense.safetensors", words="dense.safetensors")
        self.ok("unpack", "-f", "out.safetensors", "dense.safetensors")
        self.ok("inspect", "-f", "--html", "page.html", "in.safetensors")
        self.assertTrue(open("page.html").read().startswith("<!"))
        self.assertNotEqual(open("dense.safetensors", "rb").read(), b"old")

    def test_existing_report_is_refused_before_the_work(self):
        self.small()
        for name in ("out.report.json", "out.report.html"):
            open(name, "w").write("mine")
            self.unchanged("in.safetensors", "out.safetensors", words=name)
            os.remove(name)
        self.assertEqual(self.listing(), ["in.safetensors"])

    def test_shards_in_folders_below(self):
        names = {"a.weight": "a.safetensors", "b.weight": "./sub/b.safetensors", "c.weight": "sub//deep/c.safetensors"}
        os.makedirs("in/sub/deep")
        for seed, (name, shard) in enumerate(names.items()):
            harness.write_checkpoint(os.path.join("in", shard), {name: harness.weights(seed, 24, 16, dead=0.5)})
        index = pathlib.Path("in/m.safetensors.index.json")
        index.write_text(json.dumps({"weight_map": names}))
        shards = ["a.safetensors", "sub/b.safetensors", "sub/deep/c.safetensors"]

        def files(folder):
            return sorted(str(p.relative_to(folder)) for p in pathlib.Path(folder).rglob("*") if p.is_file())

        self.ok("-q", "--no-report", "--lossless", index, "out")
        self.assertEqual(files("out"), sorted([*shards, index.name]))
        self.ok("verify", "out/" + index.name, index)
        self.ok("unpack", "out/" + index.name, "back")
        for shard in shards:
            self.assertEqual(pathlib.Path("back", shard).read_bytes(), pathlib.Path("in", shard).read_bytes())
        # Over an older output, beside a file of somebody else; and into a folder that is there.
        pathlib.Path("out/other").write_text("mine")
        self.ok("-q", "--no-report", "-f", index, "out")
        self.assertEqual(files("out"), sorted([*shards, index.name, "other"]))
        self.ok("verify", "out/" + index.name, index)
        os.mkdir("empty")
        self.ok("-q", "--no-report", index, "empty")
        self.assertEqual(files("empty"), sorted([*shards, index.name]))
        # A failure leaves no folder: a file stands where one should be.
        os.mkdir("blocked")
        pathlib.Path("blocked/sub").write_text("mine")
        self.assertNotEqual(harness.run("-q", "--no-report", index, "blocked").status, 0)
        self.assertEqual(os.listdir("blocked"), ["sub"])
        for outside in ("../a.safetensors", "sub/../../in/a.safetensors", os.path.abspath("in/a.safetensors"), "sub/", ".", ""):
            with self.subTest(outside=outside):
                index.write_text(json.dumps({"weight_map": {"a.weight": outside}}))
                self.assertIn("plain file name", self.fails(3, "info", index))

    def test_output_is_never_the_input(self):
        self.small()
        os.link("in.safetensors", "hard.safetensors")
        os.symlink("in.safetensors", "soft.safetensors")
        os.mkdir("sub")
        for force in ([], ["--force"]):
            for output in ("in.safetensors", "./in.safetensors", "sub/../in.safetensors", "hard.safetensors",
                           "soft.safetensors"):
                with self.subTest(output=output, force=force):
                    self.unchanged(*force, "--no-report", "in.safetensors", output)
                    self.unchanged("unpack", *force, "in.safetensors", output)
        self.unchanged("soft.safetensors", "in.safetensors", "-f")

    def test_pages_never_replace_a_checkpoint_or_a_device(self):
        self.small("in.safetensors")
        os.link("in.safetensors", "in.html")
        self.unchanged("inspect", "-f", "--html", "in.safetensors", "in.safetensors", words="checkpoint")
        self.unchanged("inspect", "-f", "--html", "in.html", "in.safetensors", words="this is the input")
        self.unchanged("inspect", "-f", "--html", "other.safetensors", "in.safetensors", words="checkpoint")
        os.mkfifo("pipe")
        self.refused("inspect", "-f", "--html", "pipe", "in.safetensors", words="not a regular file")
        os.mkdir("directory")
        self.refused("inspect", "-f", "--html", "directory", "in.safetensors", words="not a regular file")
        self.refused("inspect", "-f", "--html", "/dev/null", "in.safetensors", words="not a regular file")
        self.assertFalse(os.path.isfile("/dev/null"))

    def test_output_onto_a_device_or_directory_is_refused(self):
        self.small()
        os.mkdir("directory")
        os.mkfifo("pipe")
        for output in ("directory", "pipe"):
            result = harness.run("-f", "--no-report", "in.safetensors", output)
            self.assertIn(result.status, (1, 4), result)
            self.assertRegex(result.err, harness.ONE_LINE)
        self.assertEqual(self.listing(), ["directory", "in.safetensors", "pipe"])

    def test_a_link_as_page_keeps_being_a_link(self):
        self.small()
        os.mkdir("real")
        open("real/page.html", "w").write("old")
        os.symlink("real/page.html", "page.html")
        self.ok("inspect", "-f", "--html", "page.html", "in.safetensors")
        self.assertTrue(os.path.islink("page.html"))
        self.assertTrue(open("real/page.html").read().startswith("<!"))
        os.symlink("nowhere.html", "dangling.html")
        self.refused("inspect", "--html", "dangling.html", "in.safetensors")

    def test_failures_leave_nothing(self):
        self.small()
        open("bad.safetensors", "wb").write(b"\x08\0\0\0\0\0\0\0{\"a\":1} ")
        os.mkdir("sub")
        before = self.listing()
        self.fails(3, "bad.safetensors", "out.safetensors")
        self.fails(3, "bad.safetensors", "sub/out.safetensors", "--report", "sub/r")
        self.fails(3, "unpack", "bad.safetensors", "out.safetensors")
        self.fails(3, "inspect", "bad.safetensors", "--html", "page.html")
        self.fails(3, "compare", "in.safetensors", "bad.safetensors", "--html", "page.html")
        self.fails(1, "none.safetensors", "out.safetensors")
        self.fails(1, "in.safetensors", "nowhere/out.safetensors", "--no-report")
        self.fails(1, "in.safetensors", "nowhere/out.safetensors")
        self.assertEqual(self.listing(), before)

    def test_a_file_that_may_not_grow_leaves_nothing(self):
        # What a full disk does, without needing one: the kernel refuses to let a file grow past the limit.
        harness.write_checkpoint("in.safetensors", {"conv.weight": harness.big_noise(8)})

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        line = self.fails(1, "in.safetensors", "out.safetensors", preexec_fn=limit)
        self.assertRegex(line, r"out\.safetensors.*: .*[Ff]ile too large")
        self.assertEqual(self.listing(), ["in.safetensors"])
        open("out.safetensors", "w").write("old")
        self.fails(1, "-f", "in.safetensors", "out.safetensors", preexec_fn=limit)
        self.assertEqual(self.listing(), ["in.safetensors", "out.safetensors"])
        self.assertEqual(open("out.safetensors").read(), "old")

    def test_closed_standard_streams_do_not_reach_files(self):
        self.small()
        for streams in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            command = f'exec "$0" -f in.safetensors out.safetensors {streams}'
            done = subprocess.run(["sh", "-c", command, harness.PROGRAM], env=harness.environment(), timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, 0, (streams, done.stderr))
            self.ok("verify", "-q", "out.safetensors", "in.safetensors")

    def test_standard_output_that_fails(self):
        self.small()
        for arguments in (["info", "in.safetensors"], ["inspect", "--json", "in.safetensors"],
                          ["inspect", "in.safetensors"], ["--help"], ["--version"],
                          ["compare", "--json", "in.safetensors", "in.safetensors"],
                          ["verify", "--json", "in.safetensors"]):
            with self.subTest(arguments=arguments), open("/dev/full", "w") as full:
                done = subprocess.run([harness.PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
                                      env=harness.environment())
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertEqual(done.stderr, FULL)
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([harness.PROGRAM, "info", "in.safetensors"], stdout=writer, stderr=subprocess.PIPE,
                              text=True, env=harness.environment())
        os.close(writer)
        # Whoever read has seen enough, as `| head` has.
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, "")
        done = subprocess.run(["sh", "-c", 'exec "$0" --version >&-', harness.PROGRAM], stderr=subprocess.PIPE,
                              text=True, env=harness.environment())
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^filterprune: standard output: cannot write[^\n]*\n$")


if __name__ == "__main__":
    harness.main()
