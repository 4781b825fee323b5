"""The TFLite runtime, whichever of its packages the board has."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from .faults import ModelRefused, NoRuntime
from .records import TensorFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .decoding import Output

# (distribution, module), the best kept first
_PACKAGES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite.python.interpreter"),
)
_SMALL = 32
"""Height and width at which filters are packed before the model gets its own size."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """An interpreter class and what it is: "ai-edge-litert 2.1.0"."""

    name: str
    interpreter: Any


def find_runtime() -> Runtime:
    """The first runtime that can be imported.  Raises NoRuntime with each one's reason."""
    reasons = []
    for distribution, module in _PACKAGES:
        try:
            found = importlib.import_module(module)
            return Runtime(_named(distribution), found.Interpreter)
        except Exception as error:  # noqa: BLE001  the next one may work
            reasons.append(f"{distribution}: {type(error).__name__}: {error}")
    raise NoRuntime("; ".join(reasons))


def versions() -> Dict[str, Optional[str]]:
    """Of numpy, Pillow and the runtime, as this interpreter imports them; None where it cannot."""
    try:
        runtime: Optional[str] = find_runtime().name
    except NoRuntime:
        runtime = None
    return {"numpy": _version("numpy"), "pillow": _version("PIL"), "runtime": runtime}


def _version(module: str) -> Optional[str]:
    try:
        return str(importlib.import_module(module).__version__)
    except Exception:  # noqa: BLE001  a broken library raises what it likes
        return None


def _named(distribution: str) -> str:
    from importlib import metadata

    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:  # unpacked without its metadata
        return distribution


class Model:
    """A model in memory, ready to run.

    inputs, outputs: as the runtime reports them; scale 0 means not quantized.
    """

    def __init__(
        self,
        path: str,
        *,
        threads: int,
        runtime: Runtime,
        imgsz: Optional[Tuple[int, int]] = None,
        content: Optional[bytes] = None,
        packed: Optional[Callable[[], None]] = None,
    ) -> None:
        """Read, create, allocate.  Raises ModelRefused, NoRuntime, MemoryError.

        imgsz: (height, width) for a model whose input size is open.  content: the model's bytes,
        in place of the file at `path`.  packed: called when the runtime has its own copy of the
        filters, and no more than little of the memory that it computes in.
        """
        source: Dict[str, Any] = {"model_path": path}
        if content is not None:
            source = {"model_content": content}
        try:
            self._interpreter = runtime.interpreter(num_threads=threads, **source)
            if packed is not None and not self._packs_first(packed):
                self._interpreter = runtime.interpreter(num_threads=threads, **source)
            self._resize(imgsz)
            self._interpreter.allocate_tensors()
        except MemoryError:
            raise
        except SystemError as error:  # built for another numpy, which shows only in use
            raise NoRuntime(f"{runtime.name} does not work with this numpy: {error}") from error
        except Exception as error:  # the runtime raises ValueError and RuntimeError, and says why
            raise ModelRefused(str(error) or type(error).__name__) from error
        self._input_details = self._interpreter.get_input_details()
        self._output_details = self._interpreter.get_output_details()
        self.inputs = tuple(_facts(detail) for detail in self._input_details)
        self.outputs = tuple(_facts(detail) for detail in self._output_details)
        self._aliases = self._signature_outputs()

    def run(self, tensors: Tuple[NDArray[Any], ...]) -> None:
        """One inference: set each input, invoke.  Raises ModelRefused, MemoryError."""
        try:
            for detail, tensor in zip(self._input_details, tensors):
                self._interpreter.set_tensor(detail["index"], tensor)
            self._interpreter.invoke()
        except MemoryError:
            raise
        except Exception as error:
            raise ModelRefused(str(error) or type(error).__name__) from error

    def results(self) -> Dict[str, Output]:
        """Copies of the outputs, by tensor name and by the name that a signature gives them."""
        from .decoding import Output

        outputs: Dict[str, Output] = {}
        for facts, detail in zip(self.outputs, self._output_details):
            values = self._interpreter.get_tensor(detail["index"])
            output = Output(values, facts.scale, facts.zero_point)
            for name in self._aliases.get(detail["index"], ()):
                outputs.setdefault(name, output)
            outputs[facts.name] = output
        return outputs

    def output(self, position: int) -> NDArray[Any]:
        """A copy of one output, by its place in `outputs`."""
        values: NDArray[Any] = self._interpreter.get_tensor(self._output_details[position]["index"])
        return values

    def _packs_first(self, packed: Callable[[], None]) -> bool:
        """Allocate for a small picture, which packs the filters, call `packed`, and size back.

        A runtime packs filters and allocates what it computes in as one step, so that the model's
        file, the packed copies and that memory are all there at once; at a small picture the last
        is little.  Newer runtimes refuse sizes that do not fit the graph, but only after packing,
        which is all that is wanted.  False where the way back is refused too.
        """
        details = self._interpreter.get_input_details()
        shape = [int(size) for size in details[0]["shape"]]
        if len(details) != 1 or len(shape) != 4 or min(shape) < 1 or _is_open(details[0]):
            return True
        sides = (2, 3) if _is_channels_first(shape) else (1, 2)
        small = [min(size, _SMALL) if at in sides else size for at, size in enumerate(shape)]
        before = self._output_shapes()
        try:
            self._interpreter.resize_tensor_input(details[0]["index"], small)
            with contextlib.suppress(ValueError, RuntimeError):
                self._interpreter.allocate_tensors()
            packed()
            self._interpreter.resize_tensor_input(details[0]["index"], shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError):
            return False
        return self._output_shapes() == before

    def _output_shapes(self) -> List[List[int]]:
        details = self._interpreter.get_output_details()
        return [[int(size) for size in detail["shape"]] for detail in details]

    def _resize(self, imgsz: Optional[Tuple[int, int]]) -> None:
        for detail in self._interpreter.get_input_details():
            signature = _signature(detail)
            if not _is_open(detail) or len(signature) != 4:
                continue
            sizes = (1, None, *(imgsz or (None, None)))
            if not _is_channels_first(signature):
                sizes = (1, *(imgsz or (None, None)), None)
            asked = [
                (size if size is not None else 1) if fixed == -1 else fixed
                for fixed, size in zip(signature, sizes)
            ]
            self._interpreter.resize_tensor_input(detail["index"], asked)

    def _signature_outputs(self) -> Dict[int, Tuple[str, ...]]:
        # Only this private call tells which tensor a signature's name stands for.
        ask = getattr(self._interpreter, "_get_full_signature_list", None)
        names: Dict[int, Tuple[str, ...]] = {}
        for signature in (ask() if ask is not None else {}).values():
            for name, index in signature.get("outputs", {}).items():
                names[index] = (*names.get(index, ()), str(name))
        return names


def _signature(detail: Dict[str, Any]) -> List[int]:
    """The shape, with -1 for sizes that are open."""
    return [int(size) for size in detail.get("shape_signature", detail["shape"])]


def _is_open(detail: Dict[str, Any]) -> bool:
    return -1 in _signature(detail)


def _is_channels_first(shape: List[int]) -> bool:
    return shape[1] in (1, 3) and shape[3] not in (1, 3)


def _facts(detail: Dict[str, Any]) -> TensorFacts:
    scale, zero_point = detail["quantization"]
    return TensorFacts(
        name=str(detail["name"]),
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=detail["dtype"].__name__,
        scale=float(scale),
        zero_point=int(zero_point),
    )
