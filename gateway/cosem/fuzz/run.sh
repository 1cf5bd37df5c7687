#!/usr/bin/env bash
# Replays the corpus and its mutations through the fuzz checks, then runs each target for SECONDS (30 by
# default) in libFuzzer. It needs no more than the stable compiler and a C++ compiler: the coverage that
# libFuzzer steers by comes from LLVM's own pass. `TARGETS="apdu hdlc"` picks some; the instrumented build
# is kept below TARGET_DIR (the target folder of the workspace by default). What was found stands in
# artifacts/; the end is 1 then, else 0.
set -euo pipefail
seconds=${1:-30}
targets=${TARGETS:-wrapper hdlc link apdu axdr ciphered iec62056_21 association}
cd "$(dirname "$0")/.."
if [ -z "${SKIP_CORPUS:-}" ]; then
    cargo test --locked -p cosem --test it corpus
fi
cd fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
dir=${TARGET_DIR:-$(cd ../../.. && pwd)/target/fuzz}
# The crate has no unsafe code, so the address sanitizer could find nothing of ours; without it the
# build takes minutes less and the runs are quicker. Overflow checks and assertions are on.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
flags+=" -Coverflow-checks -Cdebug-assertions -Ccodegen-units=16"
# With --target the flags are for the targets alone, not for what builds them.
RUSTFLAGS=$flags cargo build --locked --release --bins --target "$host" --target-dir "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
found=0
for target in $targets; do
    mkdir -p "$work/$target" "artifacts/$target"
    # New inputs go to the first folder, so the corpus in the tree stays as it is.
    if "$dir/$host/release/$target" "$work/$target" "corpus/$target" \
        -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" -timeout=20 \
        -print_final_stats=1 >"$work/$target.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
        edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work/$target.log" | tail -n 1)
        echo "$target: $runs executions in $seconds s, $edges edges covered, nothing found"
    else
        found=1
        echo "$target: a finding" >&2
        tail -n 40 "$work/$target.log" >&2
    fi
done
rmdir artifacts/* artifacts 2>/dev/null || true
exit "$found"
