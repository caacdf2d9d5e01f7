"""Inference of the networks of `benches/packed.rs` in PyTorch and ONNX Runtime. Prints one line of JSON.

    python3 benches/peers/packed_speed.py eager resnet20-w1a2 --batch 256
    python3 benches/peers/packed_speed.py onnx-f32 cnn8-w1a1 --batch 1

Both are given their best: weights are quantised once, before, and activations in as few operations as it takes. int8 is
ONNX Runtime's own static quantisation of the same network, weights and activations in eight bits. Needs torch, onnx and
onnxruntime.
"""

import argparse
import json
import pathlib
import resource
import statistics
import tempfile
import time

import numpy as np
import torch

import networks

WIDTHS = {
    "cnn8": [24, 32, 32, 64, 64, 64, 256],
    "cnn8-rcp1": [18, 21, 27, 60, 60, 60, 256],
    "resnet20": [64, 128, 256],
    "resnet20-rcp1": [42, 112, 224],
}


def quantise(x, bits):
    levels = 2**bits - 1
    return torch.round(x) if levels == 1 else torch.round(x * levels) / levels


def network(name):
    base, bits, *pruned = name.split("-")
    weight_bits, activation_bits = int(bits[1]), int(bits[3])
    kind = {"cnn8": networks.Cnn8, "resnet20": networks.ResNet20}[base]
    model = kind(WIDTHS["-".join([base, *pruned])], weight_bits, activation_bits).eval()
    for module in model.modules():
        if isinstance(module, networks.QuantConv2d):
            module.weight.data = networks.quantise_weight(module.weight.data, module.bits)
            module.bits = None
    # Nothing takes gradients here.
    networks.quantise, networks.clamp = quantise, lambda x: x.clamp(0, 1)
    return model


def onnx_session(model, images, threads, int8):
    import onnxruntime
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.onnx"
        axes = {"images": {0: "batch"}}
        torch.onnx.export(model, (images[:1],), str(path), input_names=["images"], dynamic_axes=axes, dynamo=False)
        if int8:

            class Reader(quantization.CalibrationDataReader):
                def __init__(self):
                    self.left = [{"images": images[n : n + 1].numpy()} for n in range(min(8, len(images)))]

                def get_next(self):
                    return self.left.pop() if self.left else None

            ready, path = str(path), path.with_name("int8.onnx")
            quantization.quantize_static(ready, str(path), Reader(), per_channel=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("engine", choices=["eager", "onnx-f32", "onnx-int8"])
    p.add_argument("network")
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = network(args.network)
    images = torch.rand(args.batch, 3, model.SIDE, model.SIDE) * 2 - 1
    if args.engine == "eager":

        def run():
            with torch.inference_mode():
                model(images)

    else:
        session = onnx_session(model, images, args.threads, args.engine == "onnx-int8")
        feed = {"images": images.numpy().astype(np.float32)}

        def run():
            session.run(None, feed)

    times = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < args.seconds or len(times) < 4:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[1:])
    print(json.dumps({
        "network": args.network,
        "engine": args.engine,
        "batch": args.batch,
        "ms": seconds * 1e3,
        "pictures_per_s": args.batch / seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }))


if __name__ == "__main__":
    main()
