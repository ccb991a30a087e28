"""The best of several random candidates: neuron by neuron, the function unchanged, and the same when resumed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from perfteach import candidates, runs, study
from perfteach.candidates import keep_best
from perfteach.cycle import snapshot
from perfteach.dendrites import add_dendrites, dendritic_layers, set_phase
from perfteach.errors import ConfigError
from perfteach.phases import Phase
from perfteach.selection import perforate
from perfteach.study import STUDIES, Study, run_study


def grown(rule: str = "perforated") -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(128, 4),
    )
    return add_dendrites(perforate(model, rule=rule))


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    g = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 3, 6, 6, generator=g), torch.randint(0, 4, (16,), generator=g)) for _ in range(4)]


def chosen(count: int, seed: int = 5) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    model = grown()
    torch.manual_seed(seed)
    return model, keep_best(model, batches, functional.cross_entropy, count)


def test_each_neuron_has_the_best_of_its_candidates():
    _, one = chosen(1)
    _, three = chosen(3)
    _, eight = chosen(8)
    assert list(one) == ["0.0", "1.0", "3"]
    for name in one:
        assert (one[name] <= three[name]).all() and (three[name] <= eight[name]).all()
        assert (one[name] < eight[name]).sum() >= len(one[name]) / 2, "of eight the first is seldom the best"


def test_the_kept_dendrites_have_the_scores_they_were_kept_for():
    model, scores = chosen(8)
    again = keep_best(model, batches, functional.cross_entropy, 1)
    for name in scores:
        torch.testing.assert_close(again[name], scores[name])
    set_phase(model, Phase.DENDRITE)
    layer = dict(dendritic_layers(model))["0.0"]
    assert not torch.equal(layer.dendrites[0][0].weight, layer.neuron[0].weight)


def test_the_network_computes_what_it_did_and_has_no_gradients():
    model = grown().eval()
    x = batches()[0][0]
    before, neurons = model(x), snapshot(model)
    keep_best(model, batches, functional.cross_entropy, 3)
    assert torch.equal(model.eval()(x), before)
    for name, tensor in model.state_dict().items():
        assert ".dendrites." in name or torch.equal(tensor, neurons[name])
    assert all(p.grad is None for p in model.parameters())
    assert all(not la._heard for _, la in dendritic_layers(model))


def test_without_new_dendrites_batches_or_errors_it_says_so():
    with pytest.raises(ConfigError, match="no new dendrite"):
        keep_best(perforate(nn.Sequential(nn.Linear(3, 2))), batches, functional.cross_entropy)
    with pytest.raises(ConfigError, match="at least one batch"):
        keep_best(grown(), list, functional.cross_entropy)
    with pytest.raises(ConfigError, match="gradient rule"):
        keep_best(grown("gradient"), batches, functional.cross_entropy)
    with pytest.raises(ConfigError, match="candidates"):
        keep_best(grown(), batches, functional.cross_entropy, candidates=0)


@pytest.mark.filterwarnings("ignore:.*none is installed:UserWarning")
def test_in_a_study_the_arm_starts_from_other_dendrites_and_repeats_itself(tmp_path, monkeypatch, tiny_data):
    arms = ("baseline", "thawed-random", "thawed-best-of-8")
    declared = Study("for tests", arms, (0,), 0.15, 1, 1, 1, batch_size=50, select="features.[0-1].*")
    found: list[dict[str, torch.Tensor]] = []

    def seen(model, *how):
        found.append(keep_best(model, *how))
        return found[-1]

    monkeypatch.setattr(candidates, "keep_best", seen)
    monkeypatch.setitem(STUDIES, "tiny", declared)
    results = []
    for name in ("a", "b"):
        for module in (study, runs):
            monkeypatch.setattr(module, "RECORDS", (tmp_path / "none", tmp_path / name))
        results.append(run_study("tiny", tiny_data, tmp_path / f"work-{name}", progress=False))
    (_, random, best), (_, _, again) = results
    assert best.header["candidates"] == 8 and "candidates" not in random.header
    assert random.epochs[0].train_loss == best.epochs[0].train_loss
    assert random.epochs[1].train_loss != best.epochs[1].train_loss
    assert [e.train_loss for e in again.epochs] == [e.train_loss for e in best.epochs]
    assert found and all(torch.equal(found[0][name], found[1][name]) for name in found[0])
