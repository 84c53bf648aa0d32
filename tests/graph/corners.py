"""Graphs in which channels are easily miscounted: what a removal makes of them must compute the same.
corners.py TOOL_GRAPH. Needs numpy, onnx and onnxruntime; skipped (77) where they cannot be had."""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
except ImportError as e:
    print(f"SKIPPED: {e}")
    sys.exit(77)
ort.set_default_logger_severity(4)
N, NEW = helper.make_node, "small"


def floats(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def first(outs=8, dead=(1, 4), constant=(), value=1.0, ins=3):
    """A convolution of x with filters that are dead or constant; its value is "a"."""
    w, b = floats(outs, ins, 3, 3), floats(outs)
    w[list(dead) + list(constant)] = 0
    b[list(dead)] = 0
    b[list(constant)] = value
    return [N("Conv", ["x", "w", "b"], ["a"], pads=[1] * 4)], {"w": w, "b": b}


def last(read, ins, name="y", k=1):
    return N("Conv", [read, f"w_{name}"], [name], pads=[k // 2] * 4), {f"w_{name}": floats(3, ins, k, k, seed=7)}


def ints(*n):
    return np.array(n, np.int64)


def case(middle, tensors, read="m", ins=8, opset=17, before=None, k=1, ends=None, ir=8, shape=("N", 3, 8, 8)):
    nodes, weights = before or first()
    end, more = last(read, ins, k=k) if ends is None else ends
    return nodes + middle + ([end] if end else []), {**weights, **tensors, **more}, opset, ir, shape


def listed(name, kind, value):
    return N("Constant", [], [name], **{kind: value})




def zero_bias(value):
    """The convolution of first(), whose bias exporters compute when they fold nothing."""
    w = first()[1]["w"]
    return [N("Shape", ["w"], ["ws"], start=0, end=1), N("Expand", ["ws", "one"], ["count"]), N("CastLike", ["value", "x"], ["like"]),
            N("Expand", ["like", "count"], ["bias"]), N("Conv", ["x", "w", "bias"], ["a"], pads=[1] * 4)], {
        "w": w, "one": ints(1), "value": np.array(value, np.float32)}


BIG = 2 ** 63 - 1
# How many channels "a" has, as exporters compute the ends of two halves of them.
HALF = [N("Shape", ["a"], ["s"]), N("Gather", ["s", "1"], ["c"]), N("Add", ["c", "1"], ["c1"]), N("Div", ["c1", "two"], ["h"]),
        N("Mul", ["h", "two"], ["e"])]
LAST_INPUT = first()
LAST_INPUT = ([N("Transpose", ["x"], ["xt"], perm=[0, 3, 1, 2]), N("Conv", ["xt", "w", "b"], ["a"], pads=[1] * 4)], LAST_INPUT[1])
COUNTED = {"0": ints(0), "1": ints(1), "two": ints(2)}
tiny = first(dead=(), constant=(2, 5), value=1.0)
tiny[1]["b"][2] = 1e-20  # beside 1.0: no carrier
CASES = {
    "slice to the end": case([N("Slice", ["a", "s", "e", "d"], ["m"])],
                             {"s": ints(1, 1), "e": ints(BIG, BIG), "d": ints(1, 2)}, ins=7),
    "slice inside, to the end of a row": case([N("Slice", ["a", "s", "e", "d"], ["m"])],
                                              {"s": ints(1, 1), "e": ints(6, BIG), "d": ints(1, 3)}, ins=5),
    "sizes of named axes": case([N("Resize", ["a", "", "", "s"], ["m"], axes=[2, 3])], {"s": ints(8, 8)}, opset=18),
    "sizes that are computed": case([N("Concat", ["n", "c", "s"], ["t"], axis=0), N("Resize", ["a", "", "", "t"], ["m"])],
                                    {"n": ints(2), "c": ints(8), "s": ints(16, 16)}, shape=(2, 3, 8, 8)),
    "sizes in an attribute": case([listed("t", "value_ints", [2, 8, 16, 16]), N("Resize", ["a", "", "", "t"], ["m"])], {},
                                  shape=(2, 3, 8, 8)),
    "squeeze of what is 1": case([N("GlobalAveragePool", ["a"], ["p"]), N("Squeeze", ["p"], ["m"])], {}, before=first(2, (1,)),
                                 ends=(N("MatMul", ["m", "v"], ["y"]), {"v": floats(2, 3)})),
    "padding that shifts channels": case([N("Pad", ["a", "p", "", "d"], ["m"])], {"p": ints(1, -1), "d": ints(1)}, opset=18),
    "padding that shifts channels, old": case([N("Pad", ["a"], ["m"], pads=[0, 1, 0, 0, 0, -1, 0, 0])], {}, opset=9),
    "split into twenty": case([N("Split", ["a", "s"], [f"p{i}" for i in range(20)], axis=1),
                               N("Concat", [f"p{i}" for i in range(19, -1, -1)], ["m"], axis=1)],
                              {"s": ints(*[2] * 20)}, before=first(40, (1, 4, 9, 38)), ins=40),
    "split by an attribute": case([listed("s", "value_ints", [3, 5]), N("Split", ["a", "s"], ["p", "q"], axis=1),
                                   N("Concat", ["q", "p"], ["m"], axis=1)], {}),
    "a constant that widens": case([N("ReduceMax", ["a"], ["t"], axes=[1]), N("Add", ["t", "c"], ["u"]),
                                    N("Concat", ["u", "a"], ["m"], axis=1)], {"c": floats(5, 1, 1)}, ins=13),
    "a number in an attribute": case([listed("c", "value_float", 2.5), N("Mul", ["a", "c"], ["m"])], {}),
    "reshape by an attribute": case([listed("t", "value_ints", [2, 8, 64, 1]), N("Reshape", ["a", "t"], ["m"])], {}, shape=(2, 3, 8, 8)),
    "reshape that copies another axis": case(
        [N("Reshape", ["a", "t"], ["m"])], {"t": ints(1, 1, 0, 64)}, shape=(1, 3, 8, 8), before=first(8, (1,)),
        ends=(N("MatMul", ["m", "v"], ["y"]), {"v": floats(64, 3)})),
    "a carrier that is tiny": case([N("Relu", ["a"], ["m"])], {}, before=tiny, k=3),
    "gemm with factors": case([N("GlobalMaxPool", ["a"], ["p"]), N("Flatten", ["p"], ["m"])], {}, before=first(constant=(2, 3)),
                              ends=(N("Gemm", ["m", "v", "c"], ["y"], alpha=0.5, beta=3.0), {"v": floats(8, 4), "c": floats(4)})),
    "gemm without bias": case([N("GlobalMaxPool", ["a"], ["p"]), N("Flatten", ["p"], ["m"])], {}, before=first(constant=(2, 3)),
                              ends=(N("Gemm", ["m", "v", "c"], ["y"], alpha=-2.0, beta=0.0), {"v": floats(8, 4), "c": floats(4)})),
    "gemm whose bias is one number": case([N("GlobalMaxPool", ["a"], ["p"]), N("Flatten", ["p"], ["m"])], {}, before=first(constant=(2, 3)),
                                          ends=(N("Gemm", ["m", "v", "c"], ["y"], beta=0.25), {"v": floats(8, 4), "c": floats(1)})),
    "slopes of opset 6": case([N("PRelu", ["a", "c"], ["m"])], {"c": np.abs(floats(8))}, opset=6, ir=3),
    "halves, by the shape": case(
        [*HALF, N("Slice", ["a", "0", "h", "1"], ["p"]), N("Slice", ["a", "h", "e", "1"], ["q"]), N("Concat", ["q", "p"], ["m"], axis=1)],
        COUNTED),
    "halves, nothing leaves": case([*HALF, N("Slice", ["a", "0", "h", "1"], ["p"]), N("Slice", ["a", "h", "e", "1"], ["q"]),
                                    N("Concat", ["q", "p"], ["m"], axis=1)], COUNTED, before=first(dead=())),
    "halves of another value": case(
        [*HALF, N("Conv", ["x", "w2"], ["z"], pads=[1] * 4), N("Slice", ["z", "0", "h", "1"], ["q"]), N("Concat", ["q", "a"], ["m"], axis=1)],
        {**COUNTED, "w2": floats(8, 3, 3, 3, seed=3)}, ins=12),
    "halves of the picture": case([*HALF, N("Slice", ["a", "0", "h", "2"], ["m"])], {**COUNTED, "2": ints(2)}),
    "all of them, by the shape": case([*HALF, N("Slice", ["a", "0", "e", "1"], ["m"])], COUNTED),
    "the number of channels as a factor": case([*HALF, N("Cast", ["c"], ["f"], to=1), N("Mul", ["a", "f"], ["m"])], COUNTED),
    "the number of channels as an index": case([*HALF, N("Gather", ["k", "h"], ["f"]), N("Mul", ["a", "f"], ["m"])],
                                               {**COUNTED, "k": floats(9)}),
    "the number of channels is an end": case([*HALF, N("Cast", ["c"], ["f"], to=1), N("Add", ["a", "a"], ["m"]),
                                              N("Conv", ["m", "w_y"], ["o"]), N("Mul", ["o", "f"], ["y"])], COUNTED, ends=(None, last("m", 8)[1])),
    "as large as itself": case(
        [N("Shape", ["a"], ["s"]), N("Slice", ["s", "0", "2"], ["t"]), N("Concat", ["t", "hw"], ["u"], axis=0),
         N("Resize", ["a", "", "", "u"], ["m"])], {**COUNTED, "2": ints(2), "hw": ints(12, 12)}),
    "as large as its activation": case(
        [N("Relu", ["a"], ["r"]), N("Shape", ["r"], ["s"]), N("Slice", ["s", "0", "2"], ["t"]), N("Concat", ["t", "hw"], ["u"], axis=0),
         N("Resize", ["a", "", "", "u"], ["m"])], {**COUNTED, "2": ints(2), "hw": ints(12, 12)}),
    "lines, by the shape": case(
        [N("Shape", ["a"], ["s"]), N("Slice", ["s", "0", "2"], ["t"]), N("Concat", ["t", "-1"], ["u"], axis=0), N("Reshape", ["a", "u"], ["m"])],
        {**COUNTED, "2": ints(2), "-1": ints(-1)}, ends=(N("Conv", ["m", "v"], ["y"]), {"v": floats(3, 8, 1)})),
    "groups, by the shape": case(
        [N("Shape", ["a"], ["s"]), N("Gather", ["s", "1"], ["c"]), N("Div", ["c", "2"], ["h"]), N("Concat", ["0", "2", "h", "-1"], ["u"], axis=0),
         N("Reshape", ["a", "u"], ["g"]), N("Transpose", ["g"], ["t"], perm=[0, 2, 1, 3]), N("Concat", ["0", "c", "-1", "1"], ["o"], axis=0),
         N("Reshape", ["t", "o"], ["m"])], {**COUNTED, "2": ints(2), "-1": ints(-1)}),
    "each channel by itself": case(
        [N("InstanceNormalization", ["a", "g", "c"], ["n"]), N("Relu", ["n"], ["m"])],
        {"g": np.array([1, 2, 0, .5, 1, 0, -1, 1], np.float32), "c": np.array([0, 0, .5, .1, 2, 0, .1, -1], np.float32)}, k=3),
    **{f"{op} of constants": case([N(op, ["a"], ["m"], axes=[2, 3])], {}, before=first(constant=(3, 6), value=-1.5))
       for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMean", "ReduceMax")},
    "a large constant by itself": case([N("InstanceNormalization", ["a", "g", "c"], ["m"])], {"g": np.ones(8, np.float32), "c": floats(8)},
                                       before=first(dead=(1,), constant=(3, 6), value=1.0)),
    "a small constant by itself": case([N("InstanceNormalization", ["a", "g", "c"], ["m"])], {"g": np.ones(8, np.float32), "c": floats(8)},
                                       before=first(dead=(1,), constant=(3, 6), value=.04)),
    "blocks of a picture, side by side": case([N("DepthToSpace", ["a"], ["d"], blocksize=2, mode="CRD"), N("Relu", ["d"], ["m"])], {}, ins=3,
                                              before=first(12, (1, 4, 5, 6, 7, 9)), k=3),
    "blocks of a picture, apart": case([N("DepthToSpace", ["a"], ["d"], blocksize=2), N("Relu", ["d"], ["m"])], {}, ins=3,
                                       before=first(12, (1, 4, 7, 10, 0)), k=3),
    "blocks of two constants": case([N("DepthToSpace", ["a"], ["m"], blocksize=2)], {}, ins=3,
                                    before=first(12, (1,), (4, 7, 10), value=2.)),
    "blocks of one constant": case([N("DepthToSpace", ["a"], ["m"], blocksize=2, mode="CRD")], {}, ins=3,
                                   before=first(12, (), (4, 5, 6, 7), value=2.), k=3),
    "blocks that nobody reads": case([N("DepthToSpace", ["a"], ["m"], blocksize=2)], {}, ins=3, before=first(12, ()),
                                     ends=(N("Conv", ["m", "v"], ["y"]), {"v": floats(4, 3, 1, 1) * np.array([1, 0, 1], np.float32)[:, None, None]})),
    "a picture in blocks": case([N("SpaceToDepth", ["a"], ["s"], blocksize=2), N("Sigmoid", ["s"], ["m"])], {}, ins=32, k=3),
    "a picture in blocks, and back": case([N("SpaceToDepth", ["a"], ["s"], blocksize=2), N("DepthToSpace", ["s"], ["m"], blocksize=2)], {}, k=3),
    "channels last and back": case(
        [N("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]), N("Mul", ["t", "c"], ["u"]), N("Transpose", ["u"], ["m"], perm=[0, 3, 1, 2])],
        {"c": floats(8)}),
    "channels last": case([N("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1])], {}, ends=(N("MatMul", ["t", "v"], ["y"]), {"v": floats(8, 3)})),
    "channels last, flattened": case(
        [N("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]), N("Reshape", ["t", "s"], ["m"])], {"s": ints(0, -1)}, before=first(constant=(3,)),
        ends=(N("Gemm", ["m", "v", "c"], ["y"]), {"v": floats(512, 3), "c": floats(3)})),
    "channels last, flattened by numbers": case(
        [N("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]), N("Relu", ["t"], ["r"]), N("Reshape", ["r", "s"], ["m"])], {"s": ints(-1, 512)},
        ends=(N("MatMul", ["m", "v"], ["y"]), {"v": floats(512, 3) * (np.arange(512) % 8 != 5).astype(np.float32)[:, None]})),
    "all axes turned": case([N("Transpose", ["a"], ["t"]), N("Transpose", ["t"], ["m"])], {}),
    "channels last in the input": case([N("Relu", ["a"], ["m"])], {}, shape=("N", 6, 8, 3), k=3, before=LAST_INPUT),
    "a product along another axis": case([N("Reshape", ["a", "t"], ["r"])], {"t": ints(0, 8, 64)},
                                         ends=(N("MatMul", ["r", "v"], ["y"]), {"v": floats(64, 3)})),
    "padding that is computed": case(
        [N("ConstantOfShape", ["n"], ["z"], value=numpy_helper.from_array(ints(0))), N("Concat", ["hw", "z"], ["p"], axis=0), N("Reshape", ["p", "pairs"], ["q"]),
         N("Slice", ["q", "last", "far", "0", "last"], ["r"]), N("Transpose", ["r"], ["t"], perm=[1, 0]),
         N("Reshape", ["t", "last"], ["u"]), N("Cast", ["u"], ["v"], to=7), N("Pad", ["a", "v"], ["m"])],
        {**COUNTED, "n": ints(4), "hw": ints(1, 2, 0, 1), "pairs": ints(-1, 2), "last": ints(-1), "far": ints(-BIG)}, k=3),
    "padding of channels that is computed": case(
        [N("Add", ["u", "1"], ["v"]), N("Pad", ["a", "v"], ["m"])], {**COUNTED, "u": ints(-1, 0, -1, -1, -1, -2, -1, -1)}),
    "slopes that are given axes": case([N("Unsqueeze", ["p", "d"], ["q"]), N("PRelu", ["a", "q"], ["m"])],
                                       {"p": np.abs(floats(8)), "d": ints(1, 2)}, k=3),
    "slopes that are given a shape": case([N("Reshape", ["p", "d"], ["q"]), N("Mul", ["a", "q"], ["m"])],
                                          {"p": np.array([1, 2, 3, 0, 1, 0, 1, 1], np.float32), "d": ints(1, 8, 1, 1)}),
    "addends that are given a shape, twice": case(
        [N("Reshape", ["p", "d"], ["q"]), N("Add", ["a", "q"], ["r"]), N("Reshape", ["p", "d2"], ["q2"]), N("Sub", ["r", "q2"], ["m"])],
        {"p": floats(8), "d": ints(1, -1, 1, 1), "d2": ints(8, 1, 1)}, before=first(constant=(6,))),
    "addends by the shape": case(
        [*HALF, N("Concat", ["1", "c", "1", "1"], ["d"], axis=0), N("Reshape", ["p", "d"], ["q"]), N("Relu", ["a"], ["r"]), N("Add", ["r", "q"], ["m"])],
        {**COUNTED, "p": floats(8)}),
    "scales that are given a shape": case([N("Reshape", ["p", "d"], ["q"]), N("Resize", ["a", "", "q"], ["m"])],
                                          {"p": np.array([[1, 1, 2, 2]], np.float32).T, "d": ints(4)}),
    "a target that is given a shape": case([N("Reshape", ["p", "d"], ["q"]), N("Reshape", ["a", "q"], ["m"])],
                                           {"p": ints(0, 8, 64, 1).reshape(1, 4), "d": ints(-1)}),
    "a computed bias of zeros": case([N("Relu", ["a"], ["m"])], {}, before=zero_bias(0.0), k=3),
    "a computed bias of ones": case([N("Relu", ["a"], ["m"])], {}, before=zero_bias(1.0), k=3),
    "a computed bias of zeros, behind constants": case(
        [N("Sigmoid", ["a"], ["r"]), N("Expand", ["of", "three"], ["bias2"]), N("Conv", ["r", "w2", "bias2"], ["m"])],
        {"of": np.array(0, np.float32), "three": ints(3), "w2": floats(3, 8, 1, 1)}, ins=3),
    "a number of the type of channels": case([N("CastLike", ["half", "a"], ["h"]), N("Mul", ["a", "h"], ["m"])], {"half": np.array(.5, np.float64)}),
    "limits of the type of channels": case([N("CastLike", ["l", "a"], ["least"]), N("CastLike", ["h", "a"], ["most"]), N("Clip", ["a", "least", "most"], ["m"])],
                                           {"l": np.array(.25, np.float64), "h": np.array(1, np.float64)}, before=first(constant=(6,))),
    "a shape of other channels": case(
        [*HALF, N("Concat", ["1", "c", "1", "1"], ["d"], axis=0), N("Reshape", ["p", "d"], ["q"]), N("Conv", ["x", "w2"], ["z"], pads=[1] * 4),
         N("Add", ["z", "q"], ["r"]), N("Concat", ["a", "r"], ["m"], axis=1)],
        {**COUNTED, "p": floats(8), "w2": floats(8, 3, 3, 3, seed=3)}, ins=16),
    "a factor that is computed": case([N("ReduceMean", ["x"], ["f"], keepdims=0), N("Mul", ["f", "a"], ["m"])], {}, k=3),
    "a mask that is computed": case([N("ReduceMax", ["x"], ["f"], axes=[1]), N("Add", ["a", "f"], ["m"])], {}, before=first(constant=(3,))),
    "a mask of two channels": case([N("Slice", ["x", "0", "two", "1"], ["f"]), N("Tile", ["f", "t"], ["g"]), N("Mul", ["a", "g"], ["m"])],
                                   {**COUNTED, "t": ints(1, 4, 1, 1)}),
    "weights that are inputs": case([N("Relu", ["a"], ["m"])], {}, opset=8, ir=3, before=first(constant=(3,)), k=3),
}
STAYS = {"sizes of named axes": 6, "sizes in an attribute": 6, "split into twenty": 36, "split by an attribute": 6,
         "a number in an attribute": 6, "reshape by an attribute": 6, "a carrier that is tiny": 7, "gemm with factors": 4,
         "halves, by the shape": 6, "halves of another value": 6, "halves of the picture": 6, "the number of channels as a factor": 8,
         "the number of channels as an index": 8, "the number of channels is an end": 8, "as large as itself": 6, "lines, by the shape": 6,
         "groups, by the shape": 8, "each channel by itself": 5, "a large constant by itself": 7, "a small constant by itself": 5,
         "ReduceL1 of constants": 5, "ReduceL2 of constants": 5, "ReduceSumSquare of constants": 5, "ReduceMean of constants": 4, "ReduceMax of constants": 4,
         "blocks of a picture, side by side": 8, "blocks of a picture, apart": 8, "blocks of two constants": 12, "blocks of one constant": 12,
         "blocks that nobody reads": 8, "a picture in blocks": 7, "a picture in blocks, and back": 6, "channels last and back": 6,
         "channels last": 6, "all axes turned": 6, "channels last, flattened": 5, "channels last, flattened by numbers": 5, "channels last in the input": 6, "a product along another axis": 8, "padding that is computed": 6,
         "padding of channels that is computed": 8, "slopes that are given axes": 6, "slopes that are given a shape": 4, "addends that are given a shape, twice": 5,
         "addends by the shape": 6, "a shape of other channels": 6, "a computed bias of zeros": 6, "a computed bias of zeros, behind constants": 6,
         "a number of the type of channels": 6,
         "limits of the type of channels": 5,
         "a factor that is computed": 6, "a mask that is computed": 7, "a mask of two channels": 8,
         "gemm without bias": 5, "gemm whose bias is one number": 4, "weights that are inputs": 6, "slice to the end": 5}


def run(model, x):
    o = ort.SessionOptions()
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    o.intra_op_num_threads = 1
    return ort.InferenceSession(model, o, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        big, small = os.path.join(folder, "big.onnx"), os.path.join(folder, "small.onnx")
        for name, (nodes, tensors, opset, ir, shape) in CASES.items():
            inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
            weights = [numpy_helper.from_array(v, k) for k, v in tensors.items()]
            if ir < 4:
                inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in weights]
            graph = helper.make_graph(nodes, "corner", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
            onnx.save(model, big)
            x = floats(2 if shape[0] == "N" else shape[0], *shape[1:], seed=3)
            p = subprocess.run([sys.argv[1], "remove", big, small], capture_output=True, text=True)
            assert p.returncode == 0, (name, p.stderr)
            left = dict(line.split()[1::7][:1] + [int(line.split()[8])] for line in p.stdout.splitlines() if line.startswith("layer"))
            problem = ""
            if p.stdout.split()[-2:] == ["channels", "0"] and open(big, "rb").read() != open(small, "rb").read():
                problem = "another file where nothing leaves"
            if opset >= 7 and not problem:
                y = run(big, x)
                try:
                    z = run(small, x)
                    apart = np.abs(y - z).max() / np.abs(y).max() if y.shape == z.shape else 9
                    problem = "" if apart < 3e-6 else f"differs by {apart}"
                except Exception as e:
                    problem = str(e)[:150]
            elif left["w"] != 8:
                problem = "something left"
            if name in STAYS and left["w"] != STAYS[name]:
                problem += f" {left['w']} filters are left, not {STAYS[name]}"
            failed += bool(problem)
            print(f"{name}: {problem or 'ok'}")
    sys.exit(1 if failed else 0)


main()
