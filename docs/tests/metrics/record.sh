#!/usr/bin/env bash
# Records what the nodes of a demo answer at /metrics, twice, for the test of rules and dashboards.
# Usage: record.sh PATH_OF_HOLDFAST [SECONDS_UNTIL_THE_FIRST]; needs curl and python3.
set -euo pipefail
holdfast=$(realpath "$1")
wait=${2:-150}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$holdfast" demo --dir "$scratch/demo" --meters 20 --http 127.0.0.1:18680 --seconds $((wait + 90)) \
    > "$scratch/log" &
demo=$!
sleep "$wait"
urls=(http://127.0.0.1:18680 http://127.0.0.1:18681 http://127.0.0.1:18682)
HOLDFAST_TOKEN=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["token"])' \
    "$scratch/demo/demo.json")
export HOLDFAST_TOKEN
serial=$("$holdfast" meter list --limit 1 --json --url "${urls[0]}" \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["items"][0]["serial"])')
# Some of everything that people do, so that most series are there.
use() {
    for url in "${urls[@]}"; do
        "$holdfast" meter read "$serial" --url "$url" || true
        "$holdfast" status --url "$url" || true
        for path in / /meters /api/v1/meters /api/v1/concentrators /api/v1/nothing; do
            curl -s -o "$scratch/page" -H "Authorization: Bearer $HOLDFAST_TOKEN" "$url$path"
        done
    done
}
record() {
    for node in 1 2 3; do
        curl -s "${urls[node - 1]}/metrics" > "$here/n$node-$1.txt"
    done
}
use
"$holdfast" drill graceful-hand-over --backup none --reason recording --yes --url "${urls[0]}" || true
"$holdfast" task add now --what registers --url "${urls[0]}"
"$holdfast" task run now --url "${urls[0]}"
"$holdfast" backup --to "$scratch/backup" --url "${urls[0]}"
record 1
use
sleep 30
record 2
wait "$demo"
