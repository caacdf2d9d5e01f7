"""Compiles a QONNX file that this crate wrote with hls4ml and g++, and computes it beside the same network in floats with ONNX Runtime.

    vwc-sdk graph runs/tiny/original --onnx floats.onnx
    vwc-sdk export runs/tiny/original quantised.onnx --format qonnx
    python3 benches/peers/hls4ml_out.py floats.onnx quantised.onnx [--pictures 100] [--precision 'fixed<32,12>']

`--tiny FILE` writes a network of two convolutions to train first: hls4ml unrolls layers, which takes long for larger ones. Pictures are
random and seeded, of the shape that the files read. Needs g++, hls4ml, qonnx, onnx, onnxruntime and numpy, and for `--tiny` torch; nothing
that users run depends on it.
"""

import argparse
import json
import tempfile

import numpy as np


def tiny(path):
    import torch
    from torch import nn

    torch.manual_seed(0)
    convolution = lambda channels: nn.Sequential(nn.Conv2d(*channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels[1]), nn.ReLU())
    network = nn.Sequential(convolution([3, 8]), convolution([8, 16]), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, 32, 32),),
        path,
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )


def compiled(path, precision, folder):
    import hls4ml
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model
    from qonnx_out import of_one_picture

    model = cleanup_model(of_one_picture(path))
    for change in [ConvertToChannelsLastAndClean(), GemmToMatMul()]:
        model = cleanup_model(model.transform(change))
    config = hls4ml.utils.config.config_from_onnx_model(
        model, granularity="name", backend="Vitis", default_precision=precision
    )
    made = hls4ml.converters.convert_from_onnx_model(
        model, output_dir=folder, io_type="io_stream", backend="Vitis", hls_config=config
    )
    made.compile()
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--tiny", metavar="FILE")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--precision", default="fixed<32,12>")
    args = parser.parse_args()
    if args.tiny:
        return tiny(args.tiny)
    if len(args.files) != 2:
        parser.error("expected the network in floats and as QONNX")
    import onnxruntime

    floats = onnxruntime.InferenceSession(args.files[0], providers=["CPUExecutionProvider"])
    (given,) = floats.get_inputs()
    random = np.random.default_rng(0)
    worst, same, classes = 0.0, 0, set()
    with tempfile.TemporaryDirectory() as folder:
        made = compiled(args.files[1], args.precision, folder)
        for _ in range(args.pictures):
            x = random.uniform(-1, 1, [1, *given.shape[1:]]).astype(np.float32)
            (expected,) = floats.run(None, {given.name: x})
            found = made.predict(x)
            worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
            same += int(found.argmax() == expected.argmax())
            classes.add(int(expected.argmax()))
    print(
        json.dumps(
            {"pictures": args.pictures, "classes": len(classes), "same class": same, "largest relative difference": worst}
        )
    )


if __name__ == "__main__":
    main()
