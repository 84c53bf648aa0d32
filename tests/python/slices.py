"""get_slice against safe_open of safetensors 0.8.0, index by index: the same array, or an error of the same kind.

Where that package is not installed, the interpreter that FILTERPRUNE_ORACLE names may have it; else this is skipped."""
import json
import os
import subprocess
import sys

import common
import numpy as np
from common import Case, pack, write

from filterprune import SafetensorError, safe_open

VERSION = "0.8.0"
INDICES = """0 3 -1 -7 7 -8 : 2:5 5:2 -3: ::2 1:6:3 ::-1 5:1:-2 ::0 2,1:3 1:4,...,2 ...,0 :,1 100: None,1:3 () True False [] [0,2]
[],0 0,0,0 0,0,0,0 :,:,:,: ... ...,... 1.5 "a" None ...,::2 -100:3 0:0 np.int64(3) :,7 0,:,-1 (1,) :-2 5:100 :,:,10: 3:1 7: 7:7
6:7 3:3 8:8 0:7 0:8 :,5:5 :0 0:0:2 2:7:100 10**30 -10**30 -1: True,False 0,...,0,... -8,-9 ...,1:3,0 1,2,... 0,...,0,0
0,0,0,0,... ...,0,0,0,0 7,5 -1,-1,-1 (), np.array(3) np.array([0,2]) slice(1.5,3) slice(True,3) slice(np.int64(1),np.int64(3))
slice(0,2,1.5) ::10**30 slice("a",3) :,::2,1:4:2 -1,...,-1 6,4,3 6::3,-2,::3 ...,-5 ...,:,-1:""".split()
THEIRS = """
import json, sys, numpy as np, safetensors
found = {}
with safetensors.safe_open(sys.argv[1], "np") as f:
    for name in f.keys():
        for index in json.loads(sys.argv[2]):
            try:
                part = f.get_slice(name)[eval("np.s_[%s]" % index)]
                found[name + " " + index] = [list(part.shape), part.tobytes().hex()]
            except BaseException as error:
                found[name + " " + index] = type(error).__name__
print(json.dumps(found))
"""


def oracle():
    """An interpreter that has that package, or None."""
    for python in (sys.executable, os.environ.get("FILTERPRUNE_ORACLE")):
        done = python and subprocess.run([python, "-c", "import safetensors; print(safetensors.__version__)"],
                                         capture_output=True, text=True, check=False)
        if done and done.stdout.strip() == VERSION:
            return python
    return None


def theirs(path):
    done = subprocess.run([oracle(), "-c", THEIRS, path, json.dumps(INDICES)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def tensors():
    rng = np.random.default_rng(1)
    return {"a": common.item(rng.integers(-9, 9, (7, 5, 4)).astype("<i4")), "s": common.item(np.array(3.5)),
            "v": common.item(rng.random(6)), "z": common.item(np.zeros((0, 3), "<f4")),
            "large": common.item(np.tile(common.convolution(rng, 7, 5, 4), (1, 1, 200)))}


class Slices(Case):
    def test_as_safetensors(self):
        path = self.home / "a.safetensors"
        write(path, tensors())
        expected = theirs(path)
        packed = pack(path, self.home / "packed.safetensors", "--lossless")
        errors = set()
        for file in (path, packed):
            with safe_open(file, decoder="python") as f:
                self.assertEqual(f._checkpoint.tensors["large"].packed, file == packed)
                for name in f.keys():
                    for index in INDICES:
                        with self.subTest(file=file.name, name=name, index=index):
                            want = expected[f"{name} {index}"]
                            try:
                                part = f.get_slice(name)[eval(f"np.s_[{index}]")]
                                got = [list(part.shape), part.tobytes().hex()]
                            except Exception as error:
                                got = error
                            if not isinstance(want, str):
                                self.assertEqual(got, want)
                                continue
                            self.assertIsInstance(got, Exception)
                            errors.add(want)
                            kinds = [kind.__name__ for kind in type(got).__mro__]
                            # Slices that end before they begin trip it up; here they are refused.
                            broken = want in ("SystemError", "ValueError")
                            self.assertIn("SafetensorError" if broken else want, kinds)
        self.assertLessEqual({"SafetensorError", "OverflowError", "TypeError", "SystemError"}, errors)


if __name__ == "__main__":
    if not oracle():
        common.skip(f"no safetensors {VERSION}; FILTERPRUNE_ORACLE may name an interpreter that has it")
    common.main()
