"""Removal on planted networks: what leaves, and that the outputs stay. removal.py TOOL_GRAPH [SEEDS]

Needs numpy, onnx and onnxruntime; skipped (77) where they cannot be had."""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnx.reference
    import onnxruntime as ort
except ImportError as e:
    print(f"SKIPPED: {e}")
    sys.exit(77)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import planted

TOOL = sys.argv[1]
SEEDS = int(sys.argv[2]) if len(sys.argv) > 2 else 2
ort.set_default_logger_severity(4)


def session(path, level):
    o = ort.SessionOptions()
    o.graph_optimization_level = level
    o.intra_op_num_threads = 1
    return ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def remove(source, target):
    p = subprocess.run([TOOL, "remove", source, target], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return p.stdout


def evaluate(path, x, batch, side):
    """The tool's own evaluator, in doubles."""
    p = subprocess.run(["bash", "-c", f'exec "$0" run "$1" {batch} {side} 3>&1 1>&2', TOOL, path],
                       input=x.astype("<f8").tobytes(), capture_output=True)
    assert p.returncode == 0, p.stderr.decode()
    return np.frombuffer(p.stdout, "<f8")


def apart(a, b):
    """Largest difference relative to the largest value; all entries, borders among them."""
    a, b = np.asarray(a, "f8").ravel(), np.asarray(b, "f8").ravel()
    assert a.size == b.size, (a.size, b.size)
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))


def shapes(model):
    return {t.name: tuple(t.dims) for t in model.graph.initializer}


def outs(model, name):
    t = shapes(model)[name]
    for n in model.graph.node:
        if len(n.input) > 1 and n.input[1] == name:
            groups = next((a.i for a in n.attribute if a.name == "group"), 1)
            if n.op_type == "ConvTranspose":
                return t[1] * groups
            flip = n.op_type == "MatMul" or (n.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in n.attribute))
            return t[1] if flip else t[0]
    raise AssertionError(name)


def check(kind, seed, dtype, folder):
    model, expected = planted.make(kind, seed, dtype)
    big, small, twice = (os.path.join(folder, f) for f in ("big.onnx", "small.onnx", "twice.onnx"))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, big)
    remove(big, small)
    after = onnx.load(small)
    onnx.checker.check_model(after, full_check=True)
    left = {name: outs(after, name) for name in expected}
    assert left == expected, f"{kind} {seed}: left {left}, expected {expected}"
    remove(small, twice)
    assert open(small, "rb").read() == open(twice, "rb").read(), f"{kind} {seed}: a second removal changes the file"
    rest = lambda m: ([n.name for n in m.graph.node], [n.op_type for n in m.graph.node], [v.name for v in m.graph.input])
    assert rest(model) == rest(after), f"{kind} {seed}: nodes or their order changed"
    rank = len(model.graph.input[0].type.tensor_type.shape.dim)
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    worst = [0, 0, 0]
    r = np.random.default_rng(seed)
    for side in (16, 24, 12) if rank > 2 else (1,):
        x = r.standard_normal((2, channels) + (side,) * (rank - 2)).astype(dtype)
        a, b = evaluate(big, x, 2, side), evaluate(small, x, 2, side)
        worst[0] = max(worst[0], apart(a, b))
        if dtype == np.float64:
            if side <= 12:  # in Python, and slow
                worst[1] = max(worst[1], apart(a, onnx.reference.ReferenceEvaluator(big).run(None, {"x": x})[0]))
            continue
        levels = (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        ys = [session(p, l).run(None, {"x": x})[0] for p in (big, small) for l in levels]
        worst[1] = max(worst[1], apart(a, ys[0]))
        worst[2] = max(worst[2], *(apart(y, z) for y in ys[:2] for z in ys[2:]))
    return worst


def main():
    with tempfile.TemporaryDirectory() as folder:
        for kind in planted.KINDS:
            for dtype in (np.float64, np.float32):
                worst = np.max([check(kind, seed, dtype, folder) for seed in range(SEEDS)], axis=0)
                # Doubles show that nothing but rounding differs. In a float32 file the folded weights themselves are
                # rounded to it.
                assert worst[0] <= (1e-12 if dtype == np.float64 else 2e-6), f"{kind}: evaluator differs by {worst[0]}"
                assert worst[1] <= (1e-7 if dtype == np.float64 else 2e-5), f"{kind}: not the values of others: {worst[1]}"
                assert worst[2] <= 2e-5, f"{kind}: onnxruntime differs by {worst[2]}"
                print(f"{kind:10} {np.dtype(dtype).name}: evaluator {worst[0]:.1e}, onnxruntime {worst[1]:.1e} {worst[2]:.1e}")


main()
