"""Random networks with needless channels: sequences of operators, drawn with their attributes, over convolutions whose
filters are dead, constant, unread or alike. net(seed) returns a model that onnxruntime runs. Needs numpy and onnx."""
import numpy as np
from onnx import TensorProto, helper, numpy_helper

import planted

UNARY = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Celu", "Selu", "Softplus",
         "Softsign", "Neg", "Abs", "Erf", "Identity", "Dropout", "Exp", "Floor", "Sign", "Cos", "Gelu", "Mish", "ThresholdedRelu")
SINCE = {"HardSwish": 14, "Celu": 12, "Gelu": 20, "Mish": 18, "Erf": 9, "ThresholdedRelu": 10}


class Net(planted.Parts):
    def __init__(self, seed, dtype=None, kind="plain"):
        """kind: plain, half (float16) or quantized (whole numbers between, and as weights)."""
        self.r, self.kind = np.random.default_rng(seed), kind
        self.opset = int(self.r.choice([7, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22]))
        if kind != "plain":
            dtype, self.opset = np.float16 if kind == "half" else np.float32, max(self.opset, 13)
        self.dtype = dtype or (np.float32 if self.opset < 14 or self.chance(.7) else np.float64)
        self.spatial = int(self.r.choice([1, 2, 2, 2, 2, 3]))
        self.batch, self.side = 2, int(self.r.choice([6, 8, 9]))
        self.dynamic = self.chance(.5)
        self.nodes, self.initializers, self.inputs, self.values, self.count = [], [], [], [], 0
        self.constant_nodes, self.extra = self.chance(.2), []
        self.ir = 3 if self.opset <= 9 and self.chance(.6) else 8 if self.opset < 19 else 10

    # ---- parts

    def chance(self, p):
        return bool(self.r.random() < p)

    def pick(self, *choices):
        return choices[int(self.r.integers(len(choices)))]

    def add(self, array, stem="c"):
        name = self.name(stem)
        t = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if t.data_type == TensorProto.FLOAT and self.chance(.1):  # typed, not raw
            t = helper.make_tensor(name, TensorProto.FLOAT, array.shape, np.asarray(array).ravel().tolist())
        if self.constant_nodes and self.chance(.6):
            self.nodes.append(helper.make_node("Constant", [], [name], name=self.name("Constant"), value=t))
        else:
            self.initializers.append(t)
        if self.chance(.05):
            return self.node("Identity", [name])
        return name

    def ints(self, *numbers):
        if self.opset >= 12 and self.chance(.15):
            name = self.name("c")
            self.nodes.append(helper.make_node("Constant", [], [name], value_ints=list(numbers)))
            return name
        return self.add(np.array(numbers, np.int64))

    def some(self, n, share):
        return np.flatnonzero(self.r.random(n) < share)

    def filters(self, outs, ins, taps):
        """[outs, ins, *taps] with whatever can be needless."""
        fan = ins * int(np.prod(taps))
        w = self.floats(outs, ins, *taps, scale=1.2 / np.sqrt(max(fan, 1)))
        if self.chance(.6):
            w[self.r.random((outs, ins)) < self.pick(.3, .6, .85)] = 0
        w[self.some(outs, self.pick(0, .2, .5))] = 0
        w[:, self.some(ins, self.pick(0, .2, .4))] = 0
        b = self.floats(outs, scale=.5)
        b[self.some(outs, self.pick(0, .3))] = 0
        for a, o in self.r.integers(outs, size=(self.pick(0, 1, 3), 2)):
            w[o], b[o] = w[a], b[a]
        return w, b

    def weights(self, w):
        if self.kind != "quantized" or self.chance(.6):
            return self.add(w, "w")
        s = (np.abs(w).reshape(len(w), -1).max(1) / 127 + 1e-3).astype(np.float32)
        q = np.rint(w / s.reshape([-1] + [1] * (w.ndim - 1))).astype(np.int8)
        return self.node("DequantizeLinear", [self.add(q), self.add(s), self.add(np.zeros(len(w), np.int8))], axis=0)

    # ---- operators on a value (name, shape); None where they do not fit

    def quantize(self, v):
        x, s = v
        if self.kind != "quantized":
            return None
        many = self.chance(.3) and len(s) > 1
        scale = np.abs(self.floats(s[1])) * np.float32(.02) + np.float32(.01) if many else np.array(.03, np.float32)
        zero = self.pick(np.int8(0), np.uint8(128), np.int8(-20))
        scale, zero = self.add(scale), self.add(np.full(s[1], zero) if many else np.array(zero))
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, scale, zero]), scale, zero]), s

    def counted(self, v):
        """What is computed from how many channels there are."""
        x, s = v
        if self.opset < 13 or s[1] < 2:
            return None
        count = self.node("Shape", [x])
        if self.chance(.4) and len(s) == 4 and max(s[2:]) < 10:
            shape = s[:2] + [s[2] + 1, s[3] + 2]
            sizes = self.node("Concat", [self.node("Slice", [count, self.ints(0), self.ints(2)]), self.ints(*shape[2:])], axis=0)
            return self.node("Resize", [self.pick(x, x, self.node("Relu", [x])), "", "", sizes], mode="nearest"), shape
        one = self.node("Gather", [count, self.ints(1)], axis=0)
        if self.chance(.2) and len(s) > 2:
            return self.node("Reshape", [x, self.node("Concat", [self.ints(0), one, self.ints(-1)], axis=0)]), s[:2] + [int(np.prod(s[2:]))]
        if self.chance(.2):
            one = self.node("Cast", [one], to=helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)))
            return self.node(self.pick("Div", "Mul"), [x, one]), s
        half = self.node("Div", [self.node("Add", [one, self.ints(1)]), self.ints(2)])
        end, half_size = self.node("Mul", [half, self.ints(2)]), (s[1] + 1) // 2
        others = [o for o in self.values if len(o[1]) == len(s) and o[1][1] >= s[1]]
        of = (x, s) if self.chance(.8) or not others else others[int(self.r.integers(len(others)))]
        parts = [(self.node("Slice", [of[0], self.ints(0), half, self.ints(1)]), of[1][:1] + [half_size] + of[1][2:]),
                 (self.node("Slice", [of[0], half, end, self.ints(1)]), of[1][:1] + [min(2 * half_size, of[1][1]) - half_size] + of[1][2:])]
        self.values += parts
        return parts[int(self.r.integers(2))]

    def conv(self, v, k=None, outs=None, group=None):
        x, s = v
        sp = len(s) - 2
        if sp < 1 or sp > 3:
            return None
        c = s[1]
        k = k or self.pick(1, 1, 2, 3, 3, 5)
        group = group or self.pick(1, 1, 1, 1, c, *[g for g in (2, 3, 4) if c % g == 0])
        outs = outs or (group * self.pick(1, 1, 2) if group == c else group * int(self.r.integers(1, 9)) if group > 1 else int(self.r.integers(2, 13)))
        a = {}
        if group > 1 or self.chance(.5):
            a["group"] = group
        if self.chance(.3):
            a["dilations"] = [self.pick(1, 2)] * sp
        d = a.get("dilations", [1])[0]
        if self.chance(.2):
            a["strides"] = [2] * sp
        mode = self.pick("same", "same", "none", "odd", "auto", "zero")
        if mode == "same":
            a["pads"] = [d * (k - 1) // 2] * (2 * sp)
        elif mode == "odd":
            a["pads"] = [int(i) for i in self.r.integers(0, 3, 2 * sp)]
        elif mode == "zero":
            a["pads"] = [0] * (2 * sp)
        elif mode == "auto" and d == 1:
            a["auto_pad"] = self.pick("SAME_UPPER", "SAME_LOWER", "VALID")
        if self.chance(.5):
            a["kernel_shape"] = [k] * sp
        if min(s[2:]) < d * (k - 1) + 1:
            return None
        w, b = self.filters(outs, c // group, [k] * sp)
        inputs = [x, self.weights(w)] + self.pick([], [""], [self.add(b, "b")], [self.add(b, "b")])
        y = self.node("Conv", inputs, **a)
        strides, pads = a.get("strides", [1] * sp), a.get("pads", [0] * 2 * sp)
        same = "SAME" in a.get("auto_pad", "")
        shape = [s[0], outs] + [-(-n // st) if same else (n + pads[i] + pads[sp + i] - d * (k - 1) - 1) // st + 1
                                for i, (n, st) in enumerate(zip(s[2:], strides))]
        if self.chance(.6):
            return self.norm((y, shape))
        return y, shape

    def transposed(self, v):
        x, s = v
        sp = len(s) - 2
        if sp < 1 or sp > 3 or max(s[2:]) > 12:
            return None
        group = self.pick(1, 1, 1, s[1], *[g for g in (2, 3) if s[1] % g == 0])
        per, k, st = int(self.r.integers(1, 6)), self.pick(1, 2, 3), self.pick(1, 2)
        w, b = self.filters(per, s[1], [k] * sp)
        b = self.floats(per * group)
        w = w.swapaxes(0, 1)
        a = {"strides": [st] * sp, "group": group}
        pad = self.pick(0, 0, 1) if k > 1 else 0
        a["pads"] = [pad] * 2 * sp
        extra = 1 if st == 2 and self.chance(.3) else 0
        if extra:
            a["output_padding"] = [1] * sp
        y = self.node("ConvTranspose", [x, self.add(w, "w")] + self.pick([], [self.add(b, "b")]), **a)
        shape = [s[0], per * group] + [(n - 1) * st + k + extra - 2 * pad for n in s[2:]]
        return (y, shape) if min(shape) > 0 else None

    def norm(self, v):
        x, s = v
        if len(s) < 3:
            return None
        c = s[1]
        p = [1 + self.floats(c, scale=.3), self.floats(c, scale=.4), self.floats(c, scale=.3), np.abs(self.floats(c)) + self.dtype(.3)]
        p[0][self.some(c, self.pick(0, .15))] = 0
        p[1][self.some(c, self.pick(0, .5, 1))] = 0
        p[2][self.some(c, self.pick(0, .5, 1))] = 0
        if self.chance(.2):
            p[1][:] = p[1][0]
        return self.node("BatchNormalization", [x] + [self.add(q.astype(self.dtype), "n") for q in p], epsilon=1e-3), s

    def unary(self, v):
        x, s = v
        op = UNARY[int(self.r.integers(len(UNARY)))]
        if self.kind == "half" and op in ("Floor", "Sign"):  # which make rounding large
            op = "Sigmoid"
        if SINCE.get(op, 1) > self.opset:
            op = "Relu"
        a, inputs = {}, [x]
        if op in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu") and self.chance(.6):
            a["alpha"] = self.pick(.1, .5, 1.5)
        if op == "HardSigmoid" and self.chance(.5):
            a.update(alpha=.3, beta=.4)
        if op == "Floor":  # not of whole numbers, as a saturated Tanh makes them: those are rounded to either side
            inputs = [self.node("Add", [x, self.add(np.array(.37, self.dtype))])]
        if op == "Exp":
            x = self.node("Tanh", [x])
            inputs = [x]
        if op == "Clip" and self.opset < 11:
            a.update(min=-.5, max=self.pick(.25, 6.0))
        elif op == "Clip":
            inputs += [self.pick("", self.add(np.array(self.pick(-.5, 0., .1), self.dtype))), self.add(np.array(self.pick(.25, 6.), self.dtype))]
        return self.node(op, inputs, **a), s

    def along(self, s):
        """A constant beside a value of that shape."""
        c = s[1]
        v = self.floats(c)
        v[self.some(c, self.pick(0, .4, 1))] = self.pick(0, 1)
        if self.chance(.3):
            v[:] = v[0]
        shape = self.pick([1, c] + [1] * (len(s) - 2), [c] + [1] * (len(s) - 2), [1] * (len(s) - 2), [], s[1:], s[-1:], s[-2:] if len(s) > 2 else s[-1:])
        if len(shape) and np.prod(shape) == c and c in shape:
            return v.reshape(shape)
        if np.prod(shape) == 1:
            return v[0].reshape(shape)
        return self.floats(*shape) if self.chance(.7) else np.broadcast_to(v.reshape([c] + [1] * (len(s) - 2)), s[1:]).copy() if shape == s[1:] else np.full(shape, v[0], self.dtype)

    def shaped(self, array):
        """A constant; now and then one that is given its shape in the graph."""
        if array.ndim < 2 or not self.chance(.25):
            return self.add(array)
        return self.node("Reshape", [self.add(array.ravel() if self.chance(.7) else array), self.ints(*self.pick(array.shape, [-1] + list(array.shape[1:])))])

    def binary(self, v):
        x, s = v
        op = self.pick("Add", "Add", "Add", "Mul", "Mul", "Sub", "Div", "Min", "Max", "Sum", "PRelu")
        if op in ("Min", "Max", "Sum") and self.opset < 8:
            op = "Add"
        if op in ("Min", "Max") and self.opset < 12 and self.dtype != np.float32:
            op = "Add"
        others = [(n, t) for n, t in self.values if len(t) == len(s) and all(a == b or b == 1 for a, b in zip(s, t))]
        if op == "PRelu":
            slope = self.along(s)
            return self.node(op, [x, self.shaped(slope)]), s
        if op == "Div":
            d = self.along(s)
            return self.node(op, [x, self.add(np.sign(d + .1) * (np.abs(d) + self.dtype(.5)))]), s
        if others and self.chance(.6):
            o = others[int(self.r.integers(len(others)))][0]
        else:
            o = self.shaped(self.along(s))
        pair = [x, o] if self.chance(.7) else [o, x]
        if op == "Sum" and others and self.chance(.5):
            pair.append(others[int(self.r.integers(len(others)))][0])
        return self.node(op, pair), s

    def concat(self, v):
        x, s = v
        axis = self.pick(1, 1, 1, len(s) - 1, 0 if not self.dynamic else 1)
        others = [(n, t) for n, t in self.values + [v] if len(t) == len(s) and all(a == b for i, (a, b) in enumerate(zip(s, t)) if i != axis)]
        parts = [v] + [others[int(self.r.integers(len(others)))] for _ in range(self.pick(1, 1, 2))]
        if self.chance(.1):
            c = list(s)
            parts.append((self.add(self.floats(*c)), c))
        self.r.shuffle(parts)
        parts = [(str(n), [int(i) for i in t]) for n, t in parts]
        shape = list(s)
        shape[axis] = sum(t[axis] for _, t in parts)
        if shape[1] > 40 or shape[-1] > 24 or shape[0] > 4:
            return None
        return self.node("Concat", [n for n, _ in parts], axis=self.pick(axis, axis - len(s)) if self.opset >= 11 else axis), shape

    def split(self, v):
        x, s = v
        axis = self.pick(1, 1, 1, len(s) - 1)
        n = s[axis]
        if n < 2:
            return None
        cut = int(self.r.integers(1, n))
        sizes, a, inputs = [cut, n - cut], {"axis": axis}, [x]
        if n % 2 == 0 and self.chance(.3) or (self.opset >= 18 and self.chance(.2)):
            sizes = [-(-n // 2), n - -(-n // 2)]
            if self.opset >= 18:
                a["num_outputs"] = 2
        elif n > 4 and self.chance(.2):
            sizes = [1] * n
            if self.opset >= 13:
                inputs.append(self.ints(*sizes))
            else:
                a["split"] = sizes
        elif self.opset >= 13:
            inputs.append(self.ints(*sizes))
        else:
            a["split"] = sizes
        outs = self.node("Split", inputs, len(sizes), **a)
        made = [(o, [z if i == axis else d for i, d in enumerate(s)]) for o, z in zip(outs, sizes)]
        self.values += made
        return made[int(self.r.integers(len(made)))]

    def slice(self, v):
        x, s = v
        axes = sorted({self.pick(1, 1, len(s) - 1), self.pick(1, len(s) - 1)})
        starts, ends, steps, shape = [], [], [], list(s)
        for d in axes:
            n = s[d]
            a, b = sorted(self.r.integers(0, n + 1, 2).tolist())
            if a == b:
                a, b = 0, n
            step = 1 if self.chance(.85) or self.opset < 10 else 2
            shape[d] = -(-(b - a) // step)
            starts.append(a if self.chance(.7) or a == 0 else a - n)
            ends.append(self.pick(2 ** 63 - 1, 2 ** 31 - 1, n) if b == n else b if self.chance(.7) else b - n)
            steps.append(step)
        if self.opset < 10:
            return self.node("Slice", [x], axes=axes, starts=starts, ends=ends), shape
        inputs = [x, self.ints(*starts), self.ints(*ends), self.ints(*[self.pick(d, d - len(s)) for d in axes])]
        if max(steps) > 1 or self.chance(.3):
            inputs.append(self.ints(*steps))
        return self.node("Slice", inputs), shape

    def pool(self, v):
        x, s = v
        sp = len(s) - 2
        if sp < 1 or min(s[2:]) < 3:
            return None
        op = self.pick("MaxPool", "AveragePool")
        k, st = self.pick(2, 3), self.pick(1, 2)
        a = {"kernel_shape": [k] * sp, "strides": [st] * sp}
        pad = self.pick(0, 0, 1)
        if pad:
            a["pads"] = [1] * 2 * sp
        if op == "AveragePool" and self.chance(.5):
            a["count_include_pad"] = 1
        ceil = self.opset >= (10 if op == "MaxPool" else 19) and self.chance(.3)
        if ceil:
            a["ceil_mode"] = 1
        shape = list(s[:2])
        for n in s[2:]:
            span = n + 2 * pad - k
            m = -(-span // st) + 1 if ceil else span // st + 1
            if ceil and (m - 1) * st >= n + pad:
                m -= 1
            shape.append(m)
        return self.node(op, [x], **a), shape

    def whole(self, v):
        x, s = v
        if len(s) < 3:
            return None
        if self.chance(.5):
            return self.node(self.pick("GlobalAveragePool", "GlobalMaxPool"), [x]), s[:2] + [1] * (len(s) - 2)
        keep, axes = self.pick(0, 1), list(range(2, len(s)))
        if self.chance(.15):
            axes = [1]
        if self.chance(.15):
            axes = [len(s) - 1]
        op = self.pick("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin", "ReduceL1", "ReduceL2")
        listed = [self.pick(i, i - len(s)) if self.opset >= 11 else i for i in axes]
        shape = [d for i, d in enumerate(s) if i not in axes] if not keep else [1 if i in axes else d for i, d in enumerate(s)]
        if self.opset >= (13 if op == "ReduceSum" else 18):
            return self.node(op, [x, self.ints(*listed)], keepdims=keep), shape
        return self.node(op, [x], axes=listed, keepdims=keep), shape

    def pad(self, v):
        x, s = v
        if len(s) < 3:
            return None
        mode, n = self.pick("constant", "constant", "reflect", "edge"), len(s)
        pads = [0, self.pick(0, 0, 0, 1) if mode == "constant" else 0] + [int(i) for i in self.r.integers(0, 2, n - 2)]
        ends = [0, self.pick(0, 0, -1) if pads[1] else 0] + [int(i) for i in self.r.integers(0, 2, n - 2)]
        shape = [a + b + c for a, b, c in zip(pads, s, ends)]
        if min(shape) < 1 or mode == "reflect" and min(s[2:]) < 2:
            return None
        value = self.pick(0., 0., .5)
        if self.opset < 11:
            return self.node("Pad", [x], mode=mode, pads=pads + ends, value=value), shape
        if self.opset >= 18 and self.chance(.5):
            axes = list(range(1, n))
            return self.node("Pad", [x, self.ints(*(pads[1:] + ends[1:])), self.add(np.array(value, self.dtype)), self.ints(*axes)], mode=mode), shape
        inputs = [x, self.ints(*(pads + ends))] + ([self.add(np.array(value, self.dtype))] if value or self.chance(.5) else [])
        return self.node("Pad", inputs, mode=mode), shape

    def resize(self, v):
        x, s = v
        if len(s) != 4 or max(s[2:]) > 10:
            return None
        shape = s[:2] + [2 * s[2], 2 * s[3]]
        scales = self.add(np.array([1, 1, 2, 2], np.float32))
        if self.opset < 9:
            return self.node("Upsample", [x], scales=[1., 1., 2., 2.]), shape
        if self.opset < 11:
            return self.node("Upsample" if self.opset == 9 else "Resize", [x, scales], mode=self.pick("nearest", "linear")), shape
        a = {"mode": self.pick("nearest", "linear", "nearest", "linear", "cubic"),
             "coordinate_transformation_mode": self.pick("half_pixel", "asymmetric", "align_corners")}
        if self.opset >= 18 and self.chance(.4):
            return self.node("Resize", [x, "", "", self.ints(*shape[2:])], axes=[2, 3], **a), shape
        if self.chance(.5):
            sizes = self.ints(*shape)
            if self.chance(.5):
                sizes = self.node("Concat", [self.ints(s[0]), self.ints(s[1]), self.ints(*shape[2:])], axis=0)
            return self.node("Resize", [x, "" if self.opset >= 13 else self.add(np.zeros(0, np.float32)), "" if self.opset >= 13 else self.add(np.zeros(0, np.float32)), sizes], **a), shape
        return self.node("Resize", [x, "" if self.opset >= 13 else self.add(np.zeros(0, np.float32)), scales], **a), shape

    def reshape(self, v):
        x, s = v
        n, c, rest = s[0], s[1], int(np.prod(s[2:]))
        kind = self.pick("flat", "flatten", "lines", "back", "groups", "squeeze", "unsqueeze", "shape", "ones")
        if kind == "flatten":
            axis = self.pick(1, 1, 1, 2) if len(s) > 2 else 1
            if axis == 2 and n * c > 64:
                return None
            return self.node("Flatten", [x], axis=axis), [n, c * rest] if axis == 1 else [n * c, rest]
        if kind == "squeeze":
            if 1 not in s[2:] or self.batch == 1:
                return None
            axes = [i for i in range(2, len(s)) if s[i] == 1]
            shape = [d for i, d in enumerate(s) if i not in axes]
            if self.chance(.3) and c > 1:
                return self.node("Squeeze", [x]), shape
            return (self.node("Squeeze", [x, self.ints(*axes)]) if self.opset >= 13 else self.node("Squeeze", [x], axes=axes)), shape
        if kind == "unsqueeze":
            if len(s) > 4:
                return None
            at = self.pick(len(s), len(s), 1)
            shape = s[:at] + [1] + s[at:]
            return (self.node("Unsqueeze", [x, self.ints(at)]) if self.opset >= 13 else self.node("Unsqueeze", [x], axes=[at])), shape
        target, shape = {
            "flat": (self.pick([0, -1], [-1, c * rest], [0, c * rest]), [n, c * rest]),
            "lines": (self.pick([0, 0, -1], [0, c, -1], [-1, c, rest], [0, -1, rest]), [n, c, rest]),
            "back": (self.pick([0, c, rest, 1], [-1, c, rest, 1], [0, -1, rest, 1]), [n, c, rest, 1]),
            "groups": ([0, 2, c // 2] + s[2:], [n, 2, c // 2] + s[2:]) if c % 2 == 0 and len(s) < 5 else ([0, c, rest], [n, c, rest]),
            "shape": ([0, c, 1, rest], [n, c, 1, rest]),
            "ones": ([0, c, rest] + [1] * (self.spatial - 1), [n, c, rest] + [1] * (self.spatial - 1)),
        }[kind]
        if kind == "flat" and c * rest > 600:
            return None
        if self.chance(.15) and self.opset >= 11:
            first = self.node("Shape", [x])
            first = self.node("Gather", [first, self.add(np.array(0, np.int64))], axis=0)
            first = self.node("Unsqueeze", [first, self.ints(0)]) if self.opset >= 13 else self.node("Unsqueeze", [first], axes=[0])
            return self.node("Reshape", [x, self.node("Concat", [first, self.ints(*[t if t else shape[i + 1] for i, t in enumerate(target[1:])])], axis=0)]), shape
        return self.node("Reshape", [x, self.ints(*target)]), shape

    def linear(self, v):
        x, s = v
        ins, outs = s[-1], int(self.r.integers(2, 16))
        if len(s) > 2 and ins > 40:
            return None
        w, b = self.filters(outs, ins, [])
        if len(s) == 2 and self.chance(.6):
            a, flip = {}, self.chance(.5)
            if flip:
                a["transB"] = 1
            if self.chance(.3):
                a["alpha"] = self.pick(.5, 2.0)
            if self.chance(.3):
                a["beta"] = self.pick(.5, 0.0, 2.0)
            c = self.pick(b, b.reshape(1, -1), b[:1], b[0])
            inputs = [x, self.add(w if flip else w.T, "w")] + ([self.add(c, "b")] if self.opset < 11 or self.chance(.8) else [])
            return self.node("Gemm", inputs, **a), [s[0], outs]
        y = self.node("MatMul", [x, self.add(w.T, "w")])
        if self.chance(.5):
            y = self.node("Add", self.pick([y, self.add(b, "b")], [self.add(b, "b"), y]))
        return y, s[:-1] + [outs]

    def stopper(self, v):
        x, s = v
        op = self.pick("Softmax", "Transpose", "InstanceNormalization", "LayerNormalization", "Gather", "shuffle", "DepthToSpace",
                       "SpaceToDepth")
        if op == "Softmax":
            return self.node(op, [x], axis=1), s
        if op == "Transpose":
            p = [0] + [int(i) for i in self.r.permutation(len(s) - 1) + 1]
            return self.node(op, [x], perm=p), [s[i] for i in p]
        if op == "InstanceNormalization" and len(s) > 2 and np.prod(s[2:]) > 1:
            # A nearly constant channel becomes what rounding makes of it: it varies from place to place, or epsilon is large.
            flat = self.chance(.5)
            x = x if flat else self.node("Add", [x, self.add(self.floats(1, 1, *s[2:]))])
            scales = [self.add(1 + self.floats(s[1])), self.add(self.floats(s[1]))]
            return self.node(op, [x, *scales], **({"epsilon": 1.0} if flat else {})), s
        if op == "LayerNormalization" and self.opset >= 17 and s[-1] > 1:
            return self.node(op, [x, self.add(1 + self.floats(s[-1])), self.add(self.floats(s[-1]))]), s
        if op == "DepthToSpace" and len(s) == 4 and s[1] % 4 == 0:
            mode = {"mode": self.pick("CRD", "DCR")} if self.opset >= 11 else {}
            return self.node(op, [x], blocksize=2, **mode), [s[0], s[1] // 4, 2 * s[2], 2 * s[3]]
        if op == "SpaceToDepth" and len(s) == 4 and s[2] % 2 == s[3] % 2 == 0:
            return self.node(op, [x], blocksize=2), [s[0], 4 * s[1], s[2] // 2, s[3] // 2]
        if op == "Gather":
            index = self.r.integers(0, s[1], self.pick(2, 5))
            return self.node(op, [x, self.add(index.astype(np.int64))], axis=1), [s[0], len(index)] + s[2:]
        if op == "shuffle" and len(s) == 4 and s[1] % 2 == 0:
            y = self.node("Reshape", [x, self.ints(0, 2, s[1] // 2, *s[2:])])
            y = self.node("Transpose", [y], perm=[0, 2, 1, 3, 4])
            return self.node("Reshape", [y, self.ints(0, s[1], *s[2:])]), s
        return None

    def excite(self, v):
        x, s = v
        if len(s) != 4:
            return None
        c, mid = s[1], int(self.r.integers(2, 6))
        y = self.node("GlobalAveragePool", [x])
        one = self.conv((y, [s[0], c, 1, 1]), 1, mid, 1)
        two = one and self.conv(self.unary(one), 1, c, 1)
        if not two or two[1][2:] != [1, 1]:
            return None
        return self.node("Mul", [x, self.node("Sigmoid", [two[0]])]), s

    def shared(self, v):
        """Two convolutions with one tensor of weights."""
        x, s = v
        sp = len(s) - 2
        others = [(n, t) for n, t in self.values if t[1] == s[1] and len(t) == len(s) and t[2:] == s[2:]]
        if sp < 1 or sp > 3 or not others:
            return None
        w, b = self.filters(int(self.r.integers(2, 9)), s[1], [1] * sp)
        wn, bn = self.add(w, "w"), self.add(b, "b")
        a, b = self.node("Conv", [x, wn, bn]), self.node("Conv", [others[int(self.r.integers(len(others)))][0], wn, bn])
        return self.pick((self.node("Add", [a, b]), [s[0], w.shape[0]] + s[2:]), (self.node("Concat", [a, b], axis=1), [s[0], 2 * w.shape[0]] + s[2:]))

    def branch(self, v):
        """An If whose branches read values of the graph."""
        x, s = v
        if self.opset < 11:
            return None
        w = self.add(self.floats(1, s[1], *[1] * (len(s) - 2)))
        graphs = []
        for op in ("Add", "Mul"):
            out = self.name("s")
            graphs.append(helper.make_graph([helper.make_node(op, [x, w], [out])], op, [], [helper.make_tensor_value_info(out, helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)), None)]))
        cond = self.add(np.array(self.chance(.5)))
        return self.node("If", [cond], then_branch=graphs[0], else_branch=graphs[1]), s

    # ---- all of it

    def step(self, v):
        kinds = [(self.conv, 9), (self.transposed, 1.5), (self.norm, 1.5), (self.unary, 6), (self.binary, 5), (self.concat, 3),
                 (self.split, 2), (self.slice, 1.5), (self.pool, 2), (self.whole, .8), (self.pad, 1), (self.resize, 1),
                 (self.reshape, 1.5), (self.linear, 1.5), (self.stopper, 1.3), (self.excite, 1), (self.shared, .7), (self.branch, .3), (self.quantize, 2), (self.counted, .7)]
        p = np.array([w for _, w in kinds])
        nodes, initializers = len(self.nodes), len(self.initializers)
        y = kinds[int(self.r.choice(len(kinds), p=p / p.sum()))][0](v)
        if not y or min(y[1]) < 1 or np.prod(y[1]) > 20000 or len(y[1]) > 5:
            del self.nodes[nodes:], self.initializers[initializers:]
            return None
        return y[0], [int(d) for d in y[1]]

    def build(self):
        code = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        shape = [self.batch, int(self.r.integers(2, 6))] + [self.side] * self.spatial
        declared = ["N"] + shape[1:] if self.dynamic else shape
        self.values = [("x", shape)]
        self.inputs.append(helper.make_tensor_value_info("x", code, declared))
        v = self.values[0]
        for _ in range(int(self.r.integers(6, 26))):
            if self.chance(.25):
                v = self.values[int(self.r.integers(len(self.values)))]
            saved = list(self.values)
            y = self.step(v)
            if y is None:
                self.values = saved
                continue
            v = y
            self.values.append(v)
        read = {i for n in self.nodes for i in n.input}
        ends = [v for v in self.values[1:] if v[0] not in read] or [self.values[-1]]
        if self.chance(.15) and len(self.values) > 2:
            ends.append(self.values[int(self.r.integers(1, len(self.values)))])
        names = list(dict.fromkeys(n for n, _ in ends))
        outputs = [helper.make_tensor_value_info(n, code, [f"{n}_{i}" for i in range(len(t))]) for n, t in dict(ends).items()]
        if self.ir < 4:
            self.inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.initializers]
        assert len(outputs) == len(names)
        graph = helper.make_graph(self.nodes, "random", self.inputs, outputs, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=self.ir)
