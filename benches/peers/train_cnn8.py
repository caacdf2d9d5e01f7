"""CNN-8 in PyTorch: the peer that the crate's accuracies on SVHN are measured against.

Same network, quantisers, recipe, validation split and pruning rounds as `examples/svhn_cnn8.rs`, written
independently of it: the best epoch is chosen on the validation pictures, the test split is read once per network.
Needs torch, numpy, scipy and pillow; nothing that users run depends on it.

    python3 benches/peers/train_cnn8.py --data-dir DIR --seed 0 [--valid 0.1] > seed0.jsonl
"""

import argparse
import copy
import json
import pathlib
import sys

import numpy as np
import scipy.io
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

# Output channels of the seven convolutions: the published network and what two rounds leave of it on 256x512.
PUBLISHED = [24, 32, 32, 64, 64, 64, 256]
ROUNDS = [[18, 21, 27, 60, 60, 60, 256], [18, 18, 27, 60, 60, 60, 256]]
KERNELS = [5, 3, 3, 3, 3, 3, 5]
PADDING = [0, 1, 1, 0, 1, 0, 0]


def quantise(x, bits):
    levels = 2**bits - 1
    return x + (torch.round(x * levels) / levels - x).detach()


def quantise_weight(w, bits):
    scale = w.detach().abs().mean()
    t = torch.tanh(w)
    peak = t.abs().max()
    if bits == 32:
        return t / peak * scale
    return scale * (2 * quantise(t / (2 * peak) + 0.5, bits) - 1)


class QuantConv2d(nn.Conv2d):
    def __init__(self, inputs, outputs, kernel, padding, bits):
        super().__init__(inputs, outputs, kernel, padding=padding, bias=False)
        self.bits = bits

    def forward(self, x):
        return F.conv2d(x, quantise_weight(self.weight, self.bits), None, self.stride, self.padding)


class Cnn8(nn.Module):
    def __init__(self, widths, weight_bits, activation_bits):
        super().__init__()
        self.activation_bits = activation_bits
        inputs = [3] + widths[:-1]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, padding=p) if n == 0 else QuantConv2d(i, o, k, p, weight_bits)
            for n, (i, o, k, p) in enumerate(zip(inputs, widths, KERNELS, PADDING))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:6])
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(widths[-1], 10)

    def act(self, x):
        return F.relu(x) if self.activation_bits == 32 else quantise(x.clamp(0, 1), self.activation_bits)

    def forward(self, x):
        x = self.act(F.max_pool2d(self.convs[0](x), 2))
        for n in range(1, 6):
            x = self.norms[n - 1](self.convs[n](x))
            if n == 2:
                x = F.max_pool2d(x, 2)
            x = self.act(x)
        x = self.convs[6](self.dropout(x)).clamp(0, 1)
        return self.linear(x.flatten(1))


def shrink(model, widths, args):
    """The same network with the filters of smallest L1 norm gone, weights and statistics carried over."""
    small = Cnn8(widths, args.weight_bits, args.activation_bits)
    keep_in = torch.arange(3)
    with torch.no_grad():
        for n, (old, new) in enumerate(zip(model.convs, small.convs)):
            norms = old.weight.abs().sum((1, 2, 3))
            keep = norms.argsort(descending=True, stable=True)[: widths[n]].sort().values
            new.weight.copy_(old.weight[keep][:, keep_in])
            if n == 0:
                new.bias.copy_(old.bias[keep])
            if 1 <= n <= 5:
                for name in ("weight", "bias", "running_mean", "running_var"):
                    getattr(small.norms[n - 1], name).copy_(getattr(model.norms[n - 1], name)[keep])
            keep_in = keep
        small.linear.load_state_dict(model.linear.state_dict())
    return small


def load(path):
    mat = scipy.io.loadmat(path)
    pictures = mat["X"].transpose(3, 0, 1, 2)
    pictures = np.stack([np.asarray(Image.fromarray(p).resize((40, 40), Image.BILINEAR)) for p in pictures])
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
    return x.contiguous(), torch.from_numpy(mat["y"].astype(np.int64).ravel() % 10)


@torch.no_grad()
def accuracy(model, x, y):
    model.eval()
    hits = sum((model(x[i : i + 256]).argmax(1) == y[i : i + 256]).sum().item() for i in range(0, len(x), 256))
    return 100 * hits / len(x)


def fit(model, train, valid, epochs, milestones, args, name):
    optimiser = torch.optim.Adam(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, 0.1)
    x, y = train
    best, best_state = -1.0, None
    for epoch in range(1, epochs + 1):
        model.train()
        order = torch.randperm(len(x))
        for i in range(0, len(x), args.batch_size):
            batch = order[i : i + args.batch_size]
            optimiser.zero_grad()
            loss = F.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimiser.step()
        schedule.step()
        score = accuracy(model, *valid) if len(valid[0]) else float(epoch)
        if score > best:
            best, best_state = score, copy.deepcopy(model.state_dict())
        print(f"{name} epoch {epoch}: valid {score:.2f}", file=sys.stderr, flush=True)
    model.load_state_dict(best_state)
    return best


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data-dir", type=pathlib.Path, required=True)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--valid", type=float, default=0.1, help="share of the training split; 0 keeps the last epoch")
    p.add_argument("--weight-bits", type=int, default=1)
    p.add_argument("--activation-bits", type=int, default=1)
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.001)
    p.add_argument("--epochs", type=int, default=60)
    p.add_argument("--milestones", type=int, nargs="*", default=[30, 45, 54])
    p.add_argument("--prune-epochs", type=int, default=24)
    p.add_argument("--prune-milestones", type=int, nargs="*", default=[6, 12, 18])
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    x, y = load(args.data_dir / "train_32x32.mat")
    test = load(args.data_dir / "test_32x32.mat")
    order = torch.randperm(len(x))
    cut = round(len(x) * args.valid)
    valid, train = (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])

    model = Cnn8(PUBLISHED, args.weight_bits, args.activation_bits)
    assert sum(t.numel() for t in model.parameters()) == 522_794
    plan = [("original", None, args.epochs, args.milestones)]
    plan += [(f"RCP{n + 1}", w, args.prune_epochs, args.prune_milestones) for n, w in enumerate(ROUNDS)]
    for name, widths, epochs, milestones in plan:
        if widths:
            model = shrink(model, widths, args)
        best = fit(model, train, valid, epochs, milestones, args, name)
        result = dict(network=name, seed=args.seed, train=len(train[0]), valid=len(valid[0]), epochs=epochs)
        result |= dict(valid_accuracy=round(best, 2) if cut else None, test_accuracy=round(accuracy(model, *test), 2))
        print(json.dumps(result | dict(torch=torch.__version__)), flush=True)


if __name__ == "__main__":
    main()
