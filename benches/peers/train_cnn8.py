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

from networks import Cnn8

# Output channels of the seven convolutions: the published network and what two rounds leave of it on 256x512.
PUBLISHED = [24, 32, 32, 64, 64, 64, 256]
ROUNDS = [[18, 21, 27, 60, 60, 60, 256], [18, 18, 27, 60, 60, 60, 256]]


def shrink(model, widths, args):
    """The same network with the filters of smallest L1 norm gone, weights and statistics carried over."""
    small = Cnn8(widths, args.weight_bits, args.activation_bits).to(args.device)
    layers = lambda net, kind: [layer for layer in net.layers if isinstance(layer, kind)]
    keep_in = torch.arange(3)
    with torch.no_grad():
        for n, (old, new) in enumerate(zip(layers(model, nn.Conv2d), layers(small, nn.Conv2d))):
            norms = old.weight.abs().sum((1, 2, 3))
            keep = norms.argsort(descending=True, stable=True)[: widths[n]].sort().values
            new.weight.copy_(old.weight[keep][:, keep_in])
            if n == 0:
                new.bias.copy_(old.bias[keep])
            if 1 <= n <= 5:
                old_norm, new_norm = (layers(net, nn.BatchNorm2d)[n - 1] for net in (model, small))
                for name in ("weight", "bias", "running_mean", "running_var"):
                    getattr(new_norm, name).copy_(getattr(old_norm, name)[keep])
            keep_in = keep
        small.fc.load_state_dict(model.fc.state_dict())
    return small


def load(path):
    mat = scipy.io.loadmat(path)
    pictures = mat["X"].transpose(3, 0, 1, 2)
    pictures = np.stack([np.asarray(Image.fromarray(p).resize((40, 40), Image.BILINEAR)) for p in pictures])
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
    return x.contiguous(), torch.from_numpy(mat["y"].astype(np.int64).ravel() % 10)


def splits(args):
    """Training, validation and test pictures; the first two are a share of the training split each, by the seed."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    on = lambda split: [t.to(args.device) for t in load(args.data_dir / f"{split}_32x32.mat")]
    (x, y), test = on("train"), on("test")
    order = torch.randperm(len(x))
    cut = round(len(x) * args.valid)
    return (x[order[cut:]], y[order[cut:]]), (x[order[:cut]], y[order[:cut]]), test


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
    p.add_argument("--device", default="cpu")
    args = p.parse_args()
    train, valid, test = splits(args)

    model = Cnn8(PUBLISHED, args.weight_bits, args.activation_bits).to(args.device)
    assert sum(t.numel() for t in model.parameters()) == 522_794
    plan = [("original", None, args.epochs, args.milestones)]
    plan += [(f"RCP{n + 1}", w, args.prune_epochs, args.prune_milestones) for n, w in enumerate(ROUNDS)]
    for name, widths, epochs, milestones in plan:
        if widths:
            model = shrink(model, widths, args)
        best = fit(model, train, valid, epochs, milestones, args, name)
        result = dict(network=name, seed=args.seed, train=len(train[0]), valid=len(valid[0]), epochs=epochs)
        result |= dict(valid_accuracy=round(best, 2) if len(valid[0]) else None, test_accuracy=round(accuracy(model, *test), 2))
        print(json.dumps(result | dict(torch=torch.__version__)), flush=True)


if __name__ == "__main__":
    main()
