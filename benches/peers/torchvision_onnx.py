"""Classification networks of torchvision as ONNX files, by both exporters of PyTorch, to try the reader of ONNX files on.

    python3 benches/peers/torchvision_onnx.py --files FOLDER [--quantised] [NETWORK ...]
    python3 benches/peers/torchvision_onnx.py --compare FOLDER
    python3 benches/peers/torchvision_onnx.py --fixtures tests/fixtures/torchvision

Weights are random and seeded; nothing is downloaded. Batch norms get running means and variances that are random, too, so
that none is the identity.

`--files` exports each network at its full size to FOLDER/NETWORK.EXPORTER.onnx. `tests/graph_onnx` reads the files of the folder
that `VWC_SDK_TORCHVISION` names, and writes each graph that it makes to FOLDER/NETWORK.EXPORTER.again as an ONNX file.
`--compare` then runs ONNX Runtime on both and prints the largest difference of the outputs, relative to the largest output.

`--fixtures` exports the networks at small picture sizes and with narrow layers where their classes allow that, and replaces the
weights: a constant of more than 16 floats holds none in the fixture, and the test makes them by `filled` below. ONNX Runtime's
outputs are beside them.

Needs torch, torchvision, onnx, onnxscript and onnxruntime.
"""

import argparse
import json
import pathlib
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime

CLASSES = 10

# The exporters, and how batch norms leave them.
EXPORTERS = {
    # torch.export and its graph rewriter, which folds batch norms.
    "dynamo": {"dynamo": True, "opset_version": 18},
    "dynamo23": {"dynamo": True, "opset_version": 23},
    # The same without the rewriter.
    "dynamo-plain": {"dynamo": True, "opset_version": 18, "optimize": False},
    # torch.jit.trace, with batch norms folded, and then as they are.
    "script11": {"dynamo": False, "opset_version": 11},
    "script17": {"dynamo": False, "opset_version": 17},
    "script-plain": {"dynamo": False, "opset_version": 17, "do_constant_folding": False, "preserve": True},
}

# ONNX Runtime's static quantisation of what "script17" exports: format, type of activations and weights, and whether each filter
# has its own scale.
QUANTISERS = {
    "qdq-u8s8-channels": ("QDQ", "QUInt8", "QInt8", True),
    "qdq-s8s8": ("QDQ", "QInt8", "QInt8", False),
    "qdq-u8u8": ("QDQ", "QUInt8", "QUInt8", False),
    "qoperator-u8s8-channels": ("QOperator", "QUInt8", "QInt8", True),
    "qoperator-u8u8": ("QOperator", "QUInt8", "QUInt8", False),
    "dynamic-s8": ("dynamic", "QUInt8", "QInt8", False),
}

# Networks with the side of their pictures at full size and in the fixtures.
NETWORKS = {
    "alexnet": (224, 64),
    "vgg11": (224, 32),
    "vgg16_bn": (224, 32),
    "resnet18": (224, 64),
    "resnet50": (224, 64),
    "resnext50_32x4d": (224, 64),
    "wide_resnet50_2": (224, 64),
    "squeezenet1_0": (224, 64),
    "squeezenet1_1": (224, 64),
    "densenet121": (224, 64),
    "googlenet": (224, 64),
    "inception_v3": (299, 96),
    "shufflenet_v2_x0_5": (224, 64),
    "shufflenet_v2_x1_0": (224, 64),
    "mobilenet_v2": (224, 64),
    "mobilenet_v3_small": (224, 64),
    "mobilenet_v3_large": (224, 64),
    "mnasnet0_5": (224, 64),
    "efficientnet_b0": (224, 64),
    "efficientnet_v2_s": (224, 64),
    "regnet_x_400mf": (224, 64),
    "regnet_y_400mf": (224, 64),
    "convnext_tiny": (224, 64),
    "vit_b_16": (224, None),
    "swin_t": (224, None),
    "maxvit_t": (224, None),
}


def network(name, seed=0, **settings):
    import torch
    import torchvision

    torch.manual_seed(seed)
    if name in ("googlenet", "inception_v3"):
        settings |= {"init_weights": False, "aux_logits": True}
    if name == "googlenet":
        settings |= {"transform_input": True}
    model = getattr(torchvision.models, name)(num_classes=CLASSES, **settings)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            # Of some the scales and shifts are as they begin, so that exporters write equal ones once.
            if module.num_features % 32:
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


def picture(side, name="picture"):
    return filled(name, (2, 3, side, side))


def filled(name, shape):
    """Numbers that depend on a name and a shape alone, as `tests/torchvision.rs` makes them.

    A generator of 64 bits (xorshift) starts from the FNV-1a hash of the name. Its numbers are in [-1, 1). Of a kernel or a matrix
    they are scaled so that sums of as many products stay near one; of a variance or scale they are from 0.5 to 1.5.
    """
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    state |= 1
    count = int(np.prod(shape))
    numbers = np.empty(count, np.float64)
    for n in range(count):
        state ^= (state << 13) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 7
        state ^= (state << 17) & 0xFFFFFFFFFFFFFFFF
        numbers[n] = (state >> 11) / (1 << 52) - 1.0
    if name.startswith(("picture", "calibration")):
        pass
    elif len(shape) > 1 and max(shape) < count:
        numbers *= np.sqrt(3.0 / np.prod(shape[1:]))
    else:
        numbers = 1.0 + 0.5 * numbers if positive(name) else 0.2 * numbers
    return numbers.reshape(shape).astype(np.float32)


def positive(name):
    return name.endswith(("running_var", "weight", "layer_scale"))


def export(model, side, exporter, path):
    import torch

    settings = dict(EXPORTERS[exporter])
    if settings.pop("preserve", False):
        settings["training"] = torch.onnx.TrainingMode.PRESERVE
    x = torch.from_numpy(picture(side))
    batch = {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if settings["dynamo"]:
            settings |= {"external_data": False, "verbose": False}
            try:
                shapes = ({0: torch.export.Dim("batch")},)
                torch.onnx.export(model, (x,), str(path), dynamic_shapes=shapes, **settings)
            except torch.onnx.OnnxExporterError:  # The batch of some cannot be left open.
                torch.onnx.export(model, (x,), str(path), **settings)
        else:
            torch.onnx.export(model, (x,), str(path), input_names=["x"], dynamic_axes={"x": batch}, **settings)


def quantise(model, side, quantiser, path):
    from onnxruntime import quantization as q

    style, activations, weights, channels = QUANTISERS[quantiser]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        export(model, side, "script17", folder / "floats.onnx")
        q.shape_inference.quant_pre_process(folder / "floats.onnx", folder / "ready.onnx", skip_symbolic_shape=True)
        weights = q.QuantType[weights]
        if style == "dynamic":
            q.quantize_dynamic(folder / "ready.onnx", path, weight_type=weights)
            return

        class Pictures(q.CalibrationDataReader):
            def __init__(self):
                self.left = [{"x": picture(side, f"calibration{n}")} for n in range(4)]

            def get_next(self):
                return self.left.pop() if self.left else None

        q.quantize_static(
            folder / "ready.onnx", path, Pictures(), quant_format=q.QuantFormat[style], per_channel=channels,
            activation_type=q.QuantType[activations], weight_type=weights,
        )


def outputs(path, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def files(folder, names, quantised):
    for name in names or NETWORKS:
        side, _ = NETWORKS[name]
        for exporter in [*EXPORTERS, *(QUANTISERS if quantised else [])]:
            path = folder / f"{name}.{exporter}.onnx"
            if path.exists():
                continue
            try:
                (quantise if exporter in QUANTISERS else export)(network(name), side, exporter, path)
                print(name, exporter, path.stat().st_size, flush=True)
            except Exception as error:  # An exporter may not know an operator in an old set.
                print(name, exporter, "was not exported:", str(error).splitlines()[0][:200], flush=True)


def compare(folder):
    print("| network | exporter | operator set | nodes | largest relative difference |")
    print("|---|---|---|---|---|")
    for path in sorted(folder.glob("*.onnx")):
        again = path.with_suffix(".again")
        name, exporter = path.stem.split(".")
        if not again.exists():
            continue
        model = onnx.load(path)
        x = picture(NETWORKS[name][0])
        first, second = outputs(path, x), outputs(again, x)
        assert len(first) == len(second), path
        worst = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(first, second))
        sets = {entry.domain: entry.version for entry in model.opset_import}
        print(f"| {name} | {exporter} | {sets['']} | {len(model.graph.node)} | {worst:.1e} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=pathlib.Path)
    parser.add_argument("--compare", type=pathlib.Path)
    parser.add_argument("--quantised", action="store_true", help="quantise them, too, by ONNX Runtime")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.files:
        args.files.mkdir(parents=True, exist_ok=True)
        files(args.files, args.names, args.quantised)
    if args.compare:
        compare(args.compare)


if __name__ == "__main__":
    main()
