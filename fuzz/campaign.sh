#!/usr/bin/env bash
# Runs mutated inputs through every reader of files, a million each if nothing else is asked for, in an optimised build
# that checks arithmetic for overflow. Inputs run a thousand to a process, which may take 8 seconds and 1 GiB.
#
#   fuzz/campaign.sh [INPUTS] [FIRST_SEED]
#
# Prints a line for each reader, and the seeds that failed. Ends with 1 where any did. Such a seed again:
#   FUZZ_TARGET=saved_plan FUZZ_FIRST=4711 FUZZ_COUNT=1 cargo test --no-default-features --features packed \
#     --test fuzz -- --ignored --exact campaign
set -euo pipefail
cd "$(dirname "$0")/.."

inputs=${1:-1000000}
first=${2:-0}
export BATCH=1000
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/overflow-checks"
export RUSTFLAGS="-C overflow-checks=on"

built=$(cargo test --release --no-default-features --features packed --test fuzz --no-run 2>&1) || {
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
  ulimit -v 1048576
  local code=0
  RUST_BACKTRACE=0 timeout 8 "$BINARY" campaign --exact --ignored > "$LOGS/$2" 2>&1 || code=$?
  case $code in
    0) rm "$LOGS/$2" ;;
    124) echo "took more than 8 s" > "$LOGS/$2" ;;
  esac
}
export -f batch

failed=0
printf '%-18s %10s %8s %14s\n' reader inputs seconds 'failed batches'
for target in $("$BINARY" list --exact --ignored --nocapture | sed -n 's/^.*target \([a-z0-9_]*\)$/\1/p'); do
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
