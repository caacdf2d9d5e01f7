"""The work of `benches/step.rs`, `benches/device.rs`, `benches/layers.rs` and `benches/mobilenet.rs` in PyTorch. Prints one line of JSON.

    python3 benches/peers/speed.py step --batch 512 --weight-bits 1 --activation-bits 4 [--compile]
    python3 benches/peers/speed.py step --device cuda --network resnet20 --weight-bits 1 --activation-bits 2
    python3 benches/peers/speed.py layer --batch 128 --input 32 --channels 16 16 --stride 1 --padding 1
    python3 benches/peers/speed.py block --batch 64 --channels 24 24 --input 32 --weight-bits 4 --activation-bits 4

Rounding is a function with a straight-through gradient of its own, as quantisation code for PyTorch has it: fewer
operations than `train_cnn8.py` spends on it.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F

import networks
import train_cnn8


class Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bits):
        levels = 2**bits - 1
        return torch.round(x) if levels == 1 else torch.round(x * levels) / levels

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def step(args):
    if args.network == "resnet20":
        model, side = networks.ResNet20([64, 128, 256], args.weight_bits, args.activation_bits), 32
    else:
        model, side = train_cnn8.Cnn8(train_cnn8.PUBLISHED, args.weight_bits, args.activation_bits), 40
    model = model.to(args.device)
    forward = torch.compile(model) if args.compile else model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    images = torch.rand(args.batch, 3, side, side, device=args.device) * 2 - 1
    labels = torch.arange(args.batch, device=args.device) % 10

    def run():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(forward(images), labels).backward()
        optimizer.step()

    return run


def layer(args):
    inputs, outputs = args.channels
    conv = train_cnn8.QuantConv2d(inputs, outputs, args.kernel, args.padding, args.weight_bits)
    conv.stride = (args.stride, args.stride)
    forward = torch.compile(conv) if args.compile else conv
    latent = torch.rand(args.batch, inputs, args.input, args.input, requires_grad=True)
    shape = conv(latent).shape
    grad = torch.rand(shape)

    def run():
        latent.grad = conv.weight.grad = None
        x = train_cnn8.quantise(latent.clamp(0, 1), args.activation_bits)
        forward(x).backward(grad)

    return run


class Fake(torch.nn.Module):
    """PyTorch's own learned step, one for a tensor (LSQ); nothing at 32 bits."""

    def __init__(self, bits, signed):
        super().__init__()
        self.ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        self.bits = bits
        self.scale = torch.nn.Parameter(torch.tensor([3.0 / self.ends[1] if bits < 32 else 1.0]))
        self.register_buffer("zero", torch.zeros(1))

    def forward(self, x):
        if self.bits == 32:
            return x
        share = 1.0 / (x[0].numel() * self.ends[1]) ** 0.5
        return torch._fake_quantize_learnable_per_tensor_affine(x, self.scale, self.zero, *self.ends, share)


class Part(torch.nn.Module):
    """A convolution with its weights and what it reads rounded."""

    def __init__(self, conv, weight_bits, activation_bits, signed):
        super().__init__()
        self.conv, self.input, self.weight = conv, Fake(activation_bits, signed), Fake(weight_bits, True)
        with torch.no_grad():
            self.weight.scale.fill_(conv.weight.abs().max() / max(1, self.weight.ends[1]))

    def forward(self, x):
        c = self.conv
        return F.conv2d(self.input(x), self.weight(c.weight), c.bias, c.stride, c.padding, c.dilation, c.groups)


def part(args, inputs, outputs, kernel, stride, groups, signed):
    conv = torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return Part(conv, args.weight_bits, args.activation_bits, signed)


def backwards(args, module, channels):
    module = torch.compile(module) if args.compile else module
    latent = (torch.rand(args.batch, channels, args.input, args.input) * 3).requires_grad_()

    def run():
        latent.grad = None
        module.zero_grad(set_to_none=True)
        module(latent).sum().backward()

    return run


def depthwise(args):
    channels = args.channels[0]
    return backwards(args, part(args, channels, channels, 3, args.stride, channels, False), channels)


class Block(torch.nn.Module):
    def __init__(self, args, channels):
        super().__init__()
        wide, norm = 6 * channels, torch.nn.BatchNorm2d
        self.inner = torch.nn.Sequential(
            part(args, channels, wide, 1, 1, 1, True), norm(wide), torch.nn.ReLU6(),
            part(args, wide, wide, 3, 1, wide, False), norm(wide), torch.nn.ReLU6(),
            part(args, wide, channels, 1, 1, 1, False), norm(channels),
        )

    def forward(self, x):
        return self.inner(x) + x


def block(args):
    return backwards(args, Block(args, args.channels[0]), args.channels[0])


def mobilenet(args):
    import torchvision

    model = torchvision.models.mobilenet_v2(num_classes=1000)
    model.classifier[0] = torch.nn.Identity()
    # Behind a linear bottleneck values are below zero, too.
    return steps(args, model, lambda conv: conv.groups == 1 and conv.out_channels > conv.in_channels)


def resnet20(args):
    return steps(args, networks.ResNet20([16, 32, 64], None, None), lambda conv: False)


def steps(args, model, signed):
    """Training steps of `model`, all convolutions of which but the first are rounded, and what they read, which has a sign where
    `signed` says so."""
    convs = [(parent, name) for parent in model.modules() for name, child in parent.named_children() if isinstance(child, torch.nn.Conv2d)]
    for parent, name in convs[1:]:
        conv = getattr(parent, name)
        setattr(parent, name, Part(conv, args.weight_bits, args.activation_bits, signed(conv)))
    forward = torch.compile(model) if args.compile else model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    images = torch.rand(args.batch, 3, args.input, args.input) * 2 - 1
    labels = torch.arange(args.batch) % 10

    def run():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(forward(images), labels).backward()
        optimizer.step()

    return run


def main():
    p = argparse.ArgumentParser()
    p.add_argument("work", choices=["step", "layer", "depthwise", "block", "mobilenet", "resnet20"])
    p.add_argument("--network", choices=["cnn8", "resnet20"], default="cnn8")
    p.add_argument("--device", default="cpu")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--weight-bits", type=int, default=1)
    p.add_argument("--activation-bits", type=int, default=1)
    p.add_argument("--input", type=int)
    p.add_argument("--channels", type=int, nargs=2)
    p.add_argument("--kernel", type=int, default=3)
    p.add_argument("--stride", type=int, default=1)
    p.add_argument("--padding", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--compile", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    train_cnn8.quantise = networks.quantise = Quantise.apply
    # A GPU is waited for once in so many runs, as in benches/device.rs.
    runs, wait = (16, torch.cuda.synchronize) if args.device.startswith("cuda") else (1, lambda: None)

    works = {"step": step, "layer": layer, "depthwise": depthwise, "block": block, "mobilenet": mobilenet, "resnet20": resnet20}
    run = works[args.work](args)
    for _ in range(max(3, 2 * runs)):
        run()
    wait()
    times, end = [], time.perf_counter() + args.seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(runs):
            run()
        wait()
        times.append((time.perf_counter() - start) / runs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": statistics.median(times), "runs": runs * len(times), "peak_mib": peak, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
