"""Builds the wheel with the standard library alone.

`pip install ./tools/python` has to work without network, and pip would fetch setuptools for a build of its own. The
package is a directory of Python files, so a wheel of it (PEP 427) is a zip archive and three texts; pip calls the
functions below (PEP 517). Nothing is written into the source tree.
"""
import base64
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
STEM = f"{PROJECT['name']}-{PROJECT['version']}"
INFO = f"{STEM}.dist-info"
TAG = "py3-none-any"


def _metadata():
    lines = ["Metadata-Version: 2.1", f"Name: {PROJECT['name']}", f"Version: {PROJECT['version']}",
             f"Summary: {PROJECT['description']}", f"License: {PROJECT['license']['text']}",
             f"Requires-Python: {PROJECT['requires-python']}"]
    lines += [f"Requires-Dist: {name}" for name in PROJECT["dependencies"]]
    for extra, names in PROJECT["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {name}; extra == "{extra}"' for name in names]
    lines += ["Description-Content-Type: text/markdown", ""]
    return "\n".join(lines) + "\n" + (ROOT / PROJECT["readme"]).read_text(encoding="utf-8")


def _sources():
    package = ROOT / PROJECT["name"]
    return sorted(p for p in package.iterdir() if p.suffix == ".py" or p.name == "py.typed")


def _write_wheel(directory, files):
    files[f"{INFO}/METADATA"] = _metadata().encode()
    wheel = f"Wheel-Version: 1.0\nGenerator: wheel_backend\nRoot-Is-Purelib: true\nTag: {TAG}\n"
    files[f"{INFO}/WHEEL"] = wheel.encode()
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\n"
    files[f"{INFO}/RECORD"] = (record + f"{INFO}/RECORD,,\n").encode()
    name = f"{STEM}-{TAG}.whl"
    with zipfile.ZipFile(Path(directory) / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)  # dated 1980: the same bytes every time
    return name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _write_wheel(wheel_directory, {f"{PROJECT['name']}/{p.name}": p.read_bytes() for p in _sources()})


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _write_wheel(wheel_directory, {f"{PROJECT['name']}.pth": f"{ROOT.resolve()}\n".encode()})


def build_sdist(sdist_directory, config_settings=None):
    name = f"{STEM}.tar.gz"
    with tarfile.open(Path(sdist_directory) / name, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in [ROOT / n for n in ("pyproject.toml", "README.md", "wheel_backend.py")] + _sources():
            archive.add(path, f"{STEM}/{path.relative_to(ROOT)}")
        data = _metadata().encode()
        entry = tarfile.TarInfo(f"{STEM}/PKG-INFO")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return name
