"""Runs `benches/step.rs`, `benches/layers.rs` or `benches/mobilenet.rs` in turn with the same work in PyTorch and prints the ratios.

    cargo bench --no-run && python3 benches/peers/ratios.py step [--rounds 5] [--compile]
    cargo bench --no-run && python3 benches/peers/ratios.py layers
    cargo bench --no-run && python3 benches/peers/ratios.py mobilenet

Each round runs ours, then PyTorch; the figure of either side is the median of its rounds. Peak memory is that of the
whole process.
"""

import argparse
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))


def binary(bench):
    out = subprocess.run(
        ["cargo", "bench", "--bench", bench, "--no-run", "--message-format", "json"],
        check=True, capture_output=True, text=True, cwd=HERE.parent.parent,
    ).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == bench:
            return message["executable"]
    sys.exit(f"cargo built no bench {bench}")


def peak(process):
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_maxrss / 1024


def ours(executable, name, seconds, threads):
    with tempfile.TemporaryDirectory() as home:
        env = dict(os.environ, CRITERION_HOME=home, RAYON_NUM_THREADS=str(threads))
        command = [executable, "--bench", "--noplot", "--warm-up-time", "1", "--measurement-time", str(seconds), f"^{name}$"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        memory = peak(process)
        found = list(pathlib.Path(home).glob("**/new/sample.json"))
        if len(found) != 1:
            sys.exit(f"{name}: criterion left {len(found)} samples")
        sample = json.loads(found[0].read_text())
        times = [t / n / 1e9 for t, n in zip(sample["times"], sample["iters"])]
        return statistics.median(times), memory


def torchs(args):
    out = subprocess.run([sys.executable, HERE / "speed.py", *args], check=True, capture_output=True, text=True).stdout
    result = json.loads(out.splitlines()[-1])
    return result["seconds"], result["peak_mib"]


def work(kind):
    if kind == "step":
        for bits in (1, 4):
            for batch in (64, 128, 512):
                yield f"step/W1A{bits}/{batch}", batch, ["step", "--batch", str(batch), "--activation-bits", str(bits)]
        return
    if kind == "mobilenet":
        for bits in (4, 32):
            both = ["--weight-bits", str(bits), "--activation-bits", str(bits), "--batch", "64"]
            name = f"kernels/W{bits}A{bits}"
            for side, stride in [(32, 1), (32, 2), (14, 1)]:
                args = ["depthwise", "--channels", "96", "96", "--input", str(side), "--stride", str(stride)]
                yield f"depthwise/{name}-96-side{side}-stride{stride}", 64, [*args, *both]
            for channels, side in [(24, 32), (64, 14), (160, 7)]:
                args = ["block", "--channels", str(channels), str(channels), "--input", str(side)]
                yield f"block/{name}-{channels}-side{side}", 64, [*args, *both]
            yield f"step/{name}-side32", 64, ["mobilenet", "--input", "32", *both]
            yield f"step/{name}-resnet20", 64, ["resnet20", "--input", "32", *both]
        return
    shapes = []
    for width in (16, 64):
        w = width
        for side, i, o, stride in [(32, w, w, 1), (32, w, 2 * w, 2), (16, 2 * w, 2 * w, 1), (16, 2 * w, 4 * w, 2), (8, 4 * w, 4 * w, 1)]:
            shapes.append((f"resnet20-{width}", side, i, o, 3, stride, 1, 2))
    for side, i, o, kernel, padding in [(18, 24, 32, 3, 1), (18, 32, 32, 3, 1), (9, 32, 64, 3, 0), (7, 64, 64, 3, 1), (7, 64, 64, 3, 0), (5, 64, 256, 5, 0)]:
        shapes.append(("cnn8", side, i, o, kernel, 1, padding, 1))
    for network, side, i, o, kernel, stride, padding, bits in shapes:
        name = f"{network}/kernels/{i}to{o}-{kernel}x{kernel}-side{side}-stride{stride}-padding{padding}"
        args = f"layer --batch 128 --input {side} --channels {i} {o} --kernel {kernel} --stride {stride} --padding {padding}"
        yield name, 128, [*args.split(), "--weight-bits", str(bits), "--activation-bits", str(bits)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("kind", choices=["step", "layers", "mobilenet"])
    p.add_argument("--only", default="", help="a regular expression that the names have to match")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=3, help="per side and round")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action="store_true", help="torch.compile on the other side")
    args = p.parse_args()
    executable = binary(args.kind)

    print("| work | ours, ms | PyTorch, ms | ours, /s | PyTorch, /s | ratio | ours, MiB | PyTorch, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    ratios = {}
    for name, pictures, command in work(args.kind):
        if not re.search(args.only, name):
            continue
        command += ["--threads", str(args.threads), "--seconds", str(args.seconds)] + ["--compile"] * args.compile
        rounds = [(ours(executable, name, args.seconds, args.threads), torchs(command)) for _ in range(args.rounds)]
        (mine, my_peak), (other, other_peak) = [
            (statistics.median(side[0] for side in sides), max(side[1] for side in sides)) for sides in zip(*rounds)
        ]
        ratios.setdefault(name.split("/")[0], []).append(other / mine)
        print(
            f"| {name} | {mine * 1e3:.1f} | {other * 1e3:.1f} | {pictures / mine:.0f} | {pictures / other:.0f}"
            f" | {other / mine:.2f} | {my_peak:.0f} | {other_peak:.0f} |",
            flush=True,
        )
    for group, values in ratios.items():
        print(f"\n{group}: geometric mean {math.exp(statistics.fmean(map(math.log, values))):.2f}")


if __name__ == "__main__":
    main()
