"""Makes the small quantised networks in `tests/fixtures/quantised`, with what ONNX Runtime computes with each.

    python3 benches/peers/quantised_onnx.py tests/fixtures/quantised

One network with random seeded weights is quantised by ONNX Runtime in each form and type that it has, and written by hand in
QONNX's operators, whose outputs are computed here as QONNX defines them. Needs torch, onnx, onnxruntime and numpy.
"""

import io
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization as q

SHAPE = (2, 3, 8, 8)

# Format, types of activations and weights, and whether each filter has its own scale.
FORMS = {
    "qdq-u8s8-channels": (q.QuantFormat.QDQ, q.QuantType.QUInt8, q.QuantType.QInt8, True),
    "qdq-s8s8": (q.QuantFormat.QDQ, q.QuantType.QInt8, q.QuantType.QInt8, False),
    "qdq-u8u8": (q.QuantFormat.QDQ, q.QuantType.QUInt8, q.QuantType.QUInt8, False),
    "qdq-u8s4": (q.QuantFormat.QDQ, q.QuantType.QUInt8, q.QuantType.QInt4, False),
    "qdq-u16s8": (q.QuantFormat.QDQ, q.QuantType.QUInt16, q.QuantType.QInt8, False),
    "qoperator-u8s8-channels": (q.QuantFormat.QOperator, q.QuantType.QUInt8, q.QuantType.QInt8, True),
    "qoperator-u8u8": (q.QuantFormat.QOperator, q.QuantType.QUInt8, q.QuantType.QUInt8, False),
}


class Small(nn.Module):
    """A residual block between a stem and a linear layer, with a branch that is put beside it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.inner = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.side = nn.Conv2d(6, 2, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.inner(x))
        x = torch.cat([F.max_pool2d(x, 2), F.avg_pool2d(self.side(x), 2)], 1)
        return self.head(x.mean((2, 3), keepdim=True).flatten(1))


class Pictures(q.CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": np.random.default_rng(n).uniform(-1, 1, SHAPE).astype(np.float32)} for n in range(8)]

    def get_next(self):
        return self.left.pop() if self.left else None


def computed(file, x):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def qonnx():
    """A convolution with weights of 4 bits, one of one bit, and inputs of 8, 3 and one bit; and its outputs for a picture."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 0.3, (4, 3, 3, 3)), rng.normal(0, 0.3, (5, 4, 1, 1))
    first, second = first.astype(np.float32), second.astype(np.float32)
    scales = (np.abs(first).max((1, 2, 3), keepdims=True) / 7).astype(np.float32)
    numbers = {
        "conv1.weight": first, "conv2.weight": second, "s.weight": scales, "zero": 0.0, "bits4": 4.0, "bits8": 8.0, "bits3": 3.0,
        "s.input": 0.01, "s.inner": 0.2, "one": 1.0, "s.sign": 0.1, "half": 0.5,
        # No sum is zero then, whose sign rounding would decide.
        "conv2.bias": np.full(5, 0.013, np.float32),
    }
    constants = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in numbers.items()]
    domain = "qonnx.custom_op.general"

    def quant(name, inputs, **settings):
        settings = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | settings
        return helper.make_node("Quant", inputs, [name], name=name, domain=domain, **settings)

    nodes = [
        quant("input", ["x", "s.input", "zero", "bits8"]),
        quant("weight1", ["conv1.weight", "s.weight", "zero", "bits4"], narrow=1),
        helper.make_node("Conv", ["input", "weight1"], ["c1"], name="Conv_0", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="Relu_0"),
        quant("inner", ["r1", "s.inner", "zero", "bits3"], signed=0),
        helper.make_node("BipolarQuant", ["conv2.weight", "s.sign"], ["weight2"], name="weight2", domain=domain),
        helper.make_node("Conv", ["inner", "weight2", "conv2.bias"], ["c2"], name="Conv_1"),
        helper.make_node("BipolarQuant", ["c2", "half"], ["y"], name="sign", domain=domain),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "small", [info("x", TensorProto.FLOAT, ["batch", *SHAPE[1:]])],
        [info("y", TensorProto.FLOAT, ["batch", 5, 8, 8])], constants,
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    file = helper.make_model(graph, opset_imports=sets)

    def rounded(x, scale, low, high):
        x, scale = np.float32(x), np.float32(scale)
        return np.round(np.clip(x / scale, low, high)) * scale

    def outputs(x):
        x = torch.from_numpy(rounded(x, 0.01, -128, 127))
        x = F.relu(F.conv2d(x, torch.from_numpy(rounded(first, scales, -7, 7)), padding=1))
        x = torch.from_numpy(rounded(x.numpy(), 0.2, 0, 7))
        sign = np.where(second >= 0, np.float32(0.1), np.float32(-0.1))
        x = F.conv2d(x, torch.from_numpy(sign), torch.full((5,), 0.013)).numpy()
        return np.where(x >= 0, np.float32(0.5), np.float32(-0.5))

    return file, outputs


def write(to, name, file, x, y):
    file.doc_string = ""
    del file.metadata_props[:]
    for node in file.graph.node:
        node.doc_string = ""
    onnx.save(file, to / f"{name}.onnx")
    numbers = {"input": x.ravel().tolist(), "output": y.ravel().tolist()}
    numbers = {key: [float(f"{number:.9g}") for number in row] for key, row in numbers.items()}
    (to / f"{name}.json").write_text(json.dumps(numbers, separators=(",", ":")) + "\n")
    print(name, file.ByteSize())


def main():
    to = pathlib.Path(sys.argv[1])
    to.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    x = np.round(np.random.default_rng(100).uniform(-1, 1, SHAPE), 3).astype(np.float32)
    file = io.BytesIO()
    torch.onnx.export(
        Small().eval(), (torch.from_numpy(x),), file, dynamo=False, opset_version=17,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}},
    )
    with tempfile.TemporaryDirectory() as folder:
        floats, quantised = pathlib.Path(folder) / "floats.onnx", pathlib.Path(folder) / "quantised.onnx"
        floats.write_bytes(file.getvalue())
        for name, (style, activations, weights, channels) in FORMS.items():
            q.quantize_static(
                floats, quantised, Pictures(), quant_format=style, per_channel=channels,
                activation_type=activations, weight_type=weights,
            )
            made = onnx.load(quantised)
            write(to, name, made, x, computed(made, x))
        q.quantize_dynamic(floats, quantised, weight_type=q.QuantType.QInt8)
        made = onnx.load(quantised)
        write(to, "dynamic", made, x, computed(made, x))
    made, outputs = qonnx()
    write(to, "qonnx", made, x, outputs(x))


if __name__ == "__main__":
    main()
