#!/usr/bin/python3
"""Networks of torch after the default job: a training that is resumed, a weight-normed network, and one that carries masks
compute what they did before, but for the kernels that the report counts.

    FILTERPRUNE=path/to/filterprune roles_torch.py

Exit status 77 (skipped) without numpy or torch."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
    import torch
    import torch.nn as nn
    import torch.nn.utils.prune as prune
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

FILTERPRUNE = os.environ["FILTERPRUNE"]
torch.set_num_threads(1)


def save(path, tensors):
    header, offset, arrays = {}, 0, []
    for name, t in tensors.items():
        a = np.ascontiguousarray(t.detach().numpy())
        dtype = {"f4": "F32", "f8": "F64", "i8": "I64"}[a.dtype.str[1:]]
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
        arrays.append(a)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in arrays:
            f.write(a.tobytes())


def load(path):
    with open(path, "rb") as f:
        n, = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(n)), f.read()
    return {name: torch.from_numpy(np.frombuffer(data[slice(*h["data_offsets"])],
                                                 {"F32": "f4", "F64": "f8", "I64": "i8"}[h["dtype"]]).reshape(h["shape"]).copy())
            for name, h in header.items() if name != "__metadata__"}


def job(tensors, *options):
    with tempfile.TemporaryDirectory() as folder:
        source, packed, dense = (os.path.join(folder, n + ".safetensors") for n in ("in", "out", "back"))
        save(source, tensors)
        subprocess.run([FILTERPRUNE, "-q", *options, source, packed], check=True)
        subprocess.run([FILTERPRUNE, "unpack", "-q", packed, dense], check=True)
        subprocess.run([FILTERPRUNE, "verify", "-q", packed, source], check=True)
        with open(packed.replace(".safetensors", ".report.json")) as f:
            return load(dense), json.load(f)


def weaken(weight, seed, share=0.3):
    """A share of the kernels becomes sparse; returns which."""
    dice = np.random.default_rng(seed).random(weight.shape[:2]) < share
    mask = torch.from_numpy(dice)
    with torch.no_grad():
        weight[mask] *= 1e-4
    return mask


def sparse(weight):
    peaks = weight.detach().abs().flatten(2).amax(2)
    return peaks < 0.01 * peaks.max()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        return self.b(torch.relu(self.bn(self.a(x))))


class RolesTest(unittest.TestCase):
    def step(self, net, optimizer, x, y):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
        return net(x).detach()

    def resumed(self, state, name, x, y):
        """The outputs after one step more, from a flat state."""
        net = Net()
        net.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("model.")})
        optimizer = {"adam": torch.optim.Adam, "sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)}[name](net.parameters(), lr=0.01)
        with torch.no_grad():
            for p in net.parameters():
                optimizer.state[p] = {}
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, index, what = key.split(".")
                optimizer.state[list(net.parameters())[int(index)]][what] = value.clone()
        return self.step(net, optimizer, x, y)

    def test_a_resumed_training_step(self):
        for name in ("adam", "sgd"):
            torch.manual_seed(1)
            net = Net()
            weaken(net.b.weight, 2)
            optimizer = {"adam": torch.optim.Adam, "sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)}[name](net.parameters(), lr=1e-7)
            x, y = torch.randn(4, 3, 8, 8), torch.randn(4, 4, 8, 8)
            for _ in range(3):
                self.step(net, optimizer, x, y)
            state = {"model." + k: v for k, v in net.state_dict().items()}
            for i, p in enumerate(net.parameters()):
                for what, value in optimizer.state[p].items():
                    state[f"optimizer.{i}.{what}"] = torch.as_tensor(value)
            after, report = job(state)
            for key in state:
                if key.startswith("optimizer."):
                    self.assertTrue(torch.equal(after[key], state[key].detach()), key)
            self.assertGreater(report["changes"]["kernels_zeroed"], 0)
            expected = {k: v.clone() for k, v in state.items()}
            for key in ("model.a.weight", "model.b.weight"):
                expected[key][sparse(expected[key])] = 0
                self.assertTrue(torch.equal(after[key], expected[key]), key)
            self.assertTrue(torch.equal(self.resumed(after, name, x, y), self.resumed(expected, name, x, y)))
            # And not far from what it would have been without the job.
            self.assertLess((self.resumed(after, name, x, y) - self.resumed(state, name, x, y)).abs().max(), 0.05)

    def test_a_weight_normed_network(self):
        torch.manual_seed(3)
        layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.ConvTranspose2d(6, 5, 3)]
        weaken(layers[1].weight, 4)
        with torch.no_grad():
            layers[0].weight[2] *= 1e-4  # a dead filter
        net = nn.Sequential(*map(nn.utils.weight_norm, layers))
        with torch.no_grad():
            layers[0].weight_v[4] *= 1e-5  # small v, ordinary g
        x = torch.randn(2, 3, 12, 12)
        after, report = job(net.state_dict())
        weights = [l.weight_g * l.weight_v / l.weight_v.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for l in layers]
        gone = sum(int(sparse(w).sum()) for w in weights)
        self.assertEqual(report["changes"]["kernels_zeroed"], gone)
        self.assertGreater(gone, 8)
        expected = x
        for layer, w in zip(layers, weights):
            w = w.detach().clone()
            w[sparse(w)] = 0
            run = nn.functional.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else nn.functional.conv2d
            expected = run(expected, w, layer.bias)
        before = net(x).detach()
        net.load_state_dict(after)
        self.assertTrue(torch.isfinite(net(x)).all())
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-6)
        self.assertLess((net(x) - before).abs().max(), 0.01 * before.abs().max())

    def test_a_network_with_masks(self):
        torch.manual_seed(5)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        weaken(net[2].weight, 6)
        for layer in (net[0], net[2]):
            prune.ln_structured(layer, "weight", 0.25, n=2, dim=0)
        x = torch.randn(2, 3, 12, 12)
        before = net(x).detach()
        masks = {k: v.clone() for k, v in net.state_dict().items() if k.endswith("_mask")}
        after, report = job(net.state_dict())
        self.assertEqual([l["name"] for l in report["layers"]], ["0.weight_orig", "2.weight_orig"])
        expected = x
        for i, layer in enumerate(net):
            if i == 1:
                expected = torch.relu(expected)
                continue
            w = (layer.weight_orig * layer.weight_mask).detach()
            w[sparse(w)] = 0
            expected = nn.functional.conv2d(expected, w, layer.bias)
        self.assertTrue(torch.equal(after["0.weight_mask"], masks["0.weight_mask"]))
        self.assertGreater(report["changes"]["kernels_zeroed"], 0)
        net.load_state_dict(after)
        torch.testing.assert_close(net(x), expected, rtol=1e-6, atol=1e-7)
        self.assertLess((net(x) - before).abs().max(), 0.01 * before.abs().max())
        # What prune.remove makes of it is what the job made.
        for layer in (net[0], net[2]):
            prune.remove(layer, "weight")
        torch.testing.assert_close(net(x), expected, rtol=1e-6, atol=1e-7)


if __name__ == "__main__":
    unittest.main(verbosity=2)
