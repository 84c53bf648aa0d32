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
        v = json.loads(run("verify", "--json", small, big).stdout)
        assert v["ok"] and v["tensors"][0]["max_abs"] < 1e-6, v
        assert "id=\"removal\"" in open(os.path.join(folder, "small.report.html")).read()
        onnx.checker.check_model(onnx.load(small), full_check=True)


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


with tempfile.TemporaryDirectory() as place:
    removal_alone(place)
    pruned(place)
    nothing_is_written(place)
print("removal: ok")
