"""Models: the published counts to the last parameter, parts that add up, a start decided by the seed."""

from __future__ import annotations

import copy
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Small_Weights, WeightsEnum, mobilenet_v3_small, resnet18, vit_b_16

from perfteach import Phase, add_dendrites, correlate, fold, perforate, set_phase
from perfteach.counting import count_macs, count_parameters
from perfteach.dendrites import dendritic_layers
from perfteach.errors import ConfigError
from perfteach.models import mobilenet_extra_small, mobilenet_small

SETTINGS = [
    ({"num_classes": 1}, "num_classes"),
    ({"width": 0.0}, "width"),
    ({"width": float("nan")}, "width"),
    ({"head": "small"}, "head"),
    ({"head": "imagenet", "num_classes": 1001}, "1000 outputs"),
    ({"weights": "cifar"}, "weights"),
    ({"weights": "cifar10", "head": "imagenet"}, "head='task'"),
    ({"weights": "imagenet", "width": 0.5}, "width 1.0 only"),
    ({"output_stride": 4}, "output_stride"),
    ({"hidden": -1}, "hidden"),
    ({"early_width": 0}, "early_width"),
]


@pytest.mark.parametrize(
    ("width", "imagenet", "task"),
    [(1.0, 2_542_856, 1_528_106), (0.75, 1_653_920, 892_610), (0.5, 917_264, 409_394)],
)
def test_the_case_study_counts_hold_exactly(width: float, imagenet: int, task: int) -> None:
    assert count_parameters(mobilenet_small(10, width, head="imagenet")).total == imagenet
    assert count_parameters(mobilenet_small(10, width)).total == task


def test_parts_of_mobilenet_by_hand() -> None:
    model = mobilenet_small(10)
    count = count_parameters(model)
    assert count.stem == 3 * 16 * 9 + 2 * 16
    assert count.head == (576 * 1024 + 1024) + (1024 * 10 + 10)
    assert count.dendrites == count.other == 0
    assert count.stem + count.blocks + count.head == count.total == sum(p.numel() for p in model.parameters())
    assert count.as_dict() == {
        "stem": 464, "blocks": count.blocks, "head": 601_098, "dendrites": 0, "other": 0, "total": 1_528_106,
    }  # fmt: skip


def test_extra_small_has_nine_blocks_no_hidden_layer_and_room_for_dendrites() -> None:
    model = mobilenet_extra_small()
    count = count_parameters(model)
    assert count.head == 432 * 10 + 10
    assert count.total == 212_322 == count_parameters(mobilenet_small(10, 0.75, hidden=0, blocks=9)).total
    add_dendrites(perforate(model, "features.[0-4].*", activation="relu"))
    assert count_parameters(model).total == 230_866
    assert model.get_submodule("features.0.0").neuron[0].stride == (1, 1)
    published = mobilenet_extra_small(10, 0.75, head="imagenet", hidden=None, blocks=None, output_stride=None)
    assert count_parameters(published).total == 1_653_920


def test_fewer_blocks_leave_out_the_last_ones() -> None:
    whole, short = mobilenet_small(seed=0), mobilenet_small(seed=0, blocks=9)
    kept = {name: value.shape for name, value in short.state_dict().items() if name.startswith("features.9")}
    assert kept == {name: whole.state_dict()[name].shape for name in kept}
    assert len(short.get_submodule("features")) == len(whole.get_submodule("features")) - 2
    assert short(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    for wrong in (3, 12, 4.5):
        with pytest.raises(ConfigError, match="blocks"):
            mobilenet_small(blocks=wrong)


def test_same_function_as_torchvisions() -> None:
    ours = mobilenet_small(1000, seed=1).eval()
    theirs = mobilenet_v3_small().eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(("head", "outputs"), [("task", 7), ("imagenet", 1000)])
@pytest.mark.parametrize("hidden", [None, 24, 0])
@pytest.mark.parametrize(("output_stride", "edge"), [(32, 1), (16, 2), (8, 4), ("8-first", 4)])
def test_shapes(head, outputs: int, hidden, output_stride, edge: int) -> None:
    model = mobilenet_extra_small(7, head=head, hidden=hidden, output_stride=output_stride)
    x = torch.randn(2, 3, 32, 32)
    assert model(x).shape == (2, outputs)
    assert model.get_submodule("features")(x).shape[-1] == edge


def test_the_output_stride_costs_arithmetic_and_no_parameter() -> None:
    networks = {stride: mobilenet_small(10, 0.5, output_stride=stride, seed=0) for stride in (32, 16, 8, "8-first")}
    macs = {stride: count_macs(network).total for stride, network in networks.items()}
    assert macs[32] < macs[16] < macs[8] < macs["8-first"]
    first = networks[32].state_dict()
    for network in networks.values():
        state = network.state_dict()
        assert list(state) == list(first)
        assert all(torch.equal(state[name], first[name]) for name in first)


@pytest.mark.parametrize("width", [0.15, 0.5, 1.0])
def test_the_same_seed_draws_what_torchvisions_network_draws(width: float) -> None:
    torch.manual_seed(2)
    theirs = mobilenet_v3_small(width_mult=width, num_classes=10).state_dict()
    ours = mobilenet_small(10, width, seed=2).state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_a_smaller_head_leaves_the_body_alone() -> None:
    whole, small, none = (count_parameters(mobilenet_small(hidden=hidden)) for hidden in (None, 64, 0))
    assert whole.blocks == small.blocks == none.blocks
    assert small.head == 576 * 64 + 64 + 64 * 10 + 10
    assert none.head == 576 * 10 + 10


def test_wider_early_layers_leave_the_late_ones_alone() -> None:
    plain, wide = mobilenet_small(10, 0.5), mobilenet_small(10, 0.5, early_width=0.75)
    shapes = [{name: tuple(p.shape) for name, p in model.named_parameters()} for model in (plain, wide)]
    changed = {name.split(".")[1] for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert changed == {"0", "1", "2", "3", "4"}
    assert wide(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_batchnorm_momentum_reaches_every_norm() -> None:
    norms = [m for m in mobilenet_small().modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 34
    assert {(m.momentum, m.eps) for m in norms} == {(0.1, 0.001)}


def test_seed_alone_decides_the_start_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = mobilenet_extra_small(seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    second, other = mobilenet_extra_small(seed=3), mobilenet_extra_small(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    torch.manual_seed(5)
    assert not torch.equal(next(mobilenet_extra_small().parameters()), next(first.parameters()))
    assert not torch.equal(torch.get_rng_state(), state)  # without a seed it draws from the global generator


@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_settings_without_meaning_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mobilenet_small(**settings)


@pytest.mark.parametrize("head", ["task", "imagenet"])
def test_imagenet_weights_reach_all_layers_whose_outputs_still_mean_the_same(monkeypatch, head) -> None:
    published = mobilenet_v3_small().state_dict()
    asked: list[WeightsEnum] = []

    def fetch(self: WeightsEnum, **_: object) -> dict[str, Tensor]:
        asked.append(self)
        return dict(published)

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fetch)
    model = mobilenet_small(10, head=head, weights="imagenet", seed=0)
    fresh = mobilenet_small(10, head=head, seed=0).state_dict()
    assert asked == [MobileNet_V3_Small_Weights.IMAGENET1K_V1]
    for name, value in model.state_dict().items():
        own = head == "task" and name.startswith("classifier.3.")
        assert torch.equal(value, (fresh if own else published)[name]), name


def test_weights_that_cannot_be_fetched_are_one_clear_error(monkeypatch) -> None:
    def fetch(self: WeightsEnum, **_: object) -> dict[str, Tensor]:
        raise URLError("no route")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fetch)
    with pytest.raises(ConfigError, match=r"no route.*weights=None"):
        mobilenet_small(weights="imagenet")


# --- counting


class _Hand(nn.Module):
    """features and classifier small enough to count on paper; the middle layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
        )
        self.classifier = nn.Linear(8, 5)
        self.gate = nn.Linear(5, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features[2](self.features(x))
        return self.gate(self.classifier(x.mean((2, 3))))


def test_macs_and_parameters_of_a_convolution_by_hand() -> None:
    macs = count_macs(_Hand(), (3, 10, 6))
    # the map is 5 x 3; a 3 x 3 convolution of 3 channels needs 27 products a point, a depthwise one 9
    assert macs.stem == 5 * 3 * 8 * 27
    assert macs.blocks == 2 * 5 * 3 * 8 * 9
    assert macs.head == 8 * 5
    assert macs.other == 5 * 5
    assert macs.total == 3240 + 2160 + 40 + 25
    parameters = count_parameters(_Hand())
    assert (parameters.stem, parameters.blocks) == (8 * 27 + 8, 2 * 8 + 8 * 9 + 8)
    assert (parameters.head, parameters.other) == (8 * 5 + 5, 25)


def test_macs_agree_with_torchvisions_published_figures() -> None:
    # torchvision lists 0.057 (in 10^9) for MobileNetV3-Small, 1.814 for resnet18 and 17.564 for vit_b_16
    assert count_macs(mobilenet_small(head="imagenet"), (3, 224, 224)).total == pytest.approx(0.057e9, abs=0.0005e9)
    assert count_macs(resnet18(), (3, 224, 224)).other == pytest.approx(1.814e9, abs=0.0005e9)
    with torch.device("meta"):
        vit = vit_b_16()
    assert count_macs(vit, (3, 224, 224)).total == pytest.approx(17.564e9, abs=0.0005e9)


def test_stride_one_in_the_stem_costs_four_times_the_stem() -> None:
    assert count_macs(mobilenet_small(output_stride=16)).stem == 4 * count_macs(mobilenet_small()).stem


def test_counting_leaves_the_model_alone() -> None:
    model = mobilenet_extra_small()
    model.train()
    model.get_submodule("features.3").eval()
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    modes = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    count_parameters(model)
    count_macs(model)
    assert [m.training for m in model.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.device.type == "cpu" and p.grad is not None and p.requires_grad for p in model.parameters())


def test_any_model_can_be_counted_and_shared_parameters_count_once() -> None:
    layer = nn.Linear(4, 4)
    count = count_parameters(nn.Sequential(layer, nn.ReLU(), layer))
    assert count.as_dict() == {"stem": 0, "blocks": 0, "head": 0, "dendrites": 0, "other": 20, "total": 20}
    assert count_macs(nn.Sequential(layer, nn.ReLU(), layer), (4,)).total == 2 * 16
    assert count_parameters(nn.ReLU()).total == 0
    compiled = torch.compile(mobilenet_extra_small())
    assert count_parameters(compiled) == count_parameters(mobilenet_extra_small())


def test_what_cannot_be_counted_is_one_clear_error() -> None:
    lazy = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ConfigError, match=r"0\.weight.*lazy"):
        count_parameters(lazy)
    with pytest.raises(ConfigError, match=r"0\.weight.*lazy"):
        count_macs(lazy, (4,))
    with pytest.raises(ConfigError, match=r"input_size is 32; give the shape"):
        count_macs(nn.Conv2d(3, 4, 3), 32)
    with pytest.raises(ConfigError, match=r"size \(1, 32, 32\)"):
        count_macs(mobilenet_small(), (1, 32, 32))


# --- dendrites


@pytest.mark.parametrize("count", [1, 2])
def test_dendrites_are_counted_as_dendrites_and_nothing_else_moves(count: int) -> None:
    plain = mobilenet_extra_small(seed=0)
    model = perforate(mobilenet_extra_small(seed=0), select=lambda name, module: True)
    assert count_parameters(model) == count_parameters(plain)
    assert count_macs(model) == count_macs(plain)
    for _ in range(count):
        add_dendrites(model)
    neurons = sum(layer.neurons for _, layer in dendritic_layers(model))
    before, grown = count_parameters(plain), count_parameters(model)
    assert (grown.stem, grown.blocks, grown.head, grown.other) == (before.stem, before.blocks, before.head, 0)
    # Each dendrite has what its neuron module has, one weight per neuron, one more per earlier dendrite.
    assert grown.dendrites == count * (before.total + neurons) + neurons * count * (count - 1) // 2
    assert grown.total == sum(p.numel() for p in model.parameters())
    macs_before, macs = count_macs(plain), count_macs(model)
    assert (macs.stem, macs.blocks, macs.head) == (macs_before.stem, macs_before.blocks, macs_before.head)
    assert macs.dendrites == count * macs_before.total
    assert count_macs(fold(model)) == macs


@pytest.mark.parametrize("phase", [Phase.NEURON, Phase.DENDRITE])
def test_counting_a_perforated_model_in_the_middle_of_training_leaves_it_alone(phase: Phase) -> None:
    model = add_dendrites(perforate(mobilenet_extra_small(seed=0)))
    set_phase(model, phase)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    modes = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    trained = [p.requires_grad for p in model.parameters()]
    assert count_macs(model).dendrites == count_macs(model).total // 2
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == trained
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    if phase is Phase.DENDRITE:
        assert correlate(model)  # what the layers heard is still there


def test_dendrites_of_one_linear_layer_by_hand() -> None:
    model = perforate(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)), select="0")
    add_dendrites(model)
    # one dendrite: 6 x 4 weights, 4 biases, 4 dendrite-to-neuron weights
    assert count_parameters(model).as_dict()["dendrites"] == 24 + 4 + 4
    assert count_macs(model, (6,)).dendrites == 24
    add_dendrites(model)
    # the second adds the same again and one cascade weight per neuron
    assert count_parameters(model).dendrites == 2 * 32 + 4
    assert count_parameters(model).other == (24 + 4) + (8 + 2)
    assert count_macs(model, (6,)).dendrites == 48


# --- tables


def test_tables_read_well() -> None:
    count = count_parameters(mobilenet_small())
    lines = repr(count).split("\n")
    assert lines[1].split() == ["part", "parameters", "share"]
    assert lines[-1].split() == ["total", "1,528,106", "100.0", "%"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert "dendrites" in repr(count)
    assert "other" not in repr(count)
    assert "one input of 3 x 32 x 32" in repr(count_macs(mobilenet_small()))
    html = count._repr_html_()
    assert "<caption>" in html
    assert "1,528,106" in html
    assert html.count("<tr>") == len(lines) - 1
