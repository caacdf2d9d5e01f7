"""ResNet-20 in PyTorch: the peer that the crate's accuracies on CIFAR-10 are measured against.

Same network, quantisers, recipe, augmentation and validation split as `examples/cifar10_resnet20.rs`, written
independently of it: the best epoch is chosen on the validation pictures, the test split is read once. Needs torch and
numpy; nothing that users run depends on it.

    python3 benches/peers/train_resnet20.py --data-dir DIR/cifar-10-batches-bin --seed 0 > seed0.json
"""

import argparse
import copy
import json
import pathlib
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from networks import ResNet20

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
STD = torch.tensor([0.2023, 0.1994, 0.2010]).view(1, 3, 1, 1)


def load(paths):
    rows = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths])
    return torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32)), torch.from_numpy(rows[:, 0].astype(np.int64))


def normalise(x):
    # Channels last is what PyTorch computes fastest here.
    return ((x.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def augment(x):
    """Flips half of the pictures and shifts each by up to four pixels, black coming in at the edges."""
    n = len(x)
    flipped = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(3), x)
    padded = F.pad(flipped, (4, 4, 4, 4))
    top, left = torch.randint(0, 9, (2, n))
    rows = (top[:, None] + torch.arange(32))[:, None, :, None]
    columns = (left[:, None] + torch.arange(32))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]


@torch.no_grad()
def accuracy(model, x, y):
    model.eval()
    hits = 0
    for i in range(0, len(x), 256):
        hits += (model(normalise(x[i : i + 256])).argmax(1) == y[i : i + 256]).sum().item()
    return 100 * hits / len(x)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data-dir", type=pathlib.Path, required=True)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--valid", type=float, default=0.1)
    p.add_argument("--widths", type=int, nargs=3, default=[16, 32, 64])
    p.add_argument("--weight-bits", type=int, default=2)
    p.add_argument("--activation-bits", type=int, default=2)
    p.add_argument("--pre-activation", action="store_true")
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--lr", type=float, default=0.001)
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--milestones", type=int, nargs="*", default=[5, 8, 11])
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    x, y = load(sorted(args.data_dir.glob("data_batch_*.bin")))
    test = load([args.data_dir / "test_batch.bin"])
    order = torch.randperm(len(x))
    cut = round(len(x) * args.valid)
    valid, train = (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])

    model = ResNet20(args.widths, args.weight_bits, args.activation_bits, args.pre_activation)
    model = model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, args.milestones, 0.1)
    best, best_state, curve = -1.0, None, []
    for epoch in range(1, args.epochs + 1):
        start, losses = time.time(), []
        model.train()
        order = torch.randperm(len(train[0]))
        for i in range(0, len(order), args.batch_size):
            batch = order[i : i + args.batch_size]
            optimiser.zero_grad()
            loss = F.cross_entropy(model(normalise(augment(train[0][batch]))), train[1][batch])
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        schedule.step()
        score = accuracy(model, *valid)
        if score > best:
            best, best_state = score, copy.deepcopy(model.state_dict())
        curve.append(round(score, 2))
        loss = sum(losses) / len(losses)
        print(f"epoch {epoch}: loss {loss:.4f}, valid {score:.2f}, {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    model.load_state_dict(best_state)
    result = dict(widths=args.widths, weight_bits=args.weight_bits, activation_bits=args.activation_bits)
    result |= dict(pre_activation=args.pre_activation, seed=args.seed, train=len(train[0]), valid=len(valid[0]))
    result |= dict(epochs=args.epochs, milestones=args.milestones, valid_accuracy=round(best, 2), curve=curve)
    print(json.dumps(result | dict(test_accuracy=round(accuracy(model, *test), 2), torch=torch.__version__)))


if __name__ == "__main__":
    main()
