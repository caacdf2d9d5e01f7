"""The logits that ONNX Runtime computes with an exported network, one line a picture.

    vwc-sdk export RUN --format onnx -o network.onnx
    python3 benches/peers/packed_onnx.py network.onnx pictures.bin

`pictures.bin` holds bytes, `[pictures, height, width, 3]`. Needs onnxruntime and numpy.
"""

import sys

import numpy as np
import onnxruntime


def main():
    model, pictures = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _, height, width, _ = session.get_inputs()[0].shape
    pictures = np.fromfile(pictures, np.uint8).reshape(-1, height, width, 3)
    for logits in session.run(["logits"], {"pictures": pictures})[0]:
        print(*(repr(float(x)) for x in logits))


if __name__ == "__main__":
    main()
