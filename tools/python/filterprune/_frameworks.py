"""Dense bytes as arrays of numpy or torch.

As in the safetensors package, a dtype that the framework does not know is an error: numpy has bfloat16 and the float8
types only with the package ml_dtypes, torch has what its version has. F4 comes as torch.float4_e2m1fn_x2, two to an
element, the last dimension halved; F6 has no counterpart anywhere.
"""
from typing import Any, Callable, Dict, Sequence

import numpy as np

from ._errors import SafetensorError

Array = Any  # numpy.ndarray or torch.Tensor

_NUMPY = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "U64": "uint64", "I32": "int32",
          "U32": "uint32", "I16": "int16", "U16": "uint16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
          "C64": "complex64"}
_ML_DTYPES = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
              "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu"}
_TORCH: Dict[str, str] = {**_NUMPY, **_ML_DTYPES, "F4": "float4_e2m1fn_x2"}

NUMPY_NAMES = {name: dtype for dtype, name in {**_NUMPY, **_ML_DTYPES}.items()}
TORCH_NAMES = {name: dtype for dtype, name in _TORCH.items()}


def framework_name(framework: str) -> str:
    if framework in ("np", "numpy"):
        return "numpy"
    if framework in ("pt", "torch", "pytorch"):
        return "torch"
    raise SafetensorError(f"framework {framework} is invalid")


def numpy_dtype(dtype: str) -> "np.dtype[Any]":
    if dtype in _NUMPY:
        return np.dtype(_NUMPY[dtype])
    if dtype in _ML_DTYPES:
        try:
            import ml_dtypes

            return np.dtype(getattr(ml_dtypes, _ML_DTYPES[dtype]))
        except (ImportError, AttributeError):
            raise SafetensorError(f"numpy has no {dtype}: install ml_dtypes, or ask for framework 'pt'") from None
    raise SafetensorError(f"numpy has no {dtype}")


def to_numpy(raw: np.ndarray, dtype: str, shape: Sequence[int], device: Any = "cpu") -> np.ndarray:
    return raw.view(numpy_dtype(dtype)).reshape(tuple(shape))


def to_torch(raw: np.ndarray, dtype: str, shape: Sequence[int], device: Any = "cpu") -> Any:
    import torch

    kind = getattr(torch, _TORCH.get(dtype, ""), None)
    if kind is None:
        raise SafetensorError(f"torch {torch.__version__} has no {dtype}")
    shape = list(shape)
    if dtype == "F4":
        if not shape or shape[-1] % 2:
            raise SafetensorError("torch holds F4 two to an element: the last dimension must be even")
        shape[-1] //= 2
    if not raw.size:
        return torch.empty(shape, dtype=kind, device=device)
    tensor = torch.from_numpy(raw).view(kind).reshape(shape)
    return tensor if device == "cpu" else tensor.to(device)


def maker(framework: str, device: Any) -> Callable[[np.ndarray, str, Sequence[int], Any], Array]:
    name = framework_name(framework)
    if name == "torch":
        return to_torch
    if device != "cpu":
        raise SafetensorError(f"device {device} is not supported for framework {framework}")
    return to_numpy
