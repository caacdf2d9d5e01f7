"""Computes a QONNX file that this crate wrote with the `qonnx` package, beside the same network in floats with ONNX Runtime.

    vwc-sdk graph runs/svhn_cnn8/original --onnx floats.onnx
    vwc-sdk export runs/svhn_cnn8/original quantised.onnx --format qonnx
    python3 benches/peers/qonnx_out.py floats.onnx quantised.onnx [--pictures 100]

Pictures are random and seeded, of the shape that the files read. Needs onnx, onnxruntime, numpy and qonnx; nothing that users run
depends on it.
"""

import argparse
import json

import numpy as np
import onnx
import onnxruntime
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes


def of_one_picture(path):
    """The model in a file, its open dimensions 1: qonnx computes with the shapes that a file states."""
    file = onnx.load(path)
    for value in [*file.graph.input, *file.graph.value_info, *file.graph.output]:
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_value = 1
    return ModelWrapper(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("floats")
    parser.add_argument("quantised")
    parser.add_argument("--pictures", type=int, default=100)
    args = parser.parse_args()
    floats = onnxruntime.InferenceSession(args.floats, providers=["CPUExecutionProvider"])
    (given,) = floats.get_inputs()
    model = of_one_picture(args.quantised).transform(InferShapes())
    x_name, y_name = model.graph.input[0].name, model.graph.output[0].name
    random = np.random.default_rng(0)
    worst, same, edges = 0.0, 0, 0
    for _ in range(args.pictures):
        x = random.uniform(-1, 1, [1, *given.shape[1:]]).astype(np.float32)
        (expected,) = floats.run(None, {given.name: x})
        found = execute_onnx(model, {x_name: x})[y_name]
        apart = float(np.abs(found - expected).max() / np.abs(expected).max())
        worst = max(worst, apart)
        # More than sums in another order: a value lay on the edge between two codes.
        edges += int(apart > 1e-5)
        same += int(found.argmax() == expected.argmax())
    operators = {}
    for node in model.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    found = {"pictures": args.pictures, "same class": same, "with another code": edges, "largest relative difference": worst}
    print(json.dumps(found | {"operators": operators}))


if __name__ == "__main__":
    main()
