"""`perforate(model)`: find the layers that can carry dendrites, wrap them in place, and say which and why."""

from __future__ import annotations

import contextlib
import fnmatch
import html
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from torch import fx, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils.parametrize import is_parametrized

from perfteach import settings
from perfteach.correlation import Rule
from perfteach.dendrites import dendritic_layers
from perfteach.errors import ConfigError, SelectionError
from perfteach.layer import DendriticLayer, known_activation

M = TypeVar("M", bound=nn.Module)
Select: TypeAlias = (
    str | type[nn.Module] | tuple[type[nn.Module], ...] | Iterable[str] | Callable[[str, nn.Module], bool] | None
)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
RETURN_TUPLES = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


@dataclass(frozen=True)
class Row:
    """One line of the selection table."""

    name: str
    kind: str
    parameters: int
    wrapped: bool
    reason: str


@dataclass(frozen=True)
class Perforation:
    """What `perforate` did to a model: a table that prints readably, and the parameters that were frozen before."""

    rows: tuple[Row, ...]
    rule: str
    frozen: frozenset[str] = frozenset()

    @property
    def wrapped(self) -> list[str]:
        """Names of the layers that can grow dendrites."""
        return [row.name for row in self.rows if row.wrapped]

    def __str__(self) -> str:
        wide = max((len(row.name) for row in self.rows), default=5)
        lines = [f"{'layer':<{wide}}  {'type':<12}  {'parameters':>10}  dendrites  why"]
        for row in self.rows:
            mark = "yes" if row.wrapped else "no"
            lines.append(f"{row.name:<{wide}}  {row.kind:<12}  {row.parameters:>10,}  {mark:<9}  {row.reason}")
        return "\n".join([*lines, f"{len(self.wrapped)} of {len(self.rows)} layers can grow dendrites"])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{html.escape(row.name)}</td><td>{row.kind}</td><td>{row.parameters:,}</td>"
            f"<td>{'yes' if row.wrapped else 'no'}</td><td>{html.escape(row.reason)}</td></tr>"
            for row in self.rows
        )
        head = "".join(f"<th>{title}</th>" for title in ("layer", "type", "parameters", "dendrites", "why"))
        return f"<table><caption>Layers that can grow dendrites</caption><tr>{head}</tr>{cells}</table>"


def perforate(model: M, select: Select = None, rule: str = "perforated", *, activation: str = "tanh") -> M:
    """Wrap the model's convolutions (with the norm that follows each) and Linear layers, in place.

    The wrapped model computes exactly what it did before. `add_dendrites` then grows dendrites,
    `set_phase` says who learns, and `print(model.perforation)` shows what was wrapped, what not, and why.

    Args:
        select: None for every layer that can carry dendrites; a module type or tuple of types; a name or pattern such
            as "features.*", or several of them; or a function of (name, module) that says yes or no.
        rule: "perforated", "covariance", "shuffled" or "gradient"; see `DendriticLayer`.
        activation: φ of the dendrites: "tanh", "sigmoid", "relu", "hardswish", "gelu" or "identity".

    Raises:
        ConfigError: for an unknown rule or activation, or a model that is perforated already.
        SelectionError: when nothing is selected, or a layer named in full cannot carry dendrites.
    """
    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    Rule.of(rule), known_activation(activation)  # before anything is changed
    if any(dendritic_layers(model)):
        raise ConfigError("the model is perforated already; add_dendrites(model) grows more dendrites")
    if isinstance(select, Iterable) and not isinstance(select, (str, type)):
        with contextlib.suppress(TypeError):  # a tensor of one number
            select = list[Any](select)  # it is gone through more than once
    names = [select] if isinstance(select, str) else select
    chosen = _chooser(select)
    graph = _Graph(model)
    rows: list[Row] = []
    for name, module in model.named_modules(remove_duplicate=False):
        if not _is_layer(module) or name in graph.norm_owner:
            continue
        size = sum(p.numel() for p in module.parameters() if not nn.parameter.is_lazy(p))
        problem = graph.problem(name, module)
        if problem and isinstance(names, (list, tuple, set)) and name in names:
            raise SelectionError(f"layer {name!r} cannot carry dendrites: {problem}")
        norm = graph.norm_of.get(name)
        picked = not problem and chosen(name, module)
        why = problem or ("not selected" if not picked else f"with its norm {norm}" if norm else "")
        rows.append(Row(name, type(module).__name__, size, picked, why))
    _require_matches(names, rows, graph.norm_owner)
    for row in rows:
        if row.wrapped:
            _wrap(model, row.name, graph.norm_of.get(row.name), rule, activation)
    frozen = frozenset(name for name, parameter in model.named_parameters() if not parameter.requires_grad)
    holder: Any = model
    holder.perforation = Perforation(tuple(rows), rule, frozen)
    return model


def _is_layer(module: nn.Module) -> bool:
    own = any(True for _ in module.parameters(recurse=False))
    return isinstance(module, (*CONVOLUTIONS, nn.Linear, *RETURN_TUPLES)) or own


def _chooser(select: Select) -> Callable[[str, nn.Module], bool]:
    if select is None:
        return lambda name, module: True
    if isinstance(select, type):
        return lambda name, module: isinstance(module, select)
    if isinstance(select, str):
        return lambda name, module: fnmatch.fnmatchcase(name, select)
    if callable(select):
        return select
    items = select if isinstance(select, list) else []
    if items and all(isinstance(item, type) for item in items):
        return lambda name, module: isinstance(module, tuple(items))
    if items and all(isinstance(item, str) for item in items):
        return lambda name, module: any(fnmatch.fnmatchcase(name, str(item)) for item in items)
    raise SelectionError(
        f"select={settings.said(select)} is not a type, a name pattern, a list of these, or a function"
    )


def _require_matches(names: Any, rows: list[Row], norm_owner: dict[str, str]) -> None:
    if isinstance(names, (list, tuple, set)):
        for pattern in names:
            if pattern in norm_owner:
                raise SelectionError(f"{pattern!r} is a norm and belongs to its convolution {norm_owner[pattern]!r}")
            if isinstance(pattern, str) and not any(fnmatch.fnmatchcase(row.name, pattern) for row in rows):
                raise SelectionError(f"no layer is called {pattern!r}; model.named_modules() lists the names")
    if not any(row.wrapped for row in rows):
        reasons = "; ".join(f"{row.name}: {row.reason}" for row in rows[:4]) or "it has no layers with parameters"
        raise SelectionError(f"nothing in the model can carry dendrites ({reasons})")


def _wrap(model: nn.Module, name: str, norm: str | None, rule: str, activation: str) -> None:
    neuron = model.get_submodule(name)
    training = neuron.training
    if norm is not None:
        neuron = nn.Sequential(neuron, model.get_submodule(norm))
        model.set_submodule(norm, nn.Identity())
    layer = DendriticLayer(neuron, rule, activation)
    layer.training = neuron.training = training  # not train(): a norm that was put into eval mode by hand stays there
    model.set_submodule(name, layer)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or not any(True for _ in m.children())


class _Graph:
    """Which norm follows which convolution, and which modules are used in ways that rule dendrites out."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.uses = Counter(id(module) for module in self.modules.values())
        self.calls: Counter[str] = Counter()
        self.norm_of: dict[str, str] = {}
        self.read: set[str] = set()  # modules whose parameters the network uses without calling them
        kept = [(module, dict(vars(module))) for module in self.modules.values()]
        try:
            graph = _Tracer().trace(model)
        except Exception:  # forward has control flow that cannot be traced: trust only the order inside a Sequential
            self._pairs_in_sequentials()
        else:
            self._pairs_in_graph(graph)
            self.read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
        for module, attributes in kept:  # a forward that stores something on self has stored the tracer's stand-ins
            module.__dict__.clear()
            module.__dict__.update(attributes)
        self.norm_owner = {norm: conv for conv, norm in self.norm_of.items()}

    def _pairs_in_graph(self, graph: fx.Graph) -> None:
        nodes = [node for node in graph.nodes if node.op == "call_module"]
        self.calls.update(str(node.target) for node in nodes)
        for node in nodes:
            users = list(node.users)
            if len(users) == 1 and users[0].op == "call_module":
                self._pair(str(node.target), str(users[0].target))

    def _pairs_in_sequentials(self) -> None:
        for path, parent in self.modules.items():
            if type(parent) is nn.Sequential or (isinstance(parent, nn.Sequential) and _plain_forward(parent)):
                names = [f"{path}.{child}".lstrip(".") for child, _ in parent.named_children()]
                for first, second in itertools.pairwise(names):
                    self._pair(first, second)

    def _pair(self, conv: str, norm: str) -> None:
        first, second = self.modules[conv], self.modules[norm]
        once = self.uses[id(first)] == self.uses[id(second)] == 1 and max(self.calls[conv], self.calls[norm]) <= 1
        ours = type(second).__module__.startswith("torch.nn.")  # a subclass may do more, such as an activation
        if isinstance(first, CONVOLUTIONS) and isinstance(second, NORMS) and ours and once:
            channels = second.num_channels if isinstance(second, nn.GroupNorm) else second.num_features
            if channels == first.out_channels:
                self.norm_of[conv] = norm

    def problem(self, name: str, module: nn.Module) -> str:
        """Why the module cannot carry dendrites; empty when it can."""
        if not name:
            return "it is the whole model; put it into an nn.Sequential first"
        if isinstance(module, RETURN_TUPLES):
            return "returns a tuple, and a dendrite needs one tensor"
        if isinstance(module, NonDynamicallyQuantizableLinear):
            return "its weight is read directly by MultiheadAttention, which never calls the layer"
        if not isinstance(module, (*CONVOLUTIONS, nn.Linear)):
            return "neither Conv1d/2d/3d nor Linear"
        if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
            return "lazy, its shape is not known yet; run one batch through the model first"
        if self.uses[id(module)] > 1:
            return "shared: the same module stands in several places"
        if self.calls[name] > 1:
            return "shared: called more than once in a forward pass"
        parent = self.modules.get(name.rpartition(".")[0])
        if name in self.read or isinstance(parent, nn.TransformerEncoderLayer):
            return "its weight is read directly by the network, which would go around a dendrite"
        own = [key for key, _ in module.named_parameters(recurse=False)]
        if is_parametrized(module) or any(key.endswith(("_g", "_orig")) for key in own):
            return "its weight is computed by a parametrisation"
        return ""


def _plain_forward(module: nn.Sequential) -> bool:
    return type(module).forward is nn.Sequential.forward
