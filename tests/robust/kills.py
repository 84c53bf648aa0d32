"""Kill -9, SIGINT and SIGTERM at random moments of a job that replaces an existing OUTPUT.

After kill -9, OUTPUT is the old file or the complete new one, which `verify` finds clean. After SIGINT and SIGTERM there
is nothing else in the folder either, and the program has ended by that signal (or was done already)."""
import os
import random
import signal
import subprocess
import sys
import time

import common
from common import check, run, must

KILLS = 1000 if common.LONG else 200
INTERRUPTS = 200 if common.LONG else 60


def old_file(folder):
    """An OUTPUT that is a packed file of its own, so that "old" can be told from "complete"."""
    folder.write("other.safetensors", common.safetensors(common.rich(9)))
    must("-q", "-f", "--no-report", folder("other.safetensors"), folder("out.safetensors"))
    os.unlink(folder("other.safetensors"))
    return common.read(folder("out.safetensors"))


def start(folder, *more):
    return subprocess.Popen([common.PROGRAM, "-q", "-f", *more, folder("in.safetensors"), folder("out.safetensors")],
                            env=common.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def main():
    dice = random.Random(7)
    states = {"old": 0, "complete": 0, "absent": 0, "leftovers": 0}
    with common.Folder() as folder:
        scale = 4
        while True:  # grows until a run takes long enough to be hit anywhere
            folder.write("in.safetensors", common.safetensors(common.rich(3, scale), common.METADATA))
            old = old_file(folder)
            began = time.monotonic()
            must("-q", "-f", "--no-report", folder("in.safetensors"), folder("out.safetensors"))
            seconds = time.monotonic() - began
            if seconds > 0.05 or scale >= 128:
                break
            scale *= 2
        new, before = common.read(folder("out.safetensors")), common.digest(folder("in.safetensors"))
        check(new != old, "old and new output are the same")

        for i in range(KILLS):
            absent = i % 4 == 3
            if absent:
                os.unlink(folder("out.safetensors"))
            else:
                folder.write("out.safetensors", old)
            job = start(folder, "--no-report")
            time.sleep(dice.uniform(0, 1.15 * seconds))
            job.kill()
            job.communicate()
            what = f"kill {i}:"
            check(common.digest(folder("in.safetensors")) == before, what, "INPUT has changed")
            left = set(os.listdir(folder.path)) - {"in.safetensors", "out.safetensors"}
            states["leftovers"] += bool(left)
            check(all(n.startswith(".filterprune-") for n in left), what, "leaves", left)
            for name in left:
                os.unlink(folder(name))
            if not os.path.exists(folder("out.safetensors")):
                states["absent"] += 1
                check(absent, what, "the old OUTPUT is gone")
                continue
            now = common.read(folder("out.safetensors"))
            if now == old and not absent:
                states["old"] += 1
                continue
            states["complete"] += 1
            check(now == new, what, "OUTPUT is neither old nor complete,", len(now), "bytes")
            check(run("verify", "-q", folder("out.safetensors")).status == 0, what, "OUTPUT does not verify")

        ended = {signal.SIGINT: 0, signal.SIGTERM: 0}
        for i in range(INTERRUPTS):
            number = (signal.SIGINT, signal.SIGTERM)[i % 2]
            folder.write("out.safetensors", old)
            job = start(folder)
            time.sleep(dice.uniform(0.3, 1.2) * seconds)
            job.send_signal(number)
            _, err = job.communicate(timeout=30)
            what = f"signal {number} {i}:"
            done = job.returncode == 0
            ended[number] += not done
            check(done or job.returncode == -number, what, "ends with", job.returncode, err)
            now = common.read(folder("out.safetensors"))
            check(now in (old, new), what, "OUTPUT is neither old nor complete")
            left = set(os.listdir(folder.path)) - {"in.safetensors", "out.safetensors"}
            reports = {"out.report.json", "out.report.html"}
            check(left <= reports, what, "leaves", left)
            # Before the handlers are there a signal ends the program silently; afterwards there is one line.
            check(err == b"" or common.ONE_LINE.match(err), what, "prints", err)
            check(b"nothing was written" not in err or (now == old and not left), what, "says nothing was written")
            for name in left:
                os.unlink(folder(name))
            check(common.digest(folder("in.safetensors")) == before, what, "INPUT has changed")
    common.finish(f"a run takes {1000 * seconds:.0f} ms; {KILLS} kills: {states['old']} old, {states['complete']} "
                  f"complete, {states['absent']} absent where there was none, {states['leftovers']} with a temporary; "
                  f"{sum(ended.values())} of {INTERRUPTS} jobs ended by a signal")


main()
