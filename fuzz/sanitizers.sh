#!/usr/bin/env bash
# Runs the tests of the `unsafe` kernels where faults of memory show: under AddressSanitizer, under valgrind, and under Miri.
#
#   fuzz/sanitizers.sh [address|valgrind|miri|kernels]...
#
# Without names: address, valgrind and miri. `kernels`, AddressSanitizer over the kernels of `flex` in tests/kernels.rs, compiles
# Burn once more and is run only where it is asked for. What is not installed is said and passed over; ends with 1 where
# something was found.
set -euo pipefail
cd "$(dirname "$0")/.."
# A folder for each: what is built with a sanitizer is built for nothing else.
target="${CARGO_TARGET_DIR:-$HOME/.cache/vwc-sdk/target}/sanitizers"
host=$(rustc -vV | sed -n 's/^host: //p')
packed=(--no-default-features --features packed --lib)
failed=0

check() {
  printf '\n== %s\n' "$1" >&2
  "${@:2}" || { failed=1; echo "$1: something was found" >&2; }
}
passed_over() { printf '\n== %s: passed over: %s\n' "$1" "$2" >&2; }

# Stable compilers take -Z only where they are told to. Told in the environment, they would tell the build scripts, too, and crates
# that look for a nightly compiler would take this one for it: so a wrapper tells the compiler alone, where it compiles for a target
# and no build script is asking what it can do.
wrapper=$(mktemp -d)
trap 'rm -rf "$wrapper"' EXIT
cat > "$wrapper/rustc" <<'WRAPPER'
#!/bin/sh
case "${CARGO_CFG_TARGET_ARCH:-} $* " in
  " "*" --target "*) RUSTC_BOOTSTRAP=1 exec "$@" -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer ;;
  *) exec "$@" ;;
esac
WRAPPER
chmod +x "$wrapper/rustc"
address() {
  # Reads behind what is freed, and memory that is given back twice, end the test; what is never freed is not looked for: the pool
  # of threads lives as long as the process.
  ASAN_OPTIONS=detect_leaks=0 RUSTC_WRAPPER="$wrapper/rustc" CARGO_TARGET_DIR="$target/address" \
    cargo test --release --target "$host" "$@"
}

# The unit tests as they are, in a machine that valgrind imitates. It knows AVX2 and no AVX-512, and says so to whoever asks.
valgrind_over_tests() {
  local built
  built=$(CARGO_TARGET_DIR="$target/plain" cargo test --release "${packed[@]}" --no-run 2>&1) || {
    echo "$built" >&2
    return 1
  }
  local binary
  binary=$(sed -n 's/.*Executable unittests src\/lib.rs (\(.*\))$/\1/p' <<< "$built")
  # Tests of files wait for each other by the clock, and are not about `unsafe` code.
  valgrind --quiet --error-exitcode=9 "$binary" --test-threads=1 packed:: crossbar:: mapping::
}

miri_over_tests() {
  # Files are opened; and of instructions there is only what the compiler assumes, so the portable path is computed with.
  local flags=-Zmiri-disable-isolation threads=packed::tests::threads_change_nothing
  CARGO_TARGET_DIR="$target/miri" MIRIFLAGS=$flags \
    cargo "$1" miri test "${packed[@]}" -- packed:: crossbar:: --skip "$threads" || return 1
  # The queues of rayon's threads (crossbeam-epoch) keep to Tree Borrows and not to Stacked Borrows, make pointers of numbers, and
  # live until the process ends.
  CARGO_TARGET_DIR="$target/miri" \
    MIRIFLAGS="$flags -Zmiri-tree-borrows -Zmiri-permissive-provenance -Zmiri-ignore-leaks" \
    cargo "$1" miri test "${packed[@]}" -- "$threads"
}

has_miri() { cargo "$1" miri --version >/dev/null 2>&1; }

[ $# -gt 0 ] || set -- address valgrind miri
for name in "$@"; do
  case $name in
    address) check "AddressSanitizer, packed inference" address "${packed[@]}" ;;
    kernels) check "AddressSanitizer, kernels of flex" address --test kernels ;;
    valgrind)
      if command -v valgrind >/dev/null; then
        check "valgrind, packed inference" valgrind_over_tests
      else
        passed_over valgrind "it is not installed (apt-get install valgrind)"
      fi
      ;;
    miri)
      # It comes with nightly compilers alone.
      if has_miri +nightly ||
        { rustup component add --toolchain nightly miri rust-src >/dev/null 2>&1 && has_miri +nightly; }; then
        check "Miri, packed inference" miri_over_tests +nightly
      else
        passed_over miri "rustup has no nightly toolchain with it (rustup toolchain install nightly --component miri,rust-src)"
      fi
      ;;
    *)
      echo "$name is none of: address, valgrind, miri, kernels" >&2
      exit 2
      ;;
  esac
done
exit $failed
