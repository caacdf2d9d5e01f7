"""Runs `benches/packed.rs` in turn with the same network in PyTorch and ONNX Runtime and prints medians and ratios.

    cargo bench --bench packed -- write FOLDER
    python3 benches/peers/packed_ratios.py BINARY FOLDER/cnn8-w1a1.vwcp --batch 256 [--rounds 3]

BINARY is what `cargo bench --bench packed --no-run` names. Each round runs all four, one after another; a figure is the
median of the rounds. Peak memory is that of the whole process.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def last_line(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("binary")
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=1.5)
    p.add_argument("--engines", nargs="*", default=["eager", "onnx-f32", "onnx-int8"])
    args = p.parse_args()
    same = ["--batch", str(args.batch), "--threads", str(args.threads)]
    ms = str(int(args.seconds * 1000))
    commands = {"packed": [args.binary, "run", str(args.model), *same, "--ms", ms]}
    for engine in args.engines:
        peer = [sys.executable, str(HERE / "packed_speed.py"), engine, args.model.stem, *same]
        commands[engine] = [*peer, "--seconds", str(args.seconds)]
    runs = {engine: [] for engine in commands}
    for _ in range(args.rounds):
        for engine, command in commands.items():
            runs[engine].append(last_line(command))
    medians = {engine: statistics.median(run["ms"] for run in of) for engine, of in runs.items()}
    for engine, of in runs.items():
        print(
            f"{args.model.stem} | batch {args.batch} | {engine} | {medians[engine]:.3f} ms"
            f" | {args.batch / medians[engine] * 1e3:.0f} pictures/s | {max(run['peak_mib'] for run in of)} MiB"
            f" | {medians[engine] / medians['packed']:.1f}x"
        )


if __name__ == "__main__":
    main()
