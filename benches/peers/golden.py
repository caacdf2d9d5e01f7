"""The fixtures of tests/parity.rs: logits and gradients of the three networks in PyTorch, before and after pruning.

    python3 benches/peers/golden.py tests/fixtures/parity [NAME...]

One safetensors file a network and block order, and one for each that the original has in full precision alone; only those
named, if any are. In it, `weights.<name>` is the network's state_dict, the same at every
precision; `<case>/eval` and `<case>/train` are logits with running and with batch statistics, `<case>/grad/<name>` the
gradients of a weighted sum of the latter, and the metadata names the seed of each case's picture. A case is a precision,
or a precision and `pruned`: by filters' L1 norms, summed where a residual stage has several producers.

Everything is computed in 64 bits. A low-bit convolution gives many equal sums, between which a pool chooses by the last
bit of a rounding error: so sums are put back on the grid on which they lie exactly. Pictures are chosen that bring no
activation and no weight so near an edge of a quantiser, or of a ReLU, that 32 bits could fall the other way.
"""

import copy
import pathlib
import sys
from itertools import count

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

import networks
from networks import Act, Cnn8, QuantConv2d, ResNet20, Vgg13

# How near an edge 32 bits are trusted to fall the same way.
MARGIN = 4e-6
# How well 32 bits and 64 have to agree, relative to a tensor's largest element.
AGREES = 2e-5
# How much larger the terms of a gradient may be than their sum.
CANCELS = 300
# Pictures tried before other weights are.
PICTURES = 60
PRECISIONS = [(1, 1), (1, 2), (2, 2), (2, 4), (32, 32), (None, None)]

nearest, cancelling = [np.inf], [0.0]


def watch(x, edges):
    for edge in edges:
        distance = (x.detach() - edge).abs()
        # A sum that is exactly zero is so in 32 bits too, and what its gradient is does not hang on rounding.
        distance = distance[distance > 0] if edge == 0.0 else distance
        nearest[0] = min(nearest[0], distance.min().item() if distance.numel() else np.inf)


def watch_sums(_module, _inputs, outputs):
    """The gradient of a batch norm's bias is a sum over feature maps: how far its terms cancel."""
    total = outputs[0].sum((0, 2, 3)).abs().max().item()
    cancelling[0] = max(cancelling[0], outputs[0].abs().sum((0, 2, 3)).max().item() / max(total, 1e-30))


class WatchedAct(Act):
    def forward(self, x):
        if self.bits in (None, 32):
            watch(x, [0.0])
        else:
            levels = 2**self.bits - 1
            watch(x, [0.0, 1.0] + ([(n + 0.5) / levels for n in range(levels)] if self.rounds else []))
        return super().forward(x)


def snap(y, weight, weight_bits, input_bits):
    """Sums of products of codes, without the rounding errors of adding them up."""
    if weight_bits in (None, 32) or input_bits in (None, 32):
        return y
    unit = weight.detach().abs().mean() / ((2**weight_bits - 1) * (2**input_bits - 1))
    return (torch.round(y / unit) * unit).detach() + (y - y.detach())


class WatchedConv2d(QuantConv2d):
    def forward(self, x):
        if self.bits not in (None, 32):
            t = torch.tanh(self.weight)
            levels = 2**self.bits - 1
            watch(t / (2 * t.abs().max()) + 0.5, [(n + 0.5) / levels for n in range(levels)])
        return snap(super().forward(x), self.weight, self.bits, getattr(self, "input_bits", None))


def noise(seed, count):
    mask = (1 << 64) - 1
    state = (seed * 0x9E3779B97F4A7C15) & mask | 1
    out = []
    for _ in range(count):
        state ^= (state << 13) & mask
        state ^= state >> 7
        state ^= (state << 17) & mask
        out.append((state >> 11) / (1 << 52) - 1.0)
    return np.array(out)


def build(make, weights, bits):
    """The network in 64 bits, its layers exchanged for watched ones."""
    for name, watched in [("Act", WatchedAct), ("QuantConv2d", WatchedConv2d)]:
        setattr(networks, name, watched)
    net = make(*bits).double()
    net.load_state_dict(weights)
    for name, module in net.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, QuantConv2d) and module.bits is not None:
            module.input_bits = bits[1]
        if isinstance(module, nn.BatchNorm2d) and "shortcut" not in name:
            module.register_full_backward_hook(watch_sums)
    return net


def random_weights(net, seed, scale, lean):
    state = {}
    for n, (name, tensor) in enumerate(net.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            state[name] = tensor
            continue
        values = noise(seed + n, tensor.numel())
        positive = name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight"))
        values = 0.5 + np.abs(values) if positive else scale * values
        if tensor.dim() == 4:
            # Without batch norms to centre them, sums as often negative as positive would leave nothing after ten layers.
            values = values + lean
        # As 32 bits have them: the file holds what is computed with.
        state[name] = torch.from_numpy(values.astype(np.float32)).double().reshape(tensor.shape)
    return state


def run(net, seed):
    """Logits and gradients; none where an activation or weight is too near an edge, or sums all but cancel."""
    side = net.SIDE
    dtype = next(net.parameters()).dtype
    x = torch.from_numpy(noise(seed, 2 * 3 * side * side).astype(np.float32)).to(dtype).reshape(2, 3, side, side)
    nearest[0], cancelling[0] = np.inf, 0.0
    net.eval()
    with torch.no_grad():
        logits = net(x)
    net.train()
    before = copy.deepcopy(net.state_dict())
    trained = net(x)
    upstream = torch.from_numpy(noise(901, trained.numel()).astype(np.float32)).to(dtype).reshape(trained.shape)
    net.zero_grad()
    (trained * upstream).sum().backward()
    net.load_state_dict(before)
    if nearest[0] < MARGIN or cancelling[0] > CANCELS:
        return None
    tensors = {"eval": logits, "train": trained.detach()}
    return tensors | {f"grad/{name}": p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def case(net, seed):
    found = run(net, seed)
    if found is None:
        return None
    # The bias of a shortcut's batch norm moves a channel as a whole, which the next batch norm undoes.
    told = {name: tensor for name, tensor in found.items() if "shortcut.1.bias" not in name}
    if any(tensor.abs().max() < 1e-6 for tensor in told.values()):
        return None
    # Sums that all but cancel say nothing in 32 bits: not even PyTorch agrees with itself.
    rough = run(copy.deepcopy(net).float(), seed)
    if rough is None or any((rough[n] - t).abs().max() > AGREES * t.abs().max() for n, t in told.items()):
        return None
    return found


def keep(state, producers, width):
    norms = sum(state[f"{p}.weight"].abs().sum((1, 2, 3)) for p in producers)
    return norms.argsort(descending=True, stable=True)[:width].sort().values


def cut(state, indices, slices):
    for name, dim in slices:
        state[name] = state[name].index_select(dim, indices)


def norm(name):
    return [(f"{name}.{vector}", 0) for vector in ("weight", "bias", "running_mean", "running_var")]


def prune_groups(weights, groups):
    """Each group: producers, width that stays, slices besides the producers' filters. All ranked before any is cut."""
    state = dict(weights)
    kept = [keep(weights, producers, width) for producers, width, _ in groups]
    for indices, (producers, _, slices) in zip(kept, groups):
        cut(state, indices, [(f"{p}.weight", 0) for p in producers] + slices)
    return state


def cnn8_groups(widths):
    convs, norms = [0, 3, 6, 10, 13, 16, 20], {3, 6, 10, 13, 16}
    groups = []
    for n, width in enumerate(widths):
        slices = norm(f"layers.{convs[n] + 1}") if convs[n] in norms else []
        slices += [("layers.0.bias", 0)] if n == 0 else []
        slices += [(f"layers.{convs[n + 1]}.weight", 1)] if n < 6 else [("fc.weight", 1)]
        groups.append(([f"layers.{convs[n]}"], width, slices))
    return groups


def vgg13_groups(widths, published=False):
    groups = []
    for n, width in enumerate(widths, 1):
        slices = [("conv1.bias", 0)] if n == 1 and not published else []
        slices += [(f"conv{n + 1}.weight", 1)] if n < 10 else [("fc1.weight", 1)]
        groups.append(([f"conv{n}"], width, slices))
    return groups


def resnet20_groups(widths, inner, pre, published=False):
    norms_first = pre or published
    groups = []
    for s in (1, 2, 3):
        producers = [f"layer{s}.{b}.conv1" for b in range(3)]
        producers += ["conv1"] if s == 1 else [f"layer{s}.0.shortcut.0"]
        slices = [] if s == 1 else norm(f"layer{s}.0.shortcut.1")
        readers = [f"layer{s}.{b}" for b in range(3) if s == 1 or b > 0] + ([f"layer{s + 1}.0"] if s < 3 else [])
        slices += [(f"{r}.conv0.weight", 1) for r in readers]
        if s < 3:
            slices.append((f"layer{s + 1}.0.shortcut.0.weight", 1))
        else:
            slices.append(("linear.weight", 1))
        if norms_first:
            slices += [v for r in readers for v in norm(f"{r}.bn0")] + (norm("bn") if s == 3 and pre else [])
        else:
            slices += [v for b in range(3) for v in norm(f"layer{s}.{b}.bn1")] + (norm("bn1") if s == 1 else [])
        groups.append((producers, widths[s - 1], slices))
        for b in range(3):
            between = norm(f"layer{s}.{b}.bn{1 if norms_first else 0}")
            groups.append(([f"layer{s}.{b}.conv0"], inner[3 * (s - 1) + b], between + [(f"layer{s}.{b}.conv1.weight", 1)]))
    return groups


def networks_to_fix():
    full, small = [4, 5, 6, 7, 5, 6, 8], [3, 4, 6, 5, 4, 6, 7]
    yield "cnn8", lambda w, a: Cnn8(full, w, a), lambda w, a: Cnn8(small, w, a), cnn8_groups(small), 1000, 0.5, 0.05
    full, small = [3, 4, 4, 5, 5, 6, 6, 7, 7, 8], [2, 4, 3, 5, 4, 4, 6, 5, 7, 6]
    make = lambda widths, published=False: lambda w, a: Vgg13(widths, w, a, hidden=(6, 7), published=published)
    yield "vgg13", make(full), make(small), vgg13_groups(small), 2000, 0.6, 0.05
    published = vgg13_groups(small, published=True)
    yield "vgg13-published", make(full, True), make(small, True), published, 2000, 0.6, 0.05
    full, small, inner = [3, 4, 5], [2, 3, 4], [2, 1, 3, 3, 4, 2, 5, 3, 4]
    for pre in (False, True):
        before = lambda w, a, pre=pre: ResNet20(full, w, a, pre)
        after = lambda w, a, pre=pre: ResNet20(small, w, a, pre, inner)
        yield ("resnet20-pre" if pre else "resnet20"), before, after, resnet20_groups(small, inner, pre), 3000, 0.5, 0.0
    before = lambda w, a: ResNet20(full, w, a, published=True)
    after = lambda w, a: ResNet20(small, w, a, inner=inner, published=True)
    groups = resnet20_groups(small, inner, pre=False, published=True)
    yield "resnet20-published", before, after, groups, 3000, 0.5, 0.0


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make, make_small, groups, seed, scale, lean in networks_to_fix():
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        precisions = [(None, None)] if name.endswith("published") else PRECISIONS
        # The first weights that leave no parameter without a gradient, whatever the precision.
        tensors, seeds = next(filter(None, (fix(make, make_small, groups, precisions, s, scale, lean) for s in count(seed, 100))))
        print(name, seeds, file=sys.stderr, flush=True)
        tensors = {k: v.float().contiguous() for k, v in tensors.items()}
        save_file(tensors, folder / f"{name}.safetensors", metadata=seeds | {"torch": torch.__version__})


def fix(make, make_small, groups, precisions, seed, scale, lean):
    weights = random_weights(make(1, 1), seed, scale, lean)
    small = prune_groups(weights, groups)
    tensors = {f"weights.{k}": v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    seeds = {}
    for bits in precisions:
        label = "full" if bits[0] is None else f"w{bits[0]}a{bits[1]}"
        for suffix, maker, state in [("", make, weights), ("-pruned", make_small, small)]:
            net = build(maker, state, bits)
            found = ((s, case(net, s)) for s in range(900, 900 + PICTURES))
            chosen, numbers = next(((s, c) for s, c in found if c is not None), (None, None))
            if numbers is None:
                return None
            seeds[label + suffix] = str(chosen)
            tensors |= {f"{label}{suffix}/{k}": v for k, v in numbers.items()}
    return tensors, seeds


if __name__ == "__main__":
    main()
