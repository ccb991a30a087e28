"""Networks and loops as other people write them: nothing goes wrong without a word."""

from __future__ import annotations

import copy
import random
import threading
from collections import OrderedDict, deque

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.nn.functional import cross_entropy, l1_loss, linear, mse_loss
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint as recompute

from perfteach import DendriteCycle, FixedSwitch, PerforatedTrainer, TrainConfig, checkpoint, data, perforate
from perfteach.dendrites import add_dendrites, correlate, dendritic_layers, fold, scores, set_phase
from perfteach.errors import CheckpointError, ConfigError, SelectionError
from perfteach.phases import Phase


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def regression(rows: int = 256) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    x = torch.randn(rows, 3)
    return perforate(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))), x, x.prod(1, keepdim=True)


def in_dendrite_phase() -> tuple[DendriteCycle, torch.Tensor, torch.Tensor]:
    model, x, y = regression()
    cycle = DendriteCycle(model, FixedSwitch((1, 1), dendrite=2), roll_back=False)
    cycle.step(0.1)
    return cycle, x, y


def test_train_once_a_batch_leaves_the_scores_as_train_once_an_epoch_does():
    found = []
    for often in (False, True):
        torch.manual_seed(1)
        cycle, x, y = in_dendrite_phase()
        optimizer = torch.optim.SGD(cycle.parameters(), lr=0.05)
        cycle.train()
        for start in range(0, 256, 32):
            if often:
                cycle.model.eval()
                cycle.train()
            optimizer.zero_grad()
            mse_loss(cycle.model(x[start : start + 32]), y[start : start + 32]).backward()
            cycle.follow()
            optimizer.step()
        found.append((scores(cycle.model), [p.detach().clone() for p in cycle.parameters()]))
        cycle.step()
        cycle.train()
        assert scores(cycle.model) == {}, "a new epoch begins its scores anew"
    (one, learned), (other, as_well) = found
    assert one == other and all(map(torch.equal, learned, as_well))


def test_a_constant_error_or_output_has_no_correlation():
    for seed in range(6):
        torch.manual_seed(seed)
        model = add_dendrites(perforate(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))))
        set_phase(model, Phase.DENDRITE)
        x = torch.randn(500, 3)
        far = 20 + x.sum(1, keepdim=True).expand(-1, 4)  # every answer is below its target, so the errors are equal
        for start in range(0, 500, 100):
            l1_loss(model(x[start : start + 100]), far[start : start + 100]).backward()
            found = correlate(model)
        assert found["2"] == 0 and 0 <= found["0"] <= 1


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, to_a: torch.Tensor) -> torch.Tensor:
        y = x.new_zeros(len(x), 2)
        y[to_a] = self.a(x[to_a])
        y[~to_a] = self.b(x[~to_a])
        return y


def test_a_layer_called_without_rows_learns_nothing_from_that_batch():
    model = perforate(Experts())
    set_phase(add_dendrites(model), Phase.DENDRITE)
    x, y, to_a = torch.randn(32, 3), torch.randn(32, 2), torch.rand(32) > 0.5
    for chosen in (torch.zeros(32, dtype=torch.bool), to_a):
        model.zero_grad()
        mse_loss(model(x, chosen), y).backward()
        correlate(model)
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert all(0 < score <= 1 for score in scores(model).values())


class Standardised(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), self.bias)


def test_fold_leaves_a_convolution_of_ones_own_as_it_is():
    model = nn.Sequential(Standardised(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    x = torch.randn(8, 1, 8, 8)
    for _ in range(30):
        model(x * 3 + 1)
    add_dendrites(perforate(model), weight=0.5)
    folded = fold(model)
    torch.testing.assert_close(folded(x), model.eval()(x), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == 2, "the other pair is folded"


def test_update_bn_fills_the_norms_of_frozen_dendrites_again():
    model = perforate(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)))
    set_phase(add_dendrites(model), Phase.DENDRITE)
    x, y = 2 * torch.randn(32, 1, 8, 8) + 1, torch.randint(0, 2, (32,))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        correlate(model)
        optimizer.step()
    for _, layer in dendritic_layers(model):
        layer.weights[0].data.fill_(1.0)
    set_phase(model, Phase.NEURON)
    for _ in range(60):
        model(x)  # the neurons' own norms have met the same images
    before = model.eval()(x)
    update_bn([x] * 20, model.train())
    torch.testing.assert_close(model.eval()(x), before, rtol=0.05, atol=0.05)


def test_a_network_without_numbers_grows_and_is_counted():
    with torch.device("meta"):
        model = perforate(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)))
        add_dendrites(add_dendrites(model)).train()
    assert [len(layer.dendrites) for _, layer in dendritic_layers(model)] == [2]


def test_what_is_frozen_outside_the_perforated_part_stays_frozen():
    net = nn.ModuleDict({"backbone": nn.Linear(2, 2), "neck": nn.Linear(2, 2), "head": nn.Sequential(nn.Linear(2, 2))})
    net["backbone"].requires_grad_(False)
    perforate(net["head"])
    cycle = DendriteCycle(net, FixedSwitch((1, 1), dendrite=1))
    for phase, free in ((Phase.NEURON, True), (Phase.DENDRITE, False), (Phase.NEURON, True)):
        if phase is Phase.DENDRITE:
            add_dendrites(net)
        set_phase(nn.Sequential(cycle.model) if phase is Phase.NEURON else net, phase)
        assert not net["backbone"].weight.requires_grad
        assert net["neck"].weight.requires_grad is free


def test_geometry_is_answered_and_weights_are_not():
    model = perforate(nn.Sequential(nn.Conv1d(2, 3, 3, padding=2), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 4)))
    layer, head = model[0], model[3]
    assert layer.padding == (2,) and layer.out_channels == 3 and head.in_features == 9
    assert not hasattr(head, "weight") and not hasattr(head, "no_such_thing")
    with pytest.raises(AttributeError, match=r"is neuron\.weight"):
        _ = head.weight
    with pytest.raises(AttributeError, match="select"):
        head.weight = nn.Parameter(torch.zeros(4, 9))
    with pytest.raises(AttributeError, match=r"0\.neuron\[1\]"):
        _ = model[1].running_mean


class ReadsItsNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.bn = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.c(x)) * self.bn.weight.mean()


def test_a_norm_that_is_read_stays_where_it_is():
    model = perforate(ReadsItsNorm())
    assert model.perforation.rows[0].reason == "" and isinstance(model.bn, nn.BatchNorm2d)
    assert model(torch.randn(2, 1, 5, 5)).shape == (2, 2, 3, 3)


class Tapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        )
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if x.shape[0] > 100:  # cannot be traced
            raise ValueError("too many")
        tap = self.features[0](x)
        return tap, self.block(self.features[1:](tap))


def test_only_blocks_are_joined_with_their_norm_where_tracing_fails():
    model, x = Tapped().eval(), torch.randn(2, 1, 8, 8)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(1, 2)
    before = model(x)
    after = perforate(model)(x)
    assert all(map(torch.equal, before, after))
    reasons = {row.name: row.reason for row in model.perforation.rows if row.wrapped}
    assert reasons == {
        "features.0": "",
        "features.3": "",
        "block.0": "with its norm block.1, by its place in a block: forward cannot be traced",
    }


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out, self.aux, self.seen = nn.Linear(2, 3), nn.Linear(3, 1), [], {"first": 1}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.fc(x)
        self.aux.append(h)
        self.seen["last"] = h
        return self.out(h)


def test_tracing_leaves_nothing_behind():
    model = Keeps()
    aux, drawn, state = model.aux, random.getstate(), torch.get_rng_state()
    perforate(model)
    assert model.aux is aux and aux == [] and model.seen == {"first": 1}
    assert random.getstate() == drawn and torch.equal(torch.get_rng_state(), state)


class Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.bn = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.training and random.random() < 0.5 else x + self.bn(self.c(x)).relu()


def test_what_is_joined_does_not_depend_on_chance_or_mode():
    for seed in range(4):
        random.seed(seed)
        model = perforate(nn.Sequential(*[Skips() for _ in range(4)]).train(seed % 2 == 0))
        assert [row.reason for row in model.perforation.rows] == [f"with its norm {k}.bn" for k in range(4)]


def test_several_losses_with_backward_passes_of_their_own_make_one_error():
    found = []
    for apart in (False, True):
        torch.manual_seed(2)
        model, x, y = regression()
        set_phase(add_dendrites(model), Phase.DENDRITE)
        out = model(x)
        a, b = mse_loss(out, y), out.abs().mean()
        if apart:
            a.backward(retain_graph=True)
            b.backward()
        else:
            (a + b).backward()
        found.append((correlate(model), [p.grad for p in model.parameters() if p.requires_grad]))
    (together, gradients), (apart, others) = found
    assert together == pytest.approx(apart, rel=1e-6)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other)


def test_a_hook_on_a_neuron_does_not_hear_its_dendrites():
    model, seen = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    add_dendrites(perforate(model))
    x = torch.randn(2, 3)
    model(x)
    neuron = model[0].neuron
    assert len(seen) == 1 and torch.equal(seen[0], linear(x, neuron.weight, neuron.bias))


def test_an_averaged_model_is_taken_for_what_it_averages():
    stale = AveragedModel(nn.Linear(2, 2))
    model, _, _ = regression()
    other = DendriteCycle(model, FixedSwitch((2, 2), dendrite=1))
    average = AveragedModel(model)
    with torch.no_grad():
        average.module[0].neuron.weight.fill_(7.0)
    other.step(0.5, average)
    assert other.best is not None and bool((other.best.state["0.neuron.weight"] == 7).all())
    with pytest.raises(ConfigError, match="new average"):
        other.step(0.6, stale)


class Counts(nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


def test_extra_state_is_kept_in_memory_and_refused_in_a_file(tmp_path):
    model = perforate(nn.Sequential(Counts(2, 2), nn.Linear(2, 2)))
    cycle = DendriteCycle(model, FixedSwitch((1,), 0), cycles=0)
    cycle.step(0.5)
    assert cycle.finished
    images = data.load("synthetic10").subset(100, validation=50, test=50)
    flat = nn.Sequential(nn.Flatten(), Counts(3 * 32 * 32, 10))
    trainer = PerforatedTrainer(
        flat, images, TrainConfig(switch=FixedSwitch((1,), 0), cycles=0, batch_size=50), folder=tmp_path / "run"
    )
    with pytest.raises(CheckpointError, match=r"more: 1\._extra_state"):
        trainer.fit(progress=False)
    assert checkpoint.load(tmp_path / "run") is None


def test_an_epoch_without_follow_is_an_error_and_a_deaf_layer_is_named():
    cycle, x, y = in_dendrite_phase()
    cycle.train()
    mse_loss(cycle.model(x), y).backward()
    with pytest.raises(ConfigError, match=r"call cycle\.follow\(\)"):
        cycle.step()

    class Recomputed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.a, self.out = nn.Embedding(5, 3), nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(recompute(self.a, self.first(x), use_reentrant=True).tanh())

    model = perforate(Recomputed())
    cycle = DendriteCycle(model, FixedSwitch((1, 1), dendrite=1))
    cycle.step(0.1)
    cycle.train()
    with pytest.warns(UserWarning):  # torch's own: none of the inputs needs a gradient
        mse_loss(model(torch.randint(0, 5, (32,))), torch.randn(32, 1)).backward()
    cycle.follow()
    with pytest.warns(UserWarning, match="no error reached a, so"):
        step = cycle.step()
    assert "no error reached a" in step.events[0].reason


def test_a_batch_that_is_not_finite_costs_its_own_step_only():
    cycle, x, y = in_dendrite_phase()
    cycle.train()
    finite = []
    for batch in range(4):
        cycle.model.zero_grad()
        wanted = y.clone()
        if batch == 1:
            wanted[0] = torch.inf
        mse_loss(cycle.model(x), wanted).backward()
        found = correlate(cycle.model)
        grown = [p.grad.isfinite().all() for p in cycle.parameters() if p.grad is not None]
        finite.append(bool(torch.stack(grown).all()))
        assert all(0 <= score <= 1 for score in found.values())
    assert finite == [True, False, True, True]


def test_a_backward_pass_that_brings_no_error_to_a_layer_is_none():
    class Gate(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, mask):
            return x * (mask > 0)

        @staticmethod
        def backward(ctx, gradient):
            return gradient, None

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.gate = nn.Linear(4, 6), nn.Linear(4, 6)

        def forward(self, x):
            return Gate.apply(self.a(x), self.gate(x))

    model = set_phase(add_dendrites(perforate(Gated())), "dendrite")
    model(torch.randn(8, 4)).square().sum().backward()
    assert list(correlate(model)) == ["a"]


def test_layers_are_called_and_asked_as_other_people_do():
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4, 2)

        def forward(self, x):
            h = self.conv(x)
            h = h if self.conv.bias is None else h + self.conv.bias
            return self.out(input=h.mean((2, 3)))

    model, x = Asking(), torch.randn(2, 3, 5, 5)
    before = model(x)
    assert torch.equal(perforate(model)(x), before)


def test_a_compiled_model_keeps_what_is_frozen():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    model[0].requires_grad_(False)
    compiled = perforate(torch.compile(model, backend="eager"))
    set_phase(compiled, "neuron")
    learning = {name for name, p in compiled.named_parameters() if p.requires_grad}
    assert learning == {"_orig_mod.2.neuron.weight", "_orig_mod.2.neuron.bias"}


class Listed(nn.Module):
    """Calls its norms from a plain list, which holds them beside the module."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.norms = {"first": [self.norm]}

    def forward(self, x):
        return self.head(self.norms["first"][0](self.conv(x)).mean((2, 3)))


def test_a_norm_that_also_stands_in_a_plain_list_stays_where_it_is_called():
    model, x = Listed().eval(), torch.randn(2, 3, 8, 8)
    before = model(x)
    perforate(model)
    assert isinstance(model.norm, nn.BatchNorm2d)
    assert torch.equal(model(x), before)


def test_a_layer_in_a_plain_list_is_refused_because_the_list_would_go_on_calling_it():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model.mine = (model[0],)
    perforate(model)
    assert dict(dendritic_layers(model)).keys() == {"1"}
    assert "use nn.ModuleList" in model.perforation.rows[0].reason


class Scaled(nn.Linear):
    def forward(self, input, scale=1.0):
        return super().forward(input) * scale


class Twofold(nn.Linear):
    def forward(self, input):
        return super().forward(input), input


def test_a_layer_with_more_inputs_is_refused_and_one_that_returns_a_tuple_says_so():
    model = perforate(nn.Sequential(Scaled(3, 4), nn.Linear(4, 2)))
    assert "more than one input" in model.perforation.rows[0].reason
    model = add_dendrites(perforate(nn.Sequential(nn.Linear(3, 4), Twofold(4, 2))))
    with pytest.raises(ConfigError, match=r"Twofold returns a tuple.*perforate's select"):
        model(torch.randn(2, 3))


def test_dendrites_grow_beside_hooks_and_remembered_outputs_that_cannot_be_copied():
    class Remembering(nn.Linear):
        def forward(self, input):
            self.last = super().forward(input)
            return self.last

    model, lock = nn.Sequential(Remembering(3, 4), nn.Linear(4, 2)), threading.Lock()

    class Listener:
        guard = None

        def __call__(self, module, inputs, output):
            self.heard = output

    listener = Listener()
    listener.guard = lock  # which no deepcopy takes
    perforate(model)
    model[0].neuron.register_forward_hook(listener)
    model(torch.randn(2, 3))
    add_dendrites(model)
    assert model(torch.randn(5, 3)).shape == (5, 2)
    assert len(model[0].dendrites) == 1 and listener.heard.shape == (5, 4), "the neuron is heard, not its dendrite"
    assert not torch.equal(model[0].dendrites[0].weight, model[0].neuron.weight)


def test_dendrites_do_not_grow_on_a_weight_that_has_come_to_be_computed():
    model = perforate(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    nn.utils.parametrizations.weight_norm(model[0].neuron)
    with pytest.raises(ConfigError, match=r"computed by a parametrisation.*remove it before they grow"):
        add_dendrites(model)


def test_dendrites_that_grow_in_inference_mode_learn():
    model = perforate(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    cycle = DendriteCycle(model, FixedSwitch((1, 1), dendrite=1), roll_back=False)
    with torch.inference_mode():
        assert cycle.step(0.5)
    optimizer, x = torch.optim.SGD(cycle.parameters(), lr=0.1), torch.randn(16, 3)
    before = [p.detach().clone() for p in cycle.parameters()]
    mse_loss(model(x), x[:, :1]).backward()
    cycle.follow()
    optimizer.step()
    assert not all(map(torch.equal, before, cycle.parameters()))


class Busy(nn.Module):
    """Counts, draws and remembers while it computes."""

    def __init__(self):
        super().__init__()
        self.conv, self.block = nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.last, self.nested = deque([1], maxlen=3), {"seen": [[2]]}

    def forward(self, x):
        self.count += 1
        x = self.conv(x) * np.random.rand()
        self.last.append(x)
        self.nested["seen"][0].append(x)
        return self.block(x).mean((2, 3))


def test_looking_at_a_network_leaves_nothing_behind():
    model, collected = Busy(), []
    model.block.register_forward_hook(lambda module, inputs, output: collected.append(output))
    np.random.seed(3)
    drawn = np.random.get_state()[1].copy()
    perforate(model)
    assert model.block[0].neuron[1].num_features == 4, "it could be traced"
    assert not collected and list(model.last) == [1] and model.nested == {"seen": [[2]]} and int(model.count) == 0
    assert (np.random.get_state()[1] == drawn).all()
    model(torch.randn(2, 3, 4, 4))
    assert len(collected) == 1, "the hook still listens"


def test_a_norm_behind_a_hook_that_changes_the_output_stays_behind_it():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4))
    model[0].register_forward_hook(lambda module, inputs, output: output.square())
    x = torch.randn(2, 3, 4, 4)
    before = model.eval()(x)
    assert torch.equal(perforate(model)(x), before) and isinstance(model[1], nn.BatchNorm2d)


def test_a_cycle_refuses_at_once_what_could_never_train():
    frozen = perforate(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).requires_grad_(False))
    for parameter in frozen.parameters():
        assert not parameter.requires_grad
    with pytest.raises(ConfigError, match="nothing in the model can learn"):
        DendriteCycle(frozen)
    compiled = torch.compile(perforate(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))))
    with pytest.raises(ConfigError, match="a compiled model has no dendrite phase"):
        DendriteCycle(compiled)
    assert DendriteCycle(compiled, cycles=0).parameters()


def test_a_switch_leaves_no_gradient_of_the_last_batch():
    cycle, x, y = in_dendrite_phase()
    mse_loss(cycle.model(x), y).backward()
    cycle.follow()
    assert any(p.grad is not None for p in cycle.model.parameters())
    cycle.step()
    cycle.train()
    mse_loss(cycle.model(x), y).backward()
    cycle.follow()
    assert cycle.step() and all(p.grad is None for p in cycle.model.parameters())


def test_the_name_of_a_block_is_answered_with_the_pattern_for_its_layers():
    for chosen in ("features", ["features"]):
        model = nn.Sequential(OrderedDict(features=nn.Sequential(nn.Linear(3, 4)), head=nn.Linear(4, 2)))
        with pytest.raises(SelectionError, match=r"'features'; for the layers inside it write 'features\.\*'"):
            perforate(model, chosen)


def test_another_activation_than_the_saved_one_is_refused(tmp_path):
    def network(activation: str) -> nn.Module:
        return perforate(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), activation=activation)

    torch.save(add_dendrites(network("relu"), weight=0.5).state_dict(), tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    network("relu").load_state_dict(state)
    with pytest.raises(
        RuntimeError, match=r"0: its dendrites were saved with φ = relu; give perforate activation='relu'"
    ):
        network("tanh").load_state_dict(state)
    network("tanh").load_state_dict(dict(state))  # tensors alone, as in an older file, say nothing


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, nn.BatchNorm2d])
def test_an_activation_in_place_behind_a_view_does_not_hide_the_error(norm):
    """`instance_norm` returns a view, whose history an operation in place replaces."""
    found = []
    for inplace in (False, True):
        torch.manual_seed(0)
        blocks = [part for i in (3, 8, 8) for part in (nn.Conv2d(i, 8, 3), norm(8, affine=True), nn.ReLU(inplace))]
        model = add_dendrites(perforate(nn.Sequential(*blocks, nn.Conv2d(8, 1, 1))))
        set_phase(model, Phase.DENDRITE)
        mse_loss(model(torch.randn(4, 3, 16, 16)), torch.randn(4, 1, 10, 10)).backward()
        found.append(correlate(model))
    assert found[0] == found[1] and len(found[0]) == 4


class Frozen(nn.Module):
    """Keeps the statistics of its norm, as those who fine-tune do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.bn.eval()
        return self


def test_what_a_network_says_to_its_norm_reaches_the_norm_that_moved():
    model = perforate(Frozen())
    model.train()
    model(torch.randn(16, 3, 8, 8) + 3)
    norm = model.conv.neuron[1]
    assert not norm.running_mean.any() and model.training and model.conv.training
    model.bn.requires_grad_(False)
    assert not any(p.requires_grad for p in norm.parameters())
    for name, value in {"momentum": 0.5, "weight": None, "running_mean": torch.ones(8)}.items():
        with pytest.raises(AttributeError, match=rf"this norm has moved, and its {name} with it"):
            setattr(model.bn, name, value)
    model.bn.note = "anything else is its own"
    twin = copy.deepcopy(model)
    twin.bn.eval()
    twin.bn.requires_grad_(True)
    assert twin.conv.neuron[1].weight.requires_grad and not norm.weight.requires_grad
    assert twin.state_dict().keys() == model.state_dict().keys() and "bn.weight" not in model.state_dict()


def test_a_layer_whose_output_lies_otherwise_is_refused():
    class ChannelsLast(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    model = perforate(nn.Sequential(ChannelsLast(3, 6, 3), nn.ReLU()))
    model(torch.randn(4, 8, 8, 3))
    add_dendrites(model)
    with pytest.raises(ConfigError, match=r"shape \(4, 7, 7, 6\), which are not 6 neurons in dimension 1"):
        model(torch.randn(4, 9, 9, 3))


def test_rules_with_and_without_a_dendrite_phase_do_not_mix():
    model = nn.Sequential(nn.Sequential(nn.Linear(5, 8), nn.ReLU()), nn.Sequential(nn.Linear(8, 2)))
    perforate(model[0])
    perforate(model[1], rule="gradient")
    with pytest.raises(ConfigError, match="the rules gradient, perforated, and"):
        DendriteCycle(model)
    assert DendriteCycle(model, cycles=0).parameters()


def test_a_setting_of_the_neurons_is_not_set_beside_them():
    model = perforate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)))
    for name in ("stride", "padding", "dilation"):
        with pytest.raises(AttributeError, match=rf"no {name} of its own: the neurons' is neuron\.{name}"):
            setattr(model[0], name, (2, 2))
    model[0].neuron.stride = (2, 2)
    model[0].note = "anything else is its own"
    assert model[0].stride == (2, 2) and model(torch.randn(1, 3, 9, 9)).shape[2:] == (2, 2)


def test_a_grown_network_can_be_traced():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    x = torch.randn(4, 3, 32, 32)
    set_phase(add_dendrites(perforate(model), weight=0.5), Phase.NEURON, thaw=True)
    model.eval()
    for traced in (fx.symbolic_trace(model), torch.jit.trace(model, x)):
        torch.testing.assert_close(traced(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_batch_that_passes_no_layer_with_dendrites_is_left_out():
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 2), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor, task: int) -> torch.Tensor:
            return (self.b if task else self.a)(self.body(x).tanh())

    cycle = DendriteCycle(perforate(Heads(), ["a"]), FixedSwitch((1, 1), 2))
    cycle.step(0.1)
    cycle.train()
    for task in (1, 0, 1, 0):
        loss = cycle.model(torch.randn(8, 5), task).square().mean()
        if loss.requires_grad:
            loss.backward()
        cycle.follow()
    cycle.step()
    cycle.train()
    cycle.model(torch.randn(8, 5), 0)
    with pytest.raises(ConfigError, match="no dendrite has heard an error"):
        cycle.follow()  # before backward()
    cycle.model(torch.randn(8, 5), 1)
    cycle.follow()
    with pytest.raises(ConfigError, match=r"call cycle\.follow\(\)"):
        cycle.step()


def test_an_error_that_does_not_vary_is_not_called_none():
    model = perforate(nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)))
    cycle = DendriteCycle(model, FixedSwitch((1, 1), 1))
    cycle.step(0.0)
    cycle.train()
    model(torch.randn(16, 5)).mean().backward()
    cycle.follow()
    with pytest.warns(UserWarning, match="; errors or dendrites do not vary in 2, so") as said:
        cycle.step()
    assert "no error reached" not in str(said[0].message)


@pytest.mark.parametrize("how", ["weight_norm", "prune"])
def test_fold_leaves_a_computed_weight_as_it_is(how):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    add_dendrites(perforate(model), weight=0.3).eval()
    convolution = model[0].neuron[0]
    if how == "prune":
        prune.l1_unstructured(convolution, "weight", 0.5)
    else:
        parametrizations.weight_norm(convolution)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(fold(model)(x), expected)
