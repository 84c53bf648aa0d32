"""What removal writes, in a second runtime: OpenCV's dnn opens it and computes what it did of the file before.
second_runtime.py TOOL_GRAPH

Needs numpy, onnx and opencv-python-headless (tried with 5.0.0); skipped (77) where they cannot be had."""
import os
import subprocess
import sys
import tempfile

try:
    import cv2
    import numpy as np
    import onnx
except ImportError as e:
    print(f"SKIPPED: {e}; pip install opencv-python-headless==5.0.0.93 onnx")
    sys.exit(77)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import planted


def run(path, x):
    net = cv2.dnn.readNetFromONNX(path)
    net.setInput(x)
    return net.forward()


refused, compared = [], 0
with tempfile.TemporaryDirectory() as folder:
    big, small = os.path.join(folder, "big.onnx"), os.path.join(folder, "small.onnx")
    for kind in planted.KINDS:
        model, _ = planted.make(kind, 0)
        dims = model.graph.input[0].type.tensor_type.shape.dim
        side = 16
        for d in model.graph.input[0].type.tensor_type.shape.dim:  # OpenCV wants sizes
            if d.dim_param:
                d.dim_value = 1 if d.dim_param == "N" else side
        onnx.save(model, big)
        x = np.random.default_rng(1).standard_normal([d.dim_value for d in dims]).astype(np.float32)
        p = subprocess.run([sys.argv[1], "remove", big, small], capture_output=True, text=True)
        assert p.returncode == 0 and int(p.stdout.split()[-1]) > 0, (kind, p.stderr)
        try:
            y = run(big, x)
        except cv2.error as e:
            refused.append(kind)  # as it came: not ours to answer for
            continue
        z = run(small, x)
        assert y.shape == z.shape, kind
        apart = np.abs(y - z).max() / np.abs(y).max()
        print(f"{kind}: {apart:.1e}")
        assert apart <= 2e-5, f"{kind}: OpenCV's outputs differ by {apart}"
        compared += 1
print(f"OpenCV {cv2.__version__}: {compared} networks compared; refused before removal: {refused}")
assert compared >= 6, "hardly anything was compared"
