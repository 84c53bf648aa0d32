"""Removal on random networks: the outputs stay, a second removal finds nothing wrong. random_removal.py TOOL_GRAPH [FROM [TO]]

Float networks are run by onnxruntime before and after; those of doubles, which it does not run, by the tool's evaluator,
which is held against onnxruntime on the others. Needs numpy, onnx and onnxruntime; skipped (77) where they cannot be had."""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
except ImportError as e:
    print(f"SKIPPED: {e}")
    sys.exit(77)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import random_nets

TOOL = sys.argv[1]
FROM, TO = (int(a) for a in (sys.argv[2:4] + ["0", "80"][len(sys.argv[2:4]):]))
KINDS = ("plain", "half", "plain", "quantized", "plain", "external")
ort.set_default_logger_severity(4)


def run(path, x):
    o = ort.SessionOptions()
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    o.intra_op_num_threads = 1
    return ort.InferenceSession(path, o, providers=["CPUExecutionProvider"]).run(None, {"x": x})


def evaluate(path, x, net):
    """All outputs in a row; None where an operator is not evaluated."""
    p = subprocess.run(["bash", "-c", f'exec "$0" run "$1" {net.batch} {net.side} 3>&1 1>&2', TOOL, path],
                       input=x.astype("<f8").tobytes(), capture_output=True)
    assert p.returncode in (0, 2), p.stderr
    return np.frombuffer(p.stdout, "<f8") if p.returncode == 0 else None


def apart(ys, zs, mean=False):
    """Largest difference over the largest magnitude, over all outputs; or the mean of it, where numbers that lie between two
    steps of a quantization may fall on either side."""
    worst = 0
    for y, z in zip(ys, zs):
        assert y.shape == z.shape, (y.shape, z.shape)
        y, z = y.astype("f8"), z.astype("f8")
        same = (y == z) | (np.isnan(y) & np.isnan(z))
        difference = np.abs(np.where(same, 0, y - z))
        difference = difference.mean() if mean else difference.max()
        worst = max(worst, difference / max(np.abs(np.where(np.isfinite(y), y, 0)).max(), 1e-30))
    return worst


def in_parts(flat, like):
    ends = np.cumsum([y.size for y in like])
    assert flat.size == ends[-1], (flat.size, ends)
    return [part.reshape(y.shape) for part, y in zip(np.split(flat, ends[:-1]), like)]


def save(model, path, external):
    if os.path.exists(path + ".data"):
        os.remove(path + ".data")
    if external:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        onnx.save(copy, path, save_as_external_data=True, location=os.path.basename(path) + ".data", size_threshold=0)
    else:
        onnx.save(model, path)


def check(seed, folder, count):
    kind = KINDS[seed % len(KINDS)]
    net = random_nets.Net(seed, kind="plain" if kind == "external" else kind)
    mean, rounding = kind == "quantized", {"half": 2e-2, "quantized": 1e-3}.get(kind)
    model = net.build()
    big, small = os.path.join(folder, "big.onnx"), os.path.join(folder, "small.onnx")
    save(model, big, kind == "external")
    x = np.random.default_rng(seed).standard_normal([net.batch] + [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:])
    x = x.astype(net.dtype)
    double = net.dtype == np.float64
    try:
        onnx.checker.check_model(model, full_check=net.opset >= 9)
        ys = [evaluate(big, x, net)] if double else run(big, x)
    except Exception:  # the maker's fault: not a network
        return
    if ys[0] is None:
        return
    p = subprocess.run([TOOL, "remove", big, small], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    count["networks"] += 1
    count[kind] += 1
    count["channels"] += int(p.stdout.split()[-1])
    onnx.checker.check_model(onnx.load(small), full_check=net.opset >= 9)
    zs = [evaluate(small, x, net)] if double else run(small, x)
    worst = apart(ys, zs, mean)
    assert worst <= (rounding or (1e-12 if double else 2e-5)), f"outputs differ by {worst}"
    before, after = (evaluate(f, x, net) for f in (big, small))
    assert (before is None) == (after is None)
    if double or before is None:
        return
    count["evaluated"] += 1
    assert apart(in_parts(before, ys), in_parts(after, ys), mean) <= (rounding or 1e-5), "the evaluator sees a difference"
    if all(np.isfinite(y).all() for y in ys):
        assert apart(ys, in_parts(before, ys), mean) <= (rounding or 1e-4), "the evaluator computes something else"


count, failed = {**dict.fromkeys(("networks", "channels", "evaluated"), 0), **dict.fromkeys(KINDS, 0)}, 0
with tempfile.TemporaryDirectory() as place:
    for s in range(FROM, TO):
        try:
            check(s, place, count)
        except Exception as e:
            failed += 1
            print(f"seed {s}: {type(e).__name__} {str(e)[:300]}")
print(count)
assert count["networks"] > (TO - FROM) / 2 and count["channels"] > TO - FROM, "hardly anything was tried"
sys.exit(1 if failed else 0)
