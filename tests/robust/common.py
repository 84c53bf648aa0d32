"""What the scripts of this directory share: checkpoints with something for every codec, runs of the program, the rule of
one line. Standard library only.

FILTERPRUNE names the program, FILTERPRUNE_FAULTS the library made of faults.c; FILTERPRUNE_LONG=1 asks for every case
where a plain run takes a sample."""
import array
import hashlib
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

PROGRAM = os.environ["FILTERPRUNE"]
FAULTS = os.environ.get("FILTERPRUNE_FAULTS", "")
LONG = bool(os.environ.get("FILTERPRUNE_LONG"))
SKIPPED = 77
ONE_LINE = re.compile(rb"^filterprune: [^\n]+\n$")

random.seed(20240607)
# A shell that starts a script in the background has it ignore Ctrl-C, and what it starts: not here, where that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


def floats(values):
    return array.array("f", values).tobytes()


def bf16(values):
    raw = floats(values)
    return b"".join(raw[i + 2:i + 4] for i in range(0, len(raw), 4))


def safetensors(tensors, metadata=None):
    """The bytes of a file of (name, dtype, shape, data) in this order."""
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors)


def conv(dice, filters, channels, k, dead=0.0, kind="normal"):
    """Weights [filters][channels][k]: normal ones, or two levels by filter, or 15 values; a share of kernels decayed."""
    values = []
    for f in range(filters):
        level = dice.uniform(0.05, 0.2)
        for c in range(channels):
            faint = dice.random() < dead
            for _ in range(k):
                if faint:
                    values.append(dice.uniform(-1e-5, 1e-5))
                elif kind == "binary":
                    values.append(level if dice.random() < 0.5 else -level)
                elif kind == "palette":
                    values.append(dice.randint(-7, 7) / 64)
                else:
                    values.append(dice.gauss(0, 0.1))
    return values


def rich(seed=1, scale=1):
    """A small checkpoint with something for every codec: dead kernels, two levels, few values, floats of three widths,
    rows of a linear layer, integers, noise, a scalar, an empty tensor."""
    dice = random.Random(seed)
    n = 8 * scale
    return [
        ("conv1.weight", "F32", [n, 6, 3, 3], floats(conv(dice, n, 6, 9, dead=0.4))),
        ("conv1.bias", "F32", [n], floats(dice.gauss(0, 1) for _ in range(n))),
        ("binary.weight", "F32", [n, 8, 3, 3], floats(conv(dice, n, 8, 9, kind="binary"))),
        ("palette.weight", "F32", [n, 8, 3, 3], floats(conv(dice, n, 8, 9, kind="palette"))),
        ("wide.weight", "F32", [n, 4, 1, 5], floats(conv(dice, n, 4, 5, dead=0.3))),
        ("half.weight", "BF16", [n, 16, 3, 3], bf16(conv(dice, n, 16, 9))),
        ("fc.weight", "F32", [2 * n, 48], floats(dice.gauss(0, 0.1) for _ in range(2 * n * 48))),
        ("sign.weight", "F32", [n, 96], floats(dice.choice((-0.5, 0.5)) for _ in range(n * 96))),
        ("ids", "I32", [400], b"".join(struct.pack("<i", dice.randint(0, 90)) for _ in range(400))),
        ("noise", "U8", [700], bytes(dice.randrange(256) for _ in range(700))),
        ("steps", "I64", [], struct.pack("<q", 40000)),
        ("empty", "F32", [0, 3], b""),
    ]


METADATA = {"format": "pt", "note": "h\u00e9 \"x\"\n"}


class Folder:
    """A folder of its own with inputs, gone at the end."""

    def __init__(self):
        self.path = os.path.realpath(tempfile.mkdtemp(prefix="filterprune-"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["chmod", "-R", "u+rwx", self.path], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.path, ignore_errors=True)

    def __call__(self, *names):
        return os.path.join(self.path, *names)

    def write(self, name, data):
        with open(self(name), "wb") as f:
            f.write(data)
        return self(name)

    def listing(self):
        """Every file below the folder, with what it holds."""
        found = {}
        for base, folders, files in os.walk(self.path):
            for name in folders:
                found[os.path.relpath(os.path.join(base, name), self.path)] = "folder"
            for name in files:
                path = os.path.join(base, name)
                found[os.path.relpath(path, self.path)] = (os.readlink(path) if os.path.islink(path) else
                                                           digest(path) if os.path.isfile(path) else "special")
        return found


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FAULT_")}
    env.update(LC_ALL="C.UTF-8", COLUMNS="80")
    # Where the program is built with AddressSanitizer, the library of faults comes before the sanitizer's.
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    env.update({k: str(v) for k, v in more.items()})
    return env


class Run:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"exit {self.status}, stderr {self.err[-400:]!r}"


def run(*arguments, env=None, timeout=60, **more):
    """Runs the program; a hang is a failure of the test."""
    done = subprocess.run([PROGRAM, *map(os.fsencode, arguments)], stdin=subprocess.DEVNULL, env=env or environment(),
                          stdout=more.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, timeout=timeout, **more)
    return Run(done.returncode, done.stdout or b"", done.stderr)


def must(*arguments, **more):
    done = run(*arguments, **more)
    if done.status:
        raise SystemExit(f"{' '.join(map(str, arguments))} must succeed: {done}")
    return done


problems = []


def check(fine, what, *details):
    """Notes a failure and goes on, so that one run shows all of them."""
    if not fine:
        text = " ".join([what, *map(str, details)])
        problems.append(text)
        if len(problems) <= 40:
            print("FAILED:", text, flush=True)
    return fine


def failed_well(done, what, statuses=(1,)):
    """Exit status and exactly one line on standard error."""
    fine = check(done.status in statuses, what, "has another exit status:", done)
    return check(ONE_LINE.match(done.err) is not None, what, "prints no single line:", done) and fine


def is_sanitized():
    with open(PROGRAM, "rb") as f:
        data = f.read()
    return b"__asan_init" in data or b"__tsan_init" in data


def finish(summary):
    print(summary)
    if problems:
        print(f"{len(problems)} failures")
    sys.exit(1 if problems else 0)
