"""One operator at a time: the evaluator against what the operator's definition gives in numpy, and against onnxruntime.
operators.py TOOL_GRAPH. Needs numpy, onnx and onnxruntime; skipped (77) where they cannot be had."""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import helper, numpy_helper
except ImportError as e:
    print(f"SKIPPED: {e}")
    sys.exit(77)
ort.set_default_logger_severity(4)
R = np.random.default_rng(5)
CASES = []


def floats(*shape):
    return R.standard_normal(shape).astype(np.float32)


def ints(*n):
    return np.array(n, np.int64)


def case(op, inputs, expected, opset=18, constant=(), outputs=1, **attributes):
    """inputs: arrays, None where one is not given; those of `constant` are initializers. expected: of every output."""
    CASES.append((op, inputs, expected if isinstance(expected, (list, tuple)) else [expected], opset, constant, outputs, attributes))


# ---- tests and choices
a, b = R.integers(-3, 4, (2, 3, 4)).astype(np.float32), R.integers(-3, 4, (3, 1)).astype(np.float32)
for name, f in (("Equal", np.equal), ("Greater", np.greater), ("GreaterOrEqual", np.greater_equal), ("Less", np.less),
                ("LessOrEqual", np.less_equal)):
    case(name, [a, b], f(a, b))
p, q = a > 0, b > -1
for name, f in (("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)):
    case(name, [p, q], f(p, q))
case("Not", [p], ~p)
case("IsNaN", [np.array([1, np.nan, np.inf], np.float32)], np.array([False, True, False]))
case("Where", [p, b, a], np.where(p, b, a))
f = floats(4)
case("Where", [q, a, f], np.where(q, a, f), opset=16)
case("Cast", [np.array([0, .4, -.4, 2.7, -2.7], np.float32)], np.array([False, True, True, True, True]), to=9)
case("Cast", [np.array([0, .4, -.4, 2.7, -2.7], np.float32)], ints(0, 0, 0, 2, -2), to=7)
case("CastLike", [np.array([0, .4, 2.7], np.float32), ints(1)], ints(0, 0, 2))
wide = ints(300, -129, 128, -1, 70000, -40000, 2 ** 31 + 5, -2 ** 31 - 1, 5)
for kind in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32):
    case("Cast", [wide], wide.astype(kind), to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
    case("CastLike", [wide, np.zeros(1, kind)], wide.astype(kind), constant=(1,))
case("Mod", [ints(7, -7, 7, -7), ints(3, 3, -3, -3)], ints(1, 2, -2, -1))
case("Mod", [np.array([7, -7, 7.5, -7.5], np.float32), np.array([3, 3, -3, -3], np.float32)], np.array([1, -1, 1.5, -1.5]), fmod=1)
case("Div", [ints(7, -7, 8), ints(2, 2, -3)], ints(3, -3, -2))
case("Pow", [ints(2, 3), ints(3, 2)], ints(8, 9))
case("Round", [np.array([.5, 1.5, -.5, -2.5, 1.2], np.float32)], np.array([0, 2, 0, -2, 1]))
case("Shrink", [np.array([-2, -.3, .3, 2], np.float32)], np.array([-1.75, 0, 0, 1.75]), lambd=.5, bias=.25)

least, most = np.array(-1, np.float32), np.array(2, np.float32)
case("Clip", [a, least, most], np.clip(a, -1, 2))
case("Clip", [a, None, most], np.minimum(a, 2))

# ---- along axes
x = floats(2, 3, 4)
for name, f in (("ReduceProd", np.prod), ("ReduceL1", lambda v, axis, keepdims: np.abs(v).sum(axis, keepdims=keepdims)),
                ("ReduceL2", lambda v, axis, keepdims: np.sqrt((v * v).sum(axis, keepdims=keepdims))),
                ("ReduceSumSquare", lambda v, axis, keepdims: (v * v).sum(axis, keepdims=keepdims)),
                ("ReduceLogSum", lambda v, axis, keepdims: np.log(v.sum(axis, keepdims=keepdims))),
                ("ReduceLogSumExp", lambda v, axis, keepdims: np.log(np.exp(v).sum(axis, keepdims=keepdims)))):
    v = np.abs(x) + np.float32(.1) if name == "ReduceLogSum" else x
    case(name, [v, ints(1, -1)], f(v, axis=(1, 2), keepdims=True), constant=(1,))
    case(name, [v], f(v, axis=(0, 1, 2), keepdims=False), keepdims=0)
    case(name, [v], f(v, axis=(1,), keepdims=False), opset=13, axes=[1], keepdims=0)
v = np.array([[1000, 999, -2000], [-900, -901, -np.inf], [-np.inf, -np.inf, -np.inf], [np.inf, 3, 4]], np.float32)
case("ReduceLogSumExp", [v, ints(1)], np.logaddexp.reduce(v.astype("f8"), axis=1, keepdims=True), constant=(1,))
v = np.array([[7, 2, -2], [-7, -1, 0], [5, 5, 6]])
for kind in (np.int64, np.int32):
    case("ReduceMean", [v.astype(kind), ints(1)], np.trunc(v.mean(1)), constant=(1,), keepdims=0)
    case("ReduceMean", [v.astype(kind)], np.trunc(v.mean(0, keepdims=True)), opset=13, axes=[0])
case("ReduceSum", [x, ints()], x.sum(keepdims=True), constant=(1,))
case("ReduceSum", [x, ints()], x, constant=(1,), noop_with_empty_axes=1)
t = np.array([[3, 1, 3], [0, 0, -1]], np.float32)
case("ArgMax", [t], np.array([[0], [0]]), axis=1)
case("ArgMax", [t], np.array([2, 1]), axis=-1, keepdims=0, select_last_index=1)
case("ArgMin", [t], np.array([[1, 1, 1]]), axis=0)
case("CumSum", [x, np.array(1, np.int64)], np.cumsum(x, 1), constant=(1,))
case("CumSum", [x, np.array(-1, np.int64)], np.concatenate([np.zeros((2, 3, 1)), np.cumsum(x, 2)[..., :-1]], 2), exclusive=1)
case("CumSum", [x, np.array(2, np.int64)], np.cumsum(x[..., ::-1], 2)[..., ::-1], reverse=1)
big = R.integers(0, 9, (2, 33, 3)).astype(np.float32)
for largest in (1, 0):
    order = np.argsort(-big if largest else big, 1, kind="stable")[:, :5]
    case("TopK", [big, ints(5)], [np.take_along_axis(big, order, 1), order], constant=(1,), outputs=2, axis=1, largest=largest)
case("LogSoftmax", [x], x - np.log(np.exp(x).sum(1, keepdims=True)), axis=1)
case("LpNormalization", [x], x / np.sqrt((x * x).sum(1, keepdims=True)), axis=1)
case("LpNormalization", [x], x / np.abs(x).sum(-1, keepdims=True), p=1)

# ---- places
i = R.integers(-3, 3, (2, 2, 4))
case("GatherElements", [x, i], np.take_along_axis(x, i % 3, 1), axis=1)
case("GatherND", [x, ints(1, 2, 0, -1).reshape(2, 2)], np.stack([x[1, 2], x[0, -1]]))
case("GatherND", [x, ints(2, 1, 0, 3).reshape(2, 1, 2)], np.stack([x[0, 2, 1], x[1, 0, 3]]).reshape(2, 1), batch_dims=1)
s = x.copy()
s[1, 2], s[0, 0] = x[0, 1], x[1, 1]
case("ScatterND", [x, ints(1, 2, 0, 0).reshape(2, 2), np.stack([x[0, 1], x[1, 1]])], s)
case("Tile", [x, ints(2, 1, 3)], np.tile(x, (2, 1, 3)))
case("Range", [np.array(v, np.float32) for v in (1, 4.1, .5)], np.arange(1, 4.1, .5))
case("Range", [np.array(v, np.int64) for v in (7, 1, -2)], np.arange(7, 1, -2))
case("Size", [x], np.array(24))
case("Trilu", [x], np.triu(x))
case("Trilu", [x, np.array(-1, np.int64)], np.tril(x, -1), upper=0)
m, n, o = floats(2, 3, 4), floats(2, 4, 5), floats(3, 3)
case("Einsum", [m, n], np.einsum("bij,bjk->bki", m, n), equation="bij, bjk -> bki")
f, h = floats(5), floats(2)
case("Einsum", [m, n, f], np.einsum("bij,bjk,k->i", m.astype("f8"), n, f), equation="bij,bjk,k->i")
case("Einsum", [o], np.array(np.trace(o.astype("f8"))), equation="ii->")
case("Einsum", [h, f], np.outer(f, h), equation="a,Z->Za")

# ---- normalizations
y = floats(2, 6, 5)
g = y.reshape(2, 3, -1).astype("f8")
g = ((g - g.mean(2, keepdims=True)) / np.sqrt(g.var(2, keepdims=True) + 1e-3)).reshape(2, 6, 5)
w, c = floats(6), floats(6)
case("GroupNormalization", [y, w, c], g * w[:, None] + c[:, None], opset=21, num_groups=3, epsilon=1e-3)
case("GroupNormalization", [y, w[:3], c[:3]], g * np.repeat(w[:3], 2)[:, None] + np.repeat(c[:3], 2)[:, None], opset=18, num_groups=3, epsilon=1e-3)
square = np.stack([(y[:, max(0, k - 1):k + 2] ** 2).sum(1) for k in range(6)], 1)
case("LRN", [y[..., None]], (y / (2 + .3 / 3 * square) ** .6)[..., None], size=3, alpha=.3, beta=.6, bias=2.)


# ---- whole numbers for real ones
v, s, z = floats(2, 3, 4) * 40, np.array([.5, .25, 1], np.float32), np.array([3, -5, 0], np.int8)
q = np.clip(np.rint(v / s[:, None]) + z[:, None].astype("f8"), -128, 127).astype(np.int8)
case("QuantizeLinear", [v, s, z], q, constant=(1, 2))
case("QuantizeLinear", [v, s[1], np.array(100, np.uint8)], np.clip(np.rint(v / s[1]) + 100, 0, 255).astype(np.uint8), constant=(1, 2))
case("QuantizeLinear", [np.array([.25, .75, 1.25, -1], np.float32), s[0]], np.array([0, 2, 2, 0], np.uint8), constant=(1,))
case("DequantizeLinear", [q, s, z], (q.astype("f8") - z[:, None]) * s[:, None], constant=(1, 2))
case("DequantizeLinear", [q, s[2]], q.astype("f8"), constant=(1,))
q = R.integers(-9, 9, (3, 4)).astype(np.int32)
case("DequantizeLinear", [q, s], q * s[:, None].astype("f8"), constant=(1,), axis=0)


# ---- recurrent layers, step by step
def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def recurrent(kind, x, w, r, b, h, c, reverse, linear):
    ys, n = [], r.shape[1]
    for t in (range(len(x))[::-1] if reverse else range(len(x))):
        u, v = x[t] @ w.T + b[:len(w)], h @ r.T + b[len(w):]
        if kind == "LSTM":
            i, o, f, g = np.split(u + v, 4, 1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            z, q = sigmoid(u[:, :n] + v[:, :n]), sigmoid(u[:, n:2 * n] + v[:, n:2 * n])
            last = q * v[:, 2 * n:] if linear else (q * h) @ r[2 * n:].T + b[5 * n:]
            h = (1 - z) * np.tanh(u[:, 2 * n:] + last) + z * h
        ys.append(h)
    return np.stack(ys[::-1] if reverse else ys), h, c


for kind, gates in (("LSTM", 4), ("GRU", 3)):
    for direction, linear in (("forward", 0), ("reverse", 1), ("bidirectional", 1), ("bidirectional", 0)):
        dirs, steps, batch, ins, hidden = 1 + (direction[0] == "b"), 4, 2, 3, 5
        v = [floats(steps, batch, ins), floats(dirs, gates * hidden, ins), floats(dirs, gates * hidden, hidden), floats(dirs, 2 * gates * hidden),
             None, floats(dirs, batch, hidden)] + ([floats(dirs, batch, hidden)] if kind == "LSTM" else [])
        e = [k if k is None else k.astype("f8") for k in v]
        made = [recurrent(kind, e[0], e[1][d], e[2][d], e[3][d], e[5][d], e[-1][d], d or direction == "reverse", linear) for d in range(dirs)]
        want = [np.stack([k[0] for k in made], 1), np.stack([k[1] for k in made])] + ([np.stack([k[2] for k in made])] if kind == "LSTM" else [])
        case(kind, v, want, opset=14, outputs=len(want), hidden_size=hidden, direction=direction, **({} if kind == "LSTM" else {"linear_before_reset": linear}))


# ---- pictures
def cubic(d, a=-.75):
    d = abs(d)
    return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1 if d <= 1 else a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a if d < 2 else 0


def resized(x, out, exclude=False, a=-.75):
    """Along the last two axes, half-pixel centres: the kernel at every distance."""
    for axis in (2, 3):
        n, m = x.shape[axis], out[axis]
        k = np.zeros((m, n))
        for i in range(m):
            p = (i + .5) * n / m - .5
            for j in range(int(np.floor(p)) - 1, int(np.floor(p)) + 3):
                if 0 <= j < n or not exclude:
                    k[i, min(max(j, 0), n - 1)] += cubic(p - j, a)
            k[i] /= k[i].sum()
        x = np.moveaxis(np.tensordot(k, x, (1, axis)), 0, axis)
    return x


z = floats(1, 2, 5, 6)
for size, more in (((1, 2, 10, 9), {}), ((1, 2, 10, 12), {"exclude_outside": 1}), ((1, 2, 3, 4), {"cubic_coeff_a": -.5})):
    case("Resize", [z, None, None, ints(*size)], resized(z.astype("f8"), size, "exclude_outside" in more, more.get("cubic_coeff_a", -.75)),
         constant=(3,), mode="cubic", **more)


def stretched(x, scales):
    """Linear, about the middle of the picture."""
    for axis, s in ((2, scales[2]), (3, scales[3])):
        n = x.shape[axis]
        m = int(n * s)
        places = n / 2 + (np.arange(m) + .5 - m / 2) / s - .5
        x = np.apply_along_axis(lambda line: np.interp(places, np.arange(n), line), axis, x)
    return x


scales = np.array([1, 1, 1.75, .625], np.float32)
case("Resize", [z, None, scales], stretched(z.astype("f8"), scales), opset=19, constant=(2,), mode="linear",
     coordinate_transformation_mode="half_pixel_symmetric")
case("Resize", [z, np.zeros(0, np.float32), scales], z[:, :, [int((i + .5) / 1.75) for i in range(8)]][:, :, :, [int((i + .5) / .625) for i in range(3)]], opset=11,
     constant=(1, 2), mode="nearest", nearest_mode="floor", coordinate_transformation_mode="tf_half_pixel_for_nn")


def sampled(x, grid, mode, padding, corners):
    def entry(m, i, j):
        at = []
        for k, n in ((i, m.shape[0]), (j, m.shape[1])):
            while padding == "reflection" and not 0 <= k < n:
                k = (-k if corners else -1 - k) if k < 0 else (2 * n - 2 - k if corners else 2 * n - 1 - k)
            k = min(max(k, 0), n - 1) if padding == "border" else k
            if not 0 <= k < n:
                return 0
            at.append(int(k))
        return m[at[0], at[1]]
    y = np.zeros(x.shape[:2] + grid.shape[1:3])
    kernel = {"bilinear": lambda d: max(0, 1 - abs(d)), "bicubic": cubic}.get(mode)
    for b, i, j in np.ndindex(*grid.shape[:3]):
        px, py = [(g + 1) / 2 * (n - 1) if corners else ((g + 1) * n - 1) / 2 for g, n in zip(grid[b, i, j].astype("f8"), (x.shape[3], x.shape[2]))]
        for c in range(x.shape[1]):
            if mode == "nearest":
                y[b, c, i, j] = entry(x[b, c], np.rint(py), np.rint(px))
                continue
            for k in range(int(np.floor(py)) - 1, int(np.floor(py)) + 3):
                for l in range(int(np.floor(px)) - 1, int(np.floor(px)) + 3):
                    weight = kernel(py - k) * kernel(px - l)
                    y[b, c, i, j] += weight * entry(x[b, c], k, l) if weight else 0
    return y


grid = (R.random((1, 4, 5, 2)) * 3.2 - 1.6).astype(np.float32)
for mode in ("bilinear", "nearest", "bicubic"):
    for padding in ("zeros", "border", "reflection"):
        for corners in (0, 1):
            case("GridSample", [z, grid], sampled(z, grid, mode, padding, corners), opset=16, mode=mode, padding_mode=padding, align_corners=corners)
theta = floats(2, 2, 3)
for corners in (0, 1):
    line = lambda n: np.linspace(-1, 1, n) if corners else (2 * np.arange(n) + 1) / n - 1
    gy, gx = np.meshgrid(line(3), line(4), indexing="ij")
    case("AffineGrid", [theta, ints(2, 1, 3, 4)], np.einsum("nij,hwj->nhwi", theta.astype("f8"), np.stack([gx, gy, np.ones_like(gx)], -1)), opset=20,
         constant=(1,), align_corners=corners)


# ---- the run

def check(folder, op, inputs, expected, opset, constant, outputs, attributes):
    path, names = os.path.join(folder, "m.onnx"), [f"i{k}" if v is not None else "" for k, v in enumerate(inputs)]
    given = {n: v for k, (n, v) in enumerate(zip(names, inputs)) if n and k not in constant}
    graph = helper.make_graph(
        [helper.make_node(op, names, [f"o{k}" for k in range(outputs)], **attributes)], op,
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given.items()],
        [helper.make_empty_tensor_value_info(f"o{k}") for k in range(outputs)],
        [numpy_helper.from_array(inputs[k], names[k]) for k in constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    data = b"".join(np.ascontiguousarray(v).astype("<f8").tobytes() for v in given.values())
    p = subprocess.run(["bash", "-c", 'exec "$0" run "$1" 1 1 3>&1 1>&2', sys.argv[1], path], input=data, capture_output=True)
    if p.returncode:
        return p.stderr.decode().strip()
    want = np.concatenate([np.asarray(e, "f8").ravel() for e in expected])
    own = np.frombuffer(p.stdout, "<f8")
    if own.shape != want.shape or not np.allclose(own, want, rtol=1e-6, atol=1e-6):
        return f"computes {own[:6]}, not {want[:6]}"
    try:
        ys = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, given)
    except Exception as e:  # not every type has a kernel there
        return None if "NOT_IMPLEMENTED" in str(e) else str(e)[:200]
    for y, e in zip(ys, expected):
        if y.shape != np.asarray(e).shape or not np.allclose(y, e, rtol=1e-4, atol=1e-5):
            return f"onnxruntime gives {y.ravel()[:6]}, not {np.asarray(e).ravel()[:6]}"
    return None


failed = 0
with tempfile.TemporaryDirectory() as place:
    for one in CASES:
        problem = check(place, *one)
        failed += bool(problem)
        if problem:
            print(f"{one[0]} {one[-1]}: {problem}")
print(f"{len(CASES)} cases, {failed} failed")
sys.exit(1 if failed else 0)
