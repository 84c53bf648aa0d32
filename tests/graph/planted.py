"""Small networks with planted channels that nobody needs, and what must become of them.

Every network is a list of layers with known counts: make(kind, seed) returns the model (onnx.ModelProto), and for each
weight that matters the number of filters that a right removal leaves. Needs numpy and onnx."""
import numpy as np
from onnx import TensorProto, helper, numpy_helper

KINDS = ("resnet", "densenet", "unet", "mobilenet", "inception", "squeeze", "volume", "mlp", "grouped", "split", "chunk")


class Parts:
    """What models are put together from: self.r draws, self.count numbers the names, self.nodes takes the nodes."""

    def name(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    def node(self, op, inputs, outputs=1, **attributes):
        outs = [self.name("v") for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, outs, name=self.name(op), **attributes))
        return outs[0] if outputs == 1 else outs

    def floats(self, *shape, scale=1.0):
        return (self.r.standard_normal(shape) * scale).astype(self.dtype)


class Net(Parts):
    """Puts a model together node by node; planting is done on the weights as they are added."""

    def __init__(self, seed, dtype=np.float32, opset=17):
        self.r, self.dtype, self.opset = np.random.default_rng(seed), dtype, opset
        self.nodes, self.initializers, self.expected, self.count = [], [], {}, 0

    def add(self, array, stem="c"):
        name = self.name(stem)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def pick(self, n, count):
        return sorted(self.r.choice(n, count, replace=False).tolist())

    def conv(self, x, c_in, c_out, k=3, dead=(), constant=(), twin=(), group=1, bias=True, pads=None, spatial=2, left=None,
             op="Conv", **attributes):
        """dead: filters of zeros without bias; constant: zeros with one; twin: pairs (a, b), b becomes a copy of a."""
        transposed = op == "ConvTranspose"
        shape = (c_in, c_out // group) if transposed else (c_out, c_in // group)
        w = self.floats(*shape, *[k] * spatial, scale=1 / np.sqrt(c_in * k ** spatial / group))
        b = self.floats(c_out, scale=0.3)
        filters = w.swapaxes(0, 1) if transposed else w
        for o in list(dead) + list(constant):
            filters[o] = 0
        b[list(dead)] = 0
        for a, o in twin:
            filters[o], b[o] = filters[a], b[a]
        for o in constant:
            b[o] = abs(b[o]) + 0.25
        name = self.add(w, "w")
        inputs = [x, name] + ([self.add(b, "b")] if bias else [])
        if left is not None:
            self.expected[name] = left
        pads = [k // 2] * 2 * spatial if pads is None else pads
        return self.node(op, inputs, pads=pads, group=group, **attributes), name

    def norm(self, x, c, shift=True, twin=()):
        p = [1 + self.floats(c, scale=0.2), self.floats(c, scale=0.2 if shift else 0), self.floats(c, scale=0.2 if shift else 0),
             np.abs(self.floats(c)) + self.dtype(0.5)]
        for a, o in twin:
            for v in p:
                v[o] = v[a]
        return self.node("BatchNormalization", [x] + [self.add(v.astype(self.dtype), "n") for v in p])

    def relu(self, x):
        return self.node("Relu", [x])

    def unread(self, name, channels):
        """Clears what a convolution's weights read of some input channels."""
        for i, t in enumerate(self.initializers):
            if t.name == name:
                w = numpy_helper.to_array(t).copy()
                w[:, channels] = 0
                self.initializers[i] = numpy_helper.from_array(w, name)

    def model(self, x_shape, out, x="x", version=8):
        code = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        rank = 2 if self.nodes[-1].op_type == "Gemm" else len(x_shape)
        graph = helper.make_graph(self.nodes, "planted", [helper.make_tensor_value_info(x, code, x_shape)],
                                  [helper.make_tensor_value_info(out, code, [f"y{i}" for i in range(rank)])], self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=version,
                                  producer_name="planted")
        return model


def resnet(n):
    """Residual blocks: inside one everything may leave, on the shared sum nothing may."""
    x, _ = n.conv("x", 3, 16, 3, dead=[2])
    x = n.relu(n.norm(x, 16))
    for _ in range(3):
        d, c, u = np.split(np.array(n.pick(24, 7)), [3, 5])
        rest = [i for i in range(24) if i not in set(d) | set(c) | set(u)]
        a, b = rest[0], rest[1]
        y, _ = n.conv(x, 16, 24, 3, dead=d, constant=c, twin=[(a, b)], left=24 - 3 - 2 - 2 - 1 + 1)
        y = n.relu(n.norm(y, 24, twin=[(a, b)]))
        # Beta makes all dead ones constant behind the padding of the next: one stays as a carrier.
        y, w = n.conv(y, 24, 16, 3)
        n.unread(w, u.tolist())
        x = n.relu(n.node("Add", [n.norm(y, 16), x]))
    x = n.node("GlobalAveragePool", [x])
    x = n.node("Flatten", [x])
    w, b = n.floats(16, 10), n.floats(10)
    return n.node("Gemm", [x, n.add(w, "w"), n.add(b, "b")]), ["N", 3, "H", "W"]


def densenet(n):
    x, _ = n.conv("x", 3, 12, 3)
    width = 12
    for _ in range(3):
        dead = n.pick(8, 3)
        y = n.relu(n.norm(x, width, shift=False))
        y, _ = n.conv(y, width, 8, 3, dead=dead, left=5)
        x = n.node("Concat", [x, y], axis=1)
        width += 8
    x = n.relu(n.norm(x, width, shift=False))
    dead = n.pick(16, 4)
    x, _ = n.conv(x, width, 16, 1, constant=dead, left=12)
    x = n.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x, _ = n.conv(x, 16, 6, 1)
    return x, ["N", 3, "H", "W"]


def unet(n):
    dead = n.pick(8, 2)
    a, _ = n.conv("x", 1, 8, 3, dead=dead, left=6)
    a = n.relu(a)
    d = n.node("MaxPool", [a], kernel_shape=[2, 2], strides=[2, 2])
    constant = n.pick(16, 5)
    d, _ = n.conv(d, 8, 16, 3, constant=constant, left=16 - 5 + 1)  # a constant through a transposed one: carried
    d = n.relu(d)
    gone = n.pick(10, 3)
    u, _ = n.conv(d, 16, 10, 2, op="ConvTranspose", strides=[2, 2], pads=[0] * 4, dead=gone, left=7)
    u = n.relu(u)
    u = n.node("Concat", [u, a], axis=1)
    twins = [(0, 3), (0, 5)]
    u, _ = n.conv(u, 18, 12, 3, twin=twins, left=10)
    u = n.node("Resize", [n.node("LeakyRelu", [u], alpha=0.1), "", n.add(np.array([1, 1, 2, 2], np.float32))], mode="nearest")
    u, _ = n.conv(u, 12, 2, 1)
    return u, ["N", 1, "H", "W"]


def mobilenet(n):
    x, _ = n.conv("x", 3, 8, 3)
    for _ in range(2):
        dead = n.pick(32, 6)
        y, _ = n.conv(x, 8, 32, 1, dead=dead, bias=False, left=26)
        y = n.node("Clip", [n.norm(y, 32, shift=False), n.add(np.array(0, n.dtype)), n.add(np.array(6, n.dtype))])
        y, _ = n.conv(y, 32, 32, 3, group=32, bias=False, left=26)
        y = n.node("HardSwish", [n.norm(y, 32, shift=False)])
        y, _ = n.conv(y, 32, 8, 1)
        x = n.node("Add", [x, y])
    return n.conv(x, 8, 4, 1)[0], ["N", 3, "H", "W"]


def inception(n):
    x, _ = n.conv("x", 3, 10, 3, dead=[1, 7], left=8)
    x = n.node("Sigmoid", [n.node("Sub", [x, n.add(np.zeros((1, 10, 1, 1), n.dtype))])])
    # Sigmoid makes the dead ones 0.5: constant; both branches read them, one padded: one stays.
    n.expected[list(n.expected)[-1]] = 9
    a, _ = n.conv(x, 10, 6, 1, dead=[0], left=5)
    b, _ = n.conv(x, 10, 6, 3, dead=[2, 3], left=4)
    b, _ = n.conv(n.relu(b), 6, 8, 5, twin=[(1, 4)], left=7)
    c = n.node("AveragePool", [x], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    x = n.node("Concat", [n.relu(a), b, c], axis=1)
    x, _ = n.conv(x, 24, 5, 3, pads=[0] * 4)
    return x, ["N", 3, "H", "W"]


def squeeze(n):
    dead = n.pick(16, 4)
    x, _ = n.conv("x", 3, 16, 3, dead=dead, left=12)
    x = n.relu(x)
    s = n.node("ReduceMean", [x], axes=[2, 3], keepdims=0)
    w, b = n.floats(16, 6, scale=0.3), n.floats(6)
    w[:, 2], b[2] = 0, -1  # relu makes it 0
    s = n.node("Gemm", [s, n.add(w, "w"), n.add(b, "b")])
    n.expected[n.initializers[-2].name] = 5
    s = n.node("MatMul", [n.relu(s), n.add(n.floats(6, 16), "w")])
    s = n.node("Add", [s, n.add(n.floats(16), "b")])
    s = n.node("Sigmoid", [s])
    s = n.node("Reshape", [s, n.add(np.array([-1, 16, 1, 1], np.int64))])
    x = n.node("Mul", [x, s])
    return n.conv(x, 16, 4, 3)[0], ["N", 3, "H", "W"]


def volume(n):
    dead, const = np.split(np.array(n.pick(12, 5)), [3])
    x, _ = n.conv("x", 2, 12, 3, dead=dead, constant=const, spatial=3, left=12 - 3 - 2 + 1)
    x = n.relu(x)
    x, _ = n.conv(x, 12, 8, 3, spatial=3, dead=[5], left=7)
    x = n.node("MaxPool", [x], kernel_shape=[2, 2, 2], strides=[2, 2, 2])
    x, _ = n.conv(x, 8, 6, 2, op="ConvTranspose", strides=[2, 2, 2], pads=[0] * 6, spatial=3, twin=[(0, 1)], left=5)
    return n.conv(n.relu(x), 6, 2, 1, spatial=3)[0], ["N", 2, "D", "H", "W"]


def mlp(n):
    w, b = n.floats(20, 32), n.floats(32)
    dead, const = np.split(np.array(n.pick(32, 9)), [5])
    w[:, dead], b[dead] = 0, 0
    w[:, const], b[const] = 0, 1.5
    x = n.node("Gemm", ["x", n.add(np.ascontiguousarray(w.T), "w"), n.add(b, "b")], transB=1)
    n.expected[n.initializers[-2].name] = 32 - 9
    x = n.node("Tanh", [x])
    x = n.node("Gemm", [x, n.add(n.floats(32, 7), "w"), n.add(n.floats(7), "b")])
    return x, ["N", 20]


def grouped(n):
    x, _ = n.conv("x", 3, 12, 3, dead=[0, 1, 4, 9, 10], left=12 - 3)  # one of each group of four
    x, _ = n.conv(n.relu(x), 12, 18, 3, group=3, dead=[0, 5, 7, 12, 13], left=18 - 3)
    return n.conv(n.relu(x), 18, 4, 1)[0], ["N", 3, "H", "W"]


def split(n):
    x, _ = n.conv("x", 3, 12, 3, dead=[0, 3, 8], left=9)
    x = n.relu(x)
    a, b = n.node("Split", [x, n.add(np.array([5, 7], np.int64))], 2, axis=1)
    c = n.node("Slice", [x, n.add(np.array([4], np.int64)), n.add(np.array([12], np.int64)), n.add(np.array([1], np.int64))])
    a, _ = n.conv(a, 5, 6, 3)
    b, _ = n.conv(b, 7, 6, 1)
    c, _ = n.conv(c, 8, 6, 3)
    return n.node("Sum", [a, b, c]), ["N", 3, "H", "W"]


def chunk(n):
    """Split by a number of outputs, whose sizes must be stated once they differ."""
    x, _ = n.conv("x", 3, 12, 3, dead=[0, 3, 8], left=9)
    a, b = n.node("Split", [n.relu(x)], 2, axis=1, num_outputs=2)
    a, _ = n.conv(a, 6, 4, 3)
    b, _ = n.conv(b, 6, 4, 1)
    return n.node("Mul", [a, b]), ["N", 3, "H", "W"]


def make(kind, seed, dtype=np.float32):
    n = Net(seed, dtype, opset=18 if kind == "chunk" else 17)
    out, shape = globals()[kind](n)
    return n.model(shape, out), n.expected
