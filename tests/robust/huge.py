"""Headers and checkpoints of extreme size: time and memory stay in proportion.

Each case runs the program under a limit of time and measures its peak memory."""
import multiprocessing
import os
import random
import struct
import subprocess
import time

import common
from common import check

SLOW = 6 if common.is_sanitized() else 1  # a sanitizer costs time and memory
MB = 1 << 20


class Runner:
    """A process that runs the program. It is made while this script is small: what a parent has in memory when it makes a
    child counts as the child's peak."""

    def __init__(self):
        self.ask, self.answer = multiprocessing.Pipe()
        if os.fork() == 0:
            self.ask.close()
            while True:
                try:
                    self.answer.send(self.work(self.answer.recv()))
                except EOFError:
                    os._exit(0)

    @staticmethod
    def work(arguments):
        began = time.monotonic()
        job = subprocess.Popen([common.PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, env=common.environment())
        err = job.stderr.read()
        job.stderr.close()
        _, status, usage = os.wait4(job.pid, 0)
        job.returncode = os.waitstatus_to_exitcode(status)
        return (job.returncode, err, time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)

    def __call__(self, arguments):
        self.ask.send(arguments)
        return self.ask.recv()


runner = Runner()


def measured(arguments, seconds, megabytes, statuses, what):
    status, err, took, cpu, peak = runner(arguments)
    print(f"{what}: exit {status}, {took:.2f} s, {cpu:.2f} s of CPU, {peak:.0f} MiB", flush=True)
    check(status in statuses, what, "ends with", status, err[-300:])
    if status:
        check(common.ONE_LINE.match(err), what, "prints no single line", err[-300:])
    check(cpu < seconds * SLOW, what, f"takes {cpu:.1f} s of CPU")
    check(common.is_sanitized() or peak < megabytes, what, f"takes {peak:.0f} MiB")


def header_file(folder, name, text, data=b""):
    text += b" " * (-len(text) % 8)
    with open(folder(name), "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        f.write(data)
    return folder(name)


def many(count, shape, dtype, bytes_each):
    text = ",".join(f'"t{i:06}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{i * bytes_each},{(i + 1) * bytes_each}]}}'
                    for i in range(count))
    return b"{" + text.encode() + b"}"


def main():
    full = 100000000 if common.LONG else 20000000  # bytes of a header; the format allows the first
    scale = full / 1e8
    with common.Folder() as folder:
        # 100,000 layers of one kernel, and 100,000 biases.
        n = 100000
        inp = header_file(folder, "layers", many(n, "[2,1,3,3]", "F32", 72), random.Random(1).randbytes(16 * 36) * (n // 8))
        for arguments, seconds, megabytes in (
                (["info", inp], 5, 600), (["info", "--json", inp], 5, 600), (["inspect", "-q", inp], 30, 700),
                (["-q", "--no-report", inp, folder("out")], 60, 900), (["verify", "-q", folder("out")], 30, 900),
                (["unpack", "-q", folder("out"), folder("back")], 30, 900)):
            measured(arguments, seconds, megabytes, (0,), f"100,000 layers, {arguments[0]}")
        # Every layer has a kernel shape of its own, more shapes than there is memory for distributions.
        shapes = [(a, b, c) for a in range(1, 65) for b in range(1, 65) for c in range(1, 65) if 1 < a * b * c <= 128]
        shapes += [(1, a, b) for a in range(9, 65) for b in range(15, 65)]
        entries, at = [], 0
        for i, (a, b, c) in enumerate(shapes):
            size = 16 * a * b * c
            entries.append(f'"t{i}":{{"dtype":"F16","shape":[8,1,{a},{b},{c}],"data_offsets":[{at},{at + size}]}}')
            at += size
        dice = random.Random(2)
        noise = b"".join(struct.pack("<e", dice.gauss(0, 0.1)) for _ in range(9973)) * (at // 19946 + 1)
        inp = header_file(folder, "shapes", b"{" + ",".join(entries).encode() + b"}", noise[:at])
        layout = ["--layout", "oihw"]
        measured(["inspect", "-q", *layout, inp], 60, 1500, (0,), f"{len(shapes)} kernel shapes, inspect")
        os.unlink(inp)
        # Layers whose moments are 250 times their weights.
        n = 8000
        inp = header_file(folder, "moments", many(n, "[2,2,11,11]", "F16", 968), b"\x12\x34\x56\x38" * 242 * n)
        measured(["inspect", "-q", *layout, inp], 60, 500, (0,), "8,000 layers of four kernels of 121, inspect")
        # Zero tensors.
        inp = header_file(folder, "zero", b"{}")
        measured(["-q", "--no-report", "-f", inp, folder("zero out")], 1, 100, (0,), "zero tensors")
        check(common.read(folder("zero out")) == common.read(inp), "zero tensors do not come back")
        measured(["inspect", "-q", inp], 1, 100, (0,), "zero tensors, inspect")

        def both(name, text, statuses, seconds, megabytes):
            inp = header_file(folder, name, text)
            measured(["info", "--json", inp], seconds * max(scale, 0.3), max(200, megabytes * scale), statuses, name)
            os.unlink(inp)

        tiny = b",".join(b'"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(full // 58))
        both("a header of tiny tensors", b"{" + tiny + b"}", (0,), 20, 2500)
        both("a header of one long name", b'{"' + b"n" * (full - 100) + b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
             (0,), 10, 1500)
        both("a header of one long escaped name", b'{"' + b"\\u0041" * (full // 6 - 20) +
             b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', (0,), 10, 1500)
        both("a header of nested arrays", b'{"t":' + b"[" * (full // 2), (3,), 3, 400)
        both("a header of nested objects", b'{"a":' * (full // 5), (3,), 3, 400)
        both("a header of a long shape", b'{"t":{"dtype":"U8","shape":[' + b"1," * (full // 2 - 100) +
             b'0],"data_offsets":[0,0]}}', (0, 3), 15, 2500)
        both("a header of metadata", b'{"__metadata__":{' + b",".join(b'"%x":""' % i for i in range(full // 12)) + b"}}", (0,),
             20, 2500)
        both("a header of spaces", b"{" + b" " * (full - 10) + b"}", (0,), 3, 400)
        own = b'{\\"format\\":1,\\"reader\\":1,\\"check\\":\\"0000000000000000\\",\\"tensors\\":['
        both("a header of a JSON bomb", b'{"__metadata__":{"filterprune":"' + own + b"{}," * (full // 3 - 100) + b'{}]}"}}', (3,), 5,
             600)
        bomb = b'{"weight_map":{},"x":[' + b"{}," * (full // 3) + b"{}]}"
        index = folder.write("bomb.safetensors.index.json", bomb)
        measured(["info", index], 5, 600, (3,), "an index that is a JSON bomb")
        basis = folder.write("basis.json", bomb)
        measured(["compare", "-q", "--basis", basis, folder("layers"), folder("layers")], 60, 700, (3,), "a basis that is a JSON bomb")
    runner.ask.close()
    common.finish("done")


main()
