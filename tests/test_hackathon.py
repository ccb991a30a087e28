"""What a submission may be, how it is measured, and that whatever else is handed in is refused in one line."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hackathon_parts import CLASSES, SIDE, answers, brightness, graph, make_event, record, submission, weights
from onnx import TensorProto, helper, numpy_helper

from perfteach import data
from perfteach.errors import ConfigError
from perfteach.hackathon import event as events
from perfteach.hackathon.graph import examine
from perfteach.hackathon.scorer import ScorerError, _flags, score
from perfteach.hackathon.submission import About, Limits, SubmissionError, pack, read

IMAGE = (3, SIDE, SIDE)
node = helper.make_node


@pytest.fixture(scope="module")
def event(tmp_path_factory):
    return make_event(tmp_path_factory.mktemp("hackathon"))


@pytest.fixture
def refused(event, tmp_path):
    """Score a zip that has to be refused: one clear line, and no file anywhere but in the scorer's own folder."""

    def refuse(packed: bytes, limits: Limits | None = None) -> str:
        before = sorted(tmp_path.parent.rglob("*")), sorted(event.folder.rglob("*"))
        chosen = events.Event(**{**vars(event), "limits": limits or event.limits})
        with pytest.raises(SubmissionError) as caught:
            score(packed, chosen)
        assert (sorted(tmp_path.parent.rglob("*")), sorted(event.folder.rglob("*"))) == before
        said = str(caught.value)
        assert said and "\n" not in said and "Traceback" not in said and len(said) < 400
        return said

    return refuse


def of(model: onnx.ModelProto | bytes) -> bytes:
    return pack(model if isinstance(model, bytes) else model.SerializeToString(), record(), About("x"))


# --- what is measured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_accuracy_is_that_of_the_hidden_images(event, scale):
    found = score(submission(event, scale=scale), event)
    images, labels = np.load(event.images_path), np.array(event.labels())
    right = answers(images, *weights(scale=scale)) == labels
    public = np.array(event.public())
    assert found["public"] == pytest.approx(100 * right[public].mean(), abs=1e-3)
    assert found["final"] == pytest.approx(100 * right[~public].mean(), abs=1e-3)
    assert found["bytes"] == len(brightness(scale=scale)) and found["latency_ms"] > 0
    assert found["parameters"] == 2 + 9 + 3 and found["macs"] == 9  # axes, weight, bias; one product of [1,3] and [3,3]


def test_both_parts_have_the_classes_in_equal_numbers(event):
    labels, public = np.array(event.labels()), np.array(event.public())
    assert np.bincount(labels[public]).tolist() == np.bincount(labels[~public]).tolist() == [30, 30, 30]
    assert labels.tolist() != sorted(labels), "the order says nothing of the label"


def test_a_network_of_ours_is_measured_as_torch_computes_it(event, tmp_path):
    import torch

    from perfteach import add_dendrites, count_macs, perforate
    from perfteach.hackathon.client import export

    images = data.load(event.folder / "pack" / "images.npz", progress=False)
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten()
    model = add_dendrites(perforate(torch.nn.Sequential(*layers, torch.nn.Linear(8 * 36, 3)), "0"))
    torch.nn.init.normal_(model[0].weights[0])
    for norm in (model[0].neuron[1], model[0].dendrites[0][1]):
        torch.nn.init.normal_(norm.bias)  # zero, as before training, it would leave nothing to export
    path = export(model, images, tmp_path)
    assert b"/root" not in path.read_bytes() and str(Path.cwd()).encode() not in path.read_bytes()
    cost = examine(path.read_bytes(), IMAGE, 3)
    assert cost.macs == count_macs(model, IMAGE).total
    norms = sum(m.num_features for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    plain = sum(p.numel() for p in model.parameters()) - norms  # folded, a norm leaves one number a channel
    assert plain <= cost.parameters <= plain + 20  # and the numbers of the normalisation and of shapes
    x = torch.from_numpy(np.load(event.images_path))
    scale, shift = 1 / torch.tensor(images.std), -torch.tensor(images.mean) / torch.tensor(images.std)
    with torch.inference_mode():
        logits = model.eval()((x / 255) * scale[:, None, None] + shift[:, None, None])
    right = (logits.argmax(1) == torch.tensor(event.labels()))[torch.tensor(event.public())]
    assert score(of(path.read_bytes()), event)["public"] == pytest.approx(100 * float(right.float().mean()), abs=1.2)


def test_claims_stand_beside_and_differences_are_flagged(event):
    honest = score(submission(event, accuracy=96.0, parameters=14), event)
    assert honest["flags"] == [] and honest["claimed"]["accuracy"] == 96.0
    forged = score(pack(brightness(0, 3.0), record(99.99, 3, "0" * 64), About("x")), event)
    assert forged["public"] < 80
    assert forged["flags"] == [
        "the record claims 99.99 %",
        "the record claims 3 parameters",
        "the record is of other images",
    ]


def test_a_claim_from_a_small_test_of_the_team_is_not_called_too_high(event):
    found = {"claimed": {"accuracy": 76.2, "parameters": 14, "data": event.checksum}, "public": 60.0, "parameters": 14}
    said = {own: _flags(found, 150, events.Event(**{**vars(event), "own_tests": own})) for own in (0, 42, 10_000)}
    assert said == {0: ["the record claims 76.20 %"], 42: [], 10_000: ["the record claims 76.20 %"]}
    assert events.Event.load(event.folder).own_tests == event.own_tests > 0


# --- zips -------------------------------------------------------------------------------------------------------------


def zipped(members: list[tuple[zipfile.ZipInfo | str, bytes]], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return made.getvalue()


def three(**other: bytes) -> list[tuple[zipfile.ZipInfo | str, bytes]]:
    words = json.dumps({"name": "x"}).encode()
    parts = {"submission": words, "model": brightness(), "run": record()} | other
    names = {"submission": "submission.json", "model": "model.onnx", "run": "run.jsonl"}
    return [(names[key], content) for key, content in parts.items()]


def link(name: str, target: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


ZIPS = {
    "no zip": (b"hello", "not a zip"),
    "nothing": (b"", "not a zip"),
    "cut short": (zipped(three())[:-40], "zip"),
    "damaged": (zipped(three(), zipfile.ZIP_STORED).replace(b"ReduceMean", b"ReduceMEAN"), "not a whole zip"),
    "a member more": (zipped([*three(), ("more.txt", b"x")]), "nothing else"),
    "a member twice": (zipped([*three(), ("model.onnx", b"x")]), "nothing else"),
    "outside": (zipped([*three()[:2], ("../run.jsonl", record())]), "nothing else"),
    "absolute": (zipped([*three()[:2], ("/etc/run.jsonl", record())]), "nothing else"),
    "a link": (zipped([*three()[:2], link("run.jsonl", b"/etc/passwd")]), "link"),
    "a bomb": (zipped(three(model=bytes(200_000_000))), "200.0 MB; 40.0 MB are allowed"),
    "10 MB of JSON": (zipped(three(submission=json.dumps({"name": "x", "note": "a" * 10**7}).encode())), "allowed"),
    "10 MB of record": (zipped(three(run=record() * 20_000)), "allowed"),
    "deep JSON": (zipped(three(submission=b"[" * 15_000)), "not JSON"),
    "a list": (zipped(three(submission=b"[1]")), "JSON object"),
    "no name": (zipped(three(submission=b"{}")), "name is empty"),
    "a number": (zipped(three(submission=b'{"name": 3}')), "not a text"),
    "a long name": (zipped(three(submission=json.dumps({"name": "x" * 61}).encode())), "61 characters"),
    "no record": (zipped(three(run=b"hello")), "run.jsonl is not the record"),
    "an unfinished record": (zipped(three(run=record().splitlines()[0])), "not finished"),
    "a deep record": (zipped(three(run=b"[" * 100_000)), "run.jsonl is not the record"),
    "a record of nan": (zipped(three(run=record().replace(b"95.0", b"NaN"))), "out of range"),
    "a record of 1e999 %": (zipped(three(run=record().replace(b"95.0", b"1e999"))), "out of range"),
    "a record of -1 parameters": (zipped(three(run=record(parameters=-1))), "out of range"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_that_is_not_one_of_ours_is_refused(refused, name):
    packed, said = ZIPS[name]
    assert said in refused(packed)


def test_a_million_members_are_refused_without_reading_them():
    entry = b"PK\x01\x02" + bytes(42) + b"a"
    end = b"PK\x05\x06" + bytes(4) + b"\xff\xff\xff\xff" + (len(entry) * 10**6).to_bytes(4, "little") + bytes(6)
    start = time.process_time()
    with pytest.raises(SubmissionError, match="nothing else"):
        read(entry * 10**6 + end, Limits(upload=10**9))
    assert time.process_time() - start < 1


def test_a_member_that_is_larger_than_it_says_is_refused():
    packed = bytearray(zipped(three(model=brightness() + bytes(100_000))))
    real = (len(brightness()) + 100_000).to_bytes(4, "little")
    assert packed.count(real) == 2  # in the member's header and in the directory
    with pytest.raises(SubmissionError, match="not a whole zip"):
        read(bytes(packed.replace(real, (len(brightness())).to_bytes(4, "little"))), Limits())


def test_words_keep_html_and_emoji_and_lose_what_controls_a_terminal():
    said = About.of(json.dumps({"name": "<b>🦎</b> \u202eabc\x1b[31m\ud800\n\tx", "note": "=1+1"}))
    assert said.name == "<b>🦎</b> abc[31mx" and said.note == "=1+1"
    said.name.encode("utf-8")


def test_the_same_run_is_packed_to_the_same_bytes(event):
    assert submission(event) == submission(event)
    found = read(submission(event), Limits())
    assert found[0] == About("first", note="seed 0") and found[2] == brightness()


# --- graphs -----------------------------------------------------------------------------------------------------------


def inner(name: str) -> onnx.GraphProto:
    yes = node("Constant", [], [f"{name}-go"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
    ]
    out = [helper.make_tensor_value_info(f"{name}-go", TensorProto.BOOL, [])]
    return helper.make_graph([yes], name, inputs, out)


def external() -> onnx.ModelProto:
    model = graph()
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../../../../etc/passwd"), ("offset", "0"), ("length", "36")):
        tensor.external_data.add(key=key, value=value)
    return model


def external_constant() -> onnx.ModelProto:
    tensor = external().graph.initializer[1]
    made = graph([node("Constant", [], ["w"], value=tensor), node("Identity", ["image"], ["logits"])])
    return made


def custom(domain: str) -> onnx.ModelProto:
    model = graph([node("Gelu", ["image"], ["logits"], domain=domain)])
    model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def tomorrow() -> onnx.ModelProto:
    model = graph()
    model.opset_import[0].version = 99
    return model


def ending(*nodes: onnx.NodeProto, **stored: np.ndarray) -> onnx.ModelProto:
    """The classifier with more behind it, which makes "logits" of "plain"."""
    base = graph()
    base.graph.node[-1].output[0] = "plain"
    base.graph.node.extend(nodes)
    base.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in stored.items())
    return base


GRAPHS = {
    "no graph": (b"hello", "not an ONNX file"),
    "empty": (b"", "input"),
    "a loop": (graph([node("Loop", ["", "go"], ["logits"], body=inner("body"))], {"go": np.array(True)}), "Loop"),
    "a scan": (graph([node("Scan", ["image"], ["logits"], body=inner("b"), num_scan_inputs=1)]), "Scan"),
    "a branch": (graph([node("If", ["go"], ["logits"], then_branch=inner("a"), else_branch=inner("b"))]), "If"),
    "external data": (external(), "another file"),
    "an external constant": (external_constant(), "another file"),
    "an operator of its own": (custom("com.microsoft"), "com.microsoft.Gelu"),
    "random answers": (ending(node("RandomNormalLike", ["plain"], ["logits"])), "random"),
    "another size of input": (graph(shape=(1, 3, 9, 9)), "[1, 3, 9, 9]; it has to be float32 [1, 3, 8, 8]"),
    "a fixed batch": (graph(shape=(7, 3, SIDE, SIDE), output=(7, 3)), "[7, 3, 8, 8]"),
    "one channel": (graph(shape=(1, 1, SIDE, SIDE)), "[1, 1, 8, 8]"),
    "an open size": (graph(shape=(1, 3, "h", "w")), "[1, 3, '?', '?']"),
    "one size of output": (graph([node("ReduceMean", ["image", "axes"], ["logits"], keepdims=0)],
                                 {"axes": np.array([0, 2, 3])}, output=(3,)), "the output has 1 sizes"),
    "an opset of tomorrow": (tomorrow(), "a newer opset than"),
    "fewer classes": (ending(node("ReduceMax", ["plain"], ["logits"], keepdims=1)), "valid graph"),
    "text": (ending(node("Constant", [], ["t"], value_strings=[b"x"])), "text"),
    "a circle": (graph([node("Add", ["image", "b"], ["a"]), node("Add", ["a", "a"], ["b"])]), "valid graph"),
    "an unknown operator": (ending(node("Frobnicate", ["plain"], ["logits"])), "valid graph"),
    "nan": (ending(node("Log", ["minus"], ["nan"]), node("Add", ["plain", "nan"], ["logits"]),
                   minus=np.array([-1], np.float32)), "not a number"),
    "infinity": (ending(node("Div", ["plain", "zero"], ["logits"]), zero=np.array([0], np.float32)), "infinite"),
    "a terabyte": (ending(node("Expand", ["plain", "wide"], ["big"]), node("ReduceMax", ["big", "axes0"], ["logits"],
                          keepdims=0), wide=np.array([10**6, 10**5, 1, 3]), axes0=np.array([0, 1])), "memory"),
    "parameters": (ending(node("Add", ["plain", "z"], ["logits"]), z=np.zeros((1, 3), np.float32),
                          more=np.zeros(1_000_000, np.int8)), "1,000,017 parameters; 993,000 are allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_is_not_allowed_is_refused(refused, name):
    model, said = GRAPHS[name]
    assert said in refused(of(model))


def endless() -> onnx.ModelProto:
    """Sixty products of 3000 x 3000, well formed: an hour a submission."""
    steps = [node("ReduceMax", ["image"], ["first"], keepdims=0), node("Expand", ["first", "s"], ["x0"])]
    steps += [node("MatMul", [f"x{n}", f"x{n}"], [f"x{n + 1}"]) for n in range(60)]
    steps += [node("ReduceMax", ["x60"], ["m"], keepdims=0), node("Expand", ["m", "t"], ["logits"])]
    return graph(steps, {"s": np.array([3000, 3000]), "t": np.array([1, 3])})


def test_what_takes_too_long_is_stopped(refused, monkeypatch):
    if os.name != "nt":
        monkeypatch.setattr("perfteach.hackathon.scorer.PATIENCE", 60)  # processor time is what counts here
    said = refused(of(endless()), Limits(seconds=4))
    assert "more than 4 seconds of processor time" in said or (os.name == "nt" and "it took longer than" in said)


def test_what_only_waits_is_stopped_by_the_clock(event, monkeypatch):
    monkeypatch.setattr("perfteach.hackathon.scorer.PATIENCE", 0.01)
    with pytest.raises(SubmissionError, match=r"longer than 0\.3 seconds"):
        score(of(endless()), event)


def test_the_measuring_process_ends_with_its_parent(event, tmp_path):
    (tmp_path / "s.zip").write_bytes(of(endless()))
    command = [sys.executable, "-m", "perfteach.hackathon.measure", "{}", str(tmp_path / "s.zip")]
    child = subprocess.Popen([*command, str(event.images_path), "3"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    time.sleep(3)
    assert child.poll() is None
    child.stdin.close()
    assert child.wait(10) == 1


def test_neither_the_labels_nor_the_environment_reach_a_submission(event, monkeypatch):
    seen, told = {}, []

    def popen(command, **options):
        seen.update(options["env"])
        told.extend(map(str, command))
        raise OSError("far enough")

    monkeypatch.setenv("PERFTEACH_DATABASE", "postgresql://user:secret@host/db")
    monkeypatch.setattr("perfteach.hackathon.scorer.subprocess.Popen", popen)
    with pytest.raises(OSError):
        score(submission(event), event)
    assert seen and "secret" not in str(seen)
    assert str(event.images_path) in told and "labels" not in " ".join([*told, *seen.values()])


# --- parameters: every way to hide them -------------------------------------------------------------------------------


def convolution(weight: list[onnx.NodeProto], stored: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A convolution by "w" [4,3,3,3] = 108 numbers in front of a mean and a product [4,3]."""
    rest = [
        node("Conv", ["image", "w"], ["c"]),
        node("GlobalAveragePool", ["c"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("MatMul", ["f", "v"], ["logits"]),
    ]
    return graph([*weight, *rest], {"v": np.ones((4, 3), np.float32), **stored})


W = np.arange(108, dtype=np.float32).reshape(4, 3, 3, 3)
SHAPE = np.array([4, 3, 3, 3])
WAYS = {
    "stored": ([], {"w": W}, 108),
    "as a constant": ([node("Constant", [], ["w"], value=numpy_helper.from_array(W))], {}, 108),
    "rounded to 8 bits": (
        [node("DequantizeLinear", ["q", "s", "z"], ["w"])],
        {"q": W.astype(np.int8), "s": np.float32(0.1), "z": np.int8(0)}, 110,
    ),
    "stored twice": ([node("Add", ["w1", "w2"], ["w"])], {"w1": W, "w2": W}, 216),
    "stored and not used": ([], {"w": W, "spare": W}, 216),
    "all ones": ([node("ConstantOfShape", ["s"], ["w"])], {"s": SHAPE}, 108),
    "by formula": (
        [node("Range", ["a", "b", "d"], ["r"]), node("Sin", ["r"], ["t"]), node("Reshape", ["t", "s"], ["w"])],
        {"a": np.float32(0), "b": np.float32(108), "d": np.float32(1), "s": SHAPE}, 108,
    ),
    "tiled": ([node("Expand", ["one", "s"], ["w"])], {"one": np.float32([[[[2]]]]), "s": SHAPE}, 108),
    "by the image's shape": (
        [node("Shape", ["image"], ["i"]), node("Slice", ["i", "z", "e"], ["h"]),
         node("Concat", ["o", "h", "k"], ["s"], axis=0), node("ConstantOfShape", ["s"], ["w"])],
        {"z": np.array([1]), "e": np.array([2]), "o": np.array([4]), "k": np.array([3, 3])}, 108,
    ),
    "made of the image": (
        [node("ReduceMax", ["image"], ["m"], keepdims=0), node("Expand", ["m", "s"], ["w"])], {"s": SHAPE}, 112,
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_have_weights_is_counted(way):
    weight, stored, wanted = WAYS[way]
    model = convolution(weight, stored).SerializeToString()
    cost = examine(model, IMAGE, 3)
    assert cost.parameters == wanted + 12
    assert cost.macs == 4 * 6 * 6 * 27 + 12


def test_eight_weights_in_one_number_count_as_eight():
    """Bits shifted out of whole numbers: what is stored is small, what meets the image is not."""
    shifts = {f"by{n}": np.uint64(8 * n) for n in range(4)}
    unpack = [node("BitShift", ["packed", name], [f"p{name}"], direction="RIGHT") for name in shifts]
    unpack += [node("Cast", [f"p{name}"], [f"f{name}"], to=TensorProto.FLOAT) for name in shifts]
    unpack += [node("Conv", ["image", f"f{name}"], [f"c{name}"]) for name in shifts]
    model = graph(
        [*unpack, node("Sum", [f"c{name}" for name in shifts], ["c"]), node("GlobalAveragePool", ["c"], ["g"]),
         node("Flatten", ["g"], ["logits"])],
        {"packed": np.zeros((3, 3, 3, 3), np.uint64), **shifts},
    )  # fmt: skip
    assert 4 * 81 <= examine(model.SerializeToString(), IMAGE, 3).parameters <= 4 * 81 + 4


def test_numbers_that_are_taken_apart_by_the_image_count_with_every_byte():
    """As above, but the shift depends on the image, if only in form, so that what it makes is no constant."""
    unpack = [
        node("ReduceMax", ["image"], ["top"], keepdims=0),
        node("Mul", ["top", "zero"], ["nothing"]),
        node("Cast", ["nothing"], ["shift"], to=TensorProto.UINT64),
        node("BitShift", ["packed", "shift"], ["bits"], direction="RIGHT"),
        node("Cast", ["bits"], ["weight"], to=TensorProto.FLOAT),
        node("Conv", ["image", "weight"], ["c"]),
        node("GlobalAveragePool", ["c"], ["g"]),
        node("Flatten", ["g"], ["logits"]),
    ]
    model = graph(unpack, {"packed": np.zeros((3, 3, 3, 3), np.uint64), "zero": np.float32(0)})
    assert examine(model.SerializeToString(), IMAGE, 3).parameters >= 8 * 81


PACKED = np.zeros(81, np.uint64)
BITS = [
    node("Cast", ["mixed"], ["bits"], to=TensorProto.FLOAT),
    node("Reshape", ["bits", "shape"], ["weight"]),
    node("Conv", ["image", "weight"], ["c"]),
    node("GlobalAveragePool", ["c"], ["g"]),
    node("Flatten", ["g"], ["logits"]),
]
OF_IMAGE = [
    node("ReduceMax", ["image"], ["top"], keepdims=0),
    node("Cast", ["top"], ["whole"], to=TensorProto.UINT64),
    node("Reshape", ["whole", "one"], ["x"]),
]
HIDING = {
    "in small pieces": (
        [node("Concat", ["x", *[f"p{n}" for n in range(9)]], ["all"], axis=0),
         node("Slice", ["all", "one", "end"], ["mixed"])],
        {f"p{n}": PACKED[:9] for n in range(9)} | {"end": np.array([82])},
    ),
    "in a product": (
        [node("Reshape", ["x", "square"], ["x1"]), node("MatMul", ["x1", "p"], ["mixed"])],
        {"p": PACKED[None], "square": np.array([1, 1])},
    ),
    "behind another use": (
        [node("Add", ["x", "p"], ["mixed"]), node("Reshape", ["x", "square"], ["x1"]),
         node("MatMul", ["x1", "p"], ["idle"])],
        {"p": PACKED[None], "square": np.array([1, 1])},
    ),
    "in doubles": (
        [node("Cast", ["x"], ["xd"], to=TensorProto.DOUBLE), node("Mul", ["xd", "p"], ["mixed"])],
        {"p": PACKED.astype(np.float64)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", HIDING)
def test_numbers_with_room_for_eight_weights_count_eight_times(way):
    nodes, stored = HIDING[way]
    settings = {"one": np.array([1]), "shape": np.array([3, 3, 3, 3])}
    model = graph([*OF_IMAGE, *nodes, *BITS], stored | settings)
    assert examine(model.SerializeToString(), IMAGE, 3).parameters >= 8 * 81


def test_numbers_in_attributes_count():
    model = ending(node("Selu", ["plain"], ["logits"], alpha=0.0, gamma=2.0)).SerializeToString()
    assert examine(model, IMAGE, 3).parameters == examine(brightness(), IMAGE, 3).parameters + 2


def test_what_is_run_is_what_was_read():
    """Bytes that one reader passes over may be the network of another one."""
    hidden = b"\xa2\x06\x04ORTM"  # field 100, which ONNX does not have
    assert onnx.load_model_from_string(hidden + brightness()).graph.node
    assert b"ORTM" not in examine(hidden + brightness(), IMAGE, 3).graph


def test_missing_images_are_no_fault_of_the_submission(event, tmp_path):
    broken = events.Event(**{**vars(event), "folder": tmp_path})
    with pytest.raises(ScorerError, match="ended with 1"):
        score(submission(event), broken)


def test_whole_numbers_that_are_indices_count_once():
    picked = graph(
        [node("Gather", ["image", "places"], ["p"], axis=3), node("Conv", ["p", "weight"], ["c"]),
         node("GlobalAveragePool", ["c"], ["g"]), node("Flatten", ["g"], ["logits"])],
        {"places": np.arange(18, dtype=np.int64) % 6, "weight": np.zeros((3, 3, 3, 3), np.float32)},
    )  # fmt: skip
    assert examine(picked.SerializeToString(), IMAGE, 3).parameters == 18 + 81


def test_macs_of_groups_strides_and_products():
    model = graph(
        [node("Conv", ["image", "d"], ["c"], group=3, strides=[2, 2], pads=[1, 1, 1, 1]),
         node("ConvTranspose", ["c", "t"], ["u"]), node("GlobalAveragePool", ["u"], ["g"]),
         node("Flatten", ["g"], ["f"]), node("Gemm", ["f", "v"], ["logits"])],
        {key: np.ones(size, np.float32) for key, size in (("d", (3, 1, 3, 3)), ("t", (3, 5, 2, 2)), ("v", (5, 3)))},
    )  # fmt: skip
    assert examine(model.SerializeToString(), IMAGE, 3).macs == 3 * 16 * 9 + 3 * 16 * 5 * 4 + 15


# --- the organiser's folder -------------------------------------------------------------------------------------------


def test_the_pack_has_no_hidden_image(event):
    images = data.load(event.folder / "pack" / "images.npz", progress=False)
    hidden = {pixels.tobytes() for pixels in np.load(event.images_path)}
    for split in ("train", "validation", "test"):
        assert not hidden & {pixels.numpy().tobytes() for pixels in images.split(split).images}
    assert images.checksum == event.checksum and images.classes == CLASSES
    with zipfile.ZipFile(event.pack_path) as archive:
        assert sorted(archive.namelist()) == ["RULES.md", "baseline.ipynb", "images.npz"]
    rules = (event.folder / "pack" / "RULES.md").read_text(encoding="utf-8")
    assert "@" not in rules and "993,000" in rules and "bright, dark, grey" in rules
    assert os.name == "nt" or stat.S_IMODE(os.stat(event.folder).st_mode) == 0o700


def test_an_event_is_never_overwritten(event, tmp_path):
    with pytest.raises(ConfigError, match="not empty"):
        events.create(event.folder, "synthetic10")
    with pytest.raises(ConfigError, match="perfteach hackathon init"):
        events.Event.load(tmp_path)


@pytest.mark.slow
def test_drawn_hidden_images_come_from_another_seed_each_time(tmp_path):
    one, two = (events.create(tmp_path / name, hidden=100, progress=False) for name in ("one", "two"))
    first, second = (np.load(event.images_path) for event in (one, two))
    assert not {x.tobytes() for x in first} & {x.tobytes() for x in second}
    known = data.load("synthetic10", progress=False)
    assert not {x.tobytes() for x in first} & {x.numpy().tobytes() for x in known.test.images}
    assert one.checksum == two.checksum, "the participants' images are the same"
    assert np.bincount(one.labels()).tolist() == [10] * 10
    notebook = json.loads((tmp_path / "one" / "pack" / "baseline.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            compile(cell["source"], "cell", "exec")
