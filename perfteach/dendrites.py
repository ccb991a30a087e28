"""Dendrites: the layer that carries them, and the functions that act on all of a model's dendritic layers.

    a_k = D_k(x) + Σ_{j<k} u_kj ⊙ V_j        V_k = φ(a_k)        h' = N(x) + Σ_k w_k ⊙ V_k

N is a neuron module (a convolution with its norm, or a Linear), D_k a module of the same form with its own
weights, w_k and u_kj one number per neuron. `perfteach.selection.perforate` puts these layers into a model.
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from perfteach.correlation import Correlator
from perfteach.errors import ConfigError
from perfteach.phases import Phase

M = TypeVar("M", bound=nn.Module)

# What `rule=` may be, and the objective its dendrites maximise; "gradient" trains by plain backpropagation.
RULES: dict[str, dict[str, Any] | None] = {
    "perforated": {"objective": "correlation"},
    "covariance": {"objective": "covariance"},
    "shuffled": {"objective": "correlation", "shuffled": True},
    "gradient": None,
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,  # 0.5 at rest adds a constant offset; kept for comparison with the 1989 paper
    "relu": torch.relu,
    "hardswish": functional.hardswish,
    "gelu": functional.gelu,
    "identity": torch.clone,  # adds nothing that a neuron could not compute: the control of every score
}
ENOUGH_BATCHES = 40  # after which a norm of momentum 0.1 holds 1.5 % of its start values


class DendriticLayer(nn.Module):
    """A neuron module with K dendrites for each of its C neurons (output channels or features).

    Shapes: input and output are those of `neuron`. `weights[k]` is [C], `cascade[k - 1]` is [k, C].
    `dendrites[k]` has the neuron module's form and its own parameters.

    Args:
        neuron: Conv1d/2d/3d or Linear, or a Sequential of one of these and its norm.
        rule: "perforated" (scale-free correlation), "covariance", "shuffled" (control), or "gradient" (joint
            backpropagation: no dendrite phase, and errors do flow through the dendrites).
        activation: φ of the dendrites: "tanh", "sigmoid", "relu", "hardswish", "gelu" or "identity".

    Raises:
        ConfigError: for an unknown rule or activation, or a neuron module of another kind.
    """

    def __init__(self, neuron: nn.Module, rule: str = "perforated", activation: str = "tanh") -> None:
        super().__init__()
        if rule not in RULES:
            raise ConfigError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
        if activation not in ACTIVATIONS:
            raise ConfigError(f"unknown activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        core = neuron[0] if isinstance(neuron, nn.Sequential) else neuron
        if not isinstance(core, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            raise ConfigError(f"{type(core).__name__} cannot carry dendrites; Conv1d/2d/3d and Linear can")
        self.neuron = neuron
        self.dendrites = nn.ModuleList()
        self.weights = nn.ParameterList()
        self.cascade = nn.ParameterList()
        self.neurons = core.out_features if isinstance(core, nn.Linear) else core.out_channels
        self.space = 0 if isinstance(core, nn.Linear) else core.weight.dim() - 2  # spatial dimensions behind C
        self.rule, self.activation = rule, activation
        self.phase, self.thawed = Phase.NEURON, False
        self.fresh = False  # whether the newest dendrite is not in use yet: only such a one learns in a dendrite phase
        how = RULES[rule]
        self.correlator = None if how is None else Correlator(**how)
        self._heard: list[tuple[Tensor, Tensor]] = []  # V and E of each call of the layer, until `correlate`

    def add_dendrite(self) -> None:
        """Grow one dendrite per neuron, freshly initialised, with dendrite-to-neuron weights of zero.

        The output stays what it was, bit for bit, because the new dendrite enters it with weight zero.
        """
        like = next(self.neuron.parameters())
        dendrite = copy.deepcopy(self.neuron)
        for module in dendrite.modules():  # module by module: a norm's γ has to restart at one, not at random
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        if len(self.dendrites):
            self.cascade.append(nn.Parameter(like.new_zeros(len(self.dendrites), self.neurons)))
        self.dendrites.append(dendrite.requires_grad_(False))
        self.weights.append(nn.Parameter(like.new_zeros(self.neurons)))

    def remove_dendrite(self) -> None:
        """Take the newest dendrite away again; nothing happens where there is none."""
        if len(self.dendrites):
            k = len(self.dendrites) - 1
            del self.dendrites[k]
            self.weights = nn.ParameterList(list(self.weights)[:k])
            self.cascade = nn.ParameterList(list(self.cascade)[: max(k - 1, 0)])

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x as the neuron module takes it; returns its pre-activation with the dendrites' part added."""
        h: Tensor = self.neuron(x)
        if not len(self.dendrites):
            return h
        outputs = self.dendrite_outputs(x if self.rule == "gradient" else x.detach())  # detach: the perforation
        listening = self.phase is Phase.DENDRITE and self.fresh and torch.is_grad_enabled()
        for w, v in zip(self.weights, outputs[:-1] if listening else outputs, strict=False):
            h = h + (self._wide(w) * v).to(h.dtype)  # under autocast w * v would be float32 again
        return self._listen(h, outputs[-1]) if listening else h

    def dendrite_outputs(self, x: Tensor) -> list[Tensor]:
        """V_1 … V_K for the layer's input x, each of the neuron module's output shape."""
        outputs: list[Tensor] = []
        for k, dendrite in enumerate(self.dendrites):
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.learns(k)):
                a = dendrite(x)
                for j, v in enumerate(outputs):
                    a = a + self._wide(self.cascade[k - 1][j]) * v
                outputs.append(ACTIVATIONS[self.activation](a))
        return outputs

    def learns(self, k: int) -> bool:
        """Whether dendrite k is trained in the present phase."""
        if self.phase is Phase.DENDRITE:
            return self.fresh and k == len(self.dendrites) - 1
        return self.thawed or self.rule == "gradient"

    def _wide(self, per_neuron: Tensor) -> Tensor:
        return per_neuron.view(-1, *[1] * self.space)  # [C] -> [C, 1, 1], to broadcast over positions

    def _listen(self, h: Tensor, v: Tensor) -> Tensor:
        if not h.requires_grad:  # everything below is frozen: give the error somewhere to flow
            h = h + torch.zeros(1, dtype=h.dtype, device=h.device, requires_grad=True)
        # A hook, not a custom autograd function: the activation that follows may work in place.
        h.register_hook(lambda error: self._heard.append((v, error.detach())))
        return h

    def objective_gradient(self) -> list[tuple[Tensor, Tensor]]:
        """(V, ∂S/∂V) for each call of the layer since this was last asked, both of V's shape; empty without an error.

        A layer that is called twice, or gradients that are accumulated over several batches, give several pairs.
        Their places are pooled.
        """
        heard, self._heard = self._heard, []
        if not heard or self.correlator is None:
            return []
        rows = [(self._rows(v), self._rows(e)) for v, e in heard]
        v, e = rows[0] if len(rows) == 1 else (torch.cat(parts) for parts in zip(*rows, strict=True))
        parts = self.correlator.gradient(v, e).split([len(part) for part, _ in rows])
        return [(v, self._like(part, v)) for (v, _), part in zip(heard, parts, strict=True)]

    def _rows(self, x: Tensor) -> Tensor:
        """Neurons last, one row a place: [B, C, H, W] -> [B·H·W, C]; at least in single precision."""
        x = x.detach().movedim(x.dim() - 1 - self.space, -1)
        return x.to(torch.promote_types(x.dtype, torch.float32)).reshape(-1, self.neurons)

    def _like(self, rows: Tensor, v: Tensor) -> Tensor:
        channel = v.dim() - 1 - self.space
        return rows.view(v.movedim(channel, -1).shape).movedim(-1, channel).to(v.dtype)

    def train(self, mode: bool = True) -> DendriticLayer:
        """Like `Module.train`, but the norms of whatever is frozen in the present phase stay in eval mode."""
        super().train(mode)
        if self.phase is Phase.DENDRITE:
            self.neuron.eval()
        for k, dendrite in enumerate(self.dendrites):
            dendrite.train(mode and self.learns(k))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if not any(key.startswith(prefix) for key in state_dict):  # a partial state says nothing about this layer
            return
        # Runs before the children are loaded, so the layer can first grow to the number of dendrites that was saved.
        saved = sum(key.startswith(f"{prefix}weights.") for key in state_dict)
        while len(self.dendrites) < saved:
            self.add_dendrite()
        while len(self.dendrites) > saved:
            self.remove_dendrite()
        self.train(self.training)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_heard": []}  # graph tensors can be neither copied nor pickled

    def extra_repr(self) -> str:
        count = len(self.dendrites)
        grown = f"{count} dendrite{'s' * (count != 1)} each"
        return f"{self.neurons} neurons with {grown}, rule={self.rule}, phase={self.phase}"


def dendritic_layers(model: nn.Module) -> Iterator[tuple[str, DendriticLayer]]:
    """Name and module of every dendritic layer, in the order of definition."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, DendriticLayer))


def _require_layers(model: nn.Module) -> list[tuple[str, DendriticLayer]]:
    layers = list(dendritic_layers(model))
    if not layers:
        raise ConfigError("the model has no dendritic layers; call perforate(model) first")
    return layers


def add_dendrites(model: M, only: str | None = None) -> M:
    """Grow one dendrite per neuron in every dendritic layer; the model's function does not change.

    Args:
        only: restrict to layers whose name matches this pattern, as in "features.*".

    Raises:
        ConfigError: when the model has no dendritic layers, or none matches.
    """
    layers = [layer for name, layer in _require_layers(model) if only is None or fnmatch.fnmatchcase(name, only)]
    if not layers:
        raise ConfigError(f"no dendritic layer matches {only!r}; dendritic_layers(model) lists their names")
    for layer in layers:
        layer.add_dendrite()
        layer.train(layer.training)
    return model


def calibrate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Give the norms of new dendrites that will not learn the statistics of what they see.

    Dendrites that learn get them while they do. Without them a frozen random dendrite would be normalised by the
    norm's start values, and its output would be almost constant. The neurons and their norms stay as they are, and
    the model is left in eval mode.

    Args:
        batches: pairs of inputs [B, …] and labels, which are not used. They are gone through more than once where
            there are few of them: a norm of momentum 0.1 still holds a third of its start values after ten batches.
    """
    layers = [layer for _, layer in dendritic_layers(model) if len(layer.dendrites) and not layer.learns(-1)]
    if not layers:
        return
    model.eval()
    for layer in layers:
        layer.dendrites[-1].train()
    with torch.no_grad():
        seen = 0
        while seen < ENOUGH_BATCHES:
            before = seen
            for x, _ in batches:
                model(x)
                seen += 1
            if seen == before:  # an iterator is used up, or there is nothing
                break
    model.eval()


def remove_dendrites(model: M) -> M:
    """Take the newest dendrite of every layer away again."""
    for _, layer in dendritic_layers(model):
        layer.remove_dendrite()
    return model


def set_phase(model: M, phase: Phase | str, *, thaw: bool = False) -> M:
    """Put the model into training in a phase: who is trainable, and whose norms are in training mode.

    Call it where a training loop calls `model.train()`. In the neuron phase every parameter that was trainable
    when the model was perforated learns, and the weights w; in the dendrite phase only the newest dendrites.

    Args:
        phase: `Phase.NEURON` or `Phase.DENDRITE`.
        thaw: in the neuron phase, let the dendrites go on learning from their own neuron's error.

    Raises:
        ConfigError: for an unknown phase, a model that is not perforated, or a dendrite phase without new dendrites,
            under the gradient rule, which has none, or of a compiled model.
    """
    try:
        phase = Phase(phase)
    except ValueError:
        raise ConfigError(f"unknown phase {phase!r}; choose 'neuron' or 'dendrite'") from None
    layers = _require_layers(model)
    if phase is Phase.DENDRITE:
        if not any(_is_fresh(layer) for _, layer in layers):
            raise ConfigError("there is no new dendrite to train; call add_dendrites(model) first")
        if any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in model.modules()):
            raise ConfigError(
                "a compiled model has no dendrite phase, because errors are heard by hooks; run this phase on the "
                "model that you compiled, with which the compiled one shares its weights"
            )
        if any(layer.rule == "gradient" for _, layer in layers):
            raise ConfigError("the gradient rule trains dendrites together with the neurons; it has no dendrite phase")
    frozen = {
        f"{path}.{name}".removeprefix(".")
        for path, module in model.named_modules()  # the perforated model may stand inside a wrapper
        if "perforation" in vars(module)
        for name in vars(module)["perforation"].frozen
    }
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(phase is Phase.NEURON and name not in frozen)
    for _, layer in layers:
        layer.phase, layer.thawed, layer.fresh, layer._heard = phase, thaw, _is_fresh(layer), []
        for k, dendrite in enumerate(layer.dendrites):
            dendrite.requires_grad_(layer.learns(k))
        for k, u in enumerate(layer.cascade, start=1):
            u.requires_grad_(layer.learns(k))
    model.train(phase is Phase.NEURON)
    if phase is Phase.DENDRITE:
        for _, layer in layers:
            layer.train()  # only its newest dendrite, see DendriticLayer.train
            if layer.correlator:
                layer.correlator.start_epoch()
    return model


def set_training(model: nn.Module, phase: Phase, thaw: bool) -> None:
    """`set_phase` for a perforated model, plain `train()` for any other."""
    if any(dendritic_layers(model)):
        set_phase(model, phase, thaw=thaw)
    else:
        model.train()


def _is_fresh(layer: DendriticLayer) -> bool:
    """Whether the newest dendrite's weights w are still zero, so that leaving it out changes nothing."""
    return len(layer.weights) > 0 and not bool(layer.weights[-1].any())


def correlate(model: nn.Module) -> dict[str, float]:
    """After `loss.backward()` in a dendrite phase: give the newest dendrites their gradients (of −S).

    In half precision use bfloat16: a `GradScaler` would divide these gradients by a scale that they do not have.

    Returns:
        Mean |r| of each layer over the epoch so far.

    Raises:
        ConfigError: when no dendrite has heard an error.
    """
    follow_errors(model)
    return scores(model)


def follow_errors(model: nn.Module) -> None:
    """`correlate` without the scores, which cost time to compute after every batch.

    Raises:
        ConfigError: as `correlate`.
    """
    pairs = [pair for _, layer in dendritic_layers(model) for pair in layer.objective_gradient()]
    if not pairs:
        raise ConfigError(
            "no dendrite has heard an error; call correlate(model) after loss.backward(), in a dendrite phase"
        )
    torch.autograd.backward([v for v, _ in pairs], [-g for _, g in pairs])


def scores(model: nn.Module) -> dict[str, float]:
    """Mean |r| over the epoch so far of each layer that has met an error; empty outside a dendrite phase."""
    return {n: la.correlator.score for n, la in dendritic_layers(model) if la.correlator and la.correlator.epoch}


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The tensors that the present phase trains."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def dendrite_counts(model: nn.Module) -> dict[str, int]:
    """Number of dendrites per neuron in each dendritic layer."""
    return {name: len(layer.dendrites) for name, layer in dendritic_layers(model)}


def fold(model: M) -> M:
    """A copy for inference, in eval mode: every BatchNorm of a dendritic layer folded into its convolution.

    Norms without running statistics stay as they are. The copy computes the same function up to rounding, with fewer
    operations, and is not meant to be trained.
    """
    folded = copy.deepcopy(model).eval()
    for _, layer in dendritic_layers(folded):
        layer.neuron = _fused(layer.neuron)
        layer.dendrites = nn.ModuleList(_fused(dendrite) for dendrite in layer.dendrites)
    return folded


def _fused(neuron: nn.Module) -> nn.Module:
    norm = neuron[1] if isinstance(neuron, nn.Sequential) else None
    if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_mean is not None:
        convolution: Any = neuron.get_submodule("0")
        fused: nn.Module = nn.utils.fuse_conv_bn_eval(convolution, norm)
        return fused
    return neuron
