"""What a network computes, as a graph of its modules, found without leaving a trace in it."""

from __future__ import annotations

import contextlib
import copy
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn


def graphs_of(model: nn.Module) -> list[fx.Graph]:
    """The network as it computes in training mode, and in eval mode; empty where neither can be traced."""
    modules, traced = list(model.modules()), []
    for training in (True, False):
        with _as_it_was(modules), contextlib.suppress(Exception):  # control flow by values
            for module in modules:
                module.training = training
            traced.append(_Tracer().trace(model))
    return traced


class _Tracer(fx.Tracer):
    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Hooks do not run, because they would collect the tracer's stand-ins. What goes through them may change."""
        leaf = self.is_leaf_module(m, self.path_of_module(m))
        if leaf or not (m._forward_hooks or m._forward_pre_hooks):
            return super().call_module(m, forward, args, kwargs)
        args, kwargs = (fx.node.map_aggregate(given, _opaque) for given in (args, kwargs))
        return fx.node.map_aggregate(super().call_module(m, m.forward, args, kwargs), _opaque)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or not any(True for _ in m.children())


def _opaque(value: Any) -> Any:
    return torch.clone(cast(Tensor, value)) if isinstance(value, fx.Proxy) else value


@contextlib.contextmanager
def _as_it_was(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Afterwards modules and random numbers are as before: a forward that stores something, on the module or in a list
    of its own, has stored the tracer's stand-ins, and one that counts in a buffer has counted."""
    kept = [(module, dict(vars(module))) for module in modules]
    holders: dict[int, Any] = {}
    for _, own in kept:
        _find_holders(list(own.values()), holders)
    contents = [(value, value.clone() if isinstance(value, Tensor) else copy.copy(value)) for value in holders.values()]
    drawn, numpy_drawn = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([]):
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(numpy_drawn)
        for module, own in kept:
            vars(module).clear()
            vars(module).update(own)
        for value, content in contents:
            _put_back(value, content)


def _find_holders(value: Any, found: dict[int, Any], depth: int = 4) -> None:
    """Collect by id what a forward pass may have changed in place: containers, and tensors that are no parameters."""
    if isinstance(value, Tensor):
        lazy_or_learned = nn.parameter.is_lazy(value) or isinstance(value, nn.Parameter)
        if not (lazy_or_learned or value.is_meta or value.requires_grad or value.is_inference()):
            found[id(value)] = value
    elif isinstance(value, (dict, list, set, deque)) and id(value) not in found and depth:
        found[id(value)] = value
        for inner in list(value.values() if isinstance(value, dict) else value):
            _find_holders(inner, found, depth - 1)


def _put_back(value: Any, content: Any) -> None:
    if isinstance(value, Tensor):
        if not torch.equal(value, content):
            value.copy_(content)
    else:
        value.clear()
        value.extend(content) if isinstance(value, (list, deque)) else value.update(content)
