"""A pack with the names, inputs and outputs of buffalo_s, but models of a few hundred numbers.

The detector finds squares of one colour: a full red square of 8 pixels is a face at stride 8, green
of 16 at stride 16, blue of 32 at stride 32. Two anchors per cell, as SCRFD has; the second is less
sure of the same face and says that it is larger. The recogniser averages the crop over a 7 x 7 grid
and multiplies that with a fixed matrix.
"""

import numpy as np

STRIDES = (8, 16, 32)
SCORES = ("443", "468", "493")
BOXES = ("446", "471", "496")
LANDMARKS = ("449", "474", "499")
EMBEDDING = "516"
SURENESS = (6.0, 5.0)
REACH = np.array([[3.0, 4.0, 3.5, 4.5], [3.25, 4.25, 3.75, 4.75]])
"""Distances left, up, right, down of each anchor, in strides."""
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Where ArcFace wants the landmarks in its 112 x 112 crop."""
GRID = 7


def points(scale=0.5):
    """Landmarks ``(2, 5, 2)`` of each anchor in strides: the template about its middle, scaled."""
    both = (TEMPLATE - 56) * scale / STRIDES[0]
    return np.stack([both, both + 0.25])


def matrix(width=512):
    """What the recogniser multiplies with, ``(3 * 49, width)``."""
    return np.random.default_rng(7).standard_normal((3 * GRID * GRID, width)).astype(np.float32)


def detector(*, landmarks=None, noise=0.0, side="?", outputs=9):
    """SCRFD's interface as ONNX bytes.

    Args:
        landmarks: ``(2, 5, 2)``, as :func:`points`.
        noise: deviation of weights by which boxes and landmarks also depend on the colours.
        side: declared height and width.
        outputs: 6 leaves the landmarks out.
    """
    from onnx import TensorProto, helper, numpy_helper

    landmarks = points() if landmarks is None else landmarks
    rng = np.random.default_rng(3)
    nodes, constants, declared = [], [], {}

    def constant(name, values):
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def head(stride, pooled, name, weight, bias, sigmoid=False):
        """1 x 1 convolution, then one row per anchor; declared as exported at 640 x 640."""
        values = len(bias) // 2
        inputs = [
            pooled,
            constant(f"{name}.weight", weight.astype(np.float32)[..., None, None]),
            constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}.conv"]))
        nodes.append(
            helper.make_node("Transpose", [f"{name}.conv"], [f"{name}.last"], perm=[2, 3, 0, 1])
        )
        flat = constant(f"{name}.shape", np.array([-1, values]))
        rows = f"{name}.rows" if sigmoid else name
        nodes.append(helper.make_node("Reshape", [f"{name}.last", flat], [rows]))
        if sigmoid:
            nodes.append(helper.make_node("Sigmoid", [rows], [name]))
        declared[name] = [2 * (640 // stride) ** 2, values]

    for level, stride in enumerate(STRIDES):
        pooled = f"pooled{stride}"
        nodes.append(
            helper.make_node(
                "AveragePool",
                ["input.1"],
                [pooled],
                kernel_shape=[stride, stride],
                strides=[stride, stride],
            )
        )
        other = [colour for colour in range(3) if colour != level]
        weight = np.zeros((2, 3))
        weight[:, level], weight[:, other] = 20, -10
        bias = np.array(SURENESS) - 20 - 20
        head(stride, pooled, SCORES[level], weight, bias, sigmoid=True)
        head(stride, pooled, BOXES[level], noise * rng.standard_normal((8, 3)), REACH.ravel())
        if outputs == 9:
            weight = noise * rng.standard_normal((20, 3))
            head(stride, pooled, LANDMARKS[level], weight, landmarks.ravel())
    names = [*SCORES, *BOXES, *(LANDMARKS if outputs == 9 else ())]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, declared[name]) for name in names],
        constants,
    )
    return _bytes(graph)


def recogniser(*, batch="free", width=512, normalises=False):
    """ArcFace's interface as ONNX bytes.

    Args:
        batch: ``"free"``; ``"one"``, declared as one; ``"built-in"``, declared as free, but with a
            batch of one inside the graph, as exports of MobileFaceNet can have it.
        width: of the embedding.
        normalises: begins with the subtraction and multiplication of old models.
    """
    from onnx import TensorProto, helper, numpy_helper

    constants = [
        numpy_helper.from_array(matrix(width), "matrix"),
        numpy_helper.from_array(np.array([1 if batch == "built-in" else 0, -1]), "shape"),
        numpy_helper.from_array(np.float32(127.5), "mean"),
        numpy_helper.from_array(np.float32(1 / 127.5), "factor"),
    ]
    nodes = []
    if normalises:
        nodes += [
            helper.make_node("Sub", ["input.1", "mean"], ["centred"], name="Sub_0"),
            helper.make_node("Mul", ["centred", "factor"], ["scaled"], name="Mul_1"),
        ]
    nodes += [
        helper.make_node(
            "AveragePool",
            ["scaled" if normalises else "input.1"],
            ["pooled"],
            kernel_shape=[16, 16],
            strides=[16, 16],
        ),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], [EMBEDDING]),
    ]
    first = 1 if batch == "one" else "None"
    graph = helper.make_graph(
        nodes,
        "recogniser",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [first, 3, 112, 112])],
        [helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, [1, width])],
        constants,
    )
    return _bytes(graph)


def _bytes(graph):
    from onnx import checker, helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()
