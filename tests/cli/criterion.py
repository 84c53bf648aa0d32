"""--criterion bn: kernels scored as the batch normalization behind them makes them count. Needs numpy and onnx (77 without)."""
import html
import json
import os
import re
import shlex
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as e:
    print(f"SKIPPED: {e}")
    sys.exit(77)
N = helper.make_node


def run(*arguments, expect=0):
    p = subprocess.run([os.environ["FILTERPRUNE"], *arguments], capture_output=True, text=True)
    assert p.returncode == expect, (arguments, p.returncode, p.stdout, p.stderr)
    return p


def tensors():
    """Three layers: behind "a" a normalization with a tiny variance and a tiny gamma, behind "b" one that is not alone,
    behind "c" (transposed) one."""
    r = np.random.default_rng(7)
    t = {}
    for name, shape, filters in (("a", (8, 3, 3, 3), 8), ("b", (6, 8, 3, 3), 6), ("c", (6, 5, 2, 2), 5)):
        w = r.standard_normal(shape)
        w *= 10.0 ** -r.integers(0, 5, shape[:2])[:, :, None, None]
        t[f"{name}.weight"] = w
        t[f"{name}.gamma"], t[f"{name}.beta"] = r.standard_normal(filters), r.standard_normal(filters)
        t[f"{name}.mean"], t[f"{name}.var"] = r.standard_normal(filters), r.random(filters) + 0.2
    t["a.var"][2], t["a.gamma"][5], t["c.gamma"][0], t["c.var"][3] = 1e-9, 1e-6, 0, 1e-8
    return {k: v.astype(np.float32) for k, v in t.items()}


def network(t, path):
    norm = lambda x, name: N("BatchNormalization", [x] + [f"{name}.{p}" for p in ("gamma", "beta", "mean", "var")], [f"{name}n"], epsilon=1e-3)
    nodes = [N("Conv", ["x", "a.weight"], ["ay"], pads=[1] * 4), norm("ay", "a"), N("Relu", ["an"], ["ar"]),
             N("Conv", ["ar", "b.weight"], ["by"], pads=[1] * 4), norm("by", "b"), N("Add", ["by", "bn"], ["br"]),
             N("ConvTranspose", ["br", "c.weight"], ["cy"], strides=[2, 2]), norm("cy", "c")]
    value = lambda n, s: helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
    graph = helper.make_graph(nodes, "g", [value("x", ["N", 3, "H", "W"])], [value("cn", None)], [numpy_helper.from_array(v, k) for k, v in t.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)


def checkpoint(t, path):
    head, data = {}, b""
    for k, v in t.items():
        head[k] = {"dtype": "F32", "shape": list(v.shape), "data_offsets": [len(data), len(data) + v.nbytes]}
        data += v.tobytes()
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def peaks(t, name):
    w = t[f"{name}.weight"].astype("f8")
    return np.abs(w).max(axis=(2, 3)), np.abs(t[f"{name}.gamma"].astype("f8")) / np.sqrt(t[f"{name}.var"].astype("f8") + np.float32(1e-3))


def sparse(p):
    return p < 0.01 * p.max()


def expected(t):
    """By layer: sparse by the scale, revived, silenced; and the masks of what goes."""
    rows, masks = {}, {}
    for name, axis in (("a", 0), ("b", None), ("c", 1)):
        p, s = peaks(t, name)
        raw = sparse(p)
        scaled = raw if axis is None else sparse(p * (s[:, None] if axis == 0 else s[None, :]))
        rows[f"{name}.weight"] = None if axis is None else {
            "sparse": int(scaled.sum()), "revived": int((raw & ~scaled).sum()), "silenced": int((scaled & ~raw).sum())}
        masks[f"{name}.weight"] = scaled
    return rows, masks


def read(path):
    blob = open(path, "rb").read()
    n = struct.unpack("<Q", blob[:8])[0]
    head = json.loads(blob[8:8 + n])
    return {k: np.frombuffer(blob[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]], "<f4").reshape(v["shape"])
            for k, v in head.items() if k != "__metadata__"}


def main(folder):
    t = tensors()
    net, file, out = (os.path.join(folder, n) for n in ("net.onnx", "w.safetensors", "out.safetensors"))
    network(t, net)
    checkpoint(t, file)
    rows, masks = expected(t)
    assert all(any(r and r[k] for r in rows.values()) for k in ("sparse", "revived", "silenced")), rows
    for arguments in ([net], ["--graph", net, "--transposed", "c.weight", file]):
        report = json.loads(run("inspect", "--json", *arguments).stdout)
        assert {l["name"]: l["batch_norm"] for l in report["layers"]} == rows, report["layers"]
        total = {k: sum(r[k] for r in rows.values() if r) for k in ("sparse", "revived", "silenced")}
        assert report["batch_norm"] == total, report["batch_norm"]
    assert json.loads(run("inspect", "--json", file).stdout)["batch_norm"] is None
    text = run("-f", "--criterion", "bn", "--dense", "--no-binary", "--transposed", "c.weight", "--no-report", net, out).stderr
    assert "revives" in text, text
    after = read(out)
    for name, mask in masks.items():
        zero = (after[name] == 0).all(axis=(2, 3))
        assert (zero == mask).all(), name
        assert np.array_equal(after[name][~mask], t[name][~mask]), name
    # By an amount the lowest scores go.
    run("-f", "--criterion", "bn", "--amount", "0.25", "--dense", "--no-binary", "--only", "a.weight", "--no-report", net, out)
    p, s = peaks(t, "a")
    lowest = np.argsort((p * s[:, None]).ravel(), kind="stable")[:6]
    assert set(np.flatnonzero((read(out)["a.weight"] == 0).all(axis=(2, 3)))) == set(lowest)
    # The command that the page tells makes the same: with the graph, and with what left the network gone or there.
    stem, again = os.path.join(folder, "told"), os.path.join(folder, "again.safetensors")
    for more in ((), ("--keep-channels",)):
        run("-f", "--criterion", "bn", "--amount", "0.4", "--graph", net, *more, "--report", stem, file, out)
        with open(stem + ".report.html") as page:
            words = shlex.split(html.unescape(re.search("<pre>(filterprune .*?)</pre>", page.read()).group(1)))
        run(*words[1:-1], "--no-report", "-f", again)
        assert open(out, "rb").read() == open(again, "rb").read(), words
    # Names alone do not say what follows what.
    p = run("--criterion", "bn", file, os.path.join(folder, "none"), expect=2)
    assert "--graph" in p.stderr and not os.path.exists(os.path.join(folder, "none"))
    run("--criterion", "bn", "--graph", file, file, os.path.join(folder, "none"), expect=3)


with tempfile.TemporaryDirectory() as place:
    main(place)
print("criterion: ok")
