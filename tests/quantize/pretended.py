"""A GPU that is played on the CPU: true numbers, and every mixing of two devices an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

GPU = torch.device("cuda")


class Pretended(TorchFunctionMode):
    """While it is entered, what is made on or sent to "cuda" counts as there.

    As with a real one, an operation needs all of its tensors on one device (numbers, tensors of
    no dimension, may come from the CPU), and numpy sees none that is on the GPU.  After
    `operations_until_full` its memory is full.
    """

    def __init__(self, operations_until_full: int = 1 << 30) -> None:
        super().__init__()
        self.most = operations_until_full
        self.there: Any = WeakIdKeyDictionary()
        self.operations = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "numpy" and args[0] in self.there:
            raise TypeError("numpy sees no tensor of the GPU")
        if func == torch.Tensor.device.__get__:
            return GPU if args[0] in self.there else torch.device("cpu")
        if name in ("to", "cpu", "cuda"):
            return self._sent(func, name, args, kwargs)
        on_gpu = self._on_gpu(name, (args, kwargs))
        if kwargs.get("device") is not None:
            on_gpu = torch.device(kwargs["device"]).type == "cuda"
            kwargs["device"] = "cpu"
        made = func(*args, **kwargs)
        self.operations += on_gpu
        if on_gpu:
            if self.operations > self.most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            self._mark(made)
        return made

    def _on_gpu(self, name: str, inputs: Any) -> bool:
        tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
        # A tensor without dimensions is a number, and goes anywhere.
        places = {one in self.there for one in tensors if one.dim() or one in self.there}
        if len(places) > 1:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        return True in places

    def _sent(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        value, *more = args
        device = kwargs.pop("device", None)
        if more and isinstance(more[0], str | torch.device):
            device = more.pop(0)
        if name != "to":
            device = name
        if device is None:
            made = func(value, *more, **kwargs)
            to_gpu = value in self.there
        else:
            to_gpu = torch.device(device).type == "cuda"
            made = value.to(*more, **kwargs) if more or kwargs else value
            if to_gpu is not (value in self.there) and made is value:
                made = value.clone()
        if to_gpu:
            self._mark(made)
        return made

    def _mark(self, made: Any) -> None:
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                self.there[one] = True
