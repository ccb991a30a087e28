"""What is done to all dendritic layers of a model at once: grow, choose who learns, correlate, count, fold."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from perfteach import ranks, settings
from perfteach.errors import ConfigError
from perfteach.layer import DendriticLayer, is_computed
from perfteach.phases import Phase

M = TypeVar("M", bound=nn.Module)

FROZEN = "_frozen_before"  # where a model remembers what was frozen outside its perforated part
ENOUGH_BATCHES = 40  # after which a norm of momentum 0.1 holds 1.5 % of its start values


def dendritic_layers(model: nn.Module) -> Iterator[tuple[str, DendriticLayer]]:
    """Name and module of every dendritic layer, in the order of definition."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, DendriticLayer))


def _require_layers(model: nn.Module) -> list[tuple[str, DendriticLayer]]:
    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    layers = list(dendritic_layers(model))
    if not layers:
        raise ConfigError("the model has no dendritic layers; call perforate(model) first")
    return layers


def add_dendrites(model: M, only: str | None = None, *, weight: float = 0.0) -> M:
    """Grow one dendrite per neuron in every dendritic layer; the model's function does not change.

    Args:
        only: restrict to layers whose name matches this pattern, as in "features.*".
        weight: what the weights w of the new dendrites start from; the function changes with another than zero.

    Raises:
        ConfigError: when the model has no dendritic layers, or none matches.
    """
    if only is not None:
        settings.text("only", only)
    weight = settings.number("weight", weight)
    layers = [layer for name, layer in _require_layers(model) if only is None or fnmatch.fnmatchcase(name, only)]
    if not layers:
        raise ConfigError(f"no dendritic layer matches {only!r}; dendritic_layers(model) lists their names")
    for layer in layers:
        layer.add_dendrite(weight)
        layer.train(layer.training)
    return model


def calibrate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Give the norms of new dendrites that will not learn the statistics of what they see.

    Normalised by the norm's start values, the output of a frozen random dendrite would be almost constant. The neurons
    and their norms stay as they are, and the model is left in eval mode.

    Args:
        batches: pairs of inputs [B, …] and labels, which are not used; few of them are gone through more than once.
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


def set_phase(model: M, phase: Phase | str, *, thaw: bool = False) -> M:
    """Put the model into training in a phase: who is trainable, and whose norms are in training mode.

    Call it once an epoch, where a training loop calls `model.train()`: each call begins the scores of a dendrite phase
    anew. In the neuron phase every parameter that was trainable when the model was perforated learns, and the weights
    w; in the dendrite phase only the newest dendrites. What lies outside the perforated part learns if it was trainable
    at the first call.

    In the dendrite phase the whole model is in eval mode but for the newest dendrites, so that its function stands
    still. A network that answers otherwise in eval mode, without its auxiliary outputs for instance, does so then, too.

    Args:
        phase: `Phase.NEURON` or `Phase.DENDRITE`.
        thaw: in the neuron phase, let the dendrites go on learning from their own neuron's error.

    Raises:
        ConfigError: for an unknown phase, a model that is not perforated, or a dendrite phase without new dendrites,
            under the gradient rule, which has none, or of a compiled model.
    """
    phase = Phase(settings.text("phase", phase, [phase.value for phase in Phase]))
    layers, thaw = _require_layers(model), settings.flag("thaw", thaw)
    if phase is Phase.DENDRITE:
        if not any(layer.has_new_dendrite for _, layer in layers):
            raise ConfigError("there is no new dendrite to train; call add_dendrites(model) first")
        require_hooks(model)
        if not all(layer.rule.has_dendrite_phase for _, layer in layers):
            raise ConfigError("the gradient rule trains dendrites together with the neurons; it has no dendrite phase")
    frozen = _frozen_before(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(phase is Phase.NEURON and name not in frozen)
    for _, layer in layers:
        layer.enter(phase, thaw)
    set_modes(model, phase)
    return model


def set_modes(model: nn.Module, phase: Phase) -> None:
    """The part of `set_phase` that may be repeated within an epoch: which modules are in training mode."""
    model.train(phase is Phase.NEURON)
    if phase is Phase.DENDRITE:
        for _, layer in dendritic_layers(model):
            layer.train()  # only its newest dendrite, see DendriticLayer.train


def require_hooks(model: nn.Module) -> None:
    """Refuse a model whose hooks do not see errors.

    Raises:
        ConfigError: for a compiled model.
    """
    if any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in model.modules()):
        raise ConfigError(
            "a compiled model has no dendrite phase, because errors are heard by hooks; run this phase on the "
            "model that you compiled, with which the compiled one shares its weights"
        )


def _frozen_before(model: nn.Module) -> set[str]:
    """Names of the parameters that were frozen when the model was perforated, and stay so.

    The perforated model may stand inside a larger one, of which that is first asked here, and remembered.
    """
    known = {
        path: vars(module)["perforation"].frozen if "perforation" in vars(module) else vars(module)[FROZEN]
        for path, module in model.named_modules()
        if "perforation" in vars(module) or FROZEN in vars(module)
    }
    if "" not in known:
        parts = tuple(f"{path}." for path in known)
        outside = ((name, p) for name, p in model.named_parameters() if not name.startswith(parts))
        vars(model)[FROZEN] = known[""] = frozenset(name for name, p in outside if not p.requires_grad)
    return {f"{path}.{name}".removeprefix(".") for path, frozen in known.items() for name in frozen}


def set_training(model: nn.Module, phase: Phase, thaw: bool) -> None:
    """`set_phase` for a perforated model, plain `train()` for any other."""
    if any(dendritic_layers(model)):
        set_phase(model, phase, thaw=thaw)
    else:
        model.train()


def correlate(model: nn.Module) -> dict[str, float]:
    """After `loss.backward()` in a dendrite phase: give the newest dendrites their gradients (of −S).

    In half precision use bfloat16: a `GradScaler` would divide these gradients by a scale that they do not have.

    Returns:
        Mean |r| of each layer over the epoch so far.

    Raises:
        ConfigError: when layers with new dendrites were called, and none of them has heard an error.
    """
    follow_errors(model)
    return scores(model)


def follow_errors(model: nn.Module) -> bool:
    """`correlate` without the scores, which cost time to compute after every batch; returns whether an error was heard.

    Raises:
        ConfigError: as `correlate`.
    """
    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    layers = [layer for _, layer in dendritic_layers(model)]
    # A batch may pass none of them, as where a network has several heads.
    due = any(layer.listens for layer in layers) or not any(layer.phase is Phase.DENDRITE for layer in layers)
    pairs = [pair for layer in layers for pair in layer.objective_gradient()]
    if due and not pairs and ranks.count() == 1:
        raise ConfigError(
            "no dendrite has heard an error; call correlate(model) after loss.backward(), in a dendrite phase"
        )
    if pairs:
        torch.autograd.backward([v for v, _ in pairs], [g.neg_() for _, g in pairs])
    ranks.add_up_gradients(trainable(model))
    return bool(pairs)


def scores(model: nn.Module) -> dict[str, float]:
    """Mean |r| over the epoch so far of each layer that has met an error; empty outside a dendrite phase."""
    return {n: la.correlator.score for n, la in dendritic_layers(model) if la.correlator and la.correlator.epoch}


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The tensors that the present phase trains."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def dendritic(model: nn.Module) -> set[nn.Parameter]:
    """The tensors of all dendrites, and their u; the weights w belong to the neurons."""
    parts = (part for _, layer in dendritic_layers(model) for part in (layer.dendrites, layer.cascade))
    return {parameter for part in parts for parameter in part.parameters()}


def dendrite_counts(model: nn.Module) -> dict[str, int]:
    """Number of dendrites per neuron in each dendritic layer."""
    return {name: len(layer.dendrites) for name, layer in dendritic_layers(model)}


def fold(model: M) -> M:
    """A copy for inference, in eval mode: every BatchNorm of a dendritic layer folded into its convolution.

    Norms without running statistics stay as they are, and so do those behind a convolution of one's own making, which
    need not multiply by its weights as they stand, or behind one whose weights are computed. The copy computes the same
    function up to rounding, with fewer operations, and is not meant to be trained.
    """
    settings.a(nn.Module, "model", model, "a torch.nn.Module")
    folded = copy.deepcopy(model).eval()
    for _, layer in dendritic_layers(folded):
        layer.neuron = _fused(layer.neuron)
        layer.dendrites = nn.ModuleList(_fused(dendrite) for dendrite in layer.dendrites)
    return folded


def _fused(neuron: nn.Module) -> nn.Module:
    norm = neuron[1] if isinstance(neuron, nn.Sequential) else None
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
        return neuron
    convolution: Any = neuron.get_submodule("0")
    if is_computed(convolution) or not type(convolution).__module__.startswith(("torch.nn.", "perfteach.")):
        return neuron
    fused: nn.Module = nn.utils.fuse_conv_bn_eval(convolution, norm)
    return fused
