"""How a training step is run: whatever the engine, the outputs, the loss and the gradients are the same."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from perfteach import TrainConfig, mobilenet_small, perforate
from perfteach.cycle import snapshot
from perfteach.dendrites import add_dendrites, set_phase
from perfteach.engine import ENGINES, engine
from perfteach.errors import ConfigError

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def _network() -> torch.nn.Module:
    model = perforate(mobilenet_small(10, 0.25, seed=0), activation="relu")
    add_dendrites(model, weight=0.1)
    set_phase(model, "neuron", thaw=True)
    return model


def _after(kind: str, device: torch.device, sizes: tuple[int, ...] = (8, 8, 4, 8)) -> list[torch.Tensor]:
    """Losses, and the weights and statistics after a few steps with batches of these sizes."""
    torch.manual_seed(0)
    model = _network().to(device)
    step = engine(kind, model, functional.cross_entropy, device)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for size in sizes:
        x, y = torch.randn(size, 3, 32, 32), torch.randint(0, 10, (size,))
        output, loss = step(x.to(device), y.to(device))
        assert output.shape == (size, 10) and not output.requires_grad
        losses.append(loss.cpu())
        optimizer.step()
    return [*losses, *(tensor.cpu() for tensor in model.state_dict().values())]


def test_a_step_leaves_the_gradients_of_its_own_batch_only() -> None:
    model, (x, y) = _network(), (torch.randn(8, 3, 32, 32), torch.arange(8))
    before = snapshot(model)
    step = engine("eager", model, functional.cross_entropy, CPU)
    torch.manual_seed(1)  # of the dropout
    step(x, y)
    first = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.load_state_dict(before)  # statistics of norms
    torch.manual_seed(1)
    step(x, y)
    assert first
    assert all(torch.equal(p.grad, first[name]) for name, p in model.named_parameters() if p.grad is not None)


def test_without_a_gpu_a_graph_is_the_plain_step() -> None:
    pairs = zip(_after("eager", CPU), _after("graph", CPU), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_settings_name_an_engine_that_exists() -> None:
    assert [TrainConfig(engine=kind).engine for kind in ENGINES] == list(ENGINES)
    with pytest.raises(ConfigError, match="engine is 'turbo'; use one of 'eager', 'graph'"):
        TrainConfig(engine="turbo")


def test_a_record_says_the_same_whatever_the_engine() -> None:
    assert TrainConfig(engine="graph").describe() == TrainConfig().describe()


@needs_gpu
def test_a_graph_gives_the_numbers_of_the_plain_step() -> None:
    device = torch.device("cuda")
    for one, other in zip(_after("eager", device), _after("graph", device), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@needs_gpu
def test_a_network_that_asks_for_a_number_cannot_be_recorded() -> None:
    class Asks(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = super().forward(x)
            return out if float(out.detach().sum()) > 0 else -out

    device = torch.device("cuda")
    step = engine("graph", Asks(3, 10).to(device), functional.cross_entropy, device)
    with pytest.raises(ConfigError, match="eager"):
        step(torch.randn(4, 3, device=device), torch.arange(4, device=device))
