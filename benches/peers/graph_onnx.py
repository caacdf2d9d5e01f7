"""What ONNX Runtime computes with the graphs in a folder.

    python3 benches/peers/graph_onnx.py FOLDER

For each NAME.onnx the inputs are read from NAME.in0.bin, NAME.in1.bin and so on, in the order of the file, and the outputs
are written to NAME.out0.bin and so on: 32-bit floats, the lowest byte first, with any number of pictures. Where the package
onnx is installed, its checker reads each file first, with shapes inferred. Needs onnxruntime and numpy.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

try:
    import onnx
except ImportError:
    onnx = None


def main():
    (folder,) = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for model in sorted(Path(folder).glob("*.onnx")):
        if onnx:
            onnx.checker.check_model(onnx.load(model), full_check=True)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        inputs = {
            value.name: np.fromfile(model.with_suffix(f".in{n}.bin"), "<f4").reshape(-1, *value.shape[1:])
            for n, value in enumerate(session.get_inputs())
        }
        names = [value.name for value in session.get_outputs()]
        for n, output in enumerate(session.run(names, inputs)):
            output.astype("<f4").tofile(model.with_suffix(f".out{n}.bin"))


if __name__ == "__main__":
    main()
