"""A ResNet-18 of narrow layers, trained on CIFAR-10 in PyTorch and exported as ONNX: what docs/onnx.md walks with.

    python3 benches/peers/walk_resnet18.py --data-dir DIR/cifar-10-batches-bin --out resnet18.onnx
    python3 benches/peers/walk_resnet18.py --data-dir DIR/cifar-10-batches-bin --test exported.onnx

The second form tests an ONNX file of floats with ONNX Runtime: its input is what the first form trained with, normalised
pictures. Needs torch, numpy, onnx, onnxscript and onnxruntime; nothing that users run depends on it.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32).reshape(1, 3, 1, 1)
STD = np.array([0.2023, 0.1994, 0.2010], np.float32).reshape(1, 3, 1, 1)


def load(paths):
    rows = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths])
    pictures = (rows[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255 - MEAN) / STD
    return pictures, rows[:, 0].astype(np.int64)


def network():
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.downsample = None
            if stride > 1 or inputs != outputs:
                self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class ResNet18(nn.Module):
        def __init__(self, width=16):
            super().__init__()
            self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            widths = [width, width, 2 * width, 4 * width, 8 * width]
            for n in range(1, 5):
                stride = 1 if n == 1 else 2
                stage = nn.Sequential(Block(widths[n - 1], widths[n], stride), Block(widths[n], widths[n], 1))
                setattr(self, f"layer{n}", stage)
            self.fc = nn.Linear(8 * width, 10)

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            for n in range(1, 5):
                x = getattr(self, f"layer{n}")(x)
            return self.fc(x.mean((2, 3)))

    return ResNet18()


def train(args):
    import torch
    import torch.nn.functional as F

    torch.manual_seed(args.seed)
    folder = pathlib.Path(args.data_dir)
    x, labels = map(torch.from_numpy, load([folder / f"data_batch_{n}.bin" for n in range(1, 6)]))
    test, answers = map(torch.from_numpy, load([folder / "test_batch.bin"]))
    model = network()
    steps = args.epochs * (len(x) // args.batch)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
    for epoch in range(args.epochs):
        started, total = time.time(), 0.0
        model.train()
        order = torch.randperm(len(x))
        for start in range(0, len(x) - args.batch + 1, args.batch):
            batch = order[start : start + args.batch]
            images = x[batch]
            flip = torch.rand(len(batch), 1, 1, 1) < 0.5
            images = F.pad(torch.where(flip, images.flip(3), images), [4] * 4)
            down, across = torch.randint(0, 9, (2,))
            images = images[:, :, down : down + 32, across : across + 32]
            loss = F.cross_entropy(model(images), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1}: loss {total / len(x):.4f}, {time.time() - started:.0f} s", file=sys.stderr, flush=True)
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in test.split(500)])
    accuracy = 100 * (logits.argmax(1) == answers).float().mean().item()
    torch.save(model.state_dict(), pathlib.Path(args.out).with_suffix(".pth"))
    torch.onnx.export(model, (test[:1],), args.out, input_names=["input"], output_names=["logits"], dynamo=True, external_data=False)
    print(json.dumps({"torch": torch.__version__, "epochs": args.epochs, "seed": args.seed, "test accuracy": round(accuracy, 2)}))


def check(args):
    import onnxruntime

    x, answers = load([pathlib.Path(args.data_dir) / "test_batch.bin"])
    session = onnxruntime.InferenceSession(args.test, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batch = session.get_inputs()[0].shape[0]
    batch = batch if isinstance(batch, int) else 100
    correct = 0
    for start in range(0, len(x), batch):
        (logits,) = session.run(None, {name: x[start : start + batch]})
        correct += int((logits.argmax(1) == answers[start : start + batch]).sum())
    print(json.dumps({"onnxruntime": onnxruntime.__version__, "test accuracy": round(100 * correct / len(x), 2)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--out")
    parser.add_argument("--test")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    check(args) if args.test else train(args)
