#!/usr/bin/env bash
# What a GPU does with this crate, as Markdown on standard output: checks against the CPU, training steps beside PyTorch on
# the same GPU, and the whole recipe of CNN-8 on SVHN.
#
#     benches/gpu.sh cuda vulkan > benches/runs/$(date +%F)-gpu.md
#
# Arguments are devices as --device takes them; cuda alone where there is none. Needs Rust; PyTorch with CUDA where ratios
# are wanted (PYTHON=python3). On a machine without Rust: VWC_BIN=FOLDER with the programs `vwc-sdk` and `device`, built
# elsewhere by the commands below. SVHN_DIR=FOLDER has the SVHN files for the recipe, which is left out without; PEER_ROUNDS=3
# is how often each side is measured, in turn, BATCH=512 how many pictures a step takes.
set -euo pipefail
cd "$(dirname "$0")/.."
devices=("${@:-cuda}")
python=${PYTHON:-python3}
rounds=${PEER_ROUNDS:-3}
batch=${BATCH:-512}
if printf '%s\n' "${devices[@]}" | grep -qvE '^(wgpu|vulkan|metal|cuda)(:[0-9]+)?$'; then
    echo "usage: benches/gpu.sh [wgpu|vulkan|metal|cuda][:INDEX]..." >&2
    exit 2
fi
kinds=$(printf '%s\n' "${devices[@]}" | cut -d: -f1 | sort -u | paste -sd,)

if [ -z "${VWC_BIN:-}" ]; then
    VWC_BIN=$(mktemp -d)
    trap 'rm -rf "$VWC_BIN"' EXIT
    cargo build --release --features "$kinds"
    cp "${CARGO_TARGET_DIR:-target}/release/vwc-sdk" "$VWC_BIN/"
    bench=$(cargo bench --features "$kinds" --bench device --no-run --message-format json |
        grep -o '"executable":"[^"]*/device-[^"]*"' | tail -1 | cut -d'"' -f4)
    cp "$bench" "$VWC_BIN/device"
fi

# The number that stands behind "NAME": in a line of JSON.
number() { grep -o "\"$1\": *[0-9.e+-]*" | sed 's/.*: *//' | tail -1; }
median() { sort -g | awk '{ of[NR] = $1 } END { print of[int((NR + 1) / 2)] }'; }
has_torch() { "$python" -c 'import torch; exit(not torch.cuda.is_available())' 2>/dev/null; }

cat <<END
# On ${devices[*]}

$(date +%F). $("$VWC_BIN/vwc-sdk" --version), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown);
$(uname -srm), $(nproc) cores$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | sed 's/^/; /')$(
    has_torch && "$python" -c 'import torch; print(f"; torch {torch.__version__}")').

## Against the CPU

\`vwc-sdk devices flex ${devices[*]} --check\`: the largest difference, relative to the largest number.

END
"$VWC_BIN/vwc-sdk" devices flex "${devices[@]}" --check --format markdown || true

cat <<END

## Training steps, batch $batch

Forward, loss, backward and Adam; the device is waited for once in sixteen steps. Medians of $rounds rounds, all in
turn.

| network | on | ms a step | pictures/s |
|---|---|---|---|
END
for network in "cnn8 1 1" "resnet20 1 2"; do
    read -r name weight activation <<<"$network"
    declare -A times=()
    for ((round = 0; round < rounds; round++)); do
        for device in "${devices[@]}"; do
            # One that fails has said why, and the others go on.
            ms=$("$VWC_BIN/device" --device "$device" --network "$name" --wb "$weight" --ab "$activation" \
                --batch "$batch" | number ms) || continue
            times[$device]+="$ms "
        done
        has_torch || continue
        for engine in eager compiled; do
            flags=(--device cuda --network "$name" --batch "$batch" --weight-bits "$weight" --activation-bits "$activation")
            [ $engine = compiled ] && flags+=(--compile)
            s=$("$python" benches/peers/speed.py step "${flags[@]}" | number seconds) || continue
            times["PyTorch $engine"]+="$(awk "BEGIN { print 1000 * $s }") "
        done
    done
    for on in "${devices[@]}" "PyTorch eager" "PyTorch compiled"; do
        [ -n "${times[$on]:-}" ] || continue
        ms=$(tr ' ' '\n' <<<"${times[$on]}" | grep . | median)
        awk -v ms="$ms" -v batch="$batch" -v row="| $name W${weight}A$activation | $on" \
            'BEGIN { printf "%s | %.2f | %.0f |\n", row, ms, 1000 * batch / ms }'
    done
done

[ -n "${SVHN_DIR:-}" ] || exit 0
recipe="--network cnn8 --data svhn --batch_size 64 --total_epochs 60 --seed 0"
cat <<END

## CNN-8 on SVHN

\`vwc-sdk train $recipe --data-dir DIR\`, then \`vwc-sdk prune --total_epochs 24 --search published --budget 100 --f 2\`.
END
for device in "${devices[@]}"; do
    out=$(mktemp -d)
    started=$(date +%s)
    # shellcheck disable=SC2086
    "$VWC_BIN/vwc-sdk" train $recipe --data-dir "$SVHN_DIR" --directory "$out/run" --device "$device" >/dev/null || continue
    trained=$(date +%s)
    printf '\n%s: trained in %d s; pruned and fine-tuned in ' "$device" $((trained - started))
    table=$("$VWC_BIN/vwc-sdk" prune --directory "$out/run" --total_epochs 24 --batch_size 64 --search published --budget 100 \
        --f 2 --seed 0 --device "$device")
    printf '%d s.\n\n```text\n%s\n```\n' $(($(date +%s) - trained)) "$(sed -n '/^summary/,$p' <<<"$table")"
    rm -rf "$out"
done
