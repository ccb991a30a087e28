"""Dendritic layers: nothing changes when one grows, only the right tensors learn, no error leaks to earlier layers."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torchvision import models as zoo

from perfteach.correlation import Correlator
from perfteach.dendrites import (
    add_dendrites,
    calibrate,
    correlate,
    dendrite_counts,
    dendritic_layers,
    fold,
    scores,
    set_phase,
    trainable,
)
from perfteach.errors import ConfigError, SelectionError
from perfteach.layer import ACTIVATIONS, DendriticLayer
from perfteach.phases import Phase
from perfteach.selection import perforate


def small_cnn() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(inplace=True)),
        nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    return torch.randn(16, 3, 10, 10, generator=g), torch.randint(0, 4, (16,), generator=g)


def step(model: nn.Module, phase: Phase, thaw: bool = False, lr: float = 0.05) -> None:
    set_phase(model, phase, thaw=thaw)
    optimizer = torch.optim.SGD(trainable(model), lr=lr)
    x, y = batch()
    nn.functional.cross_entropy(model(x), y).backward()
    if phase is Phase.DENDRITE:
        correlate(model)
    optimizer.step()


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("train", [True, False])
def test_adding_a_dendrite_leaves_logits_bit_identical(train, activation):
    model = perforate(small_cnn(), activation=activation).train(train)
    twin = copy.deepcopy(model)
    x, _ = batch()
    before = twin(x)
    for _ in range(2):
        add_dendrites(model)
        assert torch.equal(copy.deepcopy(model)(x), before)
    assert dendrite_counts(model) == dict.fromkeys(["0.0", "1.0", "4"], 2)


def test_perforating_leaves_logits_bit_identical():
    plain = small_cnn()
    x, _ = batch()
    assert torch.equal(perforate(copy.deepcopy(plain)).eval()(x), plain.eval()(x))


def test_dendrite_phase_leaves_neurons_buffers_and_logits_bit_identical():
    model = perforate(small_cnn())
    for _ in range(3):
        step(model, Phase.NEURON)
    add_dendrites(model)
    for _ in range(3):
        step(model, Phase.NEURON)
    add_dendrites(model)
    x, _ = batch()
    before, logits = tensors(model), model.eval()(x)
    for _ in range(3):
        step(model, Phase.DENDRITE)
    assert torch.equal(model.eval()(x), logits)
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    newest = {name for name in before if ".dendrites.1." in name or ".cascade.0" in name}
    assert changed <= newest
    assert {name for name in newest if "weight" in name or "cascade" in name} <= changed
    set_phase(model, Phase.DENDRITE)
    assert torch.equal(model(x), logits), "in the dendrite phase the training-mode output is the eval output too"


def test_w_and_neurons_learn_in_the_neuron_phase_and_frozen_dendrites_do_not():
    model = add_dendrites(perforate(small_cnn()))
    step(model, Phase.DENDRITE)
    before = tensors(model)
    step(model, Phase.NEURON)
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert all(f"{layer}.weights.0" in changed for layer in ("0.0", "1.0", "4"))
    assert not any(".dendrites." in name for name in changed), "weights, norm statistics: all frozen"
    assert "0.0.neuron.0.weight" in changed and "0.0.neuron.1.running_mean" in changed


def test_thawed_dendrites_learn_in_the_neuron_phase():
    model = add_dendrites(perforate(small_cnn()))
    step(model, Phase.NEURON, thaw=True)  # w is zero: the dendrites' first gradient is zero
    before = tensors(model)
    step(model, Phase.NEURON, thaw=True)
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert {"0.0.dendrites.0.0.weight", "0.0.dendrites.0.1.running_mean", "4.dendrites.0.weight"} <= changed


@pytest.mark.parametrize("rule", ["perforated", "covariance", "gradient"])
@pytest.mark.parametrize("thaw", [False, True])
def test_no_error_reaches_an_earlier_layer_through_a_dendrite(rule, thaw):
    """The neuron's own path is cut by a zero weight, so the dendrite's is the only one left."""
    first, second = nn.Linear(5, 6), nn.Linear(6, 3)
    model = add_dendrites(perforate(nn.Sequential(first, nn.Tanh(), second), select="2", rule=rule))
    nn.init.zeros_(second.weight)
    layer = model[2]
    nn.init.ones_(layer.weights[0])
    set_phase(model, Phase.NEURON, thaw=thaw)
    model(torch.randn(7, 5)).square().sum().backward()
    leaked = 0.0 if first.weight.grad is None else float(first.weight.grad.abs().max())
    assert (leaked > 0) == (rule == "gradient")
    own = layer.dendrites[0].weight.grad
    assert (own is not None and bool(own.abs().max() > 0)) == (thaw or rule == "gradient")
    assert layer.weights[0].grad.abs().max() > 0


def test_the_first_gradient_of_a_jointly_trained_dendrite_is_zero():
    model = add_dendrites(perforate(nn.Sequential(nn.Linear(4, 3)), rule="gradient"))
    set_phase(model, Phase.NEURON)
    model(torch.randn(8, 4)).square().sum().backward()
    layer = model[0]
    assert torch.equal(layer.dendrites[0].weight.grad, torch.zeros(3, 4))
    assert layer.weights[0].grad.abs().max() > 0


def test_trainable_is_exactly_what_the_phase_trains():
    model = perforate(small_cnn())
    add_dendrites(add_dendrites(model))
    names = {id(p): name for name, p in model.named_parameters()}

    def learning(phase: Phase, **how: bool) -> set[str]:
        return {names[id(p)] for p in trainable(set_phase(model, phase, **how))}

    dendrites = {n for n in names.values() if ".dendrites." in n or ".cascade." in n}
    assert learning(Phase.NEURON) == set(names.values()) - dendrites
    assert learning(Phase.NEURON, thaw=True) == set(names.values())
    assert learning(Phase.DENDRITE) == {n for n in dendrites if ".dendrites.1." in n or ".cascade." in n}


def test_parameters_that_were_frozen_stay_frozen():
    model = small_cnn()
    model[0].requires_grad_(False)
    perforate(model)
    assert not any(p.requires_grad for p in set_phase(model, Phase.NEURON)[0].parameters())
    assert model[4].neuron.weight.requires_grad


def test_cascade_lets_a_later_dendrite_hear_an_earlier_one():
    layer = DendriticLayer(nn.Linear(3, 2))
    layer.add_dendrite()
    layer.add_dendrite()
    x = torch.randn(5, 3)
    nn.init.constant_(layer.cascade[0], 2.0)
    first, second = layer.dendrite_outputs(x)
    torch.testing.assert_close(first, torch.tanh(layer.dendrites[0](x)))
    torch.testing.assert_close(second, torch.tanh(layer.dendrites[1](x) + 2 * first))
    nn.init.constant_(layer.weights[0], 0.5)
    nn.init.constant_(layer.weights[1], -1.0)
    torch.testing.assert_close(layer(x), layer.neuron(x) + 0.5 * first - second)


def test_a_new_dendrite_has_a_norm_that_restarts_at_one():
    model = perforate(small_cnn())
    with torch.no_grad():
        model[0][0].neuron[1].weight.fill_(0.01)
    add_dendrites(model)
    assert torch.equal(model[0][0].dendrites[0][1].weight, torch.ones(8))
    assert not torch.equal(model[0][0].dendrites[0][0].weight, model[0][0].neuron[0].weight)


def test_user_train_call_keeps_frozen_norms_in_eval_mode():
    model = add_dendrites(perforate(small_cnn()))
    set_phase(model, Phase.NEURON).train()
    assert model[0][0].neuron[1].training and not model[0][0].dendrites[0][1].training
    set_phase(model, Phase.DENDRITE).train()
    assert not model[0][0].neuron[1].training and model[0][0].dendrites[0][1].training


def test_remove_dendrite_undoes_add():
    model = perforate(small_cnn())
    names = list(model.state_dict())
    add_dendrites(add_dendrites(model))
    for _, layer in dendritic_layers(model):
        for _ in range(3):
            layer.remove_dendrite()
    assert list(model.state_dict()) == names


def test_only_chosen_layers_grow():
    model = add_dendrites(perforate(small_cnn()), only="1.*")
    assert dendrite_counts(model) == {"0.0": 0, "1.0": 1, "4": 0}
    step(model, Phase.DENDRITE)
    assert set(scores(model)) == {"1.0"}


def test_fold_computes_the_same_with_fewer_modules():
    model = perforate(small_cnn())
    for _ in range(4):
        step(model, Phase.NEURON)
    add_dendrites(model)
    step(model, Phase.DENDRITE)
    step(model, Phase.NEURON)
    x, _ = batch()
    folded = fold(model)
    torch.testing.assert_close(folded(x), model.eval()(x), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


@pytest.mark.parametrize("rule", ["perforated", "gradient"])
def test_compiles_in_eval(rule):
    model = add_dendrites(perforate(small_cnn(), rule=rule)).eval()
    x, _ = batch()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(x), model(x))


def test_half_precision_errors_are_correlated_in_single_precision(monkeypatch):
    seen = set()
    gradient = Correlator.gradient

    def watched(self, *tensors):
        seen.update(tensor.dtype for tensor in tensors)
        return gradient(self, *tensors)

    monkeypatch.setattr(Correlator, "gradient", watched)
    model = set_phase(add_dendrites(perforate(small_cnn())), Phase.DENDRITE)
    x, y = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    correlate(model)
    assert seen == {torch.float32}
    assert all(torch.isfinite(p.grad).all() for p in trainable(model))


class ViTish(nn.Module):
    """Attention, a tuple-returning recurrent layer, and one Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.memory = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.attention(x, x, x)[0]
        return self.head(self.memory(x)[0].mean(1))


def reasons(model: nn.Module) -> dict[str, str]:
    return {row.name: row.reason for row in model.perforation.rows if not row.wrapped}


def test_what_cannot_be_wrapped_is_skipped_with_its_reason():
    model = perforate(ViTish())
    assert model.perforation.wrapped == ["head"]
    said = reasons(model)
    assert (
        "tuple" in said["attention"]
        and "tuple" in said["memory"]
        and "MultiheadAttention" in said["attention.out_proj"]
    )
    assert "tuple" in str(model.perforation) and "<table" in model.perforation._repr_html_()
    assert model(torch.randn(2, 5, 8)).shape == (2, 3)


def test_shared_lazy_and_parametrised_modules_are_skipped():
    shared = nn.Linear(4, 4)
    weird = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    model = perforate(nn.Sequential(shared, nn.ReLU(), shared, weird, nn.LazyLinear(3), nn.Linear(3, 2)))
    said = reasons(model)
    assert "shared" in said["0"] and "shared" in said["2"] and "lazy" in said["4"] and "parametrisation" in said["3"]
    assert model.perforation.wrapped == ["5"]


def test_a_module_called_twice_is_skipped():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(self.a(x)))

    assert "more than once" in reasons(perforate(Twice()))["a"]


@pytest.mark.parametrize("name", ["memory", "attention.out_proj", "nothing.here"])
def test_naming_a_layer_that_cannot_be_wrapped_is_an_error(name):
    with pytest.raises(SelectionError, match=name):
        perforate(ViTish(), select=name)


def test_select_by_type_pattern_list_and_predicate():
    assert perforate(small_cnn(), select=nn.Linear).perforation.wrapped == ["4"]
    assert perforate(small_cnn(), select=(nn.Conv2d, nn.Conv1d)).perforation.wrapped == ["0.0", "1.0"]
    assert perforate(small_cnn(), select="?.0").perforation.wrapped == ["0.0", "1.0"]
    assert perforate(small_cnn(), select=["0.0", "4"]).perforation.wrapped == ["0.0", "4"]
    depthwise = perforate(small_cnn(), select=lambda name, m: isinstance(m, nn.Conv2d) and m.groups > 1)
    assert depthwise.perforation.wrapped == ["1.0"]


def test_the_norm_is_found_by_use_and_not_by_name():
    """Defined in a misleading order: the graph says which norm follows which convolution."""

    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.norm_b, self.norm_a = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm_b(self.b(self.norm_a(self.a(x))))

    model = perforate(Crossed())
    assert {row.name: row.reason for row in model.perforation.rows} == {
        "a": "with its norm norm_a",
        "b": "with its norm norm_b",
    }


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: perforate(small_cnn(), rule="magic"), "rule is 'magic'"),
        (lambda: perforate(perforate(small_cnn())), "perforated already"),
        (lambda: perforate(nn.Linear(2, 2)), "nn.Sequential"),
        (lambda: perforate(nn.Sequential(nn.ReLU())), "nothing in the model"),
        (lambda: perforate(small_cnn(), select=3), "select=3"),
        (lambda: perforate(small_cnn(), activation="step"), "activation is"),
        (lambda: add_dendrites(nn.Linear(2, 2)), "call perforate"),
        (lambda: add_dendrites(perforate(small_cnn()), only="x"), "'x'"),
        (lambda: set_phase(perforate(small_cnn()), "dendrite"), "add_dendrites"),
        (lambda: set_phase(add_dendrites(perforate(small_cnn(), rule="gradient")), "dendrite"), "gradient rule"),
        (lambda: set_phase(perforate(small_cnn()), "axon"), "phase is 'axon'"),
        (lambda: DendriticLayer(nn.ReLU()), "cannot carry dendrites"),
    ],
)
def test_bad_input_gives_one_clear_error(call, says):
    with pytest.raises((ConfigError, SelectionError), match=says):
        call()


ZOO = {
    "resnet18": (lambda: zoo.resnet18(num_classes=5), 64, None),
    "vgg11_bn": (lambda: zoo.vgg11_bn(num_classes=5), 32, "features.*"),
    "mobilenet_v3_large": (lambda: zoo.mobilenet_v3_large(num_classes=5), 64, None),
    "efficientnet_b0": (lambda: zoo.efficientnet_b0(num_classes=5), 64, None),
    "convnext_tiny": (lambda: zoo.convnext_tiny(num_classes=5), 32, None),
    "vit_b_16": (lambda: zoo.vit_b_16(num_classes=5, image_size=32), 32, nn.Linear),
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 5)), 8, None),
}


@pytest.mark.parametrize("name", ZOO)
def test_works_on_well_known_networks(name):
    """Wrap, one step in both phases, save, and load into a fresh network."""
    make, size, select = ZOO[name]
    torch.manual_seed(0)
    model = make()
    x, y = torch.randn(4, 3, size, size), torch.tensor([0, 1, 2, 3])
    plain = copy.deepcopy(model).eval()(x).detach()
    perforate(model, select)
    assert torch.equal(model.eval()(x), plain)
    add_dendrites(model)
    for phase in (Phase.DENDRITE, Phase.NEURON):
        set_phase(model, phase)
        optimizer = torch.optim.SGD(trainable(model), lr=1e-4)
        before = [p.detach().clone() for p in trainable(model)]
        nn.functional.cross_entropy(model(x), y).backward()
        if phase is Phase.DENDRITE:
            heard = correlate(model)
            assert set(heard) == set(model.perforation.wrapped), "every layer met an error"
        optimizer.step()
        assert any(not torch.equal(a, b) for a, b in zip(before, trainable(model), strict=True))
    disk = io.BytesIO()
    torch.save(model.state_dict(), disk)
    disk.seek(0)
    fresh = perforate(make(), select)
    fresh.load_state_dict(torch.load(disk, weights_only=True))
    assert dendrite_counts(fresh) == dendrite_counts(model)
    assert torch.equal(fresh.eval()(x), model.eval()(x))
    assert all(isinstance(layer, DendriticLayer) for _, layer in dendritic_layers(fresh))


@pytest.mark.parametrize(("count", "mean", "deviation"), [(60, 3.0, 5.0), (4, 0.0, 0.5)])
def test_frozen_random_dendrites_are_normalised_by_what_they_see(count, mean, deviation):
    torch.manual_seed(0)
    model = perforate(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    add_dendrites(model)
    batches = [(mean + deviation * torch.randn(64, 2, 6, 6), torch.zeros(64)) for _ in range(count)]
    model.eval()
    (_, layer), *_ = dendritic_layers(model)
    calibrate(model, batches)
    with torch.no_grad():
        a = layer.dendrites[0](batches[0][0])
    assert a.mean((0, 2, 3)).abs().max() < 0.2 and (a.std((0, 2, 3)) - 1).abs().max() < 0.2
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the neurons stay as they are"
    assert not any(module.training for module in model.modules())


def test_calibrating_ends_when_the_batches_are_used_up():
    model = add_dendrites(perforate(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))))
    calibrate(model, iter([(torch.randn(8, 2, 6, 6), torch.zeros(8))]))
    calibrate(model, [])
    (_, layer), *_ = dendritic_layers(model)
    assert int(layer.dendrites[0][1].num_batches_tracked) == 1


def test_dendrites_that_learn_are_not_calibrated():
    model = add_dendrites(perforate(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)), rule="gradient"))
    (_, layer), *_ = dendritic_layers(model)
    calibrate(model, [(5 * torch.randn(8, 2, 6, 6), torch.zeros(8))])
    assert torch.equal(layer.dendrites[0][1].running_var, torch.ones(4))


# --- on somebody else's network


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def test_a_dendrite_in_use_stays_in_use_in_a_later_dendrite_phase():
    model = add_dendrites(perforate(mlp()))
    for _, layer in dendritic_layers(model):
        nn.init.ones_(layer.weights[0])
    add_dendrites(model, only="0")
    x = torch.randn(20, 3)
    before = model(x).detach()
    set_phase(model, "dendrite")
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)
    assert not [name for name, p in model.named_parameters() if p.requires_grad and name.startswith("2.")]
    with pytest.raises(ConfigError, match="no new dendrite"):
        set_phase(add_dendrites_in_use(mlp()), "dendrite")


def add_dendrites_in_use(model: nn.Module) -> nn.Module:
    add_dendrites(perforate(model))
    for _, layer in dendritic_layers(model):
        nn.init.ones_(layer.weights[0])
    return model


def test_a_refused_perforation_changes_nothing():
    model = small_cnn()
    before = model.state_dict().keys()
    with pytest.raises(ConfigError, match="softplus"):
        perforate(model, activation="softplus")
    assert model.state_dict().keys() == before and isinstance(model[0][1], nn.BatchNorm2d)


def test_what_the_owner_froze_stays_frozen_inside_a_wrapper():
    model = mlp()
    model[0].requires_grad_(False)
    wrapped = nn.Sequential(add_dendrites(perforate(model)))
    set_phase(wrapped, "neuron")
    assert not model[0].neuron.weight.requires_grad and model[2].neuron.weight.requires_grad


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        if float(x.sum()) > 1e9:  # cannot be traced, so nothing tells that the layer is called twice
            return x
        return self.shared(self.shared(x)[..., ::2, ::2]).mean((2, 3))


def test_every_call_of_a_layer_is_heard():
    torch.manual_seed(0)
    model = add_dendrites(perforate(Twice()))
    set_phase(model, "dendrite")
    model(torch.randn(4, 2, 6, 6)).square().sum().backward()
    correlate(model)
    assert model.shared.correlator.epoch.count == 4 * (36 + 9)
    assert model.shared.dendrites[0].weight.grad.abs().sum() > 0


def test_accumulated_batches_are_pooled():
    torch.manual_seed(0)
    whole, halves = (add_dendrites(perforate(mlp())) for _ in range(2))
    halves.load_state_dict(whole.state_dict())
    x = torch.randn(32, 3)
    for model, parts in ((whole, [x]), (halves, [x[:16], x[16:]])):
        set_phase(model, "dendrite")
        for part in parts:
            (model(part).square().sum() / 32).backward()
        correlate(model)
    for a, b in zip(trainable(whole), trainable(halves), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_correlate_without_an_error_says_so():
    model = add_dendrites(perforate(mlp()))
    for phase in ("neuron", "dendrite"):
        set_phase(model, phase)
        model(torch.randn(4, 3))
        with pytest.raises(ConfigError, match="heard"):
            correlate(model)


def test_a_compiled_model_has_no_dendrite_phase():
    model = torch.compile(add_dendrites(perforate(mlp())), backend="eager")
    set_phase(model, "neuron")
    with pytest.raises(ConfigError, match="compiled"):
        set_phase(model, "dendrite")


class ReadsWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        self.seen = x
        return self.second(nn.functional.linear(x, self.first.weight))


def test_a_weight_that_is_read_directly_carries_no_dendrites():
    model = perforate(ReadsWeight())
    assert model.perforation.wrapped == ["second"]
    assert "read directly" in str(model.perforation)
    assert not hasattr(model, "seen"), "the tracer's stand-ins are not left behind"
    encoder = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 2))
    assert perforate(encoder).perforation.wrapped == ["1"]
    encoder.eval()(torch.randn(2, 4, 8))


def test_a_norm_that_does_more_is_left_where_it_is():
    class NormAct(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    model = nn.Sequential(nn.Conv2d(3, 4, 3), NormAct(4), nn.Flatten())
    model.eval()
    x = torch.randn(2, 3, 6, 6)
    before = model(x)
    assert not isinstance(perforate(model)[0].neuron, nn.Sequential)
    torch.testing.assert_close(fold(add_dendrites(model))(x), before)


def test_a_partial_state_leaves_the_dendrites_alone():
    model = add_dendrites(perforate(mlp()))
    head = {name: value for name, value in model.state_dict().items() if name.startswith("2.")}
    model.load_state_dict(head, strict=False)
    assert dendrite_counts(model) == {"0": 1, "2": 1}


def test_a_norm_put_to_sleep_by_hand_stays_asleep():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).train()
    model[1].eval()
    x = torch.randn(8, 3, 6, 6)
    before = model(x)
    assert torch.equal(perforate(model)(x), before)


def test_pruned_layers_and_misnamed_norms_are_explained():
    model = mlp()
    prune.l1_unstructured(model[0], "weight", 0.5)
    assert perforate(model).perforation.wrapped == ["2"]
    with pytest.raises(SelectionError, match="belongs to its convolution"):
        perforate(small_cnn(), ["0.1"])
    with pytest.raises(SelectionError, match="no layer is called 'typo'"):
        perforate(mlp(), (name for name in ("0", "typo")))


def test_autocast_keeps_the_precision_of_the_layer():
    model, x = perforate(mlp()), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).dtype == add_dendrites(model)(x).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(64, 32, 16, 16), (64, 512)])
def test_the_quick_tanh_of_what_does_not_learn_equals_the_plain_one(shape):
    a = torch.cat([torch.linspace(-100, 100, 2**19), torch.linspace(-1, 1, 2**19)])[torch.randperm(2**20)]
    a = torch.cat([a, torch.tensor([math.inf, -math.inf, 0.0])])[-math.prod(shape) :].view(shape)
    before, tanh = a.clone(), ACTIVATIONS["tanh"]
    with torch.no_grad():
        quick = tanh(a)
    assert torch.equal(a, before), "the argument may be somebody's"
    assert (quick - torch.tanh(a)).abs().max() <= 2e-7
    assert not torch.equal(quick, torch.tanh(a)), "it is computed in another way"
    assert torch.equal(tanh(a), torch.tanh(a)), "where a gradient is wanted"
    with torch.no_grad():
        assert torch.equal(tanh(a[:1, :9]), torch.tanh(a[:1, :9])), "a few numbers"
        assert torch.equal(tanh(a.double()), torch.tanh(a.double()))
        assert tanh(torch.full(shape, math.nan)).isnan().all()


def test_a_network_answers_alike_with_and_without_gradients():
    model = add_dendrites(add_dendrites(perforate(small_cnn()), weight=0.5), weight=-0.5).eval()
    x = torch.randn(64, 3, 32, 32)
    with torch.no_grad():
        quick = model(x)
    for layer in (layer for _, layer in dendritic_layers(model)):
        layer.thawed = True  # its dendrites would learn, so they take the plain way
    assert torch.allclose(quick, model(x), atol=1e-5)
