"""Graphs that lie, turn in circles or are very long: refused, or handled in linear time. hostile.py TOOL_GRAPH

Needs numpy and onnx; skipped (77) where they cannot be had."""
import os
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
except ImportError as e:
    print(f"SKIPPED: {e}")
    sys.exit(77)

N = helper.make_node
W = numpy_helper.from_array(np.ones((4, 4, 3, 3), np.float32), "w")


def value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def ints(name, *numbers):
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def chain(n, reverse):
    nodes = [N("Relu", [f"v{i - 1}" if i else "x"], [f"v{i}"]) for i in range(n)]
    last = N("Conv", [f"v{n - 1}", "w"], ["y"])
    return [last] + nodes[::-1] if reverse else nodes + [last]


HUGE = 2 ** 62
CASES = {  # nodes, initializers, exit status
    "circle": ([N("Add", ["a", "x"], ["b"]), N("Relu", ["b"], ["a"]), N("Conv", ["a", "w"], ["y"])], [W], 3),
    "missing": ([N("Conv", ["nothing", "w"], ["y"])], [W], 3),
    "computed twice": ([N("Relu", ["x"], ["y"]), N("Relu", ["x"], ["y"])], [W], 3),
    "groups": ([N("Conv", ["x", "w"], ["y"], group=3, pads=[1] * 4, strides=[0, 0])], [W], 0),
    "window": ([N("Conv", ["x", "w"], ["a"], pads=[HUGE] * 4, dilations=[HUGE, 1]), N("Reshape", ["a", "s"], ["y"])],
               [W, ints("s", HUGE, HUGE)], 0),
    "axes": ([N("Concat", ["x", "x"], ["a"], axis=-7), N("Split", ["a"], ["p", "q"], axis=99),
              N("Slice", ["p", "s", "e", "s"], ["r"]), N("Transpose", ["r"], ["t"], perm=[9] * 4),
              N("Squeeze", ["t", "s"], ["y"])], [ints("s", 2 ** 63 - 1), ints("e", -2 ** 63)], 0),
    "scalar": ([N("Gemm", ["x", "w"], ["a"]), N("MatMul", ["a", "z"], ["y"])],
               [W, numpy_helper.from_array(np.float32(3), "z")], 0),
    "no filters": ([N("Conv", ["x", "e"], ["y"])], [numpy_helper.from_array(np.zeros((0, 4, 3, 3), np.float32), "e")], 0),
    "no taps": ([N("Conv", ["x", "e"], ["y"])], [numpy_helper.from_array(np.zeros((4, 4, 0, 3), np.float32), "e")], 0),
    "norm": ([N("Conv", ["x", "w"], ["a"]), N("BatchNormalization", ["a"] + ["w"] * 4, ["y"])], [W], 0),
    "index": ([N("Shape", ["x"], ["s"]), N("Gather", ["s", "i"], ["g"]), N("Reshape", ["x", "g"], ["y"])],
              [ints("i", -99, 2 ** 40)], 0),
    # Eight GiB of entries, of which nobody wants more than the shape.
    "padding": ([N("Pad", ["w", "n"], ["p"], mode="edge"), N("Conv", ["x", "w"], ["a"]), N("Add", ["a", "p"], ["y"])],
                [W, ints("n", 0, 0, 0, 0, 0, 0, 8000, 8000)], 0),
    # Wider with every node: more channels than the file could hold.
    "widening": ([N("Concat", ["x" if i == 0 else f"c{i - 1}"] * 50, [f"c{i}"], axis=1) for i in range(6)] +
                 [N("Relu", ["c5"], ["y"])], [], 2),
    "a million nodes": (chain(1000000, False), [W], 0),
    "a hundred thousand in reverse": (chain(100000, True), [W], 0),
}

with tempfile.TemporaryDirectory() as folder:
    path, out = os.path.join(folder, "m.onnx"), os.path.join(folder, "o.onnx")
    for name, (nodes, tensors, expected) in CASES.items():
        graph = helper.make_graph(nodes, "g", [value("x", ["N", 4, "H", "W"])], [value("y", None)], tensors)
        with open(path, "wb") as f:
            f.write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
        begin = time.process_time() + sum(os.times()[2:4])
        p = subprocess.run([sys.argv[1], "remove", path, out], capture_output=True, text=True, timeout=300)
        seconds = time.process_time() + sum(os.times()[2:4]) - begin
        assert p.returncode == expected, (name, p.returncode, p.stderr)
        assert (p.stderr != "") == (expected != 0), (name, p.stderr)
        # Some 1.5 s for a million nodes; what is not linear takes hours.
        assert seconds < 1 + 30 * len(nodes) / 1e6, (name, seconds)
        if expected == 0:
            assert abs(os.path.getsize(out) - os.path.getsize(path)) < 16, name
print("hostile graphs: ok")
