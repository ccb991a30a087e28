"""The trained networks that come along: cards, checksums, and what they see in a picture."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace

import pytest
import torch
from conftest import load_tool
from PIL import Image

from perfteach import cli, count_parameters, data, declared, metrics, mobilenet_extra_small, mobilenet_small, shipped
from perfteach.dendrites import dendrite_counts
from perfteach.errors import CheckpointError, ConfigError, DataError
from perfteach.predict import NETWORKS, _load, classify
from perfteach.study import run_study

weights = load_tool("weights")
TOY = "extra-small"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The study of Extra-Small with one epoch on a few drawn images, and the networks made from it."""
    folder = tmp_path_factory.mktemp("toy")
    images = data.load("synthetic10").subset(300, validation=100, test=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "FOLDERS", (folder / "none", folder / "weights"))
        patch.setattr(weights, "FOLDERS", shipped.FOLDERS)
        patch.setattr("perfteach.study.RECORDS", (folder / "none", folder / "records"))
        (folder / "records").mkdir()
        study = replace(declared.STUDIES[TOY], baseline=1, fresh=100, arms=tuple(weights.SHIPPED))
        patch.setitem(declared.STUDIES, TOY, study)
        runs = {run.arm: run for run in run_study(TOY, images, folder / "work", seeds=[0], progress=False)}
        held = images.hold_out(100)
        cards = {arm: weights.ship(study, arm, runs[arm], held, folder / "work" / TOY) for arm in weights.SHIPPED}
        weights.write_cards()
        cards = {arm: shipped.card(card.name) for arm, card in cards.items()}
        assert all(card.latency["low"] <= card.latency["milliseconds"] for card in cards.values())
        other = replace(runs["original"], result=replace(runs["original"].ended, test_accuracy=99.99))
        with pytest.raises(SystemExit, match="another run than the record"):
            weights.ship(study, "original", other, held, folder / "work" / TOY)
    return folder / "weights", cards, held


@pytest.fixture
def there(toy, monkeypatch):
    """The toy networks in the place of the shipped ones."""
    _load.cache_clear()
    monkeypatch.setattr(shipped, "FOLDERS", (toy[0],))
    yield toy
    _load.cache_clear()


def test_the_cards_say_what_the_stored_weights_reach(there) -> None:
    folder, cards, images = there
    built = {
        "original": mobilenet_small(weights="cifar10"),
        "early-start": mobilenet_extra_small(weights="cifar10"),
        "same-epochs": mobilenet_extra_small(weights="cifar10-plain"),
    }
    for arm, model in built.items():
        card = shipped.card(cards[arm].name)
        assert card == cards[arm]
        assert card.accuracy["test"] == metrics.accuracy(model.eval(), images, "test")
        assert card.parameters["total"] == count_parameters(model).total
        assert f"{card.parameters['total']:,}" in (folder / f"{card.name}.md").read_text(encoding="utf-8")
    assert count_parameters(built["original"]).total == 1_528_106
    assert count_parameters(built["early-start"]).total <= 993_000
    assert set(dendrite_counts(built["early-start"]).values()) == {1}
    assert not any(dendrite_counts(built["same-epochs"]).values())


def test_a_damaged_file_is_refused_by_its_checksum(there, tmp_path, monkeypatch) -> None:
    for path in there[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(shipped, "FOLDERS", (tmp_path,))
    file = tmp_path / "mobilenet-small.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        mobilenet_small(weights="cifar10")
    file.unlink()
    with pytest.raises(ConfigError, match="no trained network"):
        mobilenet_small(weights="cifar10")


def test_other_settings_than_the_trained_ones_are_refused_by_name(there) -> None:
    for settings, named in (
        ({"width": 0.5}, "width"),
        ({"output_stride": 32}, "output_stride"),
        ({"blocks": 7}, "blocks"),
        ({"hidden": 64}, "hid"),
    ):
        with pytest.raises(ConfigError, match=named):
            mobilenet_small(weights="cifar10", **settings)
        with pytest.raises(ConfigError, match=named):
            mobilenet_extra_small(weights="cifar10", **settings)
    with pytest.raises(ConfigError, match="imagenet"):
        mobilenet_extra_small(weights="imagenet")


def test_other_classes_get_a_new_last_layer_and_keep_the_rest(there) -> None:
    trained, other = mobilenet_small(weights="cifar10"), mobilenet_small(3, weights="cifar10", seed=1)
    kept = [torch.equal(a, b) for a, b in zip(trained.state_dict().values(), other.state_dict().values(), strict=True)
            if a.shape == b.shape]  # fmt: skip
    assert all(kept) and len(kept) == len(trained.state_dict()) - 2
    assert other(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def picture(mode: str = "RGB", size: tuple[int, int] = (50, 40), **how: object) -> io.BytesIO:
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(file, "PNG", **how)
    file.seek(0)
    return file


@pytest.mark.parametrize("network", NETWORKS)
def test_a_picture_is_classified_by_every_network(there, network) -> None:
    guesses = classify(picture(), network, top=10)
    assert [g.probability for g in guesses] == sorted((g.probability for g in guesses), reverse=True)
    assert sum(g.probability for g in guesses) == pytest.approx(1, abs=1e-5)
    assert {g.name for g in guesses} == set(there[2].classes)


def test_a_picture_of_the_data_set_is_seen_as_training_saw_it(there, tmp_path) -> None:
    images = there[2]
    file = tmp_path / "one.png"
    Image.fromarray(images.test.images[0].permute(1, 2, 0).numpy()).save(file)
    model = mobilenet_small(weights="cifar10").eval()
    x, _ = next(iter(images.batches("test", 1)))
    expected = model(x)[0].softmax(0).max().item()
    assert classify(file, "mobilenet-small", 1)[0].probability == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_pictures_of_every_kind_can_be_read(there, mode) -> None:
    assert len(classify(picture(mode))) == 3


def test_a_sideways_photograph_is_turned_upright(there) -> None:
    turned = Image.linear_gradient("L").convert("RGB").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture has to be turned by 90 degrees clockwise
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    file.seek(0)
    upright = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(upright, "PNG")
    upright.seek(0)
    assert classify(file) == classify(upright)


def test_what_is_no_picture_gets_one_clear_line(there, tmp_path, capsys) -> None:
    text = tmp_path / "letter.txt"
    text.write_text("dear reader")
    for wrong, said in ((text, "read as a picture"), (tmp_path, "read as a picture"), (tmp_path / "no.png", "no file")):
        with pytest.raises(DataError, match=said):
            classify(wrong)
    good = tmp_path / "good.png"
    good.write_bytes(picture().getvalue())
    assert cli.main(["predict", str(text), str(good)]) == 1
    said = capsys.readouterr()
    assert "letter.txt cannot be read" in said.err and said.out.startswith(f"{good}: ") and said.out.count("%") == 3
    assert cli.main(["predict", str(good), "--network", "resnet"]) == 1
    assert "mobilenet-extra-small" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="top"):
        classify(good, top=0)


@pytest.mark.parametrize(("half", "precision", "bytes_each"), [(49.8, "float32", 4), (49.95, "float16", 2)])
def test_half_precision_is_kept_only_where_it_costs_next_to_nothing(
    there, monkeypatch, half, precision, bytes_each
) -> None:
    model = mobilenet_extra_small(seed=0)
    answers, numbers = iter([50.0, half]), sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(metrics, "accuracy", lambda *_: next(answers))
    kept, content = weights.smallest(model, there[2])
    assert kept == precision and bytes_each < len(content) / numbers < 1.5 * bytes_each


@pytest.mark.parametrize("name", shipped.networks())
def test_a_shipped_network_reaches_its_cards_accuracy_to_the_last_digit(name, real_images) -> None:
    card = shipped.card(name)
    images = data.load(real_images, label=card.data["name"])
    images = images.hold_out(5_000) if "fresh" in card.accuracy else images
    assert images.checksum == card.data["checksum"]
    build = mobilenet_small if name == "mobilenet-small" else mobilenet_extra_small
    model = build(weights=weights.LOADED_BY[name])
    assert metrics.accuracy(model.eval(), images, "test") == card.accuracy["test"]
    assert json.loads((shipped.FOLDERS[1] / f"{name}.json").read_text())["parameters"] == asdict(card)["parameters"]
