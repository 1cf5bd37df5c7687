#!/usr/bin/env bash
# Replays the corpus and its mutations through the fuzz checks with the stable compiler; then, where
# a nightly compiler and cargo-fuzz are installed, runs each target for SECONDS (30 by default) in
# libFuzzer. Both are had by
#     rustup toolchain install nightly --profile minimal
#     cargo install --locked cargo-fuzz
# Nothing is installed here. `TARGET_DIR=...` keeps the instrumented build elsewhere, `TARGETS="apdu hdlc"`
# picks some. What was found stands in artifacts/; the end is 1 then, else 0.
set -euo pipefail
seconds=${1:-30}
targets=${TARGETS:-wrapper hdlc link apdu axdr ciphered iec62056_21 association}
cd "$(dirname "$0")/.."
cargo test --locked -p cosem --test it corpus
cd fuzz
export RUSTUP_AUTO_INSTALL=0
if ! cargo +nightly --version >/dev/null 2>&1 || ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "no nightly compiler or no cargo-fuzz (see the head of $0): only the corpus and its mutations were run"
    exit 0
fi
# The crate has no unsafe code, so the address sanitizer could find nothing of ours; without it the
# build takes minutes less and the runs are quicker. Overflow checks and assertions are on.
options=(--sanitizer none --codegen-units 16 ${TARGET_DIR:+--target-dir "$TARGET_DIR"})
cargo +nightly fuzz build "${options[@]}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
found=0
for target in $targets; do
    mkdir "$work/$target"
    # New inputs go to the first folder, so the corpus in the tree stays as it is.
    if cargo +nightly fuzz run "${options[@]}" "$target" "$work/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=20 -print_final_stats=1 >"$work/$target.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
        echo "$target: $runs executions in $seconds s, nothing found"
    else
        found=1
        echo "$target: a finding" >&2
        tail -n 40 "$work/$target.log" >&2
    fi
done
exit "$found"
