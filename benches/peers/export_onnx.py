"""Exports networks from PyTorch to the ONNX files in `tests/fixtures/onnx`, without their weights, and beside each the
layers that PyTorch itself says it computes.

    python3 benches/peers/export_onnx.py tests/fixtures/onnx

Needs torch, torchvision, onnx and onnxscript. Weights are named as external data that is not there: files of a few
KiB, and proof that reading a network's shapes does not need them.
"""

import json
import math
import pathlib
import sys
import tempfile

import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision


class Unequal(nn.Module):
    """Padding that differs from side to side, rectangular kernels, stride, dilation and groups."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, (2, 4), padding="same")
        self.pad = nn.ZeroPad2d((1, 2, 0, 3))
        self.wide = nn.Conv2d(8, 12, (1, 5), stride=(1, 2))
        self.dilated = nn.Conv2d(12, 12, 3, padding=(2, 1), dilation=(2, 1), groups=4)
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.wide(self.pad(x)))
        x = F.max_pool2d(self.dilated(x), 2)
        return self.head(x.mean((2, 3)))


def layers(model, picture):
    """Input and output sizes of every convolution, as PyTorch computes them."""
    found = []

    def note(conv, args, output):
        found.append({
            "in_channels": conv.in_channels,
            "out_channels": conv.out_channels,
            "kernel": list(conv.kernel_size),
            "stride": list(conv.stride),
            "dilation": list(conv.dilation),
            "groups": conv.groups,
            "output": list(output.shape[2:]),
        })

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d)]
    model(picture)
    for hook in hooks:
        hook.remove()
    return found


def without_weights(path):
    model = onnx.load(path, load_external_data=False)
    del model.metadata_props[:]
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for info in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del info.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) > 16:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", "weights-left-out"
    return model


def main():
    to = pathlib.Path(sys.argv[1])
    to.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    batch = {0: torch.export.Dim("batch")}
    for name, model, side, dynamo in [
        ("resnet18", torchvision.models.resnet18(), 224, True),
        ("mobilenet_v2", torchvision.models.mobilenet_v2(), 224, False),
        ("unequal", Unequal(), 33, True),
    ]:
        model.eval()
        picture = torch.zeros(2, 3, side, side)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            if dynamo:
                torch.onnx.export(model, (picture,), path, dynamo=True, external_data=True, dynamic_shapes=(batch,))
            else:
                torch.onnx.export(model, (picture,), path, dynamo=False, dynamic_axes={"input": {0: "batch"}}, input_names=["input"])
            onnx.save(without_weights(path), to / f"{name}.onnx")
        (to / f"{name}.json").write_text(json.dumps(layers(model, picture), indent=1) + "\n")


if __name__ == "__main__":
    main()
