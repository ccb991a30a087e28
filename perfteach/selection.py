"""`perforate(model)`: find the layers that can carry dendrites, wrap them in place, and say which and why."""

from __future__ import annotations

import contextlib
import fnmatch
import html
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from torch import fx, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from perfteach import settings
from perfteach.correlation import Rule
from perfteach.dendrites import dendritic_layers
from perfteach.errors import ConfigError, SelectionError
from perfteach.layer import ACTIVATIONS, COMPUTED, DendriticLayer, is_computed
from perfteach.tracing import graphs_of

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

    The wrapped model's `forward` computes exactly what it did before; other methods of the model, which may call a
    convolution or its norm alone, are not looked at. `add_dendrites` then grows dendrites, `set_phase` says who
    learns, and `print(model.perforation)` shows what was wrapped, what not, and why. Where `torch.fx` cannot trace the
    forward pass, it is taken on trust that a block of a convolution and its norm, an `nn.Sequential`, is called as one.

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
    Rule.of(rule), settings.text("activation", activation, ACTIVATIONS)  # before anything is changed
    if any(dendritic_layers(model)):
        raise ConfigError("the model is perforated already; add_dendrites(model) grows more dendrites")
    wanted: Any = [select] if isinstance(select, (str, type)) else select
    if isinstance(wanted, Iterable):
        with contextlib.suppress(TypeError):  # a tensor of one number
            wanted = list(wanted)  # it is gone through more than once
    chosen = _chooser(wanted)
    listed = wanted if isinstance(wanted, list) else []
    graph = _Graph(model)
    rows: list[Row] = []
    for name, module in model.named_modules(remove_duplicate=False):
        if not _is_layer(module) or name in graph.norm_owner:
            continue
        size = sum(p.numel() for p in module.parameters() if not nn.parameter.is_lazy(p))
        problem = graph.problem(name, module)
        if problem and name in listed:
            raise SelectionError(f"layer {name!r} cannot carry dendrites: {problem}")
        norm = graph.norm_of.get(name)
        picked = not problem and chosen(name, module)
        joined = f"with its norm {norm}{'' if graph.traced else ', by its place in a block: forward cannot be traced'}"
        why = problem or ("not selected" if not picked else joined if norm else "")
        rows.append(Row(name, type(module).__name__, size, picked, why))
    _require_matches(listed, rows, graph.norm_owner)
    for row in rows:
        if row.wrapped:
            _wrap(model, row.name, graph.norm_of.get(row.name), rule, activation)
    holder: Any = getattr(model, "_orig_mod", model)  # `torch.compile` stands around a model
    frozen = frozenset(name for name, parameter in holder.named_parameters() if not parameter.requires_grad)
    holder.perforation = Perforation(tuple(rows), rule, frozen)
    return model


def _is_layer(module: nn.Module) -> bool:
    own = any(True for _ in module.parameters(recurse=False))
    return isinstance(module, (*CONVOLUTIONS, nn.Linear, *RETURN_TUPLES)) or own


def _chooser(select: Any) -> Callable[[str, nn.Module], bool]:
    if select is None:
        return lambda name, module: True
    if isinstance(select, list) and select:
        if all(isinstance(item, type) for item in select):
            return lambda name, module: isinstance(module, tuple(select))
        if all(isinstance(item, str) for item in select):
            return lambda name, module: any(fnmatch.fnmatchcase(name, item) for item in select)
    elif callable(select):
        return select
    raise SelectionError(
        f"select={settings.said(select)} is not a type, a name pattern, a list of these, or a function"
    )


def _require_matches(listed: list[Any], rows: list[Row], norm_owner: dict[str, str]) -> None:
    for pattern in listed:
        if pattern in norm_owner:
            raise SelectionError(f"{pattern!r} is a norm and belongs to its convolution {norm_owner[pattern]!r}")
        if isinstance(pattern, str) and not any(fnmatch.fnmatchcase(row.name, pattern) for row in rows):
            raise SelectionError(_unknown(pattern, rows))
    if not any(row.wrapped for row in rows):
        reasons = "; ".join(f"{row.name}: {row.reason}" for row in rows[:4]) or "it has no layers with parameters"
        raise SelectionError(f"nothing in the model can carry dendrites ({reasons})")


def _unknown(pattern: str, rows: list[Row]) -> str:
    inside = any(row.name.startswith(f"{pattern}.") for row in rows)
    advice = f"for the layers inside it write '{pattern}.*'" if inside else "model.named_modules() lists the names"
    return f"no layer is called {pattern!r}; {advice}"


def _wrap(model: nn.Module, name: str, norm: str | None, rule: str, activation: str) -> None:
    neuron = model.get_submodule(name)
    training = neuron.training
    if norm is not None:
        neuron = nn.Sequential(neuron, moved := model.get_submodule(norm))
        model.set_submodule(norm, MovedNorm(f"{name}.neuron[1]", moved))
    layer = DendriticLayer(neuron, rule, activation)
    layer.training = neuron.training = training  # not train(): a norm that was put into eval mode by hand stays there
    model.set_submodule(name, layer)


class MovedNorm(nn.Identity):
    """What stands in the place of a norm that has gone into the layer with its convolution.

    `eval()` and `requires_grad_()` are passed on to it, as from a model that keeps its norms frozen.
    """

    def __init__(self, home: str, norm: nn.Module) -> None:
        super().__init__()
        self.home = home
        vars(self)["_norm"] = norm  # not as a part of its own, or its numbers would stand in two places

    def train(self, mode: bool = True) -> MovedNorm:
        if not mode:  # whether it trains is a question of the phase, which its layer answers
            self._norm.eval()
        return super().train(mode)

    def requires_grad_(self, requires_grad: bool = True) -> MovedNorm:
        self._norm.requires_grad_(requires_grad)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        norm = vars(self).get("_norm")
        if norm is not None and name in (*getattr(norm, "__constants__", ()), *norm._parameters, *norm._buffers):
            raise AttributeError(self._moved(name))
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        return f"now {self.home}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattr__(name)
        raise AttributeError(self._moved(name))

    def _moved(self, name: str) -> str:
        return f"this norm has moved, and its {name} with it: see {self.home}, behind its convolution"


def _within(value: Any, depth: int = 3) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, (list, tuple, dict)) and depth:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _within(inner, depth - 1)


class _Graph:
    """Which norm follows which convolution, and which modules are used in ways that rule dendrites out."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.uses = Counter(id(module) for module in self.modules.values())
        # What a module keeps for itself, where nobody who replaces a module looks for it.
        kept = [v for module in set(self.modules.values()) for name, v in vars(module).items() if name != "_modules"]
        self.held = {id(held) for value in kept for held in _within(value)}
        self.calls: Counter[str] = Counter()
        self.read: set[str] = set()  # modules whose parameters the network uses without calling them
        graphs = graphs_of(model)
        self.traced = bool(graphs)
        for graph in graphs:
            self.calls |= Counter(str(node.target) for node in graph.nodes if node.op == "call_module")  # the most
            self.read |= {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
        followers = [self._followers(graph) for graph in graphs] or [self._in_blocks()]
        self.norm_of = {
            conv: norm
            for conv in set().union(*followers)
            for norm in [self._norm({found[conv] for found in followers if conv in found}, conv)]
            if norm
        }
        self.norm_owner = {norm: conv for conv, norm in self.norm_of.items()}

    def _followers(self, graph: fx.Graph) -> dict[str, str]:
        """By module that is called, the one that alone takes its output; empty where it is not one module alone."""
        found = {}
        for node in (node for node in graph.nodes if node.op == "call_module"):
            users = list(node.users)
            alone = len(users) == 1 and users[0].op == "call_module"
            found[str(node.target)] = str(users[0].target) if alone else ""
        return found

    def _in_blocks(self) -> dict[str, str]:
        """What follows each convolution in building blocks: a Sequential of it, a norm and at most an activation and a
        dropout. Nobody takes such a block apart; a longer Sequential may be gone through child by child."""
        found = {}
        for path, parent in self.modules.items():
            children = [f"{path}.{child}".lstrip(".") for child, _ in parent.named_children()]
            plain = isinstance(parent, nn.Sequential) and type(parent).forward is nn.Sequential.forward
            if plain and 2 <= len(children) <= 4:
                rest = [self.modules[child] for child in children[2:]]
                if not any(True for module in rest for _ in module.parameters()):
                    found[children[0]] = children[1]
        return found

    def _norm(self, followers: set[str], conv: str) -> str:
        """The norm that belongs to a convolution which these were seen to follow; empty where there is none."""
        norm = next(iter(followers))
        if len(followers) > 1 or norm not in self.modules or {conv, norm} & self.read:
            return ""
        first, second = self.modules[conv], self.modules[norm]
        once = self.uses[id(first)] == self.uses[id(second)] == 1 and max(self.calls[conv], self.calls[norm]) <= 1
        once = once and not {id(first), id(second)} & self.held
        ours = type(second).__module__.startswith("torch.nn.")  # a subclass may do more, such as an activation
        if not (isinstance(first, CONVOLUTIONS) and isinstance(second, NORMS) and ours and once):
            return ""
        channels = second.num_channels if isinstance(second, nn.GroupNorm) else second.num_features
        return norm if channels == first.out_channels else ""

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
        if is_computed(module):
            return COMPUTED
        if id(module) in self.held:
            return (
                "also held in a plain list or dictionary, which would go on calling it; use nn.ModuleList or ModuleDict"
            )
        if len(inspect.signature(type(module).forward).parameters) > 2:  # the module itself, and its input
            return "its forward pass takes more than one input"
        return ""
