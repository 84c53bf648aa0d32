#!/bin/sh
# onnxruntime 1.32.0 with onnx 1.23.2, onnxruntime.quantization.quantize_static with per_channel=True, on a convolution of 16 filters
# four of which were pruned, all their weights 0, and keep a bias: what a batch normalization leaves of them when it is folded in, a
# constant that the next layer reads. Its input is an image of 0 to 255, or the output of a ReLU6, 0 to 6.
# Guess: biases become integers of 32 bits and are right to a few 1e-5 whatever the weights are; of a pruned filter the bias is all that
#        there is to keep, and the only thing that can go wrong is the step of the outputs.
# Seen:  a bias has the step of the input times that of its filter, and where the filter is 0 its step is set to 1. The bias is
#        rounded to whole steps of the input: for the image to integers, so that all four, up to 0.39, become 0; for the ReLU6 to
#        multiples of 0.024. The biases of the other filters are right to 1e-4, those of all with per_channel=False as well. It is
#        so for signed and unsigned weights, as QDQ and as operators of integers, and nothing is said. Exit status 1 when that
#        is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import logging
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class Once(CalibrationDataReader):
    """The images that the ranges are taken from."""

    def __init__(self, images):
        self.images = iter([{"x": images}])

    def get_next(self):
        return next(self.images, None)


class Lines(logging.Handler):
    """What was logged as a warning or worse."""

    def emit(self, record):
        lines.append(record.getMessage())


def stored_biases(path):
    """The float that each stored integer stands for: in both formats its step is that of the input times those of the filters."""
    model = onnx.load(path)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    whole = next(array for array in stored.values() if array.dtype == np.int32 and array.size == 16 and np.any(array))
    return whole * (stored["x_scale"].astype(np.float64) * stored["w_scale"]).reshape(-1)


rng = np.random.default_rng(0)
dead = [1, 4, 6, 9]
live = [i for i in range(16) if i not in dead]
lines = []
logging.getLogger().addHandler(Lines(logging.WARNING))
seen = {}
for name, images in (("image", rng.integers(0, 256, (4, 3, 24, 24)).astype(np.float32)),
                     ("ReLU6", np.clip(rng.normal(2, 3, (4, 3, 24, 24)), 0, 6).astype(np.float32))):
    weights = (rng.normal(size=(16, 3, 3, 3)) / images.std() / 9).astype(np.float32)
    weights[dead] = 0
    biases = rng.uniform(-0.45, 0.45, 16).astype(np.float32)
    biases[dead] = [0.153, -0.21, 0.39, 0.305]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w", "b"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3, 24, 24])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 16, 22, 22])],
                              [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(biases, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "float.onnx")
    for per_channel in (True, False):
        for weight_type in (QuantType.QInt8, QuantType.QUInt8):
            for form in (QuantFormat.QDQ, QuantFormat.QOperator):
                lines.clear()
                # Seven bits for weights, so that no processor's sums of 16 bits overflow.
                quantize_static("float.onnx", "quantized.onnx", Once(images), quant_format=form, per_channel=per_channel, reduce_range=True,
                                weight_type=weight_type, activation_type=QuantType.QUInt8)
                kept = stored_biases("quantized.onnx")
                step = images.max() / 255
                whole = bool(np.abs(kept[dead] - np.round(biases[dead] / step) * step).max() < 1e-6)
                off, others = np.abs(kept - biases)[dead].max(), np.abs(kept - biases)[live].max()
                # And so the outputs: a pruned filter's are its bias alone, to half a step of the outputs.
                got = onnxruntime.InferenceSession("quantized.onnx").run(None, {"x": images})[0][:, dead]
                outputs = np.abs(got - biases[dead][:, None, None]).max()
                told = [line for line in lines if "bias" in line.lower() or "zero" in line.lower()]
                seen[name, per_channel, weight_type.name, form.name] = (whole, bool(others < 1e-3), bool(off < 1e-3), len(told))
                print(f"onnxruntime {onnxruntime.__version__}, {name}, per_channel={per_channel}, {weight_type.name}, {form.name}: biases of "
                      f"pruned filters {' '.join(f'{bias:.3f}' for bias in kept[dead])}, up to {off:.1e} off, the others {others:.1e}; "
                      f"outputs up to {outputs:.2f} off; warnings of it {len(told)}")
print(f"the biases were {' '.join(f'{bias:.3f}' for bias in biases[dead])}")
sys.exit(any(result != ((True, True, False, 0) if key[1] else (False, True, True, 0)) for key, result in seen.items()))
PYTHON
