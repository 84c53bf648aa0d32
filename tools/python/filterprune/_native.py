"""libfilterprune.so through ctypes: the same decoding as _format.py, several times faster, and on all cores.

Only what include/filterprune.h promises is used: open a model, look at its tensors, read one.
"""
import ctypes
import ctypes.util
import os
from typing import Iterator, Optional, Tuple

import numpy as np

from ._errors import SafetensorError

# Structs may change between minor versions of 0.x.
VERSION = "0.1."


class _Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("offset", ctypes.c_uint64), ("file", ctypes.c_char * 256),
                ("where", ctypes.c_char * 96), ("message", ctypes.c_char * 256)]


class _Tensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_bytes", ctypes.c_size_t), ("dtype", ctypes.c_int),
                ("rank", ctypes.c_uint), ("shape", ctypes.POINTER(ctypes.c_uint64)), ("elements", ctypes.c_uint64),
                ("bytes", ctypes.c_uint64), ("stored_bytes", ctypes.c_uint64), ("codec", ctypes.c_char_p),
                ("packed", ctypes.c_bool), ("lossless", ctypes.c_bool), ("shard", ctypes.c_uint)]


class _Options(ctypes.Structure):
    """The beginning of fpr_options."""

    _fields_ = [("sizeof_options", ctypes.c_size_t), ("key", ctypes.c_char_p), ("allow_expand", ctypes.c_bool)]


OPTIONS_BYTES = 4096  # more than fpr_options has, whatever is added to it

_loaded: Optional[ctypes.CDLL] = None
_looked = False


def _declare(library: ctypes.CDLL) -> None:
    library.fpr_model_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(_Error)]
    library.fpr_model_open.restype = ctypes.c_int
    library.fpr_options_init.argtypes = [ctypes.c_void_p]
    library.fpr_options_init.restype = None
    library.fpr_model_open_with.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p),
                                            ctypes.POINTER(_Error)]
    library.fpr_model_open_with.restype = ctypes.c_int
    library.fpr_model_tensor_count.argtypes = [ctypes.c_void_p]
    library.fpr_model_tensor_count.restype = ctypes.c_size_t
    library.fpr_dtype_name.argtypes = [ctypes.c_int]
    library.fpr_dtype_name.restype = ctypes.c_char_p
    library.fpr_model_close.argtypes = [ctypes.c_void_p]
    library.fpr_model_close.restype = None
    library.fpr_model_tensor.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.fpr_model_tensor.restype = ctypes.POINTER(_Tensor)
    library.fpr_model_read.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.POINTER(_Error)]
    library.fpr_model_read.restype = ctypes.c_int


def load() -> Optional[ctypes.CDLL]:
    """The library that FILTERPRUNE_LIBRARY names, or the installed one; None without, or when its version differs."""
    global _loaded, _looked
    if _looked:
        return _loaded
    _looked = True
    for name in (os.environ.get("FILTERPRUNE_LIBRARY"), "libfilterprune.so.0", ctypes.util.find_library("filterprune")):
        if not name:
            continue
        try:
            library = ctypes.CDLL(name)
            library.fpr_version.restype = ctypes.c_char_p
            version = library.fpr_version().decode("ascii")
        except (OSError, AttributeError):
            continue
        if version.startswith(VERSION):
            _declare(library)
            _loaded = library
            break
    return _loaded


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _raise(error: _Error) -> None:
    parts = [_text(part) for part in (error.file, error.where, error.message) if part]
    raise SafetensorError(": ".join(parts))


class Model:
    """An open fpr_model. Threads may read from it at the same time; ctypes lets go of the interpreter meanwhile."""

    def __init__(self, library: ctypes.CDLL, path: str, key: Optional[str] = None) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        error = _Error()
        if key is None:
            status = library.fpr_model_open(os.fsencode(path), ctypes.byref(self._handle), ctypes.byref(error))
        else:
            options = ctypes.create_string_buffer(OPTIONS_BYTES)
            library.fpr_options_init(options)
            head = _Options.from_buffer(options)
            head.key = key.encode()
            status = library.fpr_model_open_with(os.fsencode(path), options, ctypes.byref(self._handle),
                                                 ctypes.byref(error))
        if status:
            _raise(error)

    def tensors(self) -> Iterator[Tuple[str, str, Tuple[int, ...], int]]:
        """Name, dtype, shape and dense bytes of each, in the model's order."""
        for i in range(self._library.fpr_model_tensor_count(self._handle)):
            t = self._library.fpr_model_tensor(self._handle, i)[0]
            yield (ctypes.string_at(t.name, t.name_bytes).decode(), self._library.fpr_dtype_name(t.dtype).decode("ascii"),
                   tuple(t.shape[d] for d in range(t.rank)), t.bytes)

    def close(self) -> None:
        if self._handle:
            self._library.fpr_model_close(self._handle)
            self._handle = ctypes.c_void_p()

    def __del__(self) -> None:
        self.close()

    def read(self, index: int, name: str, nbytes: int) -> np.ndarray:
        """The dense bytes of the tensor at that place, which must be the one of that name and size."""
        if not self._handle:
            raise SafetensorError("the file is closed")
        found = self._library.fpr_model_tensor(self._handle, index)
        if not found or ctypes.string_at(found[0].name, found[0].name_bytes) != name.encode() or \
                found[0].bytes != nbytes:
            raise SafetensorError(f"{name}: the file has changed since it was opened")
        out = np.empty(nbytes, np.uint8)
        error = _Error()
        if self._library.fpr_model_read(self._handle, index, out.ctypes.data_as(ctypes.c_void_p), ctypes.byref(error)):
            _raise(error)
        return out
