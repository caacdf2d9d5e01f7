#!/usr/bin/env bash
# Runs mutated inputs through every reader of files, a million each if nothing else is asked for, in an optimised build
# that checks the crate's arithmetic for overflow. Inputs run a thousand to a process, which may take 30 seconds and 1 GiB.
#
#   fuzz/campaign.sh [INPUTS] [FIRST_SEED] [READER]...
#
# Prints a line for each reader, and the seeds that failed. Ends with 1 where any did. Such a seed again:
#   FUZZ_TARGET=saved_plan FUZZ_FIRST=4711 FUZZ_COUNT=1 cargo test --features onnx --test fuzz -- --ignored --exact campaign
# Without Burn, and the readers that need it:
#   FUZZ_FLAGS="--no-default-features --features packed,onnx" fuzz/campaign.sh
set -euo pipefail
cd "$(dirname "$0")/.."

inputs=${1:-1000000}
first=${2:-0}
readers=("${@:3}")
export BATCH=1000
# Readers get their inputs as files. In memory, a disk does not decide how long a million takes.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi
read -ra flags <<< "${FUZZ_FLAGS:---features onnx}"

# Of this package alone: what others wrap around in a release is none of its business.
built=$(cargo test --release "${flags[@]}" --config profile.release.package.vwc-sdk.overflow-checks=true \
  --test fuzz --no-run 2>&1) || {
  echo "$built" >&2
  exit 1
}
BINARY=$(sed -n 's/.*Executable tests\/fuzz.rs (\(.*\))$/\1/p' <<< "$built")
export BINARY
LOGS=$(mktemp -d)
export LOGS
trap 'rm -rf "$LOGS"' EXIT

batch() {
  export FUZZ_TARGET=$1 FUZZ_FIRST=$2 FUZZ_COUNT=$BATCH
  local code=0
  RUST_BACKTRACE=0 timeout 30 "$BINARY" campaign --exact --ignored > "$LOGS/$2" 2>&1 || code=$?
  case $code in
    0) rm "$LOGS/$2" ;;
    124) echo "took more than 30 s" > "$LOGS/$2" ;;
  esac
}
export -f batch

failed=0
printf '%-18s %10s %8s %14s\n' reader inputs seconds 'failed batches'
if [ ${#readers[@]} -eq 0 ]; then
  mapfile -t readers < <("$BINARY" list --exact --ignored --nocapture | sed -n 's/^.*target \([a-z0-9_]*\)$/\1/p')
fi
for target in "${readers[@]}"; do
  start=$SECONDS
  seq "$first" $BATCH $((first + inputs - 1)) | xargs -P "$(nproc)" -I{} bash -c "batch $target {}"
  count=$(find "$LOGS" -type f | wc -l)
  printf '%-18s %10d %8d %14d\n' "$target" "$inputs" $((SECONDS - start)) "$count"
  for log in "$LOGS"/*; do
    [ -f "$log" ] || continue
    failed=1
    echo "  seeds $(basename "$log") to $(($(basename "$log") + BATCH - 1)): $(grep -m 2 -E 'seed|panicked|more than|alloc' "$log" | cut -c1-300 || true)"
    rm "$log"
  done
done
exit $failed
