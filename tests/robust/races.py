"""INPUT is truncated, overwritten or replaced while it is read: an error, never a signal, a hang or an output.

faults.c stops the program before its n-th read; the file is changed; the program goes on. So every moment is tried."""
import os
import signal
import subprocess
import sys
import time

import common
from common import check, must

CHANGES = ["truncate", "empty", "overwrite", "grow", "touch"]
STEP = 1 if common.LONG else 5


def change(path, how):
    size = os.path.getsize(path)
    if how == "truncate":
        os.truncate(path, size // 2)
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "grow":
        with open(path, "ab") as f:
            f.write(b"more")
    elif how == "touch":
        os.utime(path, ns=(1, 1))
    else:  # the same size, other weights, another time
        with open(path, "r+b") as f:
            f.seek(size - 3000)
            f.write(b"\x3f" * 2000)
        os.utime(path, ns=(2, 2))


def replace(path, other):
    """Another file under the same name: what is open stays as it is, what is opened again is another file."""
    os.rename(other, path)


def stopped_run(folder, arguments, n, action):
    """Runs the program up to its n-th read, does the action, lets it go on. None when there is no n-th read."""
    env = common.environment(LD_PRELOAD=common.FAULTS, FAULT_CALL="read", FAULT_N=n, FAULT_STOP=1,
                             FAULT_ROOT=folder("in.safetensors"))
    job = subprocess.Popen([common.PROGRAM, *arguments], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
    _, status = os.waitpid(job.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        job.returncode = os.waitstatus_to_exitcode(status)
        job.communicate()
        return None
    action()
    os.kill(job.pid, signal.SIGCONT)
    try:
        out, err = job.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        job.kill()
        out, err = job.communicate()
        check(False, f"{arguments}: read {n}:", "hangs")
    return common.Run(job.returncode, out, err)


def main():
    if not common.FAULTS or not os.path.exists(common.FAULTS):
        print("the library made of faults.c is missing")
        sys.exit(common.SKIPPED)
    tried = noticed = replaced = 0
    original = common.safetensors(common.rich(), common.METADATA)
    # The same tensors with fewer filters: what one sweep knows of their sizes must not be used on this.
    other = common.safetensors([(name, dtype, [shape[0] // 4, *shape[1:]], data[:len(data) // 4]) if len(shape) == 4 else
                                (name, dtype, shape, data) for name, dtype, shape, data in common.rich()])
    with common.Folder() as folder:
        inp = folder.write("in.safetensors", original)
        must("-q", "--no-report", inp, folder("keep"))
        packed = common.read(folder("keep"))
        cases = [
            ("prune", ["-q", "-j1", "--no-report", inp, folder("out")], original, (1, 3)),
            ("inspect", ["inspect", "-q", "-j1", inp], original, (1, 3)),
            ("compare", ["compare", "-q", "-j1", inp, folder("keep")], original, (1, 3)),
            ("unpack", ["unpack", "-q", "-j1", inp, folder("out")], packed, (1, 3)),
            ("verify", ["verify", "-q", "-j1", inp, folder("plain")], packed, (1, 3, 5)),
        ]
        folder.write("plain", original)
        for name, arguments, content, statuses in cases:
            for how in CHANGES + ["replace"]:
                n = 1
                while True:
                    folder.write("in.safetensors", content)
                    folder.write("other", other)
                    act = (lambda: replace(inp, folder("other"))) if how == "replace" else (lambda: change(inp, how))
                    done = stopped_run(folder, arguments, n, act)
                    if done is None:
                        if os.path.exists(folder("out")):
                            os.unlink(folder("out"))
                        break
                    tried += 1
                    what = f"{name}: {how} before read {n}:"
                    # A name that changed hands matters only to compare, which opens its inputs more than once.
                    if how == "replace" and name != "compare":
                        check(done.status == 0, what, "stumbles over another file:", done)
                    elif done.status == 0:
                        # Before compare has begun to measure, the changed file is simply the file.
                        check(name == "compare" and (n < 7 or how == "replace"), what, "goes unnoticed")
                    else:
                        noticed += 1
                        replaced += how == "replace"
                        check(done.status in statuses, what, "ends otherwise:", done)
                        check(done.status == 5 or common.ONE_LINE.match(done.err), what, "prints no single line:", done)
                    check(done.status == 0 or not os.path.exists(folder("out")), what, "leaves an output")
                    extra = set(os.listdir(folder.path)) - {"in.safetensors", "keep", "plain", "other", "out"}
                    check(not extra, what, "leaves", extra)
                    if os.path.exists(folder("out")):
                        os.unlink(folder("out"))
                    n += STEP
    check(replaced > 0, "compare never notices that a file is another one in its next sweep")
    check(noticed > 50, "hardly a change was noticed: is the library loaded?", noticed)
    common.finish(f"{tried} changes of an input while it was read, {noticed} noticed, the others harmless")


main()
