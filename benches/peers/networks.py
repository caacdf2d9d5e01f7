"""The three networks in PyTorch, with the parameter names of the original's model file, written independently of the crate.

Quantisers in DoReFa's form, as the crate's: `quantise`, `quantise_weight`.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


def quantise(x, bits):
    if bits == 32:
        return x
    levels = 2**bits - 1
    # A sum with an exact zero: the value itself, where `x + (value - x)` would be off by a rounding error.
    return (torch.round(x * levels) / levels).detach() + (x - x.detach())


def quantise_weight(w, bits):
    scale = w.detach().abs().mean()
    t = torch.tanh(w)
    peak = t.abs().max()
    if bits == 32:
        return t / peak * scale
    return scale * (2 * quantise(t / (2 * peak) + 0.5, bits) - 1)


def clamp(x):
    """To the unit interval, with the gradient passing at its ends too, as when the original was written; today's
    `Tensor.clamp` stops it there."""
    return torch.where((x >= 0) & (x <= 1), x, x.detach().clamp(0, 1))


class QuantConv2d(nn.Conv2d):
    def __init__(self, inputs, outputs, kernel, stride=1, padding=0, bits=None):
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bits = bits

    def forward(self, x):
        weight = self.weight if self.bits is None else quantise_weight(self.weight, self.bits)
        return F.conv2d(x, weight, None, self.stride, self.padding)


class QuantLinear(nn.Linear):
    def __init__(self, inputs, outputs, bits):
        super().__init__(inputs, outputs, bias=False)
        self.bits = bits

    def forward(self, x):
        weight = self.weight if self.bits is None else quantise_weight(self.weight, self.bits)
        return F.linear(x, weight)


class Act(nn.Module):
    """A k-bit quantiser of the unit interval; a ReLU at 32 bits and in full precision (None)."""

    def __init__(self, bits, rounds=True):
        super().__init__()
        self.bits, self.rounds = bits, rounds

    def forward(self, x):
        if self.bits in (None, 32):
            return F.relu(x)
        x = clamp(x)
        return quantise(x, self.bits) if self.rounds else x


class Cnn8(nn.Module):
    """CNN-8; with weight bits of None the full-precision twin."""

    KERNELS = [5, 3, 3, 3, 3, 3, 5]
    PADDING = [0, 1, 1, 0, 1, 0, 0]
    SIDE = 40

    def __init__(self, widths, weight_bits, activation_bits, dropout=0.5):
        super().__init__()
        layers = []
        inputs = 3
        for n, width in enumerate(widths):
            if n == 6:
                layers.append(nn.Dropout(dropout))
            kernel, padding = self.KERNELS[n], self.PADDING[n]
            if n == 0:
                layers.append(nn.Conv2d(inputs, width, kernel, padding=padding))
            else:
                layers.append(QuantConv2d(inputs, width, kernel, padding=padding, bits=weight_bits))
            if 1 <= n <= 5:
                layers.append(nn.BatchNorm2d(width))
            if n in (0, 2):
                layers.append(nn.MaxPool2d(2))
            # What a full-precision layer reads after a clamp is not rounded; the twin has ReLUs throughout.
            clamp = n == 6 and weight_bits is not None
            layers.append(Act(1 if clamp else activation_bits, rounds=not clamp))
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x):
        return self.fc(self.layers(x).flatten(1))


class Block(nn.Module):
    """A residual block: quantised in the original's order, its full-precision twin, either with pre-activation, or the
    original's in full precision, whose first batch norm nothing passes."""

    def __init__(self, inputs, inner, outputs, stride, weight_bits, activation_bits, pre, published=False):
        super().__init__()
        self.quantised, self.pre, self.published = weight_bits is not None, pre, published
        pre = pre or published
        self.act = Act(activation_bits)
        self.conv0 = QuantConv2d(inputs, inner, 3, stride, 1, weight_bits)
        self.bn0 = nn.BatchNorm2d(inputs if pre else inner)
        self.conv1 = QuantConv2d(inner, outputs, 3, 1, 1, weight_bits)
        self.bn1 = nn.BatchNorm2d(inner if pre else outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        if self.pre:
            y = self.conv0(self.act(self.bn0(x)))
            return self.conv1(self.act(self.bn1(y))) + self.shortcut(x)
        if self.published:
            return self.act(self.conv1(self.act(self.bn1(self.conv0(x)))) + self.shortcut(x))
        if self.quantised:
            y = self.conv1(self.act(self.bn0(self.conv0(self.act(x)))))
            return self.bn1(y + self.shortcut(x))
        y = self.bn1(self.conv1(self.act(self.bn0(self.conv0(x)))))
        return self.act(y + self.shortcut(x))


class ResNet20(nn.Module):
    """ResNet-20; with weight bits of None the full-precision twin, or what the original has in its place. `inner` holds
    the nine blocks' inner widths."""

    SIDE = 32

    def __init__(self, widths, weight_bits, activation_bits, pre=False, inner=None, published=False):
        super().__init__()
        self.pre, self.quantised = pre, weight_bits is not None
        self.published = published
        inner = inner or [width for width in widths for _ in range(3)]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        if not pre and not published:
            self.bn1 = nn.BatchNorm2d(widths[0])
        inputs = widths[0]
        for stage, width in enumerate(widths):
            blocks = []
            for block in range(3):
                stride = 2 if stage > 0 and block == 0 else 1
                middle = inner[3 * stage + block]
                blocks.append(Block(inputs, middle, width, stride, weight_bits, activation_bits, pre, published))
                inputs = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        if pre:
            self.bn = nn.BatchNorm2d(widths[2])
        self.linear = nn.Linear(widths[2], 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.conv1(x)
        if not self.pre and not self.published:
            x = self.bn1(x)
            if not self.quantised:
                x = F.relu(x)
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.pre:
            x = F.relu(self.bn(x))
        return self.linear(F.avg_pool2d(x, 8).flatten(1))


class Vgg13(nn.Module):
    """VGG-13 without batch norms; with weight bits of None the full-precision twin, or what the original has in its
    place."""

    SIDE = 32

    def __init__(self, widths, weight_bits, activation_bits, hidden=(512, 512), dropout=0.5, published=False):
        super().__init__()
        self.act = Act(activation_bits)
        self.published = published
        inputs = 3
        for n, width in enumerate(widths, 1):
            if n == 1:
                conv = nn.Conv2d(inputs, width, 3, padding=1, bias=not published)
            else:
                conv = QuantConv2d(inputs, width, 3, padding=1, bits=weight_bits)
            setattr(self, f"conv{n}", conv)
            inputs = width
        self.fc1 = QuantLinear(inputs, hidden[0], weight_bits)
        self.fc2 = QuantLinear(hidden[0], hidden[1], weight_bits)
        self.classifier = nn.Linear(hidden[1], 10, bias=not published)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        for n in range(1, 11):
            x = self.act(getattr(self, f"conv{n}")(x))
            if n % 2 == 0:
                x = F.max_pool2d(x, 2)
        if self.published:
            x = self.dropout(self.act(self.fc1(self.dropout(x.flatten(1)))))
            return self.classifier(self.fc2(x))
        x = self.dropout(self.act(self.fc1(x.flatten(1))))
        x = self.dropout(self.act(self.fc2(x)))
        return self.classifier(x)
