"""Diagnostics: runs the filterprune program and gives back its JSON.

The program is the one that FILTERPRUNE names, or the one in PATH. Options are the program's own long ones with
underscores: inspect(path, eps=0.02, half=True, html="page.html"). progress, where it is taken, is called with phase,
bytes done and bytes in all; what it raises ends the program, and nothing stays behind.
"""
import errno
import json
import os
import shutil
import subprocess
import tempfile
from typing import IO, Any, Callable, Dict, Iterable, List, Optional, Sequence, Union

from ._errors import NoSuchFile, OutputExists, SafetensorError

PathLike = Union[str, "os.PathLike[str]"]
Progress = Callable[[str, int, int], Any]  # phase, bytes done, bytes in all; each phase from its beginning
PROGRESS_LINE = "filterprune: progress: "
MACHINE, REFUSED, DIFFERENT = 1, 4, 5  # exit statuses


def program() -> str:
    found = os.environ.get("FILTERPRUNE") or shutil.which("filterprune")
    if not found:
        raise FileNotFoundError("the program filterprune is not in PATH, and FILTERPRUNE does not name it")
    return found


def arguments_of(options: Dict[str, Any]) -> List[str]:
    arguments: List[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        for item in value if isinstance(value, (list, tuple)) else [value]:
            arguments.append(flag if item is True else f"{flag}={item}")
    return arguments


def _listen(stream: IO[bytes], progress: Progress, said: List[str]) -> None:
    """Calls progress for each line that tells of it, until the program has ended; collects the others."""
    for raw in stream:
        line = raw.decode("utf-8", "replace").rstrip("\n")
        if line.startswith(PROGRESS_LINE):
            phase, done, total = line[len(PROGRESS_LINE):].rsplit(" ", 2)
            progress(phase, int(done), int(total))
        else:
            said.append(line)


def _problem(status: int, said: List[str]) -> SafetensorError:
    last = said[-1] if said else f"filterprune: exit status {status}"
    words = last[len("filterprune: "):] if last.startswith("filterprune: ") else last
    name, _, what = words.partition(": ")
    if status == REFUSED and what.startswith("exists"):
        return OutputExists(errno.EEXIST, what, name)
    if status == MACHINE and "No such file" in what:
        return NoSuchFile(errno.ENOENT, what, name)
    return SafetensorError(last)


def start(command: Optional[str], paths: Iterable[PathLike], arguments: Iterable[str],
          progress: Optional[Progress] = None, fine: Sequence[int] = (0,)) -> bytes:
    """Runs the program, command None the main job, and gives its standard output."""
    words = [program(), *([command] if command else []), *arguments, *(["--progress=lines"] if progress else []), "--",
             *map(os.fspath, paths)]
    said: List[str] = []
    with tempfile.TemporaryFile() as out, \
            subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE) as running:
        try:
            _listen(running.stderr, progress or (lambda phase, done, total: None), said)
        except BaseException:  # of the callback, or an interrupt: nothing is left behind
            running.terminate()
            raise
        status = running.wait()
        if status not in fine:
            raise _problem(status, said)
        out.seek(0)
        return out.read()


def _run(command: str, paths: Iterable[PathLike], options: Dict[str, Any], progress: Optional[Progress],
         fine: Sequence[int] = (0,)) -> Dict[str, Any]:
    return json.loads(start(command, paths, ["--json", *arguments_of(options)], progress, fine))


def inspect(path: PathLike, *, progress: Optional[Progress] = None, **options: Any) -> Dict[str, Any]:
    """The report of a checkpoint (schema filterprune-report-1): groups of kernels, layers, other tensors, warnings."""
    return _run("inspect", [path], options, progress)


def compare(paths: Sequence[PathLike], *, progress: Optional[Progress] = None, **options: Any) -> Dict[str, Any]:
    """How far the kernel distributions of models are apart (schema filterprune-compare-1)."""
    return _run("compare", paths, options, progress)


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
