"""Diagnostics: runs the filterprune program and gives back its JSON.

The program is the one that FILTERPRUNE names, or the one in PATH. Options are the program's own long ones with
underscores: inspect(path, eps=0.02, half=True, html="page.html").
"""
import json
import os
import shutil
import subprocess
from typing import Any, Dict, Iterable, List, Sequence, Union

from ._errors import SafetensorError

PathLike = Union[str, "os.PathLike[str]"]


def program() -> str:
    found = os.environ.get("FILTERPRUNE") or shutil.which("filterprune")
    if not found:
        raise FileNotFoundError("the program filterprune is not in PATH, and FILTERPRUNE does not name it")
    return found


def _arguments(options: Dict[str, Any]) -> List[str]:
    arguments: List[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        for item in value if isinstance(value, (list, tuple)) else [value]:
            arguments.append(flag if item is True else f"{flag}={item}")
    return arguments


def _start(command: str, paths: Iterable[PathLike], arguments: Iterable[str]) -> bytes:
    done = subprocess.run([program(), command, *arguments, "--", *map(os.fspath, paths)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise SafetensorError(lines[-1])
    return done.stdout


def _run(command: str, paths: Iterable[PathLike], options: Dict[str, Any]) -> Dict[str, Any]:
    return json.loads(_start(command, paths, ["--json", *_arguments(options)]))


def inspect(path: PathLike, **options: Any) -> Dict[str, Any]:
    """The report of a checkpoint (schema filterprune-report-1): groups of kernels, layers, other tensors, warnings."""
    return _run("inspect", [path], options)


def compare(paths: Sequence[PathLike], **options: Any) -> Dict[str, Any]:
    """How far the kernel distributions of models are apart (schema filterprune-compare-1)."""
    return _run("compare", paths, options)


def _flat(value: Dict[str, Any], prefix: str = "") -> Dict[str, Any]:
    row: Dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            row.update(_flat(item, f"{prefix}{key}."))
        else:
            row[prefix + key] = item
    return row


def rows(document: Dict[str, Any]) -> List[Dict[str, Any]]:
    """What a DataFrame is made of: of a report one flat row per layer, of a comparison one per pair of models."""
    if "layers" in document:
        return [_flat(layer) for layer in document["layers"]]
    names = [model["path"] for model in document["models"]]
    return [{"a": a, "b": b, "divergence": document["divergence"][i][j]}
            for i, a in enumerate(names) for j, b in enumerate(names) if i != j]
