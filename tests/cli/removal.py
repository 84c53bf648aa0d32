"""filterprune net.onnx small.onnx: prunes, removes, reports, and verify agrees. Needs numpy and onnx (77 without)."""
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
except ImportError as e:
    print(f"SKIPPED: {e}")
    sys.exit(77)
SOURCE = os.environ["FILTERPRUNE_SOURCE"]
sys.path.insert(0, os.path.join(SOURCE, "tests", "graph"))
import planted


def run(*arguments, expect=0):
    p = subprocess.run([os.environ["FILTERPRUNE"], *arguments], capture_output=True, text=True)
    assert p.returncode == expect, (arguments, p.returncode, p.stdout, p.stderr)
    return p


def weights(path):
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def removal_alone(folder):
    """Without pruning: what is planted leaves, the report says why, verify finds the same outputs."""
    for kind in ("resnet", "unet", "mobilenet"):
        model, expected = planted.make(kind, 1)
        big, small = os.path.join(folder, "big.onnx"), os.path.join(folder, "small.onnx")
        onnx.save(model, big)
        before = open(big, "rb").read()
        run("-f", "--no-prune", "--no-binary", big, small)
        assert open(big, "rb").read() == before
        report = json.load(open(os.path.join(folder, "small.report.json")))
        removal = report["removal"]
        layers = {l["weight"]: l for l in removal["layers"]}
        assert {n: layers[n]["outputs"]["after"] for n in expected} == expected, kind
        for l in removal["layers"]:
            gone = l["outputs"]["before"] - l["outputs"]["after"]
            assert gone == l["dead"] + l["constant"] + l["unread"] + l["merged"], l
        assert removal["channels"] == sum(l["outputs"]["before"] - l["outputs"]["after"] for l in removal["layers"])
        after = weights(small)
        parameters = sum(after[l["weight"]].size for l in removal["layers"])
        assert parameters <= removal["parameters_after"] < removal["parameters_before"]
        assert removal["not_compared"] is None and removal["output_difference"] < 1e-6
        assert report["output"]["bytes"] == os.path.getsize(small)
        # Without pruning, too, the file that has lost filters is not called unchanged.
        assert report["removal"]["channels"] > 0 and "left the network" in report["verdict"], report["verdict"]
        assert "Nothing was changed" not in report["verdict"]
        v = json.loads(run("verify", "--json", small, big).stdout)
        assert v["ok"] and v["tensors"][0]["max_abs"] < 1e-6, v
        assert "id=\"removal\"" in open(os.path.join(folder, "small.report.html")).read()
        onnx.checker.check_model(onnx.load(small), full_check=True)


def what_is_not_evaluated(folder):
    """The same bytes are the same network whatever they hold; else one line says what is in the way: an operator, memory."""
    H, P = onnx.helper, onnx.TensorProto
    def model(path, *nodes, **lists):
        graph = H.make_graph([H.make_node("Conv", ["x", "w"], ["c"]), *nodes], "g", [H.make_tensor_value_info("x", P.FLOAT, (1, 1, 4, 4))],
                             [H.make_tensor_value_info("y", P.FLOAT, None)],
                             [onnx.numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "w")] +
                             [onnx.numpy_helper.from_array(np.array(v, np.int64), k) for k, v in lists.items()])
        onnx.save(H.make_model(graph, opset_imports=[H.make_opsetid("", 13)], ir_version=8), path)
    a, b = os.path.join(folder, "a.onnx"), os.path.join(folder, "b.onnx")
    for k, path in enumerate((a, a, b)):
        model(path, H.make_node("Hardmax", ["c"], ["y"], axis=2 + k // 2))
    assert "is not evaluated" in run("verify", a, b, expect=2).stderr
    said = run("verify", a, a).stdout
    assert "byte for byte" in said and "random" not in said, said
    assert json.loads(run("verify", "--json", a, a).stdout)["tensors"][0]["exact"]
    for k, path in enumerate((a, b)):  # 4 GiB of what is read, in a file of 250 bytes
        model(path, H.make_node("ConstantOfShape", ["s"], ["z"]), H.make_node("Relu", ["z"], ["r"]),
              H.make_node("ReduceSum", ["r"], ["d"], keepdims=0), H.make_node("Add", ["c", "d"], ["y"]), s=[1 << 15, (1 << 14) - k])
    said = run("verify", a, b, expect=2).stderr
    assert said.count("\n") == 1 and "more memory than the 2 GiB" in said, said
    said = run("-f", a, os.path.join(folder, "o.onnx")).stderr
    assert "not compared: evaluating the network takes more memory" in said.replace("\n  ", " "), said


def other_inputs(folder):
    """Networks that take other inputs differ, which is said of the inputs; what one leaves open is as the other wants it."""
    H, P = onnx.helper, onnx.TensorProto
    def model(name, *shape, channels=3, kind=P.FLOAT):
        path = os.path.join(folder, name + ".onnx")
        graph = H.make_graph([H.make_node("Conv", ["x", "w"], ["y"])], "g", [H.make_tensor_value_info("x", kind, shape)],
                             [H.make_tensor_value_info("y", kind, None)],
                             [onnx.numpy_helper.from_array(np.ones((2, channels, 3, 3), np.float32), "w")])
        onnx.save(H.make_model(graph, opset_imports=[H.make_opsetid("", 13)], ir_version=8), path)
        return path
    a = model("a", 1, 3, 8, 8)
    for more, said in (((1, 4, 8, 8), "axis 1 of x is 4 long, in the other one 3"), (("N", "C", 8, 8), "axis 1 of x is 4 long"),
                       ((1, 3, 8, 9), "axis 3 of x is 9 long, in the other one 8"), ((1, 3, 8), "other axes")):
        b = model("b", *more, channels=4 if more[1] in (4, "C") else 3)
        told = run("verify", b, a, expect=5).stderr
        assert told.count("\n") == 1 and "take other inputs" in told and said in told and "Conv" not in told, told
    run("verify", model("b", "N", "C", "H", "W"), a)


def pruned(folder):
    """Kernels below the threshold become zero first; the weights that stay are the pruned ones."""
    model, _ = planted.make("densenet", 2)
    for t in model.graph.initializer:
        if t.name.startswith("w"):
            w = onnx.numpy_helper.to_array(t).copy()
            w[1] *= 1e-4
            t.CopyFrom(onnx.numpy_helper.from_array(w, t.name))
    big, small = os.path.join(folder, "p.onnx"), os.path.join(folder, "q.onnx")
    onnx.save(model, big)
    run("--no-binary", "--pointwise", "--no-report", big, small)
    name = next(t.name for t in model.graph.initializer if t.name.startswith("w"))
    old, new = weights(big)[name], weights(small)[name]
    assert new.shape[0] < old.shape[0]
    kept = [o for o in range(old.shape[0]) if any(np.array_equal(old[o], n) for n in new)]
    assert 1 not in kept and len(kept) == new.shape[0], kept
    # What pruning changed, verify finds.
    run("verify", small, big, expect=5)
    # What is made on the way there is nobody's output; rounding, which the file does not show, is told.
    rows = {}
    for more in ((), ("--max-error", "0.1")):
        run("-f", *more, "--report", os.path.join(folder, "told"), big, small)
        with open(os.path.join(folder, "told.report.json")) as file:
            rows[more] = [w for w in json.load(file)["warnings"] if "larger than the input" in w or "no smaller" in w]
    assert [len(w) for w in rows.values()] == [0, 1] and "packed file alone" in rows[more][0], rows


def what_is_told(folder):
    """Of half precision, rounding of what is folded is no difference, but what no half can hold is told; a tensor that two
    read makes a file larger, which is told; a checkpoint that lost channels is not called damaged."""
    H, P, floats = onnx.helper, onnx.TensorProto, np.random.default_rng(5).standard_normal
    big, small, report = (os.path.join(folder, f) for f in ("told.onnx", "less.onnx", "less.report.json"))
    def warnings(dtype, nodes, **tensors):
        kind = H.np_dtype_to_tensor_dtype(np.dtype(dtype))
        graph = H.make_graph(nodes, "g", [H.make_tensor_value_info("x", kind, ("N", 3, 9, 9))], [H.make_tensor_value_info("y", kind, None)],
                             [onnx.numpy_helper.from_array(v.astype(dtype), k) for k, v in tensors.items()])
        onnx.save(H.make_model(graph, opset_imports=[H.make_opsetid("", 17)], ir_version=8), big)
        run("-f", "--no-prune", "--no-binary", big, small)
        with open(report) as file:
            made = json.load(file)
        assert made["removal"]["channels"] > 0
        return made["warnings"], made["removal"]["output_difference"]
    w, b, v, c = floats((8, 3, 3, 3)), floats(8), floats((4, 8, 3, 3)), np.zeros((8, 1, 1))
    w[[1, 4]] = 0
    net = [H.make_node("Conv", ["x", "w", "b"], ["a"]), H.make_node("Add", ["a", "c"], ["m"]), H.make_node("Conv", ["m", "v", "z"], ["y"])]
    told, apart = warnings(np.float16, net, w=w, b=b, v=v, c=c, z=floats(4))
    assert 1e-5 < apart < 1e-3 and told == [], (apart, told)
    run("verify", small, big)
    # The bias is near the end of its type, and the outputs are small: half its step is much of them.
    large = np.abs(v)
    large[:, [1, 4]] *= 2 / large[:, [1, 4]].sum((1, 2, 3), keepdims=True)
    large[:, [0, 2, 3, 5, 6, 7]] *= -2 / large[:, [0, 2, 3, 5, 6, 7]].sum((1, 2, 3), keepdims=True)
    told, apart = warnings(np.float16, net, w=w, b=b, v=large, c=c + 3e4, z=floats(4))
    assert len(told) == 1 and "more than rounding explains" in told[0], told
    run("verify", small, big, expect=5)
    # What no bias of that type could take up stays, and the report says where; the constant beside it leaves.
    for sign in (1, -1):
        c[4] = sign * 3e4
        told, apart = warnings(np.float16, net, w=w, b=b, v=np.abs(v), c=c, z=floats(4))
        with open(report) as file:
            made = json.load(file)["removal"]
        assert made["channels"] == 1 and told == [] and apart < 1e-3, (made, told, apart)
        assert [(s["op"], s["channels"]) for s in made["stopped_by"]] == [("range of the bias", 1)], made["stopped_by"]
        assert weights(small)["v"].shape == (4, 7, 3, 3) and all(np.isfinite(t).all() for t in weights(small).values())
        run("verify", small, big)
    c[4] = 0
    # Kernels of equal channels, which would be one: nothing is written.
    twice = floats((8, 3, 3, 3))
    twice[4], large = twice[1], floats((4, 8, 3, 3))
    warnings(np.float16, net, w=twice, b=np.zeros(8), v=large, c=c, z=floats(4))
    large[2, [1, 4]] = 6e4
    made = onnx.load(big)
    for t in made.graph.initializer:
        if t.name == "v":
            t.CopyFrom(onnx.numpy_helper.from_array(large.astype(np.float16), "v"))
    onnx.save(made, big)
    os.remove(small)
    said = run("-f", "--no-prune", "--no-binary", "--no-report", big, small, expect=2).stderr
    assert said.count("\n") == 1 and "beyond its type" in said and not os.path.exists(small), said
    # The same infinities are no difference.
    ends = [H.make_node("Relu", ["r"], ["p"]), H.make_node("Log", ["p"], ["y"])]
    told, apart = warnings(np.float32, [H.make_node("Conv", ["x", "w", "b"], ["a"]), H.make_node("Conv", ["a", "v"], ["r"]), *ends], w=w, b=b, v=v)
    assert apart < 1e-5 and told == [], (apart, told)
    run("verify", small, big)
    # Both convolutions read u: once without filter 3, once as it was.
    u = floats((8, 8, 3, 3))
    net = [H.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1] * 4), H.make_node("Conv", ["a", "u"], ["m"], pads=[1] * 4),
           H.make_node("Conv", ["m", "u"], ["y"])]
    told, apart = warnings(np.float32, net, w=w, b=0 * b, u=u)
    assert len(told) == 1 and "larger than the input" in told[0], told
    a, z = os.path.join(folder, "net.safetensors"), os.path.join(folder, "out.safetensors")
    net = [H.make_node("Conv", ["x", "w", "b"], ["a"]), H.make_node("Conv", ["a", "v"], ["y"])]
    warnings(np.float32, net, w=w, b=b, v=v)
    run("convert", "-f", big, a)
    run("-f", "--no-prune", "--no-binary", "--graph", big, a, z)
    said = run("verify", z, a, expect=5).stderr
    assert said.count("\n") == 1 and "fewer channels" in said, said
    assert "fewer channels" not in run("verify", a, z, expect=5).stderr


def depth(folder):
    """Depth is the convolutions before a layer on the longest path from an input, counted here anew; a safetensors file of
    the same weights knows none, and says so."""
    model, _ = planted.make("unet", 1)
    path, dense = os.path.join(folder, "net.onnx"), os.path.join(folder, "net.safetensors")
    onnx.save(model, path)
    level, expected = {}, {}
    for node in model.graph.node:  # sorted, as ONNX demands
        deep = max([level.get(name, 0) for name in node.input] or [0])
        if node.op_type in ("Conv", "ConvTranspose"):
            expected[node.input[1]] = deep
            deep += 1
        level.update({name: deep for name in node.output})
    page = os.path.join(folder, "net.html")
    layers = json.loads(run("inspect", "--json", "--html", page, "-f", path).stdout)["layers"]
    assert layers and all(l["depth_known"] for l in layers), layers
    assert {l["name"]: l["depth"] for l in layers} == {l["name"]: expected[l["name"]] for l in layers}
    assert "Depth profile" in open(page).read()
    run("convert", "-f", path, dense)
    layers = json.loads(run("inspect", "--json", "--html", page, "-f", dense).stdout)["layers"]
    assert [(l["depth"], l["depth_known"]) for l in layers] == [(i, False) for i in range(len(layers))]
    assert "Depth profile" not in open(page).read()


def nothing_is_written(folder):
    model, _ = planted.make("mlp", 3)
    big, small = os.path.join(folder, "m.onnx"), os.path.join(folder, "n.onnx")
    onnx.save(model, big)
    before = sorted(os.listdir(folder))
    out = run("--dry-run", "--no-prune", big, small)
    assert "removed" in out.stderr
    run("--cast", "f16", big, small, expect=2)
    run("--drop", "*", big, small, expect=2)
    run(os.path.join(SOURCE, "fixtures", "good", "dtype_F32.safetensors"), small, expect=2)
    run(big, big, expect=4)
    run("--lossless", os.path.join(folder, "none.onnx"), small, expect=1)
    assert sorted(os.listdir(folder)) == before, sorted(os.listdir(folder))


def subgraphs(folder):
    """Tensors of branches are listed by the way to them, converted bit for bit, and stay in an ONNX output."""
    h, nh = onnx.helper, onnx.numpy_helper
    value = lambda n: h.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None)
    f = lambda *s: np.random.default_rng(s).standard_normal(s).astype(np.float32)
    leaf = lambda w: h.make_graph([h.make_node("Identity", ["w"], ["q"])], "leaf", [], [value("q")], [nh.from_array(w, "w")])

    def branch(w, k, nodes=()):
        conv = [h.make_node("Constant", [], ["k"], value=nh.from_array(k)), h.make_node("Conv", ["x", "w", "k"], ["o"])]
        return h.make_graph(list(nodes) + conv, "branch", [], [value("o")], [nh.from_array(w, "w")])

    deep = h.make_node("If", ["c"], ["p"], then_branch=leaf(f(2, 2)), else_branch=leaf(f(2, 3)))
    choose = h.make_node("If", ["c"], ["y"], then_branch=branch(f(4, 3, 3, 3), f(4), [deep]), else_branch=branch(f(5, 3, 1, 1), f(5)))
    graph = h.make_graph([choose, h.make_node("Conv", ["x", "w"], ["z"])], "g",
                         [h.make_tensor_value_info("x", 1, [1, 3, 8, 8]), h.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])],
                         [value("y"), value("z")], [nh.from_array(f(2, 3, 1, 1), "w"), nh.from_array(f(6), "y/else_branch/w")])
    big, small, flat = (os.path.join(folder, n) for n in ("if.onnx", "if_small.onnx", "if.safetensors"))
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 16)], ir_version=8), big)
    names = {"w": f(2, 3, 1, 1), "y/else_branch/w": f(6), "y/else_branch/k": f(5), "y/then_branch/k": f(4), "y/then_branch/w": f(4, 3, 3, 3),
             "y/then_branch/p/then_branch/w": f(2, 2), "y/then_branch/p/else_branch/w": f(2, 3)}
    run("convert", big, flat)
    blob = open(flat, "rb").read()
    n = int.from_bytes(blob[:8], "little")
    head, found = json.loads(blob[8:8 + n]), {}
    for k, v in head.items():
        if k != "__metadata__":
            found[k] = np.frombuffer(blob[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]], "<f4").reshape(v["shape"])
    # A name that is taken gets the tensor's place in the file.
    taken = [k for k in found if k.startswith("y/else_branch/w@")]
    assert len(taken) == 1 and np.array_equal(found.pop(taken[0]), f(5, 3, 1, 1)), taken
    assert found.keys() == names.keys() and all(np.array_equal(found[k], names[k]) for k in names), found.keys()
    run("-f", "--no-report", "--no-prune", "--no-binary", big, small)
    assert onnx.load(small) == onnx.load(big)
    run("-f", "--no-report", "--max-error", "0.1", big, small, expect=2)


with tempfile.TemporaryDirectory() as place:
    subgraphs(place)
    removal_alone(place)
    what_is_not_evaluated(place)
    pruned(place)
    what_is_told(place)
    other_inputs(place)
    nothing_is_written(place)
    depth(place)
print("removal: ok")
