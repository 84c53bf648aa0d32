"""An index as safetensors 0.8 takes it: whole numbers, slices that go forward, one ellipsis.

What it refuses is refused here, in its words. Two of its refusals are no SafetensorError: bounds that count from the end
are an OverflowError (here both), and a slice that ends before it begins is an error within Python (here a
SafetensorError).
"""
import operator
from typing import Any, List, Sequence, Tuple, Union

from ._errors import NegativeBound, SafetensorError

Part = Union[int, slice]  # a place, or begin, end and step that are known and within the tensor
LONGEST = 1 << 63


def _bound(value: Any, otherwise: int) -> int:
    if value is None:
        return otherwise
    number = operator.index(value)
    if number < 0:
        raise NegativeBound("can't convert negative int to unsigned")
    if number >= LONGEST:
        raise NegativeBound("Python int too large")
    return number


def _step(value: Any) -> int:
    step = 1 if value is None else operator.index(value)
    if step >= LONGEST:
        raise NegativeBound("Python int too large to convert to C long")
    if step <= 0:
        raise SafetensorError(f"Slice step must be a positive integer, got {step}")
    return step


def _is_place(item: Any) -> bool:
    try:
        return -LONGEST <= operator.index(item) < LONGEST
    except TypeError:
        return False


def _items(index: Any, rank: int) -> List[Any]:
    """One item for each leading dimension; what an ellipsis stands for are slices."""
    items = list(index) if isinstance(index, tuple) else [index]
    for at, item in enumerate(items):
        if not (item is Ellipsis or isinstance(item, slice) or _is_place(item)):
            raise SafetensorError(f"Unsupported slice index at position {at}: expected slice, int, or ellipsis")
    dots = [at for at, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise SafetensorError("Only one ellipsis (...) is allowed in slice index")
    if dots:
        items[dots[0]:dots[0] + 1] = [slice(None)] * max(0, rank - (len(items) - 1))
    return items


def _said(item: Any) -> str:
    if not isinstance(item, slice):
        return str(item)
    begin, end = ("" if value is None else str(operator.index(value)) for value in (item.start, item.stop))
    step = "" if item.step is None or operator.index(item.step) == 1 else f":{operator.index(item.step)}"
    return f"{begin}:{end}{step}"


def parts(index: Any, shape: Sequence[int]) -> Tuple[Part, ...]:
    """What an index takes of each leading dimension."""
    if isinstance(index, list):
        if index:
            raise SafetensorError(f"a list of places ({index}) is no index of a slice, but for an empty one")
        index = slice(0, 0)
    found: List[Part] = []
    items = _items(index, len(shape))
    for at, item in enumerate(items):
        size = shape[at] if at < len(shape) else 0
        if isinstance(item, slice):
            step = _step(item.step)
            found.append(slice(_bound(item.start, 0), _bound(item.stop, size), step))
            continue
        place = operator.index(item)
        if place < -size:
            raise SafetensorError(f"Invalid index {place} for dimension {at} of size {size}")
        items[at] = place + size if place < 0 else place
        found.append(items[at])

    def refuse(why: str) -> None:
        raise SafetensorError(f"Error during slicing [{', '.join(map(_said, items))}] with shape {list(shape)}: {why}")

    if len(items) > len(shape):
        refuse("more slicing indexes than dimensions in tensor")
    for at, (part, size) in enumerate(zip(found, shape)):
        first, last = (part.start, part.stop - 1) if isinstance(part, slice) else (part, part)
        beyond = first if first >= size else last if last >= size else None
        if beyond is not None:
            refuse(f"index {beyond} out of bounds for tensor dimension #{at} of size {size}")
        if isinstance(part, slice) and part.stop < part.start:
            refuse(f"the slice of dimension #{at} ends before it begins")
    return tuple(found)
