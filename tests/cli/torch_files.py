"""Files of PyTorch without PyTorch: pickles by Python's own module, archives byte by byte. Nothing here is the reader's.

A storage is a list of bytes with a key; a tensor is a call of torch._utils._rebuild_tensor_v2 with one. The classes are
made here under PyTorch's names, so that pickles name them as PyTorch's do.
"""
import collections
import copyreg
import io
import pickle
import struct
import sys
import types
import zlib

ELEMENT = {"FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "LongStorage": 8, "ByteStorage": 1,
           "ComplexFloatStorage": 8, "BFloat16Storage": 2, "ComplexDoubleStorage": 16, "UntypedStorage": 1}


def module(name):
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(module(parent), last, sys.modules[name])
    return sys.modules[name]


def named(place, name, kind=None):
    """A class, or a function, that pickle finds as place.name."""
    home = module(place)
    if not hasattr(home, name):
        if kind == "function":
            def thing(*arguments):
                raise AssertionError("never called")
            thing.__qualname__ = thing.__name__ = name
            thing.__module__ = place
        else:
            thing = type(name, (object,), {"__module__": place})
        setattr(home, name, thing)
    return getattr(home, name)


class Storage:
    def __init__(self, kind, key, data, count=None):
        self.kind, self.key, self.data = kind, key, bytes(data)
        self.count = len(self.data) // ELEMENT[kind] if count is None else count


class Call:
    """An object that pickles as function(*arguments), and perhaps a state."""
    def __init__(self, place, name, *arguments, state=None):
        self.function, self.arguments, self.state = named(place, name, "function"), arguments, state

    def __reduce__(self):
        return (self.function, self.arguments) + (() if self.state is None else (self.state,))


def dense_strides(shape):
    strides, n = [], 1
    for size in reversed(shape):
        strides.insert(0, n)
        n *= size
    return tuple(strides)


def tensor(storage, shape, stride=None, offset=0, flags=None):
    arguments = [storage, offset, tuple(shape), dense_strides(shape) if stride is None else tuple(stride), False,
                 collections.OrderedDict()]
    return Call("torch._utils", "_rebuild_tensor_v2", *(arguments + ([flags] if flags else [])))


def floats(key, shape, start=0.0):
    """A dense F32 tensor of its own storage, and its bytes."""
    n = 1
    for size in shape:
        n *= size
    data = struct.pack("<%df" % n, *(start + i for i in range(n)))
    return tensor(Storage("FloatStorage", key, data), shape), data


class Module:
    """A whole module: class and state as torch.nn.Module has them."""
    def __init__(self, place, name, parameters=(), buffers=(), modules=(), fleeting=(), **more):
        self.kind = named(place, name)
        self.state = dict(training=False, _parameters=collections.OrderedDict(parameters),
                          _buffers=collections.OrderedDict(buffers), _non_persistent_buffers_set=set(fleeting),
                          _modules=collections.OrderedDict(modules), **more)

    @property
    def __class__(self):
        return self.kind

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj__, (self.kind,), self.state


def dump(value, protocol=2, legacy=False):
    """The pickle, and the storages that it names."""
    storages = collections.OrderedDict()

    class Pickler(pickle._Pickler):
        def persistent_id(self, it):
            if not isinstance(it, Storage):
                return None
            storages.setdefault(it.key, it)
            place = "torch.storage" if it.kind == "UntypedStorage" else "torch"
            return ("storage", named(place, it.kind), it.key, "cpu", it.count) + ((None,) if legacy else ())

    out = io.BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue(), list(storages.values())


class Member:
    """A member of an archive; what is None is as it should be."""
    def __init__(self, name, data, deflate=False, local_name=None, place=None, size=None, local_method=None, flags=0,
                 entry_name=None, local_size=None):
        self.name, self.data, self.deflate = name.encode(), data, deflate
        self.local_name = self.name if local_name is None else local_name.encode()
        self.entry_name = self.name if entry_name is None else entry_name.encode()
        self.place, self.size, self.local_method, self.flags = place, size, local_method, flags
        self.local_size = local_size


def deflated(data):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


def archive(members, zip64=False, tail=b"", count=None):
    body, entries = b"", b""
    for m in members:
        stored = deflated(m.data) if m.deflate else m.data
        size = len(m.data) if m.size is None else m.size
        method, crc = 8 if m.deflate else 0, zlib.crc32(m.data)
        place = len(body) if m.place is None else m.place
        local_size = size if m.local_size is None else m.local_size
        body += struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, m.flags, method if m.local_method is None else m.local_method,
                            0, 0, crc, len(stored), local_size, len(m.local_name), 0) + m.local_name + stored
        extra = struct.pack("<HHQQQ", 1, 24, size, len(stored), place) if zip64 else b""
        full = 0xFFFFFFFF
        entries += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 45, 20, m.flags, method, 0, 0, crc,
                               full if zip64 else len(stored), full if zip64 else size, len(m.entry_name), len(extra),
                               0, 0, 0, 0, full if zip64 else place) + m.entry_name + extra
    n, at = len(members) if count is None else count, len(body)
    out = body + entries
    if zip64:
        out += struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, n, n, len(entries), at)
        out += struct.pack("<IIQI", 0x07064B50, 0, at + len(entries), 1)
    return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF if zip64 else n, 0xFFFF if zip64 else n,
                             0xFFFFFFFF if zip64 else len(entries), 0xFFFFFFFF if zip64 else at, len(tail)) + tail


def members(value, protocol=2, deflate=False, more=(), prefix="archive/"):
    text, storages = dump(value, protocol)
    return [Member(prefix + "data.pkl", text, deflate), Member(prefix + "byteorder", b"little"),
            *(Member(prefix + "data/" + s.key, s.data, deflate) for s in storages), *more,
            Member(prefix + "version", b"3\n")]


def zipped(value, protocol=2, **more):
    return archive(members(value, protocol), **more)


def legacy(value, protocol=2, keys=None, counts=None):
    text, storages = dump(value, protocol, legacy=True)
    storages = {s.key: s for s in storages}
    keys = list(storages) if keys is None else keys
    out = b"".join(pickle.dumps(part, protocol) for part in
                   (0x1950A86A20F9469CFC6C, 1001,
                    dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4))))
    out += text + pickle.dumps(keys, protocol)
    for i, key in enumerate(keys):
        s = storages.get(key) or next(iter(storages.values()))
        out += struct.pack("<q", s.count if counts is None else counts[i]) + s.data
    return out
