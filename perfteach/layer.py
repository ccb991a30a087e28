"""The layer that carries dendrites.

    a_k = D_k(x) + Σ_{j<k} u_kj ⊙ V_j        V_k = φ(a_k)        h' = N(x) + Σ_k w_k ⊙ V_k

N is a neuron module (a convolution with its norm, or a Linear), D_k a module of the same form with its own
weights, w_k and u_kj one number per neuron. `perfteach.selection.perforate` puts these layers into a model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from perfteach import ranks, settings
from perfteach.correlation import Rule
from perfteach.errors import ConfigError
from perfteach.phases import Phase

MANY = 1 << 14  # numbers from which four passes over them take less time than one tanh


def _tanh(a: Any) -> Any:  # a tensor, or what `torch.fx` has in place of one
    """tanh a; for many numbers on a CPU 2 σ(2a) − 1, which is the same up to 2e-7.

    PyTorch's sigmoid takes a tenth of the time of its tanh there. Where a gradient is wanted, the additional passes
    backward cost what this saves.
    """
    traced = isinstance(a, fx.Proxy) or torch._C._get_tracing_state() or torch.compiler.is_compiling()
    if torch.is_grad_enabled() or traced or a.device.type != "cpu" or a.dtype != torch.float32 or a.numel() < MANY:
        return torch.tanh(a)
    return (2 * a).sigmoid_().mul_(2).sub_(1)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": _tanh,
    "sigmoid": torch.sigmoid,  # 0.5 at rest adds a constant offset; kept for comparison with the 1989 paper
    "relu": torch.relu,
    "hardswish": functional.hardswish,
    "gelu": functional.gelu,
    "identity": torch.clone,  # adds nothing that a neuron could not compute: the control of every score
}


# Hooks that a dendrite does not take over from its neuron: whoever listens to the neuron means the neuron.
OBSERVERS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
)


LEAVE = "leave the layer out with perforate's select"
COMPUTED = "its weight is computed by a parametrisation"


def is_computed(module: nn.Module) -> bool:
    """Whether a module's weight is made from other parameters, in the new way of torch or in the old one."""
    own = (key for key, _ in module.named_parameters(recurse=False))
    return is_parametrized(module) or any(key.endswith(("_g", "_orig")) for key in own)


def _around(name: str) -> str:
    return (
        f"a layer with dendrites has no {name} of its own: the neurons' is neuron.{name}, or neuron[0].{name} where a "
        f"norm follows; or {LEAVE}"
    )


def _form(neuron: nn.Module) -> nn.Module:
    """A copy of a neuron module without the hooks of those who listen to it, and without the graph of an output that
    it remembers: neither can be copied."""
    memo: dict[int, Any] = {}
    for module in neuron.modules():
        for name, value in vars(module).items():
            if name in OBSERVERS:
                memo[id(value)] = type(value)()
            elif isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach()
    return copy.deepcopy(neuron, memo)


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
        self.rule, self.activation = Rule.of(rule), settings.text("activation", activation, ACTIVATIONS)
        core = neuron[0] if isinstance(neuron, nn.Sequential) and len(neuron) else neuron
        if not isinstance(core, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            raise ConfigError(f"{type(core).__name__} cannot carry dendrites; Conv1d/2d/3d and Linear can")
        self.neuron = neuron
        self.dendrites = nn.ModuleList()
        self.weights = nn.ParameterList()
        self.cascade = nn.ParameterList()
        self.neurons = core.out_features if isinstance(core, nn.Linear) else core.out_channels
        self.space = 0 if isinstance(core, nn.Linear) else core.weight.dim() - 2  # spatial dimensions behind C
        self.phase, self.thawed = Phase.NEURON, False
        self.fresh = False  # whether the newest dendrite is not in use yet: only such a one learns in a dendrite phase
        self.correlator = self.rule.correlator()
        self._heard: list[list[Tensor]] = []  # V and E of each call of the layer, until `correlate`
        self.listens = False  # whether a call of the layer waits for its error

    def add_dendrite(self, weight: float = 0.0) -> None:
        """Grow one dendrite per neuron, freshly initialised.

        Args:
            weight: what the dendrite-to-neuron weights w start from. With zero the output stays what it was, bit for
                bit; another number is for dendrites that grow before training and learn beside their neurons.

        Raises:
            ConfigError: when the neurons' weight has come to be computed by a parametrisation.
        """
        if any(is_computed(module) for module in self.neuron.modules()):  # it has no start of its own to draw anew
            raise ConfigError(f"{COMPUTED}, which dendrites cannot start from; remove it before they grow")
        like = next(self.neuron.parameters())
        with torch.inference_mode(False):  # what is made in inference mode could never learn
            dendrite = _form(self.neuron)
            for module in dendrite.modules():  # module by module: a norm's γ has to restart at one, not at random
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
            if len(self.dendrites):
                self.cascade.append(nn.Parameter(like.new_zeros(len(self.dendrites), self.neurons)))
            self.dendrites.append(dendrite.requires_grad_(False))
            self.weights.append(nn.Parameter(like.new_full((self.neurons,), weight)))

    def remove_dendrite(self) -> None:
        """Take the newest dendrite away again; nothing happens where there is none."""
        if len(self.dendrites):
            k = len(self.dendrites) - 1
            del self.dendrites[k]
            self.weights = nn.ParameterList(list(self.weights)[:k])
            self.cascade = nn.ParameterList(list(self.cascade)[: max(k - 1, 0)])

    def forward(self, input: Tensor) -> Tensor:
        """Shapes: as the neuron module takes its input; returns its pre-activation with the dendrites' part added."""
        h: Any = self.neuron(input)
        if not len(self.dendrites):
            return h
        if isinstance(h, tuple):
            raise ConfigError(f"{type(self.neuron).__name__} returns a tuple, and a dendrite needs one tensor; {LEAVE}")
        if isinstance(h, Tensor) and h.shape[h.dim() - 1 - self.space] != self.neurons:
            shape, place = tuple(h.shape), h.dim() - 1 - self.space
            raise ConfigError(
                f"its output has shape {shape}, which are not {self.neurons} neurons in dimension {place}; {LEAVE}"
            )
        x = input.detach() if self.rule.has_dendrite_phase else input  # detach: the perforation
        outputs = self.dendrite_outputs(x)
        listening = self.phase is Phase.DENDRITE and self.fresh and torch.is_grad_enabled()
        for w, v in zip(self.weights, outputs[:-1] if listening else outputs, strict=False):
            # One pass over the maps. Under autocast the product would be float32 again.
            h = torch.addcmul(h, self._wide(w).to(h.dtype), v.to(h.dtype))
        return self._listen(h, outputs[-1]) if listening else h

    def dendrite_outputs(self, x: Tensor) -> list[Tensor]:
        """V_1 … V_K for the layer's input x, each of the neuron module's output shape."""
        outputs: list[Tensor] = []
        for k, dendrite in enumerate(self.dendrites):
            learns = torch.is_grad_enabled() and self.learns(k)
            with torch.set_grad_enabled(learns):
                a = dendrite(x)
                for j, v in enumerate(outputs):
                    a = a + self._wide(self.cascade[k - 1][j]) * v
                outputs.append(ACTIVATIONS[self.activation](a))
        return outputs

    @property
    def has_new_dendrite(self) -> bool:
        """Whether the newest dendrite's weights w are still zero, so that leaving it out changes nothing."""
        return len(self.weights) > 0 and not bool(self.weights[-1].any())

    def enter(self, phase: Phase, thaw: bool) -> None:
        """Begin a phase: say which of the dendrites learn, and forget what the last one heard."""
        self.phase, self.thawed, self.fresh = phase, thaw, self.has_new_dendrite
        self._heard, self.listens = [], False
        for k, dendrite in enumerate(self.dendrites):
            dendrite.requires_grad_(self.learns(k))
        for k, u in enumerate(self.cascade, start=1):
            u.requires_grad_(self.learns(k))
        if phase is Phase.DENDRITE and self.correlator:
            self.correlator.start_epoch()

    def learns(self, k: int) -> bool:
        """Whether dendrite k is trained in the present phase."""
        if self.phase is Phase.DENDRITE:
            return self.fresh and k == len(self.dendrites) - 1
        return self.thawed or not self.rule.has_dendrite_phase

    def _wide(self, per_neuron: Tensor) -> Tensor:
        return per_neuron.view(-1, *[1] * self.space)  # [C] -> [C, 1, 1], to broadcast over positions

    def _listen(self, h: Tensor, v: Tensor) -> Tensor:
        if not h.requires_grad:  # everything below is frozen: give the error somewhere to flow
            h = h + torch.zeros(1, dtype=h.dtype, device=h.device, requires_grad=True)
        elif h._is_view():  # an activation that works in place would give a view another history, without the hook
            h = h.clone()
        self.listens = True
        heard: list[Tensor] = []

        def hear(error: Tensor | None) -> None:
            if error is None:  # what follows has no gradient for it
                return
            if any(pair is heard for pair in self._heard):  # a second loss, with a backward pass of its own
                heard[1] = heard[1] + error.detach()
            else:
                heard[:] = [v, error.detach()]
                self._heard.append(heard)

        # A hook, not a custom autograd function: the activation that follows may work in place.
        h.register_hook(hear)
        return h

    def objective_gradient(self) -> list[tuple[Tensor, Tensor]]:
        """(V, ∂S/∂V) for each call of the layer since this was last asked, both of V's shape; empty without an error.

        A layer that is called twice, or gradients that are accumulated over several batches, give several pairs.
        Their places are pooled. The errors that several backward passes bring to one call are added up.
        """
        heard, self._heard, self.listens = self._heard, [], False
        if not heard or self.correlator is None:
            if self.correlator and self.fresh and ranks.count() > 1:  # another rank may have heard, and waits for all
                self.correlator.gradient(*self.weights[-1].detach().new_zeros(2, 0, self.neurons))
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
            dendrite.train(mode and (self.learns(k) or self._wiped(k)))
        return self

    def _wiped(self, k: int) -> bool:
        """Whether dendrite k is in use and its norm has no statistics: `torch.optim.swa_utils.update_bn` resets all
        norms, and counts on `train()` to have them filled again."""
        norms = (m for m in self.dendrites[k].modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        counts = (norm.num_batches_tracked for norm in norms)
        empty = any(count is not None and not count.is_meta and not count for count in counts)
        return empty and bool(self.weights[k].any())

    def __getattr__(self, name: str) -> Any:
        """What the layer lacks is looked up in its neuron module, so that `layer.padding` still answers.

        Its `weight` and `bias` are not: whoever reads them would go around the dendrites.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            core = vars(self).get("_modules", {}).get("neuron")
            core = core[0] if isinstance(core, nn.Sequential) else core
            if core is None or name.startswith("_"):
                raise
            if core._parameters.get(name, 0) is None:  # a layer without a bias says so
                return None
            if name in core._parameters:
                raise AttributeError(_around(name)) from None
            return getattr(core, name)

    def __setattr__(self, name: str, value: Any) -> None:
        neuron = vars(self).get("_modules", {}).get("neuron")
        core = neuron[0] if isinstance(neuron, nn.Sequential) else neuron
        if name in ("weight", "bias", *getattr(core, "__constants__", ())):  # it would be nobody's
            raise AttributeError(_around(name))
        super().__setattr__(name, value)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination._metadata.get(prefix[:-1], {})["activation"] = self.activation

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, about: dict[str, Any], *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, about, *args)
        if (saved := about.get("activation", self.activation)) != self.activation:
            args[-1].append(
                f"{prefix[:-1]}: its dendrites were saved with φ = {saved}; give perforate activation={saved!r}"
            )
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
        return self.__dict__ | {"_heard": [], "listens": False}  # graph tensors can be neither copied nor pickled

    def extra_repr(self) -> str:
        count = len(self.dendrites)
        grown = f"{count} dendrite{'s' * (count != 1)} each"
        return f"{self.neurons} neurons with {grown}, rule={self.rule}, phase={self.phase}"
