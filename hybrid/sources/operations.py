"""The operations of a network from elsewhere in, a ValueError for those that no feature extractor needs out.

Loops, conditions, state, code of others and what makes shapes of data can run without end, or fill the memory,
before any image is seen; so can sizes that no image asks for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

if TYPE_CHECKING:
    import openvino


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


SHARED = names(
    "Abs Add Ceiling Clamp Concat Cos Divide Elu Erf Exp FakeQuantize Floor Gather Gelu HSigmoid HSwish "
    "Log MatMul Maximum Minimum Mish Multiply Negative Pad Power Relu Reshape Selu Sigmoid Sign Sin "
    "Softmax SoftPlus Split Sqrt Squeeze Subtract Swish Tanh Transpose Unsqueeze"
)
OPENVINO = SHARED | names(
    "AdaptiveAvgPool AdaptiveMaxPool AvgPool BatchNormInference BatchToSpace Broadcast Const Convert "
    "Convolution ConvertLike DepthToSpace Equal FakeConvert Greater GreaterEqual GroupConvolution "
    "GroupNormalization HardSigmoid Interpolate Less LessEqual LogicalAnd LogicalNot LogicalOr LogSoftmax "
    "LRN MaxPool MVN NormalizeL2 NotEqual Parameter PRelu ReduceL1 ReduceL2 ReduceMax ReduceMean "
    "ReduceMin ReduceProd ReduceSum ReLU Result ReverseSequence Roll Round ScaledDotProductAttention "
    "Select ShapeOf ShuffleChannels Slice SoftMax SoftSign SpaceToBatch SpaceToDepth SquaredDifference "
    "StridedSlice Tile VariadicSplit"
)
ONNX = SHARED | names(
    "And AveragePool BatchNormalization Cast CastLike Ceil Clip Constant Conv DepthToSpace "
    "DequantizeLinear Div Dropout Einsum Equal Expand Flatten Gemm GlobalAveragePool GlobalMaxPool "
    "Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization "
    "LayerNormalization LeakyRelu Less LessOrEqual LogSoftmax LRN Max MaxPool Mean Min Mul Neg Not Or "
    "PRelu Pow QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum Resize Round Shape Slice Softplus Softsign SpaceToDepth Sub Sum Tile Upsample Where "
    "ConstantOfShape"
)
# Elements of one map, of all maps together, and multiplications an image: a hundred times an ordinary network's.
MOST_TEXT = 16 << 20
MOST_OF_ONE, MOST_OF_ALL, MOST_WORK = 1 << 26, 1 << 31, 4e11
# What constants may grow to before any image is seen, in bytes a byte of the file, and at all.
GROWTH, LEAST_GROWTH = 16, 64 << 20
# Whose second input on says what shape comes out; it is computed as the file is read, by these steps alone.
SHAPED = names(
    "AdaptiveAvgPool AdaptiveMaxPool BatchToSpace Broadcast Interpolate Pad Reshape Slice SpaceToBatch "
    "Split StridedSlice Tile VariadicSplit"
)
STEPS = names(
    "Add Ceiling Concat Const Convert ConvertLike Divide Equal Floor Gather Maximum Minimum Multiply "
    "ReduceMax ReduceMin ReduceProd ReduceSum Reshape Round Select ShapeOf Slice Split Squeeze "
    "StridedSlice Subtract Unsqueeze VariadicSplit"
)
MOST_AXES, MOST_STEPS = 8, 1 << 16


def check_types(types: Iterable[str], allowed: frozenset[str]):
    """Raise ValueError for operations that are not allowed."""
    foreign = sorted(set(types) - allowed)
    if foreign:
        raise ValueError(
            f"it has the operations {', '.join(foreign)[:300]}, which no feature extractor needs"
        )


def check_text(xml: bytes):
    """Raise ValueError for an XML that would grow as it is read."""
    if len(xml) > MOST_TEXT or b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise ValueError(f"its XML has {len(xml)} bytes, or entities of its own")


def check_network(xml: bytes, size: int) -> Element:
    """Return an OpenVINO network's XML, if it is one of allowed operations and sizes; `size` is its weights'."""
    check_text(xml)
    root = ElementTree.fromstring(xml)
    _check_layers(root, size)
    _check_shapes(root)
    return root


def _check_layers(root: Element, size: int):
    """Raise ValueError for an OpenVINO network of other operations, or whose constants are not in its weights."""
    layers = list(root.iter("layer"))
    check_types((layer.get("type", "") for layer in layers), OPENVINO)
    for layer in layers:
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None:
            start, length = int(data.get("offset", 0)), int(data.get("size", 0))
            if start < 0 or length < 0 or start + length > size:
                raise ValueError(f"its constant {layer.get('name')!r:.80} is not in its weights")


def _check_shapes(root: Element):
    """Raise ValueError where a shape takes long to compute."""
    layers = {layer.get("id"): layer for layer in root.iter("layer")}
    feeds = defaultdict(list)
    for edge in root.iter("edge"):
        feeds[edge.get("to-layer")].append((edge.get("to-port"), edge.get("from-layer")))
    sizes = {}
    for key, layer in layers.items():
        if layer.get("type") in SHAPED:
            for port, feed in feeds[key]:
                if port != "0" and _shape_size(layers, feeds, feed, sizes) > MOST_STEPS:
                    raise ValueError(f"its {layer.get('type')} takes a shape of too many steps")


def _shape_size(layers: dict[str, Element], feeds: dict, key: str, sizes: dict[str, int]) -> int:
    """Return how many numbers a layer gives at most, which is as many as it takes: `STEPS` repeat none."""
    if key not in sizes:
        kind = layers[key].get("type")
        if kind not in STEPS:
            raise ValueError(f"it computes a shape by {kind}")
        # A layer that feeds itself is found in `sizes`.
        sizes[key] = MOST_STEPS + 1
        if kind == "ShapeOf":
            sizes[key] = MOST_AXES
        elif kind == "Const":
            sizes[key] = int(layers[key].find("data").get("size"))
        else:
            sizes[key] = sum(_shape_size(layers, feeds, feed, sizes) for _, feed in feeds[key])
    return sizes[key]


def check_model(model: openvino.Model, size: int):
    """Raise ValueError for maps, constants or sums that are out of all proportion; `size` is that of the weights."""
    fixed, total, grown, work = set(), 0, 0, 0.0
    for node in model.get_ordered_ops():
        feeds = [value.get_source_output().get_node().get_friendly_name() for value in node.inputs()]
        constant = node.get_type_name() != "Parameter" and all(name in fixed for name in feeds)
        if constant:
            fixed.add(node.get_friendly_name())
        for output in node.outputs():
            count = _elements(output.partial_shape)
            total, work = total + count, work + count * _effort(node)
            grown += count * output.element_type.size if constant else 0
            if count > MOST_OF_ONE and node.get_type_name() != "Constant":
                raise ValueError(f"its {node.get_type_name()} gives {count} numbers an image")
    if total > MOST_OF_ALL or work > MOST_WORK or grown > max(LEAST_GROWTH, GROWTH * size):
        raise ValueError(f"it takes {total:.1g} numbers and {work:.1g} multiplications an image")


def _elements(shape: openvino.PartialShape) -> int:
    """Count the numbers of a tensor; a size that is not known yet counts as 1."""
    if shape.rank.is_dynamic:
        return 1
    return prod(one.get_length() if one.is_static else 1 for one in shape)


def _effort(node: openvino.Node) -> int:
    """Count the multiplications that a number of an operation's output takes."""
    kind, shapes = node.get_type_name(), [value.get_partial_shape() for value in node.inputs()]
    if kind == "Convolution":
        return _elements(shapes[1]) // max(1, shapes[1][0].get_length())
    if kind == "GroupConvolution":
        return _elements(shapes[1]) // max(1, shapes[1][0].get_length() * shapes[1][1].get_length())
    if kind == "MatMul":
        return max(one.get_length() if one.is_static else 1 for one in list(shapes[0])[-2:])
    if kind in ("AvgPool", "MaxPool"):
        return prod(node.get_attributes()["kernel"])
    return 1 + sum(map(_elements, shapes)) // max(1, _elements(node.output(0).get_partial_shape()))
