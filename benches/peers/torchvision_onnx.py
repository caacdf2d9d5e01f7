"""Classification networks of torchvision as ONNX files, by both exporters of PyTorch, to try the reader of ONNX files on.

    python3 benches/peers/torchvision_onnx.py --files FOLDER [--exporters EXPORTER,...] [NETWORK ...]
    python3 benches/peers/torchvision_onnx.py --compare FOLDER
    python3 benches/peers/torchvision_onnx.py --fixtures tests/fixtures/torchvision [NETWORK ...]
    python3 benches/peers/torchvision_onnx.py --gradients tests/fixtures/torchvision
    python3 benches/peers/torchvision_onnx.py --back target/release/vwc-sdk [--exporters EXPORTER,...] [NETWORK ...]

Weights are random and seeded; nothing is downloaded. Batch norms get running means and variances that are random, too, so
that none is the identity.

`--files` exports each network at its full size to FOLDER/NETWORK.EXPORTER.onnx. `tests/graph_onnx` reads the files of the folder
that `VWC_SDK_TORCHVISION` names, and writes each graph that it makes to FOLDER/NETWORK.EXPORTER.again as an ONNX file.
`--compare` then runs ONNX Runtime on both and prints the largest difference of the outputs, relative to the largest output.

`--fixtures` exports the networks for small pictures, some with fewer blocks and channels, and replaces the weights: a constant of
more than 16 floats is in a file `weights` that is not kept, and the tests make it by `filled` below. ONNX Runtime's outputs for one
picture are beside the fixture.

`--back` exports each network with its batch norms as they are, has `vwc-sdk` read the file and write its parameters as safetensors,
and loads them into a network of other weights (`load_state_dict`, strict). It prints the parameters, those that are missing or too
many, and the largest difference of the logits to the first network's, relative to the largest.

`--gradients` writes what PyTorch's autograd computes with some of the fixtures.

Needs torch, torchvision, onnx, onnxscript and onnxruntime; `--back` safetensors, too.
"""

import argparse
import collections
import json
import pathlib
import subprocess
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

# Networks with the side of their pictures at full size.
NETWORKS = {
    "alexnet": 224,
    "vgg11": 224,
    "vgg16_bn": 224,
    "resnet18": 224,
    "resnet50": 224,
    "resnext50_32x4d": 224,
    "wide_resnet50_2": 224,
    "squeezenet1_0": 224,
    "squeezenet1_1": 224,
    "densenet121": 224,
    "googlenet": 224,
    "inception_v3": 299,
    "shufflenet_v2_x0_5": 224,
    "shufflenet_v2_x1_0": 224,
    "mobilenet_v2": 224,
    "mobilenet_v3_small": 224,
    "mobilenet_v3_large": 224,
    "mnasnet0_5": 224,
    "efficientnet_b0": 224,
    "efficientnet_v2_s": 224,
    "regnet_x_400mf": 224,
    "regnet_y_400mf": 224,
    "convnext_tiny": 224,
    "vit_b_16": 224,
    "swin_t": 224,
    "swin_v2_t": 256,
    "maxvit_t": 224,
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
    return randomised(model).eval()


def randomised(model):
    """Gives batch norms statistics that are not trivial, and biases that begin as zeros, which exporters drop, other numbers. Of some
    norms scale and shift stay as they begin, so that exporters write equal ones once."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            if module.num_features % 32:
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)) and module.bias is not None:
            torch.nn.init.normal_(module.bias, 0, 0.2)
    return model


def picture(side, name="picture"):
    return filled(name, (2, 3, side, side))


def filled(name, shape):
    """Numbers that depend on a name and a shape alone, as `tests/common/torchvision.rs` makes them.

    Number n is that of the generator splitmix64 at place n, which starts from the FNV-1a hash of the name, in [-1, 1). Of a kernel
    or a matrix numbers are scaled so that sums of as many products stay near one; of a variance or a scale they are from 0.5 to
    1.5, and of other rows from -0.2 to 0.2.
    """
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    numbers = (z >> np.uint64(11)).astype(np.float64) / (1 << 52) - 1.0
    if name.startswith(("picture", "calibration")):
        pass
    elif len(shape) > 1 and max(shape) < count:
        numbers *= np.sqrt(3.0 / np.prod(shape[1:]))
    else:
        numbers = 1.0 + 0.5 * numbers if positive(name) else 0.2 * numbers
    return numbers.reshape(shape).astype(np.float32)


def positive(name):
    return name.endswith(("running_var", "weight", "layer_scale"))


def narrow(name):
    """A network for a fixture: its class with fewer blocks and channels, and the exporter and side of its pictures."""
    import torch.nn as nn
    import torchvision.models as m
    from torchvision.models import convnext, densenet, resnet, swin_transformer

    def resnets(block, **settings):
        return m.ResNet(block, [1, 1, 1, 1], num_classes=CLASSES, **settings)

    def swin_v2(*args, **settings):
        block, merging = swin_transformer.SwinTransformerBlockV2, swin_transformer.PatchMergingV2
        return m.SwinTransformer(*args, block=block, downsample_layer=merging, **settings)

    def headless(model, inputs, pool=None):
        model.classifier = nn.Linear(inputs, CLASSES)
        model.avgpool = pool or model.avgpool
        return model

    blocks = [convnext.CNBlockConfig(16, 24, 1), convnext.CNBlockConfig(24, 32, 2), convnext.CNBlockConfig(32, None, 1)]
    classes = {"num_classes": CLASSES}
    made = {
        "alexnet": (lambda: headless(m.alexnet(), 9216), "dynamo", 224),
        "vgg11": (lambda: headless(m.vgg11(), 2048, nn.Identity()), "script11", 64),
        "vgg16_bn": (lambda: headless(m.vgg16_bn(), 2048, nn.Identity()), "dynamo", 64),
        "resnet18": (lambda: resnets(resnet.BasicBlock), "script-plain", 64),
        "resnet50": (lambda: resnets(resnet.Bottleneck), "dynamo-plain", 64),
        "resnext50_32x4d": (lambda: resnets(resnet.Bottleneck, groups=32, width_per_group=4), "dynamo", 64),
        "wide_resnet50_2": (lambda: resnets(resnet.Bottleneck, width_per_group=128), "script17", 64),
        "squeezenet1_0": (lambda: m.squeezenet1_0(**classes), "dynamo23", 64),
        "squeezenet1_1": (lambda: m.squeezenet1_1(**classes), "script17", 64),
        "densenet121": (lambda: m.DenseNet(8, (2, 2, 2, 2), 16, num_classes=CLASSES), "script-plain", 64),
        "googlenet": (lambda: network("googlenet"), "script17", 64),
        "inception_v3": (lambda: network("inception_v3"), "dynamo", 96),
        "shufflenet_v2_x0_5": (lambda: m.ShuffleNetV2([2, 2, 2], [24, 48, 96, 192, 256], **classes), "script11", 64),
        "shufflenet_v2_x1_0": (lambda: m.ShuffleNetV2([2, 1, 1], [24, 116, 232, 464, 256], **classes), "script17", 64),
        "mobilenet_v2": (lambda: m.mobilenet_v2(width_mult=0.25, **classes), "dynamo", 64),
        "mobilenet_v3_small": (lambda: m.mobilenet_v3_small(width_mult=0.5, **classes), "script11", 64),
        "mobilenet_v3_large": (lambda: m.mobilenet_v3_large(width_mult=0.5, **classes), "dynamo23", 64),
        "mnasnet0_5": (lambda: m.mnasnet0_5(**classes), "script17", 64),
        "efficientnet_b0": (lambda: m.efficientnet_b0(**classes), "dynamo", 64),
        "regnet_x_400mf": (lambda: m.regnet_x_400mf(**classes), "script17", 64),
        "regnet_y_400mf": (lambda: m.regnet_y_400mf(**classes), "dynamo", 64),
        "convnext_tiny": (lambda: convnext.ConvNeXt(blocks, **classes), "script17", 64),
        "convnext_small": (lambda: convnext.ConvNeXt(blocks, **classes), "dynamo", 64),
        "vit_b_16": (lambda: m.VisionTransformer(32, 8, 2, 4, 32, 64, **classes), "script17", 32),
        "vit_b_32": (lambda: m.VisionTransformer(32, 8, 2, 4, 32, 64, **classes), "dynamo23", 32),
        "swin_t": (lambda: m.SwinTransformer([4, 4], 16, [2, 1], [2, 4], [4, 4], **classes), "dynamo", 40),
        "swin_v2_t": (lambda: swin_v2([4, 4], 16, [1, 1], [2, 4], [4, 4], **classes), "script17", 40),
        "maxvit_t": (lambda: m.MaxVit((64, 64), 16, 4, [16, 24], [1, 1], 8, 0.0, **classes), "dynamo", 64),
    }
    if name is None:
        return list(made)
    import torch

    torch.manual_seed(0)
    model, exporter, side = made[name]
    return randomised(model()).eval(), exporter, side


def stripped(model, folder):
    """Takes the notes and the larger constants out of a file. They are said to be in the file `weights` beside it, and are written
    to it in `folder`. Returns their names and shapes."""
    scopes = "pkg.torch.onnx.name_scopes"
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:], graph.value_info[:]
    graph.doc_string = ""
    with_weights = ("Conv", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization")
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        node.doc_string = ""
        scales = node.op_type in ("Add", "Mul") and any(name in constants for name in node.input)
        wanted = node.op_type in with_weights or scales
        kept = [note.value for note in node.metadata_props if note.key == scopes and wanted]
        del node.metadata_props[:]
        for value in kept:
            note = node.metadata_props.add()
            note.key, note.value = scopes, value
    for info in [*graph.input, *graph.output]:
        del info.metadata_props[:]
    constants = []
    with open(folder / "weights", "wb") as weights:
        for tensor in graph.initializer:
            del tensor.metadata_props[:]
            tensor.doc_string = ""
            if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) <= 16:
                continue
            shape = [*tensor.dims]
            if len(shape) > 2 and shape[0] == 2 and np.ptp(onnx.numpy_helper.to_array(tensor), axis=0).max() == 0:
                continue  # The same for both pictures of a batch of two.
            numbers = filled(tensor.name, shape).tobytes()
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in [("location", "weights"), ("offset", weights.tell()), ("length", len(numbers))]:
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
            weights.write(numbers)
            constants.append([tensor.name, shape])
    return constants


def fixtures(to, names):
    to.mkdir(parents=True, exist_ok=True)
    for name in names or narrow(None):
        model, exporter, side = narrow(name)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            export(model, side, exporter, folder / "whole.onnx")
            file = onnx.load(folder / "whole.onnx")
            constants = stripped(file, folder)
            onnx.save(file, folder / "model.onnx")
            # Some files are for a batch of two alone.
            pictures = file.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
            x = filled("picture", (1, 3, side, side)).repeat(pictures, axis=0)
            (logits,) = outputs(folder / "model.onnx", x)[:1]
            file = (folder / "model.onnx").read_bytes()
        (to / f"{name}.onnx").write_bytes(file)
        about = {"exporter": exporter, "side": side, "logits": [float(f"{x:.9g}") for x in logits[0]], "constants": constants}
        (to / f"{name}.json").write_text(json.dumps(about, separators=(",", ":")) + "\n")
        print(name, exporter, len(file), np.abs(logits).max(), flush=True)


# Networks whose fixtures have batch norms as they are, and one that has none.
WITH_GRADIENTS = ["resnet18", "resnet50", "densenet121", "squeezenet1_1"]


def gradients(to):
    """What PyTorch's autograd computes in training with the networks and weights of the fixtures: for each parameter the norm of its
    gradient and the product with numbers of its name."""
    import torch

    found = {}
    for name in WITH_GRADIENTS:
        model, _, side = narrow(name)
        graph = onnx.load(to / f"{name}.onnx", load_external_data=False).graph
        values = {}
        for tensor in graph.initializer:
            external = tensor.data_location == onnx.TensorProto.EXTERNAL
            values[tensor.name] = filled(tensor.name, [*tensor.dims]) if external else onnx.numpy_helper.to_array(tensor)
        state = {key: value for key, value in values.items() if key in model.state_dict()}
        # Equal vectors are in the file once, some with other names for them.
        for node in graph.node:
            if node.op_type == "Identity" and node.input[0] in values:
                values[node.output[0]] = values[node.input[0]]
            if node.op_type == "BatchNormalization":
                stem = node.input[3].removesuffix("running_mean")
                for part, read in zip(["weight", "bias", "running_mean", "running_var"], node.input[1:]):
                    state[stem + part] = values[read]
        missing = model.load_state_dict({key: torch.tensor(value) for key, value in state.items()}, strict=False).missing_keys
        assert all(key.endswith("num_batches_tracked") for key in missing), missing
        about = json.loads((to / f"{name}.json").read_text())
        logits = model(torch.from_numpy(filled("picture", (1, 3, side, side)))).detach().numpy()[0]
        expected = np.array(about["logits"])
        assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max(), name
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        logits = model(torch.from_numpy(picture(side)))
        (logits * torch.from_numpy(filled("picture of logits", (2, CLASSES)))).sum().backward()
        found[name] = {}
        for path, parameter in model.named_parameters():
            gradient = parameter.grad.numpy().astype(np.float64)
            product = (gradient * filled("picture of " + path, gradient.shape)).sum()
            found[name][path] = [float(f"{x:.9g}") for x in (np.sqrt((gradient**2).sum()), product)]
        print(name, len(found[name]), flush=True)
    (to / "gradients.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


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


def files(folder, names, exporters):
    for name in names or NETWORKS:
        side = NETWORKS[name]
        for exporter in exporters:
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
        x = picture(NETWORKS[name])
        first, second = outputs(path, x), outputs(again, x)
        assert len(first) == len(second), path
        worst = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(first, second))
        sets = {entry.domain: entry.version for entry in model.opset_import}
        print(f"| {name} | {exporter} | {sets['']} | {len(model.graph.node)} | {worst:.1e} |", flush=True)


def back(binary, names, exporters):
    import torch
    from safetensors.torch import load_file

    print("| network | exporter | parameters | missing | too many | largest relative difference |")
    print("|---|---|---|---|---|---|")
    for name in names or NETWORKS:
        side = NETWORKS[name]
        for exporter in exporters:
            first, second = network(name), network(name, seed=1)
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                export(first, side, exporter, folder / "net.onnx")
                for command in (
                    ["import", "net.onnx", "--directory", "run"],
                    ["export", "run/original", "net.safetensors"],
                ):
                    done = subprocess.run([binary, *command], cwd=folder, capture_output=True, text=True)
                    assert done.returncode == 0, (name, exporter, done.stderr)
                weights = collections.OrderedDict(load_file(folder / "net.safetensors"))
            # Versions of modules, which safetensors do not hold. MNASNet alone does not load without.
            weights._metadata = second.state_dict()._metadata
            try:
                found = second.load_state_dict(weights, strict=False)
            except RuntimeError as error:  # Of a wrong shape.
                print(f"| {name} | {exporter} | {str(error)[:300]} |", flush=True)
                continue
            missing = [key for key in found.missing_keys if not key.endswith("num_batches_tracked")]
            x = torch.from_numpy(picture(side))
            with torch.no_grad():
                a, b = first(x), second(x)
            worst = ((a - b).abs().max() / a.abs().max()).item()
            lists = " | ".join(f"{len(keys)} {' '.join(keys[:3])}" for keys in (missing, found.unexpected_keys))
            print(f"| {name} | {exporter} | {len(weights)} | {lists} | {worst:.1e} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=pathlib.Path)
    parser.add_argument("--compare", type=pathlib.Path)
    parser.add_argument("--fixtures", type=pathlib.Path)
    parser.add_argument("--gradients", type=pathlib.Path)
    parser.add_argument("--back", type=pathlib.Path)
    parser.add_argument("--exporters", default=",".join(EXPORTERS), help=f"of {', '.join([*EXPORTERS, *QUANTISERS])}")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.files:
        args.files.mkdir(parents=True, exist_ok=True)
        files(args.files, args.names, args.exporters.split(","))
    if args.fixtures:
        fixtures(args.fixtures, args.names)
    if args.gradients:
        gradients(args.gradients)
    if args.compare:
        compare(args.compare)
    if args.back:
        back(args.back.resolve(), args.names, args.exporters.split(","))


if __name__ == "__main__":
    main()
