"""Sharded outputs as one thing: races, kills, a disk that fills up, links into INPUT, thousands of shards; and that no
phase of a command is deaf to Ctrl-C.

FILTERPRUNE_LONG=1: 1,000 pairs of sharded and 1,000 of single outputs, 500 kills, every 4 kB of the disk, 2,000 shards."""
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import time

import common
from common import check

PAIRS = 1000 if common.LONG else 25
KILLS = 500 if common.LONG else 20
SHARDS = 2000 if common.LONG else 200
FILES = 1024 if common.LONG else 64
INDEX = "m.safetensors.index.json"


def shards_of(folder, name, count, seed, filters=24, channels=8):
    """A sharded checkpoint of so many small shards; the path of its index."""
    dice = random.Random(seed)
    os.makedirs(folder(name), exist_ok=True)
    weight_map = {}
    for i in range(count):
        shard = f"m-{i + 1:05d}-of-{count:05d}.safetensors"
        values = common.conv(dice, filters, channels, 9, dead=0.3)
        folder.write(os.path.join(name, shard), common.safetensors(
            [(f"l{i}.weight", "F32", [filters, channels, 3, 3], common.floats(values))]))
        weight_map[f"l{i}.weight"] = shard
    return folder.write(os.path.join(name, INDEX), json.dumps({"metadata": {}, "weight_map": weight_map}).encode())


def start(*arguments, **more):
    return subprocess.Popen([common.PROGRAM, *arguments], env=common.environment(), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)


def status(*arguments, **more):
    job = start(*arguments, **more)
    said = job.communicate()[1]
    check(job.returncode == 0 or common.ONE_LINE.match(said), f"{arguments}: said {said!r}")
    return job.returncode


def state(path):
    """Every file below a folder, with its bytes."""
    found = {}
    for base, _, files in os.walk(path):
        for name in files:
            found[os.path.relpath(os.path.join(base, name), path)] = common.read(os.path.join(base, name))
    return found


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def leftovers(folder):
    return [name for name in os.listdir(folder.path) if name.startswith(".filterprune-")]


def races(folder, dice):
    """Two processes, one OUTPUT: a whole output, exit 0 for who made it, 4 for the other, no parts."""
    index = shards_of(folder, "race", 4, 1)
    single = folder.write("single.safetensors", common.safetensors(common.rich(4)))
    must_be = {}
    outcomes = {}
    for kind, options, source in (("sharded", (), index), ("unpack", ("unpack",), index), ("single", (), single)):
        output = folder("race-out")
        result = os.path.join(output, INDEX) if source is index else output
        rounds = PAIRS // 5 if kind == "unpack" else PAIRS
        for i in range(rounds):
            remove(output)
            arguments = (*options, "-q", *(() if options else ("--no-report",)), source, output)
            first = start(*arguments)
            time.sleep(dice.uniform(0, 0.004))
            second = start(*arguments)
            codes = sorted((first.wait(), second.wait()))
            first.stderr.close()
            second.stderr.close()
            outcomes[kind, tuple(codes)] = outcomes.get((kind, tuple(codes)), 0) + 1
            check(codes in ([0, 0], [0, 4]), f"{kind} pair {i}: ended with {codes}")
            check(kind == "single" or codes == [0, 4], f"{kind} pair {i}: both made {output}")
            there = state(output) if os.path.isdir(output) else common.read(output)
            check(must_be.setdefault(kind, there) == there, f"{kind} pair {i}: OUTPUT is another one")
            check(not leftovers(folder), f"{kind} pair {i}: left {leftovers(folder)}")
        check(status("verify", "-q", result, source) == 0, f"{kind}: verify")
        remove(output)
    return outcomes


def kills(folder, dice):
    """Kill -9 over an older output: what is there is the old set, the new one, or refused."""
    old_index, new_index = shards_of(folder, "old", 4, 2), shards_of(folder, "new", 4, 3)
    output, seen = folder("out"), {}
    for mixed in (False, True):  # ours alone; and with a file of somebody else, so that files go in one by one
        must = []
        for source in (old_index, new_index):
            remove(output)
            began = time.monotonic()
            check(status("-q", "--no-report", source, output) == 0, "a plain run")
            seconds = time.monotonic() - began
            must.append(state(output))
        old, new = must
        for i in range(KILLS // 2):
            remove(output)
            os.mkdir(output)
            for name, data in old.items():
                folder.write(os.path.join("out", name), data)
            if mixed:
                folder.write("out/other.txt", b"not ours")
            job = start("-q", "-f", "--no-report", new_index, output)
            time.sleep(dice.uniform(0.3, 1.3) * seconds)
            job.kill()
            job.communicate()
            there = state(output)
            if mixed:
                check(there.pop("other.txt", None) == b"not ours", f"kill {i}: a file of somebody else is gone")
            there = {name: data for name, data in there.items() if not name.startswith(".filterprune-")}
            what = "old" if there == old else "new" if there == new else "mixed"
            if what == "mixed":
                refused = status("verify", "-q", os.path.join(output, INDEX)) in (1, 3)
                check(refused, f"kill {i}: a mixture of old and new is taken for an output")
                check(not mixed or INDEX not in there, f"kill {i}: the index stands before all of its shards")
                check(mixed, f"kill {i}: a folder that is ours alone changed file by file")
            seen[mixed, what] = seen.get((mixed, what), 0) + 1
            for name in leftovers(folder):
                remove(folder(name))
    remove(output)
    return seen


def full_disk(folder):
    """A disk of every size: exit 1 and everything as it was, or exit 0 and a whole output."""
    disk = folder("disk")
    os.mkdir(disk)
    old_index, new_index = shards_of(folder, "old", 4, 2), shards_of(folder, "new", 4, 3)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return "skipped: no right to mount a disk of its own"
    counts = {}
    try:
        for fresh in (True, False):
            step = 4 if common.LONG else 24
            for size in range(8, 320, step):
                for name in os.listdir(disk):
                    remove(os.path.join(disk, name))
                subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
                output = os.path.join(disk, "o")
                if not fresh:
                    check(status("-q", "--no-report", old_index, output) == 0, "the older output")
                used = sum(f.stat().st_blocks for f in os.scandir(output)) // 2 if not fresh else 0
                subprocess.run(["mount", "-o", f"remount,size={used + size}k", disk], check=True)
                before = state(disk)
                arguments = ("-q", "-f", "--no-report", new_index, output)
                code = status(*arguments)
                check(code in (0, 1), f"{size} kB: ended with {code}")
                if code:
                    check(state(disk) == before, f"{size} kB, fresh {fresh}: not as it was: {sorted(state(disk))}")
                    check(fresh is False or not os.path.exists(output), f"{size} kB: an empty folder stays")
                else:
                    check(status("verify", "-q", os.path.join(output, INDEX), new_index) == 0, f"{size} kB: verify")
                check(os.listdir(disk) in ([], ["o"]), f"{size} kB: left {os.listdir(disk)}")
                counts[fresh, code] = counts.get((fresh, code), 0) + 1
            check(counts.get((fresh, 0)) and counts.get((fresh, 1)), f"disk sizes tell nothing: {counts}")
    finally:
        subprocess.run(["umount", disk], check=True)
    return counts


def links(folder):
    """A name of OUTPUT leads to a file of INPUT: refused before any work, INPUT as it was."""
    index = shards_of(folder, "linked", 2, 5)
    shard = sorted(n for n in os.listdir(folder("linked")) if n != INDEX)[0]
    before = state(folder("linked"))
    for name in (INDEX, shard):
        for target in (INDEX, shard):
            for make in (os.symlink, os.link):
                output = folder("linkout")
                os.mkdir(output)
                make(folder("linked", target), os.path.join(output, name))
                for command in (("-f", "-q"), ("-f", "-q", "--dense"), ("unpack", "-f", "-q")):
                    check(status(*command, index, output) == 4, f"{command} over {make.__name__} {name} -> {target}")
                    check(state(folder("linked")) == before, f"{command}: INPUT was written to")
                remove(output)
    # The same file by another road, and the folder of INPUT itself.
    for output in (folder("linked"), folder("old", "..", "linked")):
        check(status("-f", "-q", "--no-report", index, output) == 4, f"{output} is INPUT's folder")
    check(state(folder("linked")) == before, "INPUT was written to")


def reports(folder):
    """No report takes the place of OUTPUT."""
    source = folder.write("rep.safetensors", common.safetensors(common.rich(4)))
    os.makedirs(folder("sub"), exist_ok=True)
    before = sorted(os.listdir(folder.path))
    for output in ("o.report.json", "o.report.html", "./o.report.json", "sub/../o.report.json"):
        for force in ((), ("-f",)):
            code = status("-q", *force, "--report", folder("o"), source, folder(output))
            check(code in (2, 4), f"--report o, OUTPUT {output}: exit {code}")
            check(sorted(os.listdir(folder.path)) == before, f"--report o, OUTPUT {output}: something was written")


def many_shards(folder):
    """As many shards as there are, a few open files, and not a MiB more for each."""
    index = shards_of(folder, "many", SHARDS, 6, 4, 2)

    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

    for command, result in ((("-q", "--no-report", "--lossless"), "m1"), (("--dense", "-q", "--no-report"), "m2"),
                            (("unpack", "-q"), "m3"), (("inspect", "-q"), None), (("verify", "-q"), None)):
        arguments = [*command, index if command[0] != "unpack" else folder("m1", INDEX)]
        if command[0] == "verify":
            arguments[-1:] = [folder("m1", INDEX), index]
        if result:
            arguments.append(folder(result))
        job = start(*arguments, preexec_fn=few_files)
        said = job.stderr.read()
        _, code, usage = os.wait4(job.pid, 0)
        job.returncode = code
        check(code == 0, f"{SHARDS} shards, {command}: {code} {said!r}")
        check(common.is_sanitized() or usage.ru_maxrss < 65 * 1024, f"{SHARDS} shards, {command}: {usage.ru_maxrss} kB")
    for name in ("many", "m1", "m2", "m3"):
        remove(folder(name))


def hole(path, shape):
    """A checkpoint of one tensor that is mostly a hole."""
    size = 4
    for n in shape:
        size *= n
    text = json.dumps({"w.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.write(common.floats(random.Random(1).gauss(0, 1) for _ in range(5000)))
        f.truncate(8 + len(text) + size)


def bounds(folder):
    """Layers of very many filters: linear time, bounded memory; and Ctrl-C in every phase."""
    for filters, width, seconds in ((1000000, 3, 1), (12500000 if common.LONG else 1000000, 2, 60)):
        path = folder("wide.safetensors")
        hole(path, [filters, 1, width])
        job = start("inspect", "-q", path)
        _, code, usage = os.wait4(job.pid, 0)
        job.returncode = code
        job.stderr.close()
        check(code == 0, f"inspect [{filters},1,{width}]: {code}")
        check(usage.ru_utime < seconds, f"inspect [{filters},1,{width}]: {usage.ru_utime} s of processor time")
        most = (64 << 10) + 2 * filters * width * 4 // 1024
        check(common.is_sanitized() or usage.ru_maxrss <= most, f"inspect [{filters},1,{width}]: {usage.ru_maxrss} kB of {most}")
        os.unlink(path)
    path = folder("long.safetensors")
    hole(path, [4096, 4096, 3, 3])
    latest = 0
    for command in (("inspect",), ("--lossless",), ("--amount", "0.5"), ("--dense", "--cast", "bf16"), ("verify",)):
        for delay in (0.1, 0.4, 1, 2, 3, 5, 8) if common.LONG else (0.3, 1.2):
            writes = command[0].startswith("--")
            job = start("-q", *command, path, *((folder("gone"),) if writes else ()),
                        *(("--no-report",) if writes else ())) if writes else start(*command, "-q", path)
            time.sleep(delay)
            began = time.monotonic()
            job.send_signal(signal.SIGINT)
            job.communicate()
            took = time.monotonic() - began
            latest = max(latest, took)
            if job.returncode == 0:
                remove(folder("gone"))
                break
            check(job.returncode in (-signal.SIGINT, 130), f"{command}: SIGINT ended it with {job.returncode}")
            # Half a second of an idle machine: this one may not be.
            check(took < (1 if common.LONG else 5), f"{command} after {delay} s: SIGINT took {took:.2f} s")
            check(not os.path.exists(folder("gone")), f"{command}: an OUTPUT stays")
            check(not leftovers(folder), f"{command}: left {leftovers(folder)}")
    os.unlink(path)
    return latest


def main():
    dice = random.Random(11)
    with common.Folder() as folder:
        print("pairs:", races(folder, dice))
        print("kills over an older output (with other files, state):", kills(folder, dice))
        print("disk sizes (fresh, exit):", full_disk(folder))
        links(folder)
        reports(folder)
        many_shards(folder)
        common.finish(f"SIGINT answered within {bounds(folder):.2f} s")


if __name__ == "__main__":
    main()
