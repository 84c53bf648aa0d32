"""Packed files as hostile input, by the program hostile (hostile.c): flips, truncations and mutants of files that hold
every codec, packed losslessly and not; the adaptive code, which is slow, in one of them. And the program itself over a
sample, as a user would run it."""
import os
import random
import subprocess
import sys

import common
from common import check, run, must

HOSTILE = os.environ["FILTERPRUNE_HOSTILE"]
MUTANTS = 100000 if common.LONG else 600 if common.is_sanitized() else 4000
STEP = 17 if common.is_sanitized() and not common.LONG else 1


def hostile(*arguments):
    done = subprocess.run([HOSTILE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=common.environment())
    print(*arguments[:1], os.path.basename(arguments[1]), done.stdout.strip().splitlines()[-1:], flush=True)
    check(done.returncode == 0, " ".join(map(str, arguments)), f"ends with {done.returncode}:", done.stdout[-2000:])


def main():
    dice = random.Random(11)
    with common.Folder() as folder:
        inp = folder.write("in.safetensors", common.safetensors(common.rich(), common.METADATA))
        files = {"pruned": ["--level", "2"], "lossless": ["--level", "2", "--lossless"],
                 "cast": ["--cast", "bf16", "--drop", "noise"]}
        for name, options in files.items():
            must("-q", "--no-report", *options, inp, folder(name))
        info = must("info", "--json", folder("pruned")).out
        for codec in (b"kernels", b"palette", b"planes", b"raw"):
            check(b'"codec": "%s"' % codec in info, "the packed file has no tensor of codec", codec)
        for name in files:
            if name != "cast":
                hostile("flips", folder(name), STEP)
                hostile("cuts", folder(name), STEP)
            hostile("mutants", folder(name), MUTANTS // len(files), dice.randrange(2 ** 32))
        good = common.read(folder("pruned"))
        for i in range(40):
            bad = bytearray(good)
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            folder.write("bad", bad)
            done = run("verify", folder("bad"))
            check(done.status in (3, 5), "verify of a flipped file", done)
            for line in done.err.splitlines():
                check(line.startswith(b"filterprune: "), "verify of a flipped file prints", line)
            common.failed_well(run("unpack", folder("bad"), folder("out")), "unpack of a flipped file", (3,))
            check(not os.path.exists(folder("out")), "unpack of a flipped file leaves an output")
    common.finish("done")


main()
