#!/bin/sh
# opencv-python-headless 5.0.0.93 and 4.14.0.94, cv2.dnn.readNetFromONNX, one convolution of stride 2 with auto_pad SAME_UPPER on an
# even image: the first layer of MobileNet (3x3) and layers of EfficientNet (5x5), as converters from TensorFlow write them.
# Guess: the odd pixel of padding goes to the bottom and to the right, which is what UPPER means: as 4.14 does it, and all others.
# Seen:  since 5.0 it goes to the top and to the left, with all three engines: the outputs have the right shape, every one is of
#        a window one pixel off, and nothing is said. SAME_LOWER, which asks for that, is the same there; at stride 1, where
#        an even kernel leaves an odd pixel, SAME_LOWER is done as UPPER in both versions. Odd images are right. Exit status 1
#        when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2
cat >"$folder/look.py" <<'PYTHON'
import sys
import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
rng = np.random.default_rng(0)

def network(kernels, size, stride, **padding):
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=kernels.shape[2:], strides=[stride] * 2, **padding)
    graph = helper.make_graph([node], "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [numpy_helper.from_array(kernels, "w")])
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))

def outputs(model, x, *engine):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8), *engine)
    net.setInput(x, "x")
    return net.forward()

engines = [(cv2.dnn.ENGINE_CLASSIC,), (cv2.dnn.ENGINE_NEW,), (cv2.dnn.ENGINE_AUTO,)] if sys.argv[1] == "5" else [()]
good = True
# side of the kernel and of the image, stride, rule; padding before and after each side that the rule means, and that is seen
for side, size, stride, rule, meant, found in ((3, 16, 2, "SAME_UPPER", (0, 1), {"4": (0, 1), "5": (1, 0)}), (5, 16, 2, "SAME_UPPER", (1, 2), {"4": (1, 2), "5": (2, 1)}),
                                               (3, 15, 2, "SAME_UPPER", (1, 1), {"4": (1, 1), "5": (1, 1)}), (2, 16, 1, "SAME_LOWER", (1, 0), {"4": (0, 1), "5": (0, 1)})):
    kernels, x = rng.normal(size=(4, 3, side, side)).astype(np.float32), rng.normal(size=(1, 3, size, size)).astype(np.float32)
    model = network(kernels, size, stride, auto_pad=rule)
    onnx.checker.check_model(model, full_check=True)
    padded = {pads: ReferenceEvaluator(network(kernels, size, stride, pads=[pads[0], pads[0], pads[1], pads[1]])).run(None, {"x": x})[0]
              for pads in {meant, found[sys.argv[1]]}}
    assert np.allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], padded[meant], atol=1e-4)
    for engine in engines:
        y = outputs(model, x, *engine)
        same = [pads for pads, want in padded.items() if y.shape == want.shape and np.allclose(y, want, atol=1e-3)]
        print(f"OpenCV {cv2.__version__}{' engine %d' % engine if engine else ''}: {side}x{side}, stride {stride}, {rule} on {size}x{size}: "
              f"padding {same} before and after, meant {meant}")
        good &= same == [found[sys.argv[1]]]
sys.exit(not good)
PYTHON
look() {
    "$folder/venv/bin/pip" install -q --no-deps "opencv-python-headless==$1"
    OPENCV_LOG_LEVEL=SILENT "$folder/venv/bin/python" -W ignore "$folder/look.py" "$2"
}
look 4.14.0.94 4
look 5.0.0.93 5
