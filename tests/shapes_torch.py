#!/usr/bin/python3
"""A checkpoint without the channels that nobody needs, by --graph: the module that is built with the manifest's shapes
computes what the old one did.

    FILTERPRUNE=path/to/filterprune shapes_torch.py

Exit status 77 (skipped) without numpy or a torch that exports ONNX."""
import inspect
import json
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from torch import nn
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)


class Net(nn.Module):
    """Widths, groups and which convolutions have a bias come from `shapes`: tensors by name, and "groups" by module."""

    def __init__(self, shapes=None, groups=None):
        super().__init__()
        s = shapes or {"stem.weight": (12, 3, 3, 3), "a.weight": (16, 12, 3, 3), "b.weight": (12, 16, 3, 3), "up.weight": (24, 12, 1, 1),
                       "dw.weight": (24, 1, 3, 3), "down.weight": (10, 24, 1, 1), "down.bias": (10,), "side.weight": (6, 12, 1, 1),
                       "mix.weight": (14, 16, 1, 1), "head.weight": (20, 14), "last.weight": (5, 20)}
        groups = groups or {"dw": 24}
        for name in ("stem", "a", "b", "up", "dw", "down", "side", "mix"):
            o, i, k = s[f"{name}.weight"][:3]
            g = groups.get(name, 1)
            setattr(self, name, nn.Conv2d(i * g, o, k, padding=k // 2, groups=g, bias=f"{name}.bias" in s))
            if name not in ("down", "side"):
                setattr(self, f"{name}_n", nn.BatchNorm2d(o))
        self.head, self.last = nn.Linear(*s["head.weight"][::-1]), nn.Linear(*s["last.weight"][::-1])

    def forward(self, x):
        x = torch.relu(self.stem_n(self.stem(x)))
        y = torch.relu(self.a_n(self.a(x)))
        x = torch.relu(self.b_n(self.b(y)) + x)
        z = torch.relu(self.up_n(self.up(x)))
        z = nn.functional.hardtanh(self.dw_n(self.dw(z)), 0.0, 6.0)
        z = torch.cat([self.down(z), torch.sigmoid(self.side(x))], 1)
        z = torch.relu(self.mix_n(self.mix(z)))
        return self.last(torch.relu(self.head(z.mean((2, 3)))))


def plant(net):
    """What is dead, constant or unread."""
    with torch.no_grad():
        for name in ("stem", "a", "b", "up", "dw", "mix"):
            n = getattr(net, f"{name}_n")
            n.weight.uniform_(0.5, 1.5), n.bias.normal_(0, 0.3), n.running_mean.normal_(0, 0.3), n.running_var.uniform_(0.5, 1.5)
        net.a.weight[[1, 5, 9]] = 0       # constants by their normalization; the padded "b" needs one to carry them
        net.a_n.bias[[1, 5, 9]] = torch.tensor([0.4, 0.9, 0.2])
        net.a_n.running_mean[[1, 5, 9]] = 0
        net.b.weight[:, [3, 4]] = 0       # unread
        net.up.weight[[0, 7]] = 0         # zero behind relu
        net.up_n.bias[[0, 7]] = -1
        net.up_n.running_mean[[0, 7]] = 0.1
        net.dw_n.bias[[0, 7]] = 0.7       # what the depthwise kernels make of zeros is constant: folded
        net.side.weight[2] = 0
        net.mix.weight[[3, 11]] = 0       # constants into a linear layer's bias
        net.head.weight[6] = 0
    return {"a": 16 - 2 - 2, "up": 22, "dw": 22, "side": 5, "mix": 12, "head": 19}


def read(path):
    blob = open(path, "rb").read()
    n = struct.unpack("<Q", blob[:8])[0]
    head = json.loads(blob[8:8 + n])
    kinds = {"F32": "<f4", "I64": "<i8"}
    return {k: np.frombuffer(blob[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]], kinds[v["dtype"]]).reshape(v["shape"])
            for k, v in head.items() if k != "__metadata__"}


def run(*arguments, expect=0):
    p = subprocess.run([os.environ["FILTERPRUNE"], *arguments], capture_output=True, text=True)
    assert p.returncode == expect, (arguments, p.returncode, p.stdout, p.stderr)
    return p


class Pair(nn.Module):
    """A convolution, with a normalization behind it or as an exporter folds that: the names of the weights stay."""

    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), norm, nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))))


def export(net, path):
    old = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}  # the other one folds
    torch.onnx.export(net, torch.randn(2, 3, 16, 16), path, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N", 2: "H", 3: "W"}}, **old)


def rebuilt(path, manifest):
    tensors = read(path)
    shapes = {k: v.shape for k, v in tensors.items()}
    after = {t["name"]: tuple(t["after"]) for t in manifest["tensors"]}
    assert all(shapes[k] == v for k, v in after.items())
    groups = {"dw": 24}
    for n in manifest["nodes"]:
        assert n["what"] == "group", n
        groups["dw"] = n["after"][0]
    net = Net(shapes, groups).eval()
    net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
    return net


def main(folder):
    torch.manual_seed(3)
    net = Net().eval()
    expected = plant(net)
    onnx, pt, out = (os.path.join(folder, n) for n in ("net.onnx", "net.pt", "small.safetensors"))
    try:
        export(net, onnx)
    except Exception as missing:
        print(f"skipped: torch does not export ONNX: {missing}")
        sys.exit(77)
    torch.save(net.state_dict(), pt)
    dry = run("--dry-run", "--no-prune", "--no-binary", "--graph", onnx, pt)
    assert sorted(os.listdir(folder)) == ["net.onnx", "net.pt"]
    run("--no-prune", "--no-binary", "--graph", onnx, pt, out)
    manifest = json.load(open(os.path.join(folder, "small.shapes.json")))
    assert json.loads(dry.stdout) == manifest and manifest["schema"] == "filterprune-shapes-1"
    left = {l["weight"].rsplit(".", 1)[0]: l["outputs"][1] for l in manifest["layers"]}
    assert {k: left[k] for k in expected} == expected, left
    assert manifest["channels"] == sum(l["outputs"][0] - l["outputs"][1] for l in manifest["layers"])
    new = [t["name"] for t in manifest["tensors"] if t["before"] is None]
    assert new == ["mix.bias"], new  # sigmoid makes 0.5 of the dead one of "side"
    assert sorted(manifest["not_in_graph"]) == sorted(k for k in net.state_dict() if k.endswith("num_batches_tracked"))
    small = rebuilt(out, manifest)
    x = torch.randn(3, 3, 20, 14, dtype=torch.float64)
    with torch.no_grad():
        y, z = net.double()(x), small.double()(x)
    assert (y - z).abs().max() <= 1e-6 * y.abs().max(), (y - z).abs().max()
    report = json.load(open(os.path.join(folder, "small.report.json")))
    assert report["removal"]["channels"] == manifest["channels"] and report["removal"]["output_difference"] < 1e-6

    # Weights of the checkpoint, not of the graph: the same names, other values.
    torch.manual_seed(4)
    other = Net().eval()
    for n in ("stem", "a", "b", "up", "dw", "mix"):
        m = getattr(other, f"{n}_n")
        with torch.no_grad():
            m.weight.uniform_(0.5, 1.5), m.bias.normal_(0, 0.3), m.running_mean.normal_(0, 0.3), m.running_var.uniform_(0.5, 1.5)
            if n == "up":
                other.up.weight[5], other.up_n.bias[5] = 0, -9
    torch.save(other.state_dict(), pt)
    run("-f", "--no-prune", "--no-binary", "--graph", onnx, pt, out)
    manifest = json.load(open(os.path.join(folder, "small.shapes.json")))
    assert {l["weight"]: l["outputs"] for l in manifest["layers"]}["up.weight"] == [24, 23]
    small = rebuilt(out, manifest)
    with torch.no_grad():
        y, z = other.double()(x), small.double()(x)
    assert (y - z).abs().max() <= 1e-6 * y.abs().max()

    # An untrained network: its export takes equal tensors for one another, which the trained checkpoint does not.
    export(Net().eval(), onnx)
    p = run("-f", "--no-prune", "--graph", onnx, pt, out, expect=2)
    assert "export it with these weights" in p.stderr, p.stderr

    # A graph that lacks the normalization: a dead filter must not leave the convolution alone.
    pair = Pair(nn.BatchNorm2d(8)).eval()
    with torch.no_grad():
        pair.norm.weight.uniform_(0.5, 1.5), pair.norm.running_mean.normal_(0, 0.3), pair.norm.running_var.uniform_(0.5, 1.5)
        pair.conv.weight[3], pair.norm.bias[3] = 0, 1
    torch.save(pair.state_dict(), pt)
    export(Pair(nn.Identity()).eval(), onnx)
    p = run("-f", "--no-prune", "--no-binary", "--graph", onnx, pt, out, expect=2)
    assert "does not hold norm." in p.stderr, p.stderr
    export(pair, onnx)
    run("-f", "--no-prune", "--no-binary", "--graph", onnx, pt, out)
    assert {k: v.shape[0] for k, v in read(out).items() if k.startswith(("conv.w", "norm.b"))} == {"conv.weight": 7, "norm.bias": 7}

    torch.save({"z.weight": torch.randn(5, 5, 3, 3)}, pt)
    run("-f", "--graph", onnx, pt, out, expect=2)
    run("-f", "--keep-channels", pt, out, expect=2)


with tempfile.TemporaryDirectory() as place:
    main(place)
print("shapes: ok")
