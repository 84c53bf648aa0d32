#!/usr/bin/python3
"""Trains the small networks whose checkpoints lie in fixtures/models.

    train_fixtures.py DIGITS.npz OUT_DIR [--net NAME] [--held-out N] [--seed N]

DIGITS.npz holds handwritten digits under two keys:
    images  uint8 [n, 28, 28], 0 is background, 255 is ink
    labels  integers [n], 0 .. 9
The last N digits (500 unless told) are held out: they are never trained on, and the accuracy printed is theirs.

NAME is one of
    mnist_xnor                 (default) convolutions with one level pair +-alpha per filter between a first
                               convolution and a last linear layer of full precision: the Binary-Weight-Network of
                               Rastegari et al., "XNOR-Net", ECCV 2016, section 3.1. Activations stay real.
    mnist_cnn_plain            the architecture of that fixture, trained without a penalty
    mnist_cnn_overparam_l1     the architecture of that fixture, trained with an L1 penalty that starves kernels

fixtures/models/mnist_xnor.safetensors is what this script writes, from 2,000 digits with 500 held out. The two
mnist_cnn_* fixtures came from an earlier run over 8,000 digits whose hyperparameters were not kept: their architecture
here is exact (shapes, names, poolings), the training is a like recipe and does not give the same bits.

Needs numpy and torch; one thread and a fixed seed, so that the same versions give the same file.
"""
import argparse
import json
import struct

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

# name: widths of the 3x3 convolutions, max-pooling after these, epochs, binary convolutions, L1 penalty on them
NETS = {
    "mnist_xnor": ((32, 64, 64, 64), (1, 3), 150, (2, 3, 4), 0.0),
    "mnist_cnn_plain": ((16, 32, 48, 64, 64), (1, 3), 22, (), 0.0),
    "mnist_cnn_overparam_l1": ((32, 64, 64, 96, 96), (1, 3), 16, (), 2e-4),
}


def binarized(weight):
    """sign(w) * mean|w| of each filter: the best +-alpha in the least-squares sense (XNOR-Net, equation 6)."""
    alpha = weight.abs().mean((1, 2, 3), keepdim=True)
    return torch.where(weight >= 0, alpha, -alpha)


class BinaryConv(nn.Conv2d):
    """Convolves with the binarized weights; the gradient passes straight through to the real ones while |w| <= 1."""

    def forward(self, x):
        real = self.weight.clamp(-1, 1)
        return F.conv2d(x, real + (binarized(self.weight) - real).detach(), padding=self.padding)


class Net(nn.Module):
    """conv1 .. convN (3x3, no bias), each with batch norm and ReLU, max-pooling after some, global mean, linear."""

    def __init__(self, widths, pool_after, binary):
        super().__init__()
        self.count, self.pool_after, self.binary = len(widths), pool_after, binary
        channels = 1
        for i, width in enumerate(widths, 1):
            conv = BinaryConv if i in binary else nn.Conv2d
            setattr(self, f"conv{i}", conv(channels, width, 3, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(width))
            channels = width
        self.fc = nn.Linear(channels, 10)

    def forward(self, x):
        for i in range(1, self.count + 1):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
            if i in self.pool_after:
                x = F.max_pool2d(x, 2)
        return self.fc(x.mean((2, 3)))

    def freeze(self):
        """The real weights have done their duty: from here on the layer is its two levels."""
        for i in self.binary:
            conv = getattr(self, f"conv{i}")
            conv.weight.data = binarized(conv.weight.data)
            plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=False)
            plain.weight = conv.weight
            setattr(self, f"conv{i}", plain)


def moved(x):
    """Each digit turned by up to 15 degrees, scaled by up to 15 % each way, sheared by up to 0.3, shifted by up to 2
    pixels: 1,500 digits are few."""
    n = len(x)
    turn = (torch.rand(n) * 2 - 1) * (15 * np.pi / 180)
    scale = 1 + (torch.rand(n, 2) * 2 - 1) * 0.15
    shear = (torch.rand(n) * 2 - 1) * 0.3
    shift = (torch.rand(n, 2) * 2 - 1) * (2 / 14)
    cos, sin = torch.cos(turn), torch.sin(turn)
    first = torch.stack((cos * scale[:, 0], (shear * cos - sin) * scale[:, 1], shift[:, 0]), 1)
    second = torch.stack((sin * scale[:, 0], (shear * sin + cos) * scale[:, 1], shift[:, 1]), 1)
    theta = torch.stack((first, second), 1)
    return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)


def accuracy(net, x, y):
    net.eval()
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


def train(name, x, y):
    widths, pool_after, epochs, binary, l1 = NETS[name]
    net = Net(widths, pool_after, binary)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    batch = 50
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * (len(x) // batch))
    for epoch in range(epochs):
        net.train()
        order, total = torch.randperm(len(x)), 0.0
        for step in range(len(x) // batch):
            pick = order[step * batch:(step + 1) * batch]
            loss = F.cross_entropy(net(moved(x[pick])), y[pick], label_smoothing=0.05)
            total += float(loss)
            if l1:
                loss = loss + l1 * sum(getattr(net, f"conv{i}").weight.abs().sum() for i in range(1, net.count + 1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"{name}: epoch {epoch + 1} of {epochs}, loss {total / (len(x) // batch):.4f}", flush=True)
    net.freeze()
    return net


def save_safetensors(path, tensors, metadata):
    header, offset = {"__metadata__": metadata}, 0
    for name, a in tensors.items():
        dtype = {"<f4": "F32", "<i8": "I64"}[a.dtype.str]
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(np.ascontiguousarray(a).tobytes())


def main():
    parser = argparse.ArgumentParser(description="Trains the small networks whose checkpoints lie in fixtures/models.")
    parser.add_argument("digits", metavar="DIGITS.npz")
    parser.add_argument("out_dir", metavar="OUT_DIR")
    parser.add_argument("--net", choices=sorted(NETS), default="mnist_xnor")
    parser.add_argument("--held-out", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    digits = np.load(args.digits)
    x = torch.from_numpy(digits["images"].astype(np.float32) / 255).unsqueeze(1)
    y = torch.from_numpy(digits["labels"].astype(np.int64))
    keep = len(x) - args.held_out
    net = train(args.net, x[:keep], y[:keep])
    hits = accuracy(net, x[keep:], y[keep:])
    print(f"{args.net}: accuracy {hits:.4f} on {args.held_out} digits held out, "
          f"{accuracy(net, x[:keep], y[:keep]):.4f} on the {keep} trained on")
    metadata = {"format": "pt", "pool_after": ",".join(map(str, NETS[args.net][1])),
                "trained_on": f"{keep} MNIST digits", "held_out": str(args.held_out),
                "held_out_accuracy": f"{hits:.4f}", "licence": "Apache-2.0"}
    save_safetensors(f"{args.out_dir}/{args.net}.safetensors",
                     {k: v.detach().numpy() for k, v in net.state_dict().items()}, metadata)


if __name__ == "__main__":
    main()
