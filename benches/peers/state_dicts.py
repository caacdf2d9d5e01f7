"""The PyTorch files that tests/pytorch.rs reads: the weights of the fixtures in tests/fixtures/parity, as people save them.

    python3 benches/peers/state_dicts.py tests/fixtures
"""

import argparse
import collections
import io
import os
import pathlib
import sys
import zipfile

import numpy
import torch
import torch.nn as nn
from safetensors.torch import load_file

from networks import Vgg13

folder = pathlib.Path(sys.argv[1])
out = folder / "pytorch"
out.mkdir(parents=True, exist_ok=True)


def weights(name):
    tensors = load_file(folder / "parity" / f"{name}.safetensors")
    return {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}


# As the original's scripts have it: a batch norm for each bit width.
cnn8 = {}
for key, tensor in weights("cnn8").items():
    layer, parameter = key.rsplit(".", 1)
    is_norm = f"{layer}.running_mean" in weights("cnn8")
    cnn8[f"{layer}.bn_dict.1.{parameter}" if is_norm else key] = tensor
    if parameter == "running_var":
        cnn8[f"{layer}.bn_dict.1.num_batches_tracked"] = torch.tensor(7)
torch.save(cnn8, out / "cnn8.pt")
torch.save(cnn8, out / "cnn8-legacy.pth", _use_new_zipfile_serialization=False)

# A checkpoint of a training on several GPUs.
state = {f"module.{key}": tensor for key, tensor in weights("resnet20").items()}
moments = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.001}]}
torch.save({"epoch": 3, "state_dict": state, "optimizer": moments}, out / "resnet20-checkpoint.pth")
# What else people keep beside it, by the later protocol.
beside = {"best": numpy.float64(91.5), "dice": numpy.random.get_state(), "args": argparse.Namespace(lr=0.1), "on": torch.device("cpu")}
torch.save(beside | {"model": state}, out / "resnet20-everything.pt", pickle_protocol=4)


class Vgg13WithUnused(Vgg13):
    """With the layers that the original's scripts create for VGG-13 and never use."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.prelu = nn.PReLU()
        self.register_buffer("pixel_mean", torch.zeros(3), persistent=False)
        for n, width in enumerate([3, 4, 5, 6], 1):
            setattr(self, f"bn{n}", nn.BatchNorm2d(width))


vgg = Vgg13WithUnused([3, 4, 4, 5, 5, 6, 6, 7, 7, 8], 2, 2, hidden=(6, 7))
vgg.load_state_dict(weights("vgg13"), strict=False)
torch.save(vgg.state_dict(), out / "vgg13.pth")
# A whole module: names classes of its own.
torch.save(vgg, out / "vgg13-module.pth")


# A CNN-8 of one channel a layer, as it lies in a training's checkpoint on a GPU of today.
small = {
    key: tensor[:, :1] if key == "fc.weight" else tensor if key == "fc.bias" else tensor[tuple(slice(1) for _ in tensor.shape[:2])]
    for key, tensor in weights("cnn8").items()
}
small["layers.0.weight"] = weights("cnn8")["layers.0.weight"][:1]
small = {key: tensor.clone() for key, tensor in small.items()}
torch.save({key: tensor.bfloat16() for key, tensor in small.items()}, out / "cnn8-bfloat16.pt")
optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1)
training = {
    "epoch": torch.tensor(3),
    "loss": torch.tensor(float("nan")),
    "rng_state": torch.get_rng_state(),
    "masks": {key: tensor > 0 for key, tensor in small.items() if tensor.dim() == 4},
    "model": small,
    "optimizer": optimizer.state_dict(),
    "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 20, 20]).state_dict(),
}
torch.save(training, out / "cnn8-training.pt")
# Beside the network, everything that PyTorch's own loader takes, and what it refuses; the network's weights as views: one
# transposed, one with its sign turned, the others parts of one storage.
flat = torch.cat([tensor.reshape(-1) for tensor in small.values()])
views, at = {}, 0
for key, tensor in small.items():
    views[key] = flat[at : at + tensor.numel()].view(tensor.shape)
    at += tensor.numel()
views["layers.0.weight"] = small["layers.0.weight"].transpose(2, 3).contiguous().transpose(2, 3)
views["fc.weight"] = torch.complex(torch.zeros_like(small["fc.weight"]), -small["fc.weight"]).conj().imag
assert views["fc.weight"].is_neg() and torch.equal(views["fc.weight"], small["fc.weight"])
layer = nn.Linear(2, 2)


class Attributes(dict):
    pass


beside = {
    "sparse": torch.eye(2).to_sparse(),
    "rows": torch.eye(2).to_sparse_csr(),
    "complex": torch.zeros(2, dtype=torch.complex64),
    "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "per_channel": torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8),
    "float8": torch.zeros(2).to(torch.float8_e4m3fn),
    "float8_scale": torch.ones(2).to(torch.float8_e8m0fnu),
    "uint16": torch.zeros(2, dtype=torch.uint16),
    "nested": torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)]),
    "meta": torch.zeros(2, device="meta"),
    "parameter": nn.Parameter(torch.zeros(2)),
    "counts": collections.defaultdict(list, {"a": [torch.zeros(1)]}),
    "queue": collections.deque([torch.zeros(1)]),
    "set": {1, 2},
    "keys": {(1, 2): torch.zeros(1), 1.5: torch.zeros(1), None: torch.zeros(1), 7: torch.zeros(1)},
    "numbers": [1 + 2j, b"bytes", bytearray(b"bytes"), 1 << 100, -1, 0.5, True, torch.Size([2])],
    "optimizer": torch.optim.Adam([torch.zeros(2, requires_grad=True)]),
    "layer": layer,
    "attributes": Attributes(lr=0.1),
    "array": numpy.arange(3.0),
}
for name, how in [
    ("beside", {}),
    ("beside-late", {"pickle_protocol": 5}),
    ("beside-legacy", {"_use_new_zipfile_serialization": False}),
]:
    held = dict(beside)
    if name == "beside-legacy":
        # Kinds that the old format cannot hold.
        for kind in ["float8", "float8_scale", "uint16"]:
            del held[kind]
    torch.save({"first": held, "model": views}, out / f"cnn8-{name}.pt", **how)
# As a machine with the high bytes first writes it.
plain = io.BytesIO()
torch.save(small, plain)
with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(out / "cnn8-big-endian.pt", "w") as swapped:
    for member in archive.namelist():
        data = archive.read(member)
        if "/data/" in member:
            data = numpy.frombuffer(data, "<f4").astype(">f4").tobytes()
        swapped.writestr(member, b"big" if member.endswith("byteorder") else data)
# Without checksums.
torch.serialization.set_crc32_options(False)
torch.save(small, out / "cnn8-unchecked.pt")
torch.serialization.set_crc32_options(True)
# Weights that are of another kind.
torch.save(small | {"fc.weight": small["fc.weight"].to_sparse()}, out / "cnn8-sparse.pt")
scripted = torch.jit.script(nn.Linear(2, 2))
torch.jit.save(scripted, out / "script.pt")
# One number that is said to be eight gigabytes.
torch.save({"layers.0.weight": torch.zeros(1).expand(1 << 31)}, out / "expanded.pt")


# The original's networks in full precision, whole.
torch.save(weights("resnet20-published"), out / "resnet20-published.pth")
vgg = Vgg13WithUnused([3, 4, 4, 5, 5, 6, 6, 7, 7, 8], None, None, hidden=(6, 7), published=True)
vgg.load_state_dict(weights("vgg13-published"), strict=False)
torch.save(vgg.state_dict(), out / "vgg13-published.pth")


class Command:
    """What an attacker would have the reader call."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


torch.save({"conv1.weight": torch.zeros(1), "extra": Command()}, out / "runs-code.pt")
# The result dropped from the stack before the weights come (`0` is POP): by either instruction that looks names up, and
# compressed.
plain = io.BytesIO()
torch.save({"conv1.weight": torch.zeros(1)}, plain)
call = b"(X\x0c\x00\x00\x00touch hackedtR0"
for name, how, start in [
    ("unseen", zipfile.ZIP_STORED, b"cposix\nsystem\n"),
    ("unseen-compressed", zipfile.ZIP_DEFLATED, b"cposix\nsystem\n"),
    ("unseen-by-texts", zipfile.ZIP_STORED, b"\x8c\x05posix\x8c\x06system\x93"),
    ("torch", zipfile.ZIP_STORED, b"ctorch\nload\n"),
]:
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(out / f"runs-code-{name}.pt", "w", how) as hidden:
        for member in archive.namelist():
            data = archive.read(member)
            if member.endswith("data.pkl"):
                data = data[:2] + start + call + data[2:]
            hidden.writestr(member, data)
# Batch norms of two bit widths.
two = cnn8 | {key.replace("bn_dict.1", "bn_dict.4"): tensor + 1 for key, tensor in cnn8.items() if "bn_dict" in key}
torch.save(two, out / "cnn8-two-norms.pt")
