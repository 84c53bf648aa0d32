"""Packed checkpoints load into unmodified torch models, strictly."""
import importlib.util
import warnings

import common
from common import LIBRARY, SOURCE, Case, pack, skip

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import torch.nn as nn
        import torch.nn.functional as F
except ImportError as missing:
    skip(missing)
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision.models import resnet18
except Exception:  # torchvision may be missing, or made for another torch
    resnet18 = None

import filterprune
import filterprune.torch
from filterprune import SafetensorError


class Block(nn.Module):
    """He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, figure 5 left; names as torchvision's."""

    def __init__(self, wide_in, wide, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.downsample = None
        if stride != 1 or wide_in != wide:
            self.downsample = nn.Sequential(nn.Conv2d(wide_in, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        for i, (wide_in, wide, stride) in enumerate(((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)), 1):
            setattr(self, f"layer{i}", nn.Sequential(Block(wide_in, wide, stride), Block(wide, wide, 1)))
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((2, 3)))


def fixtures_net():
    """The architecture of the fixtures, from the script that trains them."""
    spec = importlib.util.spec_from_file_location("train_fixtures", SOURCE / "tools" / "train_fixtures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Networks(Case):
    def setUp(self):
        super().setUp()
        torch.manual_seed(1)
        torch.set_num_threads(1)

    def same(self, found, expected):
        self.assertEqual(found.keys(), expected.keys())
        for name, tensor in expected.items():
            self.assertEqual((found[name].dtype, found[name].shape), (tensor.dtype, tensor.shape), name)
            self.assertTrue(torch.equal(found[name], tensor), name)

    def resnet(self, model, other):
        """model's weights go through a packed file into other."""
        dense, packed = self.home / "resnet18.safetensors", self.home / "packed.safetensors"
        filterprune.torch.save_file(model.state_dict(), dense, {"format": "pt"})
        pack(dense, packed, "--lossless")
        state = filterprune.load_file(packed, "pt")
        self.same(state, model.state_dict())
        other.load_state_dict(state, strict=True)
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            self.assertTrue(torch.equal(other.eval()(x), model.eval()(x)))
        pack(dense, packed, "--amount", "0.5", "--structure", "filter")
        state = filterprune.torch.load_file(packed)
        other.load_state_dict(state, strict=True)
        dead = (other.layer4[1].conv2.weight == 0).flatten(1).all(1)
        self.assertEqual(int(dead.sum()), 256)
        kept = ~dead
        self.assertTrue(torch.equal(other.layer4[1].conv2.weight[kept], model.layer4[1].conv2.weight[kept]))

    def test_resnet18(self):
        self.resnet(ResNet18(), ResNet18())

    def test_resnet18_of_torchvision(self):
        if resnet18 is None:
            self.skipTest("torchvision is not installed")
        model = resnet18()
        self.assertEqual({k: v.shape for k, v in model.state_dict().items()},
                         {k: v.shape for k, v in ResNet18().state_dict().items()})
        self.resnet(model, resnet18())

    def test_fixtures(self):
        train = fixtures_net()
        for name, (widths, pool_after, *_) in train.NETS.items():
            path = SOURCE / "fixtures" / "models" / f"{name}.safetensors"
            dense = filterprune.torch.load_file(path)
            net = train.Net(widths, pool_after, ())
            net.load_state_dict(dense, strict=True)
            x = torch.rand(4, 1, 28, 28)
            with torch.no_grad():
                expected = net.eval()(x)
            packed = pack(path, self.home / f"{name}.safetensors", "--lossless")
            for decoder in ("python", "library") if LIBRARY else ("python",):
                state = filterprune.load_file(packed, "pt", decoder=decoder)
                self.same(state, dense)
                again = train.Net(widths, pool_after, ())
                again.load_state_dict(state, strict=True)
                with torch.no_grad():
                    self.assertTrue(torch.equal(again.eval()(x), expected))
            net.load_state_dict(filterprune.load_file(pack(path, packed), "pt"), strict=True)
            with torch.no_grad():
                # Kernels below 1 % of the largest weight of their layer are gone: nobody notices.
                self.assertTrue(torch.equal(net(x).argmax(1), expected.argmax(1)))

    def test_dtypes(self):
        kinds = {"float64": 0.5, "float32": 0.5, "float16": 0.5, "bfloat16": 0.5, "int64": -3, "int32": -3, "int16": -3,
                 "int8": -3, "uint8": 3, "bool": True, "complex64": 1 + 2j, "float8_e4m3fn": 0.5, "float8_e5m2": 0.5,
                 "uint16": 3}
        tensors = {name: torch.full((40, 50), value).to(getattr(torch, name))
                   for name, value in kinds.items() if hasattr(torch, name)}
        tensors["scalar"] = torch.tensor(3)
        tensors["empty"] = torch.empty(0, 5, dtype=torch.bfloat16)
        dense = self.home / "dense.safetensors"
        filterprune.torch.save_file(tensors, dense)
        self.same(filterprune.torch.load_file(dense), tensors)
        packed = pack(dense, self.home / "packed.safetensors", "--lossless")
        self.same(filterprune.load_file(packed, framework="torch", device="cpu"), tensors)
        with filterprune.safe_open(packed, framework="pt") as f:
            self.assertTrue(torch.equal(f.get_slice("bfloat16")[3:5, 1], tensors["bfloat16"][3:5, 1]))
            self.assertEqual(f.get_slice("bfloat16").get_dtype(), "BF16")

    def test_what_torch_does_not_know(self):
        common.write(self.home / "f6.safetensors", {"a": ("F6_E2M3", (4,), bytes(3))})
        with filterprune.safe_open(self.home / "f6.safetensors", "pt") as f:
            with self.assertRaisesRegex(SafetensorError, "has no F6_E2M3"):
                f.get_tensor("a")
            self.assertEqual(f.get_bytes("a"), bytes(3))

    def test_save_file_refuses_what_would_not_load_as_it_was(self):
        path = self.home / "out.safetensors"
        tied = torch.zeros(3)
        for tensors, error in (({"a": tied, "b": tied}, RuntimeError), ({"a": torch.zeros(2, 3).t()}, ValueError),
                               ({"a": torch.zeros(2, 2).to_sparse()}, ValueError), ({"a": [1, 2]}, ValueError),
                               ({"a": torch.zeros(2, dtype=torch.complex128)}, SafetensorError)):
            with self.assertRaises(error):
                filterprune.torch.save_file(tensors, path)
            self.assertFalse(path.exists())
        filterprune.torch.save_file({"a": tied[:1], "b": tied.clone()}, path)


if __name__ == "__main__":
    common.main()
