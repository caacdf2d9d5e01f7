"""CNN-8 in Brevitas with its default quantisers: the peer for accuracies of few bits on SVHN.

The network in full precision is trained first, as `train_cnn8.py` trains, and each choice of bits goes on from its weights with the same
recipe. First layer and last are in full precision. Brevitas' defaults are a scale from the largest weight of a layer
(`Int8WeightPerTensorFloat`), and for activations a learned scale that starts at a percentile (`Uint8ActPerTensorFloat`); of one bit
`SignedBinaryWeightPerTensorConst`, whose scale is a constant. Activations of one bit are unsigned as well (`--one-bit unsigned`), or signs
(`--one-bit sign`: `SignedBinaryActPerTensorConst`), which is what Brevitas has for networks of one bit.

    python3 benches/peers/brevitas_cnn8.py --data-dir DIR --seed 0 --bits 8,8 4,4 2,2 1,2 1,1 > seed0.jsonl

Needs torch, brevitas, numpy, scipy and pillow; nothing that users run depends on it.
"""

import argparse
import json
import pathlib

import brevitas
import brevitas.nn as qnn
import torch
import torch.nn as nn
from brevitas.quant import Int8WeightPerTensorFloat, SignedBinaryActPerTensorConst
from brevitas.quant import SignedBinaryWeightPerTensorConst, Uint8ActPerTensorFloat

from networks import Act, Cnn8, QuantConv2d
from train_cnn8 import PUBLISHED, accuracy, fit, splits


def quantised(full, weight_bits, activation_bits, signs):
    """The network with Brevitas' layers, and the weights of `full`."""
    layers = []
    for layer in full.layers:
        if isinstance(layer, QuantConv2d):
            weights = (
                {"weight_quant": SignedBinaryWeightPerTensorConst}
                if weight_bits == 1
                else {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": weight_bits}
            )
            made = qnn.QuantConv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding, bias=False, **weights
            )
            made.weight.data.copy_(layer.weight.data)
        elif isinstance(layer, Act) and activation_bits == 1 and signs:
            made = qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst)
        elif isinstance(layer, Act):
            made = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=activation_bits)
        else:
            made = layer
        layers.append(made)
    # What the last layer reads stays as it is, as in the crate.
    last = max(n for n, layer in enumerate(layers) if isinstance(layer, qnn.QuantReLU | qnn.QuantIdentity))
    layers[last] = nn.ReLU()
    network = Cnn8(PUBLISHED, None, None)
    network.load_state_dict(full.state_dict())
    network.layers = nn.Sequential(*layers)
    return network


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data-dir", type=pathlib.Path, required=True)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--valid", type=float, default=0.1, help="share of the training split")
    p.add_argument("--bits", nargs="+", default=["8,8", "4,4", "2,2", "1,2", "1,1"], help="weights,activations")
    p.add_argument("--one-bit", choices=["unsigned", "sign"], default="unsigned", help="activations of one bit")
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.001)
    p.add_argument("--epochs", type=int, default=40)
    p.add_argument("--milestones", type=int, nargs="*", default=[20, 30, 36])
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--device", default="cpu")
    args = p.parse_args()
    train, valid, test = splits(args)

    def told(network, bits):
        network.to(args.device)
        best = fit(network, train, valid, args.epochs, args.milestones, args, bits)
        result = dict(bits=bits, seed=args.seed, train=len(train[0]), valid=len(valid[0]), epochs=args.epochs, device=args.device, one_bit=args.one_bit)
        result |= dict(valid_accuracy=round(best, 2), test_accuracy=round(accuracy(network, *test), 2))
        print(json.dumps(result | dict(torch=torch.__version__, brevitas=brevitas.__version__)), flush=True)

    full = Cnn8(PUBLISHED, None, None)
    told(full, "full")
    # `full` holds the best epoch's weights from here on, and layers that are not replaced are shared: each choice has copies.
    state = {name: values.clone() for name, values in full.state_dict().items()}
    for bits in args.bits:
        start = Cnn8(PUBLISHED, None, None)
        start.load_state_dict(state)
        weight_bits, activation_bits = map(int, bits.split(","))
        network = quantised(start, weight_bits, activation_bits, args.one_bit == "sign")
        told(network, f"W{weight_bits}A{activation_bits}")


if __name__ == "__main__":
    main()
