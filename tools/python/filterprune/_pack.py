"""Packing a checkpoint, or tensors in memory, and comparing two: by the program."""
import json
import os
import tempfile
from contextlib import ExitStack
from typing import Any, Dict, Mapping, Optional, Sequence, Union

from ._program import DIFFERENT, PathLike, Progress, arguments_of, start

Source = Union[PathLike, Mapping[str, Any]]  # a checkpoint, or a dictionary of numpy arrays or torch tensors


def _save(tensors: Mapping[str, Any], path: str, metadata: Optional[Dict[str, str]]) -> None:
    """As save_file of safetensors writes them; what it refuses, such as tied weights of torch, is refused."""
    kinds = {type(tensor).__module__.split(".")[0] for tensor in tensors.values()}
    if "torch" in kinds:
        from .torch import save_file
    else:
        from .numpy import save_file
    save_file(dict(tensors), path, metadata)


def _path(source: Source, name: str, stack: ExitStack, metadata: Optional[Dict[str, str]] = None) -> PathLike:
    """Of tensors in memory, a file that goes with the stack."""
    if not isinstance(source, Mapping):
        return source
    path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), name)
    _save(source, path, metadata)
    return path


def pack(source: Source, path: PathLike, *, progress: Optional[Progress] = None, report: Optional[PathLike] = None,
         metadata: Optional[Dict[str, str]] = None, **options: Any) -> Dict[str, Any]:
    """Packs a checkpoint, of any format that the program reads, or a state dict; gives the report of it.

        report = pack(model.state_dict(), "small.safetensors", lossless=True)
        report = pack("model.safetensors", "small.safetensors", amount=0.3, skip=["head*"], force=True)
        print(report["changes"]["worst"], report["warnings"])

    options: those of the main job. report: the stem under which it stays, as STEM.report.json and .html; without, it
    does not. metadata: for a state dict, as in save_file. A path that exists is refused unless force.
    """
    target = os.fspath(path)
    with ExitStack() as stack:
        given = _path(source, os.path.basename(target), stack, metadata or {"format": "pt"})
        stem = os.fspath(report) if report is not None else \
            os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "packed")
        start(None, [given, target], ["--quiet", f"--report={stem}", *arguments_of(options)], progress)
        with open(stem + ".report.json", encoding="utf-8") as file:
            return json.load(file)


def diff(a: Source, b: Source, *, strip: Union[str, Sequence[str]] = (), progress: Optional[Progress] = None,
         **options: Any) -> Dict[str, Any]:
    """Two checkpoints, or state dicts, tensor by tensor (schema filterprune-diff-1): "identical", and in "tensors" what is
    equal, changed and by how much, or on one side only. strip: beginnings that are taken off names."""
    with ExitStack() as stack:
        paths = [_path(a, "a.safetensors", stack), _path(b, "b.safetensors", stack)]
        words = [strip] if isinstance(strip, str) else list(strip)
        return json.loads(start("diff", paths, ["--json", *arguments_of({"strip": words, **options})], progress,
                                fine=(0, DIFFERENT)))
