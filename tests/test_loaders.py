"""DataLoaders of one's own in the trainer: they train, repeat, resume, and say what is wrong with them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from perfteach import FixedSwitch, PerforatedTrainer, TrainConfig, metrics, perforate
from perfteach.data import from_loaders
from perfteach.data.points import small_network, two_spirals
from perfteach.errors import ConfigError, DataError

SPIRALS = two_spirals(200, turns=1.0)


def loader(split: str, *, shuffle: bool = False, batch_size: int = 50) -> DataLoader:
    points = SPIRALS.train if split == "train" else getattr(SPIRALS, split)
    return DataLoader(TensorDataset(points.inputs, points.labels), batch_size, shuffle=shuffle)


def spirals(**how):
    return from_loaders(loader("train", **how), loader("validation"), loader("test"), ("one", "other"), name="mine")


def config(**other) -> TrainConfig:
    return TrainConfig(FixedSwitch((3, 2), 2), roll_back=False, lr=0.05, dendrite_lr=0.05, device="cpu", **other)


def train(data, **how):
    model = perforate(small_network(4, seed=0))
    return model, PerforatedTrainer(model, data, config(), **how).fit(progress=False)


def plain(run):
    return [(e.train_loss, e.validation_accuracy) for e in run.epochs], run.ended.test_accuracy


def test_a_run_on_loaders_equals_one_on_the_same_points():
    in_order, run = TrainConfig(FixedSwitch((4,)), cycles=0, batch_size=200, lr=0.05, device="cpu"), []
    for data in (from_loaders(loader("train", batch_size=200), loader("validation"), loader("test"), 2), SPIRALS):
        run.append(PerforatedTrainer(small_network(4, seed=0), data, in_order).fit(progress=False))
    (losses, test), (others, other_test) = map(plain, run)
    assert losses == [(pytest.approx(a, abs=1e-6), b) for a, b in others]
    assert test == other_test


def test_a_shuffled_run_repeats_and_grows_dendrites():
    (model, run), (_, again) = train(spirals(shuffle=True)), train(spirals(shuffle=True))
    assert plain(run) == plain(again)
    assert run.ended.dendrites == {"0": 1, "2": 1}
    assert run.data["name"] == "mine" and run.data["train"] == 200
    predicted = metrics.predictions(model, spirals(), "test")
    assert float((predicted == SPIRALS.test.labels).double().mean()) * 100 == run.ended.test_accuracy


def test_a_resumed_run_equals_the_whole_one(tmp_path):
    class Stop(Exception):
        pass

    from perfteach import Callback

    class Break(Callback):
        def on_batch_end(self, trainer, batch, batches):
            if len(trainer.run.epochs) == 4 and batch == 2:
                raise Stop

    with pytest.raises(Stop):
        train(spirals(shuffle=True), folder=tmp_path, callbacks=[Break()])
    assert plain(train(spirals(shuffle=True), folder=tmp_path)[1]) == plain(train(spirals(shuffle=True))[1])


def test_the_checksum_is_that_of_the_content():
    assert spirals().checksum == spirals(shuffle=True).checksum
    other = from_loaders(loader("train"), loader("test"), loader("validation"), 2)
    assert other.checksum != spirals().checksum


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: [1, 2], "train is"),
        (lambda: DataLoader(Endless()), "has no length"),
        (lambda: DataLoader(TensorDataset(torch.zeros(4, 2))), "has to be"),
        (lambda: DataLoader(TensorDataset(torch.zeros(4, 2).double(), torch.zeros(4).long())), "has to be"),
        (lambda: DataLoader(TensorDataset(torch.zeros(4, 2), torch.full((4,), 2))), "outside 0 to 1"),
        (lambda: DataLoader(TensorDataset(torch.zeros(0, 2), torch.zeros(0).long())), "no batches"),
    ],
)
def test_what_is_wrong_is_said(wrong, said):
    with pytest.raises(DataError, match=said):
        from_loaders(wrong(), loader("validation"), loader("test"), 2)


def test_one_class_is_refused():
    with pytest.raises(DataError, match="two or more"):
        from_loaders(loader("train"), loader("validation"), loader("test"), ["only"])


def test_a_bare_loader_in_the_trainer_is_told_where_to_go():
    with pytest.raises(ConfigError, match="from_loaders"):
        PerforatedTrainer(nn.Linear(2, 2), loader("train"))


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match=r"use one of .train., .validation., .test."):
        spirals().batches("fresh")
