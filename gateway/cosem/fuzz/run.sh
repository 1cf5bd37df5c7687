#!/bin/sh
# Replays the corpus and its mutations through the fuzz checks, with the stable compiler; then, when
# a nightly compiler and cargo-fuzz are installed, runs each target for SECONDS (30 by default).
# `TARGET_DIR=...` keeps the instrumented build elsewhere. Ends with 1 when anything was found.
set -eu
seconds=${1:-30}
here=$(CDPATH= cd "$(dirname "$0")" && pwd)
cd "$here/.."
cargo test -p cosem --test it corpus
cd "$here"
if ! cargo +nightly --version >/dev/null 2>&1 || ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "no nightly compiler or no cargo-fuzz: only the corpus and its mutations were run"
    exit 0
fi
for target in wrapper hdlc apdu axdr ciphered iec62056_21 association; do
    echo "== $target, $seconds s"
    work=$(mktemp -d)
    cargo +nightly fuzz run -O ${TARGET_DIR:+--target-dir "$TARGET_DIR"} "$target" \
        "$work" "corpus/$target" -- -max_total_time="$seconds" -print_final_stats=1 2>&1 |
        tee "$work.log" | grep -E "stat::number_of_executed_units|SUMMARY|panicked" || true
    rm -rf "$work"
    if grep -qE "SUMMARY: |panicked at|error:" "$work.log"; then
        echo "$target: a finding, see $work.log and artifacts/$target" >&2
        exit 1
    fi
    rm -f "$work.log"
done
