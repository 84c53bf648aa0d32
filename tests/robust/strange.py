"""Strange inputs, outputs and names: what is no checkpoint, where no file can be written, what a terminal must not see."""
import ctypes
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading

import common
from common import check, failed_well, must, run

CHECKPOINT = common.safetensors(common.rich(), common.METADATA)


def input_kinds(folder):
    """Whatever is no regular file is refused at once, whatever the command."""
    good = folder.write("good.safetensors", CHECKPOINT)
    os.mkfifo(folder("fifo"))
    os.mkdir(folder("directory"))
    os.symlink("nowhere", folder("dangling"))
    os.symlink("loop2", folder("loop"))
    os.symlink("loop", folder("loop2"))
    os.symlink("good.safetensors", folder("link"))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(folder("socket"))
    folder.write("nothing", b"")
    kinds = ["fifo", "directory", "dangling", "loop", "socket", "missing", "good.safetensors/x"]
    before = folder.listing()
    for path in [folder(k) for k in kinds] + ["/dev/null", "/dev/zero", "/dev/tty", "/proc/self/mem", "/proc/self/status",
                                             "/proc/self", "/", "", folder("x" * 300), "x" * 5000]:
        if path == "":
            statuses = (2,)
        else:
            statuses = (1, 3)  # files of /proc are regular and empty
        for arguments in ([path, folder("out")], ["inspect", path], ["unpack", path, folder("out")], ["verify", path],
                          ["info", path], ["compare", path, good], ["verify", good, path],
                          ["compare", "--basis", path, good, good]):
            done = run(*arguments, timeout=20)
            failed_well(done, f"{arguments[0]} of {path[-30:]!r}", statuses)
    check(folder.listing() == before, "strange inputs leave files")
    check(run("info", "-q", folder("link")).status == 0, "a link to a checkpoint is refused")
    failed_well(run("info", folder("nothing")), "an empty file", (3,))
    for kind in ("fifo", "directory", "socket"):  # as a shard of an index
        name = folder.write("x.safetensors.index.json", json.dumps({"weight_map": {"a": kind}}).encode())
        failed_well(run("info", name), f"a shard that is a {kind}", (3,))
    sock.close()
    if os.geteuid() != 0:
        os.chmod(good, 0)
        failed_well(run("info", good), "an unreadable file")
        os.chmod(good, 0o644)


def outputs(folder):
    """Where OUTPUT cannot be, and what becomes of what is there."""
    good = folder.write("good.safetensors", CHECKPOINT)
    job = ["-q", "--no-report", good]
    must(*job, folder("reference"))
    reference = common.read(folder("reference"))
    os.mkdir(folder("directory"))
    os.mkfifo(folder("fifo"))
    os.symlink("loop2", folder("loop"))
    os.symlink("loop", folder("loop2"))
    before = folder.listing()
    for force in ([], ["-f"]):
        for name in ("directory", "directory/", "fifo"):
            failed_well(run(*job, *force, folder(name)), f"output {name} {force}", (4,))
        for name in ("loop", "missing/out", "good.safetensors/out", "y" * 300, "reference/x"):
            failed_well(run(*job, *force, folder(name)), f"output {name[:20]} {force}", (1, 4))
        failed_well(run(*job, *force, good), "output = input", (4,))
        failed_well(run(*job, *force, folder("directory", "..", "good.safetensors")), "output = input by another path", (4,))
        failed_well(run(*job, *force, "/proc/out"), "output in /proc")
        failed_well(run(*job, *force, "/dev/null"), "output /dev/null", (4,))
    failed_well(run(*job, folder("reference")), "output that exists", (4,))
    check(folder.listing() == before, "refused outputs leave files")

    os.symlink("reference", folder("link"))
    folder.write("reference", b"old")
    must(*job, "-f", folder("link"))
    check(os.path.islink(folder("link")) and common.read(folder("reference")) == reference, "a linked output is not replaced")
    before = folder.listing()
    failed_well(run(*job, folder("link")), "a link to a file", (4,))
    os.symlink("good.safetensors", folder("link to input"))
    failed_well(run(*job, "-f", folder("link to input")), "a link to the input", (4,))
    os.unlink(folder("link to input"))
    check(folder.listing() == before, "refused links leave files")
    os.symlink("new", folder("link to be"))
    failed_well(run(*job, folder("link to be")), "a link to nothing", (4,))
    check(not os.path.exists(folder("new")), "a link to nothing that is refused makes a file")
    must(*job, "-f", folder("link to be"))
    check(os.path.islink(folder("link to be")) and common.read(folder("new")) == reference, "a link to nothing is not followed")
    os.symlink("nowhere.json", folder("r.report.json"))
    failed_well(run("-q", "-f", good, folder("r.safetensors")), "a report that is a link to nothing", (4,))
    check(not os.path.exists(folder("nowhere.json")) and not os.path.exists(folder("r.safetensors")),
          "a report that is a link to nothing is followed")

    for mode in (0o600, 0o644, 0o640, 0o400, 0o777):
        os.chmod(folder("reference"), mode)
        must(*job, "-f", folder("reference"))
        check(stat.S_IMODE(os.stat(folder("reference")).st_mode) == mode, f"mode {mode:o} is not kept")
    for mask in (0o022, 0o077, 0):
        done = run(*job, folder(f"mask{mask}"), preexec_fn=lambda: os.umask(mask))
        check(stat.S_IMODE(os.stat(folder(f"mask{mask}")).st_mode) == 0o666 & ~mask, f"umask {mask:o} is not honoured", done)
    os.mkdir(folder("sealed"), 0o555)
    if os.geteuid() != 0:
        failed_well(run(*job, folder("sealed", "out")), "a read-only directory")
    # The directory goes away while the job runs: the file in it has no name yet.
    os.mkdir(folder("gone"))
    os.chdir(folder("gone"))
    os.rmdir(folder("gone"))
    failed_well(run(*job, "out"), "a directory that is gone")
    os.chdir("/")


def full(folder):
    """No room: a limit on file sizes, and, for root, a file system of its own."""
    good = folder.write("good.safetensors", CHECKPOINT)
    must("-q", "--no-report", good, folder("packed"))
    before = folder.listing()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    for arguments in (["-q", good, folder("out")], ["unpack", "-q", folder("packed"), folder("out")],
                      ["inspect", "-q", "--html", folder("r.html"), good]):
        failed_well(run(*arguments, preexec_fn=limit), f"{arguments[0]} beyond the file size limit")
        check(folder.listing() == before, "a limit on file sizes leaves files")
    with open("/dev/full", "wb") as sink:
        for arguments in (["info", good], ["info", "--json", good], ["inspect", good], ["inspect", "--json", good],
                          ["verify", good], ["verify", "--json", good], ["compare", good, good],
                          ["compare", "--json", good, good], ["--help"], ["--version"], ["help"]):
            failed_well(run(*arguments, stdout=sink), f"{arguments} into a full device")
    for arguments in (["info", good], ["inspect", "--json", good]):
        reading, writing = os.pipe()
        os.close(reading)
        done = run(*arguments, stdout=writing)  # whoever read has seen enough, as `| head` has
        check(done.status == 0 and not done.err, f"{arguments} into a closed pipe", done)
        os.close(writing)
    mount = folder("mount")
    os.mkdir(mount)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(mount), b"tmpfs", 0, b"size=16k") != 0:
        print("no right to mount: a full file system is not tried")
        return
    try:
        failed_well(run("-q", "--no-report", "--dense", good, os.path.join(mount, "out")), "a full file system")
        check(os.listdir(mount) == [], "a full file system keeps a part")
        must("-q", "--no-report", good, os.path.join(mount, "out"))
        failed_well(run("-q", good, os.path.join(mount, "out"), "-f"), "a file system without room for the report")
        check(os.listdir(mount) == ["out"], "a file system without room for the report keeps", os.listdir(mount))
        if libc.mount(b"none", os.fsencode(mount), None, 32 | 1, None) == 0:  # MS_REMOUNT | MS_RDONLY
            failed_well(run("-q", "--no-report", good, os.path.join(mount, "new")), "a read-only file system")
    finally:
        libc.umount2(os.fsencode(mount), 2)


NAMES = ["new\nline", "null\0byte", "esc\x1b[31mred\x1b[0m", "bell\x07", "back\x08space", "tab\t", "c1\x9b31m", "rtl\u202etxt",
         "zero\u200bwidth", "quote\"back\\slash", "<script>alert(1)</script>", "&amp;", "\u00e9\U0001f600", " ", "%s%n%d", "-f",
         "../../etc/passwd", "n" * 10000, "\n" * 3000, "__proto__", ""]


def names(folder):
    """Names that hold anything: kept byte for byte, shown on one line of plain text."""
    dice = common.random.Random(3)
    tensors = []
    for name in NAMES:
        tensors.append((name, "F32", [4, 4, 3, 3], common.floats(common.conv(dice, 4, 4, 9, dead=0.5))))
        tensors.append((name + ".b", "F32", [300], common.floats([0.5] * 300)))
    for path in ("plain.safetensors", "esc\x1b]0;title\x07\nx.safetensors"):
        inp = folder.write(path, common.safetensors(tensors, {n or "empty": n for n in NAMES}))
        raw = os.fsencode(folder.path) + b"/bad\xff\xfe.safetensors"
        with open(raw, "wb") as f:
            f.write(common.read(inp))
        out, back = folder("out.safetensors"), folder("back.safetensors")
        for arguments in ([inp, out], ["info", "-v", inp], ["inspect", "-v", inp], ["verify", "-v", out, inp],
                          ["compare", "-v", inp, out], ["unpack", out, back], ["info", "-v", raw], ["inspect", raw]):
            done = run(*arguments)
            check(done.status == 0, f"{arguments[0]} of strange names", done)
            for c in done.out + done.err:
                if not check(c >= 32 or c == 10, f"{arguments[0]} shows a control character", hex(c)):
                    break
            check(b"\xc2\x9b" not in done.out + done.err and "\u202e".encode() not in done.out + done.err,
                  f"{arguments[0]} shows a hidden control")
        for arguments in (["info", "--json", inp], ["info", "--json", raw], ["inspect", "--json", raw],
                          ["verify", "--json", out, inp], ["compare", "--json", raw, out]):
            text = run(*arguments).out
            try:
                document = json.loads(text.decode("utf-8"))
            except ValueError as problem:
                check(False, f"{arguments[:2]} prints no JSON: {problem}")
                continue
            shown = {t["name"] for t in document.get("tensors", [])}
            check(arguments[0] in ("compare", "inspect") or set(NAMES) <= shown, f"{arguments[:2]} loses names",
                  sorted(set(NAMES) - shown)[:3])
        json.loads(common.read(folder("out.report.json")).decode())
        page = common.read(folder("out.report.html"))
        check(b"<script>alert" not in page, "a name becomes markup in the report")
        failed_well(run("--lossless", inp, out), "an output that exists", (4,))
        must("-q", "-f", "--no-report", "--lossless", inp, out)
        must("unpack", "-q", "-f", out, back)
        check(common.read(inp) == common.read(back), "strange names do not come back byte for byte")
        bad = bytearray(common.read(out))
        bad[-50] ^= 1
        folder.write("bad.safetensors", bad)
        done = run("verify", folder("bad.safetensors"))
        check(done.status == 5 and not any(c < 32 and c != 10 for c in done.err), "verify of damaged strange names", done)
        for name in ("out.safetensors", "back.safetensors", "out.report.json", "out.report.html"):
            os.unlink(folder(name))
    done = run("--drop", b"\xff*", folder("plain.safetensors"), folder("never"))
    check(done.status == 2, "a pattern that is no UTF-8", done)


def tensors_of(path):
    """All behind the header: its data, blobs included."""
    data = common.read(path)
    return data[8 + int.from_bytes(data[:8], "little"):]


def chance(folder):
    """A plain tensor whose bytes begin like a blob is a plain tensor."""
    tensors = [("t", "U8", [4000], b"FPZ1" + bytes(range(256)) * 16)[:3] + ((b"FPZ1" + bytes(range(256)) * 16)[:4000],),
               ("w", "F32", [8, 8, 3, 3], common.floats([0.5, -0.5, 0.25] * 192))]
    inp = folder.write("chance.safetensors", common.safetensors(tensors))
    must("-q", "--no-report", "--lossless", inp, folder("out"))
    must("verify", "-q", folder("out"), inp)
    must("unpack", "-q", folder("out"), folder("back"))
    check(common.read(inp) == common.read(folder("back")), "a tensor that begins like a blob does not come back")
    # Packed again from the packed file, the same, but for what it says that it was made from.
    must("-q", "--no-report", "--lossless", folder("out"), folder("again"))
    check(tensors_of(folder("out")) == tensors_of(folder("again")), "packing a packed file changes it")


def damaged_again(folder):
    """A damaged packed file is not pruned into a sound one."""
    inp = folder.write("in.safetensors", CHECKPOINT)
    must("-q", "--no-report", inp, folder("packed"))
    packed = bytearray(common.read(folder("packed")))
    raw = common.rich()[9][3]
    at = bytes(packed).find(raw)
    check(at > 0, "the noise is not stored raw")
    packed[at + 100] ^= 4
    folder.write("packed", packed)
    for arguments in (["-q", folder("packed"), folder("out")], ["inspect", "-q", folder("packed")],
                      ["compare", "-q", inp, folder("packed")], ["unpack", "-q", folder("packed"), folder("out")]):
        failed_well(run(*arguments), f"{arguments[0]} of damaged raw weights", (3,))
    check(not os.path.exists(folder("out")), "damaged raw weights become an output")


def header_room(folder):
    """Large tensors of long shapes that stay raw under names that cannot be indexed: the header must fit its room."""
    dice = common.random.Random(8)
    size = 1 << 20
    tensors = [(f"big{i}\0", "U8", [1] * 24 + [size], dice.randbytes(size)) for i in range(12)]
    tensors.append(("w", "F32", [8, 8, 3, 3], common.floats([0.5, -0.5, 0.25] * 192)))
    tensors += [(f"zero{i}", "F32", [40000], bytes(160000)) for i in range(4)]
    inp = folder.write("in.safetensors", common.safetensors(tensors))
    must("-q", "--no-report", inp, folder("out"))
    must("verify", "-q", folder("out"), inp)
    must("unpack", "-q", folder("out"), folder("back"))
    check(common.read(inp) == common.read(folder("back")), "raw tensors of long shapes do not come back")


def shards(folder):
    """A sharded output that fails leaves nothing; one whose index exists is refused before the work."""
    tensors = common.rich()
    folder.write("a.safetensors", common.safetensors(tensors[:5]))
    folder.write("b.safetensors", common.safetensors(tensors[5:]))
    where = {t[0]: "a.safetensors" if i < 5 else "b.safetensors" for i, t in enumerate(tensors)}
    index = folder.write("m.safetensors.index.json", json.dumps({"weight_map": where}).encode())
    os.mkdir(folder("there"))
    folder.write("there/m.safetensors.index.json", b"old")
    before = folder.listing()
    failed_well(run("-q", index, folder("there")), "an index that exists", (4,))
    check(folder.listing() == before, "a refused sharded output leaves files")
    failed_well(run("-q", "-f", index, folder.path), "shards onto themselves", (4,))
    check(folder.listing() == before, "shards onto themselves leave files")


def main():
    for test in (input_kinds, outputs, full, names, chance, damaged_again, header_room, shards):
        with common.Folder() as folder:
            count = len(common.problems)
            try:
                test(folder)
            except SystemExit as stop:  # of a run that had to succeed
                check(False, test.__name__, stop)
            print(f"{test.__name__}: {'ok' if len(common.problems) == count else 'FAILED'}", flush=True)
    common.finish("done")


main()
