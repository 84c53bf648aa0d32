#!/usr/bin/python3
"""Writes a fixture as a training script would have saved it with PyTorch.

    make_pth.py MODEL.safetensors OUT.pth

OUT is what torch.save makes of {"epoch": .., "state_dict": .., "arch": ..}, the convolutions in channels_last as a network
trained on a GPU leaves them. fixtures/models/mnist_cnn_plain.pth is mnist_cnn_plain.safetensors so written, by PyTorch
1.13.1 of Debian 12. Needs torch; the header is read here, so that the safetensors package is not needed.
"""
import collections
import json
import struct
import sys

import torch

DTYPES = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool}


def main(source, target):
    with open(source, "rb") as f:
        raw = f.read()
    begin = 8 + struct.unpack("<Q", raw[:8])[0]
    state = collections.OrderedDict()
    header = json.loads(raw[8:begin])
    header.pop("__metadata__", None)
    for name, t in header.items():
        first, last = t["data_offsets"]
        data = bytearray(raw[begin + first:begin + last])
        tensor = torch.frombuffer(data, dtype=DTYPES[t["dtype"]]).reshape(t["shape"])
        state[name] = tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor.clone()
    torch.save({"epoch": 22, "arch": "mnist_cnn_plain", "state_dict": state}, target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.split("\n\n")[1].strip())
    main(*sys.argv[1:])
