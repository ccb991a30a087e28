"""What an ONNX graph may contain, and its parameters and multiply-accumulates, counted in the graph itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import onnx

from perfteach.hackathon.submission import SubmissionError

Shape = tuple[int, ...]
DOMAINS = ("", "ai.onnx")
NODES = 20_000
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# Arithmetic that would need a rule of its own to be counted; each can be written with Conv, Gemm or MatMul.
UNCOUNTED = {"Attention", "DFT", "DeformConv", "Einsum", "GRU", "LSTM", "RNN", "STFT", "TfIdfVectorizer"}
CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}  # where the weights stand
PRODUCTS = {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}
_SETTINGS = 16  # whole numbers in one place that are settings, such as kernel_shape, and no weights
# Inputs that say how, and whose numbers go no further: indices, sizes, axes.
_SECOND = (
    "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Reshape", "Expand", "Tile", "Squeeze",
    "Unsqueeze", "Split", "TopK", "CumSum", "OneHot", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd",
    "ReduceL1", "ReduceL2",
)  # fmt: skip
_PLACES = {name: {1} for name in _SECOND} | {"Slice": {1, 2, 3, 4}, "Pad": {1, 3}, "Resize": {3}}


@dataclass(frozen=True)
class Cost:
    """Counted in the graph: `parameters` are numbers it stores or makes from constants, `macs` those of one image.

    `graph` is the file as it was read here, and what is to be run: another reader might find another network in it.
    """

    parameters: int
    macs: int
    input_name: str
    graph: bytes


def examine(model: bytes, image: Shape, classes: int) -> Cost:
    """Check a graph and count what it costs. Nothing is run.

    Args:
        model: the ONNX file.
        image: (3, H, W), which the graph has to take as float32 [1 or N, 3, H, W].
        classes: the graph has to give float32 [1 or N, classes].

    Raises:
        SubmissionError: naming what is not allowed.
    """
    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf raises its own kinds
        raise SubmissionError("model.onnx is not an ONNX file; export it again") from error
    proto.DiscardUnknownFields()
    read = proto.SerializeToString()
    _refuse_forbidden(proto)
    name = _one_image(proto, image)
    try:
        onnx.checker.check_model(proto)
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise SubmissionError(f"model.onnx is not a valid graph ({reason})") from error
    shapes = _shapes(inferred.graph)
    (output,) = proto.graph.output
    if shapes.get(output.name) != (1, classes):
        got = list(shapes.get(output.name, ())) or "an unknown shape"
        raise SubmissionError(f"the output has {got}; it has to be [1, {classes}] for one image")
    return Cost(_parameters(proto.graph, shapes, _kinds(inferred.graph)), _macs(proto.graph, shapes), name, read)


def _refuse_forbidden(proto: onnx.ModelProto) -> None:
    graph = proto.graph
    newest = onnx.defs.onnx_opset_version()
    if any(opset.domain in DOMAINS and opset.version > newest for opset in proto.opset_import):
        raise SubmissionError(f"the graph is of a newer opset than {newest}, the newest that is known here")
    if proto.functions:
        raise SubmissionError("the graph has functions of its own; export it with standard operators only")
    if len(graph.node) > NODES:
        raise SubmissionError(f"the graph has {len(graph.node):,} nodes; {NODES:,} are allowed")
    if graph.sparse_initializer:
        raise SubmissionError("the graph has sparse initialisers; store them as ordinary ones")
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise SubmissionError(f"operator {node.domain[:60]}.{node.op_type[:60]} is not one of standard ONNX")
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise SubmissionError(f"operator {node.op_type} holds a graph of its own; loops and branches are refused")
        if node.op_type in RANDOM or (node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]):
            raise SubmissionError(f"operator {node.op_type} draws random numbers; answers have to be repeatable")
        if node.op_type in UNCOUNTED:
            raise SubmissionError(f"operator {node.op_type} is not counted; write it with Conv, Gemm or MatMul")
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise SubmissionError("the weights lie in another file; export with everything inside model.onnx")
        if tensor.data_type == onnx.TensorProto.STRING:
            raise SubmissionError("the graph holds text; only numbers are allowed")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that the graph stores, wherever it lies."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if (node.op_type == "Constant" and attribute.strings) or attribute.HasField("sparse_tensor"):
                raise SubmissionError("the graph holds text or sparse tensors; only ordinary numbers are allowed")
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _one_image(proto: onnx.ModelProto, image: Shape) -> str:
    """Check the input and set its first size to 1, so that every other size can be inferred; returns its name."""
    graph = proto.graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise SubmissionError(f"the graph has {len(inputs)} inputs and {len(graph.output)} outputs; use one of each")
    kind = inputs[0].type.tensor_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    fits = len(sizes) == 4 and sizes[0] in (None, 1) and tuple(sizes[1:]) == image
    if not fits or kind.elem_type != onnx.TensorProto.FLOAT:
        shown = [size if size is not None else "?" for size in sizes]
        raise SubmissionError(f"the input is {shown}; it has to be float32 [1, {', '.join(map(str, image))}]")
    kind.shape.dim[0].dim_value = 1
    answer = graph.output[0].type.tensor_type.shape.dim
    if len(answer) != 2:
        raise SubmissionError(f"the output has {len(answer)} sizes; it has to be [1, classes] for one image")
    answer[0].dim_value = 1
    del graph.value_info[:]  # what the file says about itself is inferred again
    return str(inputs[0].name)


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """The sizes that are known of every tensor."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes


def _kinds(graph: onnx.GraphProto) -> dict[str, int]:
    """The number type of every tensor."""
    kinds = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    return kinds | {value.name: int(value.type.tensor_type.elem_type) for value in graph.value_info}


def _shape(shapes: dict[str, Shape], node: onnx.NodeProto, name: str) -> Shape:
    if name not in shapes:
        raise SubmissionError(f"the size of {name[:60]!r} at operator {node.op_type} is not fixed")
    return shapes[name]


def _parameters(graph: onnx.GraphProto, shapes: dict[str, Shape], kinds: dict[str, int]) -> int:
    """Every stored number, whatever its type and however often it is stored, and every one made from constants.

    Constants that are computed before they meet the data count with their own size or with what was stored for them,
    whichever is more: rounded weights count once, and weights drawn by formula, tiled, or unpacked count in full.
    A whole number that meets the data and is no index or size counts once for each of its bytes, because the graph may
    take it apart; so does a number of double precision.
    """
    stored = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    constant = set(stored)
    meeting: dict[str, list[onnx.NodeProto]] = {}  # constants that meet the data, and where
    maker = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if node.op_type == "Constant":
            stored[node.output[0]] = _in_attributes(node)
        if node.op_type in ("Shape", "Size") or constant.issuperset(inputs):
            constant.update(node.output)
            continue
        weight = CONVOLUTIONS.get(node.op_type)
        for name in inputs:
            if name in constant or inputs.index(name) == weight:
                meeting.setdefault(name, []).append(node)
    for name, nodes in meeting.items():
        if name in stored:
            stored[name] *= max(_apart(name, node, kinds) for node in nodes)
    computed = [name for name in meeting if name not in stored]
    behind = _stored_behind(computed, maker, set(stored)) - set(meeting)
    made = 0
    for name in computed:
        count = math.prod(_shape(shapes, meeting[name][0], name))
        made += count * max(_apart(name, node, kinds) for node in meeting[name])
    others = sum(_in_attributes(node) for node in graph.node if node.op_type != "Constant")
    return sum(stored.values()) + others + max(0, made - sum(stored[name] for name in behind))


def _apart(name: str, node: onnx.NodeProto, kinds: dict[str, int]) -> int:
    """How many weights a number of a constant can hold for a node to take apart."""
    places = {place for place, given in enumerate(node.input) if given == name}
    if places <= _PLACES.get(node.op_type, set()):
        return 1
    if node.op_type.startswith(("QLinear", "Quantize", "Dequantize")) or name not in kinds:
        return 1
    kind = onnx.helper.tensor_dtype_to_np_dtype(kinds[name])
    return kind.itemsize if kind.kind in "iu" or kind.itemsize > 4 else 1


def _stored_behind(names: list[str], maker: dict[str, onnx.NodeProto], stored: set[str]) -> set[str]:
    """The stored tensors that these were computed from."""
    waiting, seen = list(names), set(names)
    while waiting:
        name = waiting.pop()
        if name in maker and name not in stored:
            new = set(maker[name].input) - seen
            seen |= new
            waiting += new
    return seen & stored


def _in_attributes(node: onnx.NodeProto) -> int:
    """Numbers that a node itself stores."""
    count = 0
    for attribute in node.attribute:
        count += math.prod(attribute.t.dims) if attribute.HasField("t") else 0
        count += sum(math.prod(tensor.dims) for tensor in attribute.tensors)
        single = attribute.type == onnx.AttributeProto.FLOAT and node.op_type != "Constant"  # gamma of Selu, say
        count += len(attribute.floats) + single
        if node.op_type == "Constant" or len(attribute.ints) > _SETTINGS:
            count += len(attribute.ints)
        count += node.op_type == "Constant" and attribute.name in ("value_float", "value_int")
    return count


def _macs(graph: onnx.GraphProto, shapes: dict[str, Shape]) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image, as `perfteach.count_macs` counts them."""
    return sum(_macs_of(node, partial(_shape, shapes, node)) for node in graph.node)


def _macs_of(node: onnx.NodeProto, shape: Callable[[str], Shape]) -> int:
    if node.op_type == "ConvTranspose":  # its weight [in, out/groups, *kernel] is used once at each place of the input
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type in CONVOLUTIONS:  # a weight [out, in/groups, *kernel] is used once at each place of the output
        return math.prod(shape(node.output[0])) * math.prod(shape(node.input[CONVOLUTIONS[node.op_type]])[1:])
    if node.op_type in PRODUCTS:
        turned = any(a.name == "transA" and a.i for a in node.attribute)  # which only Gemm has
        return math.prod(shape(node.output[0])) * shape(node.input[0])[-2 if turned else -1]
    return 0
