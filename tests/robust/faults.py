"""Fault injection: every call of every kind fails in turn, in every command, on a small checkpoint.

Each run must end with exit status 1 and one line, INPUT untouched, no OUTPUT and no temporary left. A fault that the
program can do without (advice, a page cache hint) may leave exit status 0, but then OUTPUT is what it always is.
A report that cannot be written after OUTPUT is complete leaves OUTPUT. EINTR and short transfers must not show; only
pages, written through stdio, may give up on an EINTR, which no local file system knows."""
import errno
import json
import os
import sys

import common
from common import check, run, must

# Kind of call, errno, whether all later calls fail too.
KINDS = [
    ("open", errno.EMFILE, False), ("open", errno.EINTR, False), ("open", errno.EIO, False),
    ("read", errno.EIO, False), ("read", errno.EINTR, False), ("read", 0, True),
    ("write", errno.ENOSPC, True), ("write", errno.EIO, False), ("write", errno.EINTR, False), ("write", 0, True),
    ("fsync", errno.EIO, False), ("fsync", errno.EINTR, False), ("fsync", errno.ENOSPC, False),
    ("rename", errno.EIO, False), ("rename", errno.ENOSPC, False), ("link", errno.EIO, False),
    ("link", errno.ENOSPC, False), ("stat", errno.EIO, False), ("close", errno.EIO, False),
    ("random", errno.ENOSYS, False), ("mkdir", errno.ENOSPC, False), ("chmod", errno.EPERM, False),
    ("readlink", errno.EIO, False), ("unlink", errno.EIO, False), ("malloc", errno.ENOMEM, False),
    ("malloc", errno.ENOMEM, True),
]
# Without FILTERPRUNE_LONG: all calls up to this one, then every STEP-th. The allocations at the beginning are those for
# the texts of strangers, where one that fails could be taken for a text that is broken.
FIRST, STEP = (10 ** 9, 1) if common.LONG else (10, 37)
FIRST_MALLOC = max(FIRST, 60)

faults = survived = runs = 0


def commands(folder):
    """Name, arguments, the files that it makes (those that are the same in every run with their contents)."""
    inp, packed, index = folder("in.safetensors"), folder("packed.safetensors"), folder("big.safetensors.index.json")
    return [
        ("prune", ["-q", "-j1", inp, folder("out.safetensors")]),
        ("replace", ["-q", "-j1", "-f", "--no-report", inp, folder("old.safetensors")]),
        ("prune -j2", ["-q", "-j2", "--no-report", inp, folder("out.safetensors")]),
        ("dense", ["-q", "-j1", "--dense", "--no-report", inp, folder("out.safetensors")]),
        ("shards", ["-q", "-j1", "--no-report", index, folder("out")]),
        ("unpack", ["unpack", "-q", "-j1", packed, folder("out.safetensors")]),
        ("unpack shards", ["unpack", "-q", "-j1", folder("packed", "big.safetensors.index.json"), folder("out")]),
        ("verify", ["verify", "-q", "-j1", packed, inp]),
        ("inspect", ["inspect", "-q", "-j1", "--html", folder("page.html"), inp]),
        ("compare", ["compare", "-j1", "--json", "--html", folder("page.html"), inp, packed]),
        ("info", ["info", "--json", packed]),
        ("basis", ["compare", "-q", "-j1", "--basis", folder("basis.json"), inp, packed]),
    ]


def make_inputs(folder):
    tensors = common.rich()
    folder.write("in.safetensors", common.safetensors(tensors, common.METADATA))
    folder.write("old.safetensors", b"old")
    folder.write("big-1.safetensors", common.safetensors(tensors[:5], common.METADATA))
    folder.write("big-2.safetensors", common.safetensors(tensors[5:]))
    shard = {t[0]: "big-1.safetensors" if i < 5 else "big-2.safetensors" for i, t in enumerate(tensors)}
    folder.write("big.safetensors.index.json", json.dumps({"metadata": {"total_size": 1}, "weight_map": shard}).encode())
    unit = [[float(i == j) for j in range(9)] for i in range(9)]
    folder.write("basis.json", json.dumps({"mean": [0] * 9, "components": unit,
                                           "explained_variance_ratio": [1 / 9] * 9}).encode())
    must("-q", "--no-report", folder("in.safetensors"), folder("packed.safetensors"))
    must("-q", "--no-report", folder("big.safetensors.index.json"), folder("packed"))


def tidy(folder, before):
    """Puts the folder back as it was."""
    for name in sorted(folder.listing(), reverse=True):
        if name not in before:
            (os.rmdir if os.path.isdir(folder(name)) else os.unlink)(folder(name))
    if before["old.safetensors"] != common.digest(folder("old.safetensors")):
        folder.write("old.safetensors", b"old")


def is_report(name):
    return name.endswith((".report.json", ".report.html", ".html"))


def judge(folder, what, kind, number, before, expected, expected_out, done):
    """What a run with a fault must have left behind."""
    global survived
    made = {n: d for n, d in folder.listing().items() if before.get(n) != d}
    check(all(before[n] == d for n, d in folder.listing().items() if n in before and n != "old.safetensors"), what,
          "changed an input")
    mild = number in (0, errno.EINTR) and kind in ("read", "write", "open", "fsync")
    if done.status == 0:
        survived += 1
        check(done.err == b"", what, "succeeds and complains:", done)
        check(set(made) == set(expected) and all(is_report(n) or made[n] == expected[n] for n in made), what,
              "succeeds without its output:", sorted(made))
        check(done.out == expected_out, what, "succeeds with other output")
        return
    page = b".report." in done.err or b".html" in done.err
    check(not mild or (page and number == errno.EINTR), what, "gives up where it should go on:", done)
    if common.failed_well(done, what):
        check(b"byte" in done.err or b":" in done.err[12:] or b"memory" in done.err, what, "says nothing:", done)
    for name, content in made.items():
        if is_report(name):  # written whole before something else failed
            check(content != common.hashlib.sha256(b"").hexdigest(), what, "leaves an empty report")
        else:  # complete before a report, or the flush of the directory, failed
            late = b".html" in done.err or b".json" in done.err or b"directory cannot be flushed" in done.err
            check(late or (kind == "malloc" and expected.get(name) == content), what, "leaves", name, done)
            check(expected.get(name) == content, what, "leaves other bytes in", name)


def inject(folder, name, arguments, before):
    global faults, runs
    done = run(*arguments)
    check(done.status == 0 and done.err == b"", name, "fails without any fault:", done)
    expected = {n: d for n, d in folder.listing().items() if before.get(n) != d}
    expected_out = done.out
    tidy(folder, before)
    hit = folder.path + ".hit"
    for kind, number, keep in KINDS:
        if kind == "malloc" and (common.is_sanitized() or name in ("prune -j2", "replace")):
            continue
        n = 1
        while True:
            env = common.environment(LD_PRELOAD=common.FAULTS, FAULT_CALL=kind, FAULT_N=n, FAULT_ERRNO=number,
                                     FAULT_ROOT=folder.path, FAULT_HIT=hit)
            if keep:
                env["FAULT_KEEP"] = "1"
            runs += 1
            what = f"{name}: {kind} call {n}: {os.strerror(number) if number else 'short'}{' on' if keep else ''}:"
            done = run(*arguments, env=env)
            if not os.path.exists(hit):
                tidy(folder, before)
                break
            os.unlink(hit)
            faults += 1
            judge(folder, what, kind, number, before, expected, expected_out, done)
            tidy(folder, before)
            n += 1 if n < (FIRST_MALLOC if kind == "malloc" else FIRST) else STEP


def main():
    if not common.FAULTS or not os.path.exists(common.FAULTS):
        print("the library made of faults.c is missing")
        sys.exit(common.SKIPPED)
    chosen = sys.argv[1:]
    with common.Folder() as folder:
        make_inputs(folder)
        before = folder.listing()
        for name, arguments in commands(folder):
            if not chosen or name in chosen:
                count = faults
                inject(folder, name, arguments, before)
                print(f"{name}: {faults - count} faults", flush=True)
    check(chosen or faults > 500, "hardly a call could be made to fail: is the library loaded?", faults)
    common.finish(f"{faults} faults injected in {runs} runs, {survived} of them done without")


main()
