"""Figures: what is drawn equals the record, nothing is left open, and the words name the numbers."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

from perfteach import plots
from perfteach.arms import EVERY_ARM
from perfteach.compare import Gain, gains
from perfteach.config import TrainConfig
from perfteach.counting import count_parameters
from perfteach.data.points import small_network, two_spirals
from perfteach.dendrites import dendrite_counts, dendritic_layers
from perfteach.errors import ConfigError, DataError
from perfteach.metrics import paired_interval
from perfteach.models import mobilenet_small
from perfteach.phases import FixedSwitch
from perfteach.plots import style
from perfteach.plots.style import PALETTE
from perfteach.runs import Epoch, Event, Result, Run, recorded
from perfteach.selection import perforate
from perfteach.trainer import PerforatedTrainer


@pytest.fixture(autouse=True)
def _nothing_left_open():
    yield
    assert plt.get_fignums() == []


@pytest.fixture(scope="module")
def spirals():
    """A trained small network with its data and run: 12 epochs, dendrite phases in epochs 5, 6 and 9, 10."""
    data, model = two_spirals(100), perforate(small_network(4))
    switch = FixedSwitch((4, 2), 2)
    config = TrainConfig(switch=switch, cycles=2, batch_size=25, augment=False, roll_back=False, lr=0.02)
    run = PerforatedTrainer(model, data, config, name="test/spirals").fit(progress=False)
    for _, layer in dendritic_layers(model):  # the best epoch may come before any dendrite; these tests want two
        while len(layer.dendrites) < 2:
            layer.add_dendrite()
        for weight in layer.weights:
            torch.nn.init.ones_(weight)
    return model.eval(), data, run


@pytest.fixture(scope="module")
def run(spirals) -> Run:
    return spirals[2]


@pytest.fixture(scope="module")
def long_run() -> Run:
    return make_long_run()


def make_long_run(layers: int = 50) -> Run:
    """200 epochs of 50 layers, written by hand: three cycles, the last one rolled back."""
    names = [f"features.{i // 4}.block.{i % 4}" for i in range(layers - 2)] + ["classifier.0", "classifier.3"]
    made = Run({"name": "hand/made", "data": {"name": "photos", "synthetic": False}})
    for phase, cycle, length in (
        ("neuron", 0, 60), ("dendrite", 1, 20), ("neuron", 1, 40), ("dendrite", 2, 20), ("neuron", 2, 40),
        ("dendrite", 3, 10), ("neuron", 3, 10),
    ):  # fmt: skip
        if made.epochs:
            made.events.append(Event(len(made.epochs), "switch", "plateau", "neuron"))
        for k in range(length):
            n = len(made.epochs) + 1
            scores = {name: 0.1 * (1 - math.exp(-k / 5)) / (1 + i % 3) for i, name in enumerate(names)}
            made.epochs.append(
                Epoch(
                    n, phase, cycle, train_loss=1.0, validation_loss=1.0,
                    train_accuracy=90 - 50 * math.exp(-n / 30), validation_accuracy=85 - 50 * math.exp(-n / 30),
                    lr=0.002 * (length - k) / length, seconds=10.0 + 5 * (phase == "dendrite"),
                    scores=scores if phase == "dendrite" else {}, parameters=1000,
                )
            )  # fmt: skip
    made.events.append(Event(200, "rollback", "cycle 3 did not help", "neuron"))
    made.result = Result(84.0, best_epoch=180, dendrites=dict.fromkeys(names, 2))
    return made


def artists(figure: Figure, gid: str) -> list[Any]:
    return [part for part in figure.findobj() if part.get_gid() == gid]


def artist(figure: Figure, gid: str) -> Any:
    found = artists(figure, gid)
    assert len(found) == 1, f"{len(found)} artists are called {gid!r}"
    return found[0]


def spans(figure: Figure, gid: str) -> list[tuple[float, float]]:
    """From where to where the boxes of this name reach along the x axis."""
    return [(box.get_x(), box.get_x() + box.get_width()) for box in artists(figure, gid)]


def spots(figure: Figure) -> list[tuple[float, float]]:
    """Places of the means of all arms."""
    lines = [line for line in figure.axes[0].lines if str(line.get_gid()).startswith("means:")]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def words(figure: Figure, gid: str | None = None) -> list[str]:
    texts = figure.findobj(lambda part: hasattr(part, "get_text") and (gid is None or part.get_gid() == gid))
    return [part.get_text() for part in texts if part.get_text()]


# ---------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize("epochs", [1, 7, 12])
def test_curves_draw_the_records_errors(run, epochs):
    shown = run.epochs[:epochs]
    figure = plots.training_curves(Run(run.header, shown, run.events))
    for gid in ("train", "validation"):
        x, y = artist(figure, gid).get_data()
        assert list(x) == [epoch.epoch for epoch in shown]
        assert list(y) == [100 - epoch[f"{gid}_accuracy"] for epoch in shown]
    best = max(shown, key=lambda epoch: epoch.validation_accuracy)
    assert artist(figure, "best").get_data()[0] == [best.epoch]
    assert f"validation {shown[-1].validation_error:.1f} %" in words(figure, "end")


def test_phase_bands_and_switches_are_where_the_record_says(run):
    assert [(b.phase, b.cycle, b.first, b.last) for b in run.bands()] == [
        ("neuron", 0, 1, 4), ("dendrite", 1, 5, 6), ("neuron", 1, 7, 8), ("dendrite", 2, 9, 10), ("neuron", 2, 11, 12),
    ]  # fmt: skip
    figure = plots.training_curves(run)
    assert spans(figure, "dendrite-phase") == spans(figure, "dendrite-ribbon") == [(4.5, 6.5), (8.5, 10.5)]
    assert all(box.get_hatch() for box in artists(figure, "dendrite-ribbon")), "told apart without colour"
    assert spans(figure, "neuron-ribbon") and not any(box.get_hatch() for box in artists(figure, "neuron-ribbon"))
    lines = [segment[0][0] for segment in artist(figure, "switches").get_segments()]
    assert lines == [4.5, 6.5, 8.5, 10.5]
    part = plots.training_curves(Run(run.header, run.epochs[:5], run.events[:1]))
    assert spans(part, "dendrite-phase") == [(4.5, 5.5)], "a phase ends where the record ends"


def test_a_cycle_that_was_taken_back_is_marked(run, long_run):
    assert words(plots.training_curves(long_run), "rollback") and not words(plots.training_curves(run), "rollback")


def test_titles_name_the_data_and_say_synthetic(run, long_run):
    assert "two spirals (1.5 turns, synthetic)" in words(plots.training_curves(run), "title")[0]
    assert words(plots.training_curves(long_run), "title") == ["Error by epoch: photos"]
    assert Run({"data": {"name": "synthetic10", "synthetic": True}}).data_title == "synthetic10 (synthetic)"


def test_axes_are_named_with_units(run, spirals):
    model, data, _ = spirals
    for figure in (plots.training_curves(run), plots.score_heatmap(run)):
        assert figure.axes[0].get_xlabel().startswith("epoch") and all(axes.get_ylabel() for axes in figure.axes)
    assert "(%)" in plots.training_curves(run).axes[0].get_ylabel()
    assert "no unit" in plots.decision_boundary(model, data).axes[0].get_xlabel()


def test_descriptions_name_the_numbers(long_run):
    text = plots.describe_training_curves(long_run)
    best = max(long_run["validation_accuracy"])
    for part in (
        f"{100 - best:.2f} %",
        "epochs 61 to 80, epochs 121 to 140 and epochs 181 to 190",
        "Test error 16.00 %",
        "epochs 1 to 200",
    ):
        assert part in text
    early = Run(long_run.header, long_run.epochs[:60])
    assert "no dendrite phase" in plots.describe_training_curves(early)
    assert "Test error" not in plots.describe_training_curves(early)
    assert f"{long_run.at(190).score:.4f} in epoch 190" in plots.score_heatmap(long_run).alt


# ---------------------------------------------------------------------------------------------- scores


def test_heatmap_holds_the_scores(long_run):
    image = artist(plots.score_heatmap(long_run), "scores")
    expected = np.array([list(epoch.scores.values()) for epoch in long_run.epochs if epoch.scores]).T
    assert image.get_array().shape == (50, 50) == expected.shape
    np.testing.assert_array_equal(image.get_array(), expected)
    assert image.norm.vmax == max(max(e.scores.values()) for e in long_run.epochs if e.scores)


def test_a_layer_without_a_score_is_masked_not_invented():
    gaps = make_long_run(6)
    del gaps.epochs[60].scores["classifier.0"]
    image = artist(plots.score_heatmap(gaps), "scores")
    assert image.get_array().mask.sum() == 1


@pytest.mark.filterwarnings("ignore:run 'run'. dendrites were asked for")
def test_real_run_of_a_mobilenet(tiny_data):
    model = perforate(mobilenet_small(width=0.25, seed=0), "features.1*")
    config = TrainConfig(switch=FixedSwitch((1, 1), 1), batch_size=50, roll_back=False)
    run = PerforatedTrainer(model, tiny_data.subset(100, 50, 50), config).fit(progress=False)
    names = list(dict(dendritic_layers(model)))
    assert artist(plots.score_heatmap(run), "scores").get_array().shape == (len(names), 1)
    figure = plots.training_curves(run)
    assert "synthetic" in words(figure, "title")[0] and plots.png(figure).startswith(b"\x89PNG")
    assert "dendrites learn in epoch 2;" in figure.alt or "dendrites learn in epoch 2." in figure.alt


# ---------------------------------------------------------------------------------------------- nothing to draw


@pytest.mark.parametrize("draw", ["training_curves", "score_heatmap"])
def test_an_empty_run_gives_a_message(draw):
    figure = plots.__dict__[draw](Run())
    assert "recorded" in words(figure, "message")[0] and "recorded" in figure.alt
    assert "recorded" in plots.describe_training_curves(Run())


def test_an_unfinished_run_is_drawn_as_far_as_it_came(run):
    part = Run(run.header, run.epochs[:3], [], None)
    assert "3 epochs so far" in words(plots.training_curves(part), "note")[0]
    assert "yet" in words(plots.score_heatmap(part), "message")[0]


# ---------------------------------------------------------------------------------------------- comparison


def test_parameter_bars_draw_every_part():
    counts = {"whole": count_parameters(mobilenet_small(width=0.25)).as_dict()}
    counts["more"] = counts["whole"] | {"dendrites": 5000, "total": counts["whole"]["total"] + 5000}
    figure, end = plots.parameter_bars(counts, 122_000), 0
    for part in ("stem", "blocks", "head"):
        assert spans(figure, part) == [(end, end + counts["whole"][part])] * 2
        end += counts["whole"][part]
    assert spans(figure, "dendrites") == [(end, end), (end, end + 5000)]
    assert all(box.get_hatch() for box in artists(figure, "dendrites")), "dendrites are told apart without colour"
    assert artist(figure, "limit").get_xdata()[0] == 122_000
    assert [text.endswith("(over)") for text in words(figure, "total")] == [False, True]
    assert "124,842 parameters, 5,000 of them in dendrites. Within the limit of 122,000: whole." in figure.alt
    assert words(plots.parameter_bars({}), "message")


def test_long_names_stay_inside_the_figure():
    names = ["a", "Extra-Small, dendrites on chosen layers", "W" * 80]
    bars = plots.parameter_bars({name: {"head": 10} for name in names})
    pairs = plots.paired_differences({"control": {0: 50.0}} | {name: {0: 60.0, 1: 61.0} for name in names}, "control")
    for figure in (bars, pairs):
        figure.draw_without_rendering()
        ticks = figure.axes[0].get_yticklabels()
        assert [tick.get_text() for tick in ticks][:2] == names[:2]
        assert ticks[2].get_text().endswith("W…")
        assert min(tick.get_window_extent().x0 for tick in ticks) >= 0
        assert names[2] in figure.alt


@pytest.mark.parametrize(
    ("parts", "match"),
    [({"tail": 1}, "unknown part 'tail'"), ({"stem": -1}, "fewer"), ({"stem": 1, "total": 2}, "sum to 1, not")],
)
def test_parameter_bars_refuse_wrong_counts(parts, match):
    with pytest.raises(ConfigError, match=match):
        plots.parameter_bars({"a": parts})


def test_paired_differences_are_gains_on_the_control():
    control, treated = {0: 80.0, 1: 81.0, 2: 79.0}, {0: 81.0, 1: 81.5, 2: 80.5, 9: 99.0}
    results = {"same-epochs": control, "perforated": treated, "wider": {1: 80.0}, "random": {7: 1.0}}
    figure = plots.paired_differences(results, "same-epochs", data="photos")
    assert list(artist(figure, "seeds:perforated").get_xdata()) == [1.0, 0.5, 1.5], "paired by seed; fewer is right"
    assert artist(figure, "mean:perforated").get_xdata()[0] == 1.0
    (start, end), *_ = artist(figure, "interval:perforated").get_segments()
    expected = paired_interval([19.0, 18.5, 19.5], [20.0, 19.0, 21.0])
    assert (start[0], end[0]) == pytest.approx((expected.low, expected.high))
    assert set(artist(figure, "zero").get_xdata()) == {0}
    assert list(artist(figure, "seeds:wider").get_xdata()) == [-1.0]
    assert not [part for part in figure.findobj() if part.get_gid() in ("mean:wider", "interval:wider")]
    assert "+1.00 (95 % interval" in figure.alt and "wider −1.00 (one seed, no interval)" in figure.alt
    assert "random no shared seed" in figure.alt and "photos" in figure.alt
    label = figure.axes[0].get_xlabel()
    assert label.startswith("← more errors") and label.endswith("fewer errors →")
    assert words(plots.paired_differences({"a": {0: 1.0}}, "a"), "message")
    with pytest.raises(ConfigError, match="no arm 'b'"):
        plots.paired_differences({"a": {0: 1.0}}, "b")
    with pytest.raises(ConfigError, match="not an accuracy"):
        plots.paired_differences({"a": {0: 101.0}}, "a")


def study_gains(shift: float) -> dict[str, Gain]:
    scores = {"same-epochs": {0: 60.0, 1: 61.0, 2: 62.0}, "thawed": {0: 61.0 + shift, 1: 62.5, 2: 63.0}}
    scores |= {"gradient": {0: 60.5, 1: 60.5, 2: 62.5}, "wider": {0: 61.5}}
    return {f"called {arm}": gain for arm, gain in gains(scores, "same-epochs").items()}


def test_a_forest_plot_has_a_row_an_arm_below_its_study():
    groups = {"one: small": study_gains(0), "two: large": study_gains(0.25)}
    figure = plots.forest(groups, ["wider"])
    assert words(figure, "study") == list(groups)
    ticks = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert ticks == ["called thawed", "called gradient", "called wider"] * 2
    places = [artist(figure, f"mean:{study}/{arm}").get_ydata()[0] for study in groups for arm in ("thawed", "wider")]
    assert places == sorted(places), "from the top"
    (start, end), *_ = artist(figure, "interval:two: large/thawed").get_segments()
    expected = groups["two: large"]["called thawed"].interval
    assert (start[0], end[0]) == pytest.approx((expected.low, expected.high))
    assert set(artist(figure, "zero").get_xdata()) == {0}
    assert artist(figure, "mean:one: small/wider").get_markerfacecolor() == style.PAPER
    assert not [part for part in figure.findobj() if part.get_gid() == "interval:one: small/wider"]
    assert "+1.50 (one seed)" in words(figure, "numbers")
    said = "one: small: called thawed +1.17; 1 whose interval holds zero and 1 of one seed."
    assert said in figure.alt
    assert words(plots.forest({}), "message")


POINTS = [
    {"name": "small", "parameters": 100_000, "accuracy": 70.0, "arm": "baseline"},
    {"name": "same size, worse", "parameters": 100_000, "accuracy": 69.0, "arm": "wider"},
    {"name": "large, worse", "parameters": 300_000, "accuracy": 69.5, "arm": "baseline"},
    {"name": "best", "parameters": 900_000, "accuracy": 80.0, "arm": "perforated"},
]


def test_pareto_front_has_only_what_no_smaller_one_beats():
    assert [point["name"] for point in plots.pareto_front(POINTS)] == ["small", "best"]
    figure = plots.pareto(POINTS, 500_000, data="photos")
    drawn = sorted(spots(figure))
    np.testing.assert_allclose(drawn, sorted((p["parameters"], 100 - p["accuracy"]) for p in POINTS))
    assert list(artist(figure, "ring").get_ydata()) == [30.0, 20.0]
    assert set(words(figure, "name")) == {point["name"] for point in POINTS}
    assert (
        "3 of 4 networks have at most 500,000" in figure.alt
        and "best (900,000 parameters, 20.00 % error)" in figure.alt
    )
    assert words(plots.pareto([]), "message") and plots.pareto(POINTS[:1]).axes
    with pytest.raises(ConfigError, match="lacks 'arm'"):
        plots.pareto([{"name": "a", "parameters": 1, "accuracy": 1.0}])
    with pytest.raises(ConfigError, match="a: parameters"):
        plots.pareto([{"name": "a", "parameters": 0, "accuracy": 1.0, "arm": "b"}])


# ---------------------------------------------------------------------------------------------- plane and images


def test_the_mean_of_its_seeds_stands_for_a_network_with_its_interval():
    lucky = [{"name": "lucky", "parameters": 500_000, "accuracy": a, "arm": "random"} for a in (90.0, 62.0, 70.0)]
    figure = plots.pareto(POINTS + lucky, 500_000)
    assert (500_000, pytest.approx(26.0)) in spots(figure) and len(spots(figure)) == len(POINTS) + 1
    (bar,) = next(part.get_segments() for part in figure.axes[0].collections if len(part.get_segments()) == 1
                  and part.get_gid() == "interval" and part.get_segments()[0][0][0] == 500_000)  # fmt: skip
    expected = paired_interval([0.0] * 3, [10.0, 38.0, 30.0])
    assert (bar[0][1], bar[1][1]) == pytest.approx((max(expected.low, 0), expected.high))
    assert list(artist(figure, "ring").get_ydata()) == [30.0, 26.0, 20.0], "the front of the means, not of the luckiest"
    assert "lucky (500,000 parameters, 26.00 % error, mean of 3 seeds)" in figure.alt
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["baseline", "wider", "perforated", "random"]


def test_of_many_networks_only_those_on_the_front_are_named():
    many = [{"name": f"n{k}", "parameters": 1000 * (k + 1), "accuracy": 50.0 + k, "arm": "wider"} for k in range(20)]
    poor = [{"name": f"p{k}", "parameters": 1000 * (k + 2), "accuracy": 40.0, "arm": "random"} for k in range(20)]
    named = words(plots.pareto(many + poor), "name")
    assert named and not [name for name in named if name.startswith("p")]


def test_arm_curves_draw_mean_and_range_over_seeds():
    arms = {arm: recorded("mini", arm=arm) for arm in ("same-epochs", "perforated")}
    figure = plots.arm_curves(arms, data="photos")
    for line, band, runs in zip(figure.axes[0].lines, figure.axes[0].collections, arms.values(), strict=False):
        errors = np.array([run["validation_error"] for run in runs])
        np.testing.assert_allclose(line.get_ydata(), errors.mean(0))
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((errors.min(), errors.max()))
        assert f"{errors.mean(0)[-1]:.2f} %" in figure.alt
    uneven = plots.arm_curves({"perforated": arms["perforated"], "wider": recorded("mini", arm="wider", seed=0)})
    assert "perforated (5 seeds)" in words(uneven) and "wider (1 seed)" in words(uneven)
    zoomed = plots.arm_curves(arms, first=70)
    assert artist(zoomed, "mean:perforated").get_xdata()[0] == 70
    assert np.ptp(zoomed.axes[0].get_ylim()) < np.ptp(figure.axes[0].get_ylim()) / 2
    assert words(plots.arm_curves({"perforated": [Run()]}), "message")


def test_an_arm_looks_the_same_whichever_others_are_drawn():
    few = [run for run in recorded("mini", seed=0) if run.arm in ("same-epochs", "thawed")]
    every = plots.arm_curves({run.arm: [run] for run in recorded("mini", seed=0)})
    some = plots.arm_curves({run.arm: [run] for run in few})
    looks = [
        {line.get_gid(): (line.get_color(), line._unscaled_dash_pattern) for line in figure.axes[0].lines}
        for figure in (every, some)
    ]
    assert all(looks[0][gid] == look for gid, look in looks[1].items())
    assert len(set(looks[0].values())) == len(looks[0]), "told apart by colour and dash"
    own = [plots.arm_curves({name: few[:1]}, among=["mine", "yours"]) for name in ("mine", "yours")]
    assert len({figure.axes[0].lines[0].get_color() for figure in own}) == 2


def test_decision_boundary_shows_the_networks_own_classes(spirals):
    model, data, _ = spirals
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    figure = plots.decision_boundary(model, data)
    image = artist(figure, "regions")
    left, right, low, high = image.get_extent()
    classes = image.get_array()
    cell = (right - left) / classes.shape[1]
    x, y = left + (17 + 0.5) * cell, low + (120 + 0.5) * (high - low) / classes.shape[0]
    with torch.no_grad():
        assert classes[120, 17] == model(torch.tensor([[x, y]], dtype=torch.float32)).argmax(1).item()
        wrong = (model(data.validation.inputs).argmax(1) != data.validation.labels).float().mean().item() * 100
    assert words(figure, "error") == [f"{wrong:.1f} %"] and f"{wrong:.1f} %" in figure.alt
    assert set(dendrite_counts(model).values()) == {2}, "the model is left as it was"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    drawn = artist(figure, "class:0").get_xydata()
    np.testing.assert_array_equal(drawn, data.validation.inputs[data.validation.labels == 0].numpy())


def test_a_decision_boundary_of_an_unknown_split_is_refused(spirals):
    model, data, _ = spirals
    with pytest.raises(ConfigError, match=r"split is .all."):
        plots.decision_boundary(model, data, split="all")


def test_confusion_counts():
    figure = plots.confusion(torch.tensor([0, 0, 0, 1]), [0, 1, 1, 999], ["cat", "dog"], data="photos")
    np.testing.assert_allclose(artist(figure, "shares").get_array(), [[100 / 3, 200 / 3, 0], [0, 0, 100]])
    assert words(figure, "count") == ["1", "2", "1"] and "75.00 % error" in words(figure, "note")[0]
    assert "2 of 3 images of cat are taken for dog" in figure.alt
    assert "most frequent" not in plots.confusion([0, 1], [0, 1], ["cat", "dog"]).alt
    assert words(plots.confusion([], [], ["cat"]), "message")
    with pytest.raises(ConfigError, match="2 labels and 1"):
        plots.confusion([0, 0], [0], ["cat"])
    with pytest.raises(ConfigError, match="outside the 1 classes"):
        plots.confusion([1], [0], ["cat"])


def test_example_predictions_show_the_images(tiny_data):
    images, labels = tiny_data.test.images[:30], tiny_data.test.labels[:30]
    given = labels.clone()
    given[1] = (given[1] + 1) % 10
    figure = plots.example_predictions(images, labels, given, tiny_data.classes, f"Examples: {tiny_data.title()}")
    np.testing.assert_array_equal(artist(figure, "image:1").get_array(), images[1].permute(1, 2, 0))
    said = words(figure, "given")
    assert len(said) == 20 and said[1].startswith("✗") and said[0] == f"✓ {tiny_data.classes[labels[0]]}"
    assert words(figure, "true") == [f"is {tiny_data.classes[labels[1]]}"]
    assert "29 of 30" in figure.alt and f"taken for {tiny_data.classes[given[1]]}" in figure.alt
    with pytest.raises(DataError, match="normalised"):
        plots.example_predictions(images.float() - 100, labels, given, tiny_data.classes)
    with pytest.raises(DataError, match=re.escape("[N, 3, height, width]")):
        plots.example_predictions(images[0], labels[:1], given[:1], tiny_data.classes)
    with pytest.raises(ConfigError, match="30 images and 2 labels"):
        plots.example_predictions(images, labels[:2], given[:2], tiny_data.classes)
    assert words(plots.example_predictions(images[:0], [], [], tiny_data.classes), "message")


# ---------------------------------------------------------------------------------------------- all of them


def test_html_carries_the_alternative_text_and_a_fixed_shape(run):
    figure = plots.training_curves(run)
    page = plots.html(figure, 'rises "<fast>"')
    assert 'alt="rises &quot;&lt;fast&gt;&quot;"' in page and 'width="800" height="380"' in page
    assert "data:image/png;base64," in page and "background:#ffffff" in page
    assert f'alt="{figure.alt}"' in figure._repr_html_() and figure._repr_png_().startswith(b"\x89PNG")
    width = int.from_bytes(plots.png(figure, 160)[16:20], "big")
    assert width == 1280


def test_svg_takes_the_colours_of_the_page_and_says_the_picture(run):
    drawn = plots.svg(plots.training_curves(run))
    assert drawn.startswith("<svg ") and f'role="img" aria-label="{plots.training_curves(run).alt[:40]}' in drawn
    assert "var(--jp-content-font-color1, #1f2933)" in drawn and "var(--jp-layout-color0, #ffffff)" in drawn
    assert ">Error by epoch: two spirals" in drawn, "words stay words: crisp, and found by a search"
    assert "<metadata" not in drawn and "<?xml" not in drawn


@pytest.fixture(scope="module")
def every_picture(long_run, run, spirals) -> list[plots.Picture]:
    """One of each kind, with real and long names."""
    model, data, _ = spirals
    accuracies = {seed: 70.0 + seed for seed in range(5)}
    (real,) = recorded("mini", arm="perforated", seed=0)
    return [
        plots.training_curves(long_run),
        plots.training_curves(Run(long_run.header, long_run.epochs[:95])),
        plots.training_curves(run),
        plots.score_heatmap(long_run),
        plots.score_heatmap(real),
        plots.paired_differences({"same-epochs": accuracies, "perforated": {0: 90.0, 1: 60.0}}, "same-epochs"),
        plots.forest({"a study of some length: width 0.15, 45,000 images, dendrites in every layer": study_gains(0)}),
        plots.parameter_bars({"MobileNet-Small, 1000-way head": {"head": 2_542_856}}, 1_660_000),
        plots.parameter_bars({"MobileNet-Small": {"head": 1_528_106}}, 1_660_000),
        plots.pareto(POINTS, 1_660_000, design=823_846),
        plots.pareto(POINTS, 1_660_000, design=20_000),
        plots.pareto(POINTS, 1_660_000, design=1_700_000),
        plots.pareto(POINTS[:1]),
        plots.decision_boundary(model, data),
        plots.confusion([0, 1], [0, 1], ["cat", "dog"]),
        plots.arm_curves({name: [long_run] for name in ("same-epochs", "perforated", "wider", "random", "thawed")}),
    ]


def seen_words(figure: Figure) -> list[tuple[str, Any]]:
    """Every text that is drawn, with its extent in pixels at the size it is shown."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axis = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = [(tick, *sorted(one.get_view_interval())) for one in axis for tick in one.get_major_ticks()]
    unseen = {tick.label1 for tick, low, top in ticks if not low <= tick.get_loc() <= top}
    texts = figure.findobj(lambda part: isinstance(part, Text) and part.get_text() and part.get_visible())
    seen = [text for text in dict.fromkeys(texts) if text not in unseen]
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in seen]


def test_nothing_is_written_outside_the_picture(every_picture):
    for figure in every_picture:
        wide, high = figure.get_size_inches() * 100
        for text, box in seen_words(figure):
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= wide and box.y1 <= high
            assert inside, f"{text!r} is clipped in {words(figure, 'title')}"


def test_no_words_lie_on_others(every_picture):
    for figure in every_picture:
        for (one, a), (other, b) in itertools.combinations(seen_words(figure), 2):
            over = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(over) < 2, f"{one!r} lies on {other!r} in {words(figure, 'title')}"


def test_what_a_control_redraws_has_few_artists(long_run):
    """Artists are what a redraw costs: they grow with the arms, not with the epochs."""
    arms = {arm: [long_run] * 5 for arm in EVERY_ARM if arm in ("same-epochs", "wider", "random", "thawed", "gradient")}
    points = [point | {"name": arm, "arm": arm} for arm in arms for point in POINTS]
    scores = {arm: dict.fromkeys(range(5), 70.0) for arm in arms}
    for figure in (
        plots.training_curves(long_run),
        plots.arm_curves(arms),
        plots.pareto(points, 993_000, design=300_000),
        plots.paired_differences(scores, "same-epochs"),
    ):
        assert len(figure.findobj()) < 180


def test_a_learners_own_settings_reach_no_figure(run):
    own = {"axes.grid": True, "axes.grid.which": "both", "grid.linestyle": ":", "grid.alpha": 0.3}
    own |= {"xtick.top": True, "xtick.minor.visible": True, "ytick.labelright": True, "ytick.labelleft": False}
    own |= {"axes.facecolor": "black", "text.color": "white", "xtick.color": "white", "axes.labelcolor": "white"}
    own |= {"axes.formatter.use_mathtext": True, "axes.labelpad": 25, "ytick.minor.visible": True}
    own |= {"axes.formatter.limits": (-1, 1)}
    bars = {"small": {"stem": 400, "head": 90_000}}
    draws = (
        plots.training_curves,
        plots.score_heatmap,
        lambda _: plots.pareto(POINTS),
        lambda _: plots.parameter_bars(bars),
    )
    for draw in (partial(each, run) for each in draws):
        quiet = plots.png(draw())
        with rc_context(own):
            assert plots.png(draw()) == quiet


def test_the_palette_is_seaborns_colorblind():
    seaborn = pytest.importorskip("seaborn")
    assert list(PALETTE) == list(seaborn.color_palette("colorblind").as_hex())


def test_importing_plots_starts_neither_pyplot_nor_seaborn():
    code = (
        "import sys, perfteach.plots; print([m for m in ('matplotlib.pyplot', 'seaborn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_with_a_dollar_sign_is_no_formula():
    figure = style.frame(200, "run $a_{$ and \\frac{")
    axes = style.panel(figure, 50, 50, 600, 100)
    axes.plot([0, 1], label="$b_{$")
    axes.legend()
    axes.set_yticks([0], ["$c_{$"])
    assert style.png(figure)
    assert not any(words.get_parse_math() for words in figure.findobj(Text))
