"""What is installed works where it is installed: the program, the library, a Debian package."""
import os
import shutil
import subprocess
import unittest

import harness

MODEL = str(harness.SPARSE_MODEL)
EXAMPLE = harness.SOURCE / "tests" / "example"


def tool(*arguments, **more):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, **more)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def is_sanitized():
    return any(f"FILTERPRUNE_{name}:BOOL=ON" in (harness.BUILD / "CMakeCache.txt").read_text()
               for name in ("SANITIZE", "TSAN", "COVERAGE"))


class Package(harness.Case):
    def install(self):
        prefix = self.home / "prefix"
        tool("cmake", "--install", str(harness.BUILD), "--prefix", str(prefix))
        return prefix

    def library_directory(self, prefix):
        return next(prefix.rglob("libfilterprune.a")).parent

    def test_files(self):
        prefix = self.install()
        for name in ("bin/filterprune", "include/filterprune.h", "share/man/man1/filterprune.1",
                     "share/bash-completion/completions/filterprune", "share/zsh/vendor-completions/_filterprune"):
            self.assertTrue((prefix / name).is_file(), name)
        lib = self.library_directory(prefix)
        self.assertEqual(os.readlink(lib / "libfilterprune.so"), "libfilterprune.so.0")
        version = tool(str(prefix / "bin" / "filterprune"), "--version").split()[1]
        self.assertEqual(os.readlink(lib / "libfilterprune.so.0"), f"libfilterprune.so.{version}")
        self.assertTrue((lib / "pkgconfig" / "filterprune.pc").is_file())

    def test_headers(self):
        """Every part of the interface is installed, and is enough for itself, for C and for C++."""
        prefix = self.install()
        headers = [path.relative_to(harness.SOURCE) for path in harness.SOURCE.glob("include/**/*.h")]
        self.assertGreater(len(headers), 5)
        for header in headers:
            for language in ("-xc", "-xc++") if shutil.which("g++") else ("-xc",):
                tool("gcc", "-fsyntax-only", "-Wall", "-Werror", language, "-include", str(prefix / header), "/dev/null")

    def test_only_the_public_names_are_visible(self):
        lib = self.library_directory(self.install())
        symbols = tool("nm", "-D", "--defined-only", str(lib / "libfilterprune.so"))
        names = [line.split()[-1] for line in symbols.splitlines()]
        if not is_sanitized():
            self.assertEqual([name for name in names if not name.startswith("fpr_")], [])
        header = "".join(path.read_text() for path in harness.SOURCE.glob("include/**/*.h"))
        self.assertTrue(names)
        for name in names:
            if name.startswith("fpr_"):
                self.assertIn(name + "(", header)

    @unittest.skipIf(is_sanitized(), "a sanitized library is for the tests only")
    def test_example_by_cmake(self):
        prefix = self.install()
        moved = self.home / "moved"  # a package may be moved
        shutil.move(prefix, moved)
        tool("cmake", "-S", str(EXAMPLE), "-B", "build", f"-DCMAKE_PREFIX_PATH={moved}")
        tool("cmake", "--build", "build")
        for kind in ("shared", "static"):
            text = tool(f"build/example_{kind}", MODEL)
            self.assertRegex(text, r"conv\d?\S* +3x3 +\d+ kernels, \d+ live")

    @unittest.skipIf(is_sanitized(), "a sanitized library is for the tests only")
    def test_example_by_pkg_config(self):
        prefix = self.install()
        env = {**os.environ, "PKG_CONFIG_PATH": str(self.library_directory(prefix) / "pkgconfig")}
        compiler, source = os.environ.get("CC", "cc"), str(EXAMPLE / "example.c")
        flags = tool("pkg-config", "--cflags", "--libs", "filterprune", env=env).split()
        tool(compiler, source, "-o", "example", *flags, f"-Wl,-rpath,{self.library_directory(prefix)}")
        self.assertIn("kernels", tool("./example", MODEL))
        self.assertIn("libfilterprune.so.0", tool("ldd", "./example"))

    @unittest.skipIf(is_sanitized(), "a sanitized program is for the tests only")
    @unittest.skipUnless(shutil.which("dpkg-shlibdeps") and shutil.which("dpkg"), "dpkg-dev is not installed")
    def test_deb_installs_runs_and_goes(self):
        tool("cpack", "-G", "DEB", "--config", str(harness.BUILD / "CPackConfig.cmake"), "-B", str(self.home / "cpack"))
        package = next((self.home / "cpack").glob("*.deb"))
        depends = tool("dpkg-deb", "-f", str(package), "Depends")
        for library in ("libc6", "libzstd1", "libxxhash0", "zlib1g"):
            self.assertIn(library, depends)
        # A clean root of our own: its database knows no package, so dependencies are not looked at.
        root = self.home / "root"
        (root / "var/lib/dpkg").mkdir(parents=True)
        (root / "var/lib/dpkg/status").write_text("")
        dpkg = ["dpkg", f"--root={root}", f"--log={self.home}/log", "--force-depends", "--force-not-root",
                "--force-script-chrootless"]
        env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
        tool(*dpkg, "-i", str(package), env=env)
        program = str(root / "usr/bin/filterprune")
        tool(program, "-q", MODEL, "small.safetensors")
        tool(program, "verify", "-q", "small.safetensors", MODEL)
        tool(*dpkg, "-P", "filterprune", env=env)
        left = [p for p in root.rglob("*") if p.is_file() and "var/lib/dpkg" not in str(p)]
        self.assertEqual(left, [])


if __name__ == "__main__":
    harness.main()
