#!/usr/bin/env bash
# Records what a monitoring server answers at /metrics, twice, for the test of rules and dashboards:
# two nodes that answer, one that does not, a modem (the emulator of its tests) and a web request.
# Usage: record-monitor.sh PATH_OF_HOLDFAST_MONITOR; needs curl and python3.
set -euo pipefail
monitor=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; rm -rf "$scratch"' EXIT
mkdir "$scratch/state" "$scratch/pages"
cp "$here/n1-2.txt" "$scratch/pages/metrics"
(cd "$scratch/pages" && exec python3 -m http.server --bind 127.0.0.1 18790 > "$scratch/pages.log" 2>&1) &
started+=($!)
# Standard input stays open: orders to the modem would come there.
sleep 600 | python3 "$here/../../../node/monitor/tests/peers/modem.py" "$scratch/modem" "$scratch/sms" \
    > "$scratch/modem.log" 2>&1 &
started+=($!)
printf 'a-token-of-sixteen-letters-and-more' > "$scratch/token"
chmod 600 "$scratch/token"
cat > "$scratch/monitor.toml" <<END
name = "monitor1"
state_dir = "$scratch/state"
[http]
listen = "127.0.0.1:18791"
public_url = "http://127.0.0.1:18791"
token_file = "token"
[scrape]
interval = "2s"
timeout = "1s"
window = "5m"
[alertmanager]
token_file = "token"
policy = "duty"
[[node]]
name = "n1"
url = "http://127.0.0.1:18790/metrics"
[[node]]
name = "n2"
url = "http://127.0.0.1:18790/metrics"
[[node]]
name = "n3"
url = "http://127.0.0.1:1/metrics"
[[rule]]
name = "node_down"
expr = "up == 0"
for = "4s"
severity = "critical"
policy = "duty"
group_by = ["node"]
[[policy]]
name = "duty"
to = ["anna"]
repeat = "1h"
[[contact]]
name = "anna"
tell = "all"
[[contact.way]]
channel = "modem"
to = "+34600111222"
[[contact.way]]
channel = "chat"
[[channel]]
name = "modem"
kind = "modem"
device = "$scratch/modem"
[[channel]]
name = "chat"
kind = "webhook"
url = "http://127.0.0.1:18790/nobody"
[own]
policy = "duty"
[heartbeat]
at = "00:00"
to = ["anna"]
END
sleep 2
"$monitor" --config "$scratch/monitor.toml" > "$scratch/log" 2>&1 &
started+=($!)
post() {
    curl -s -H "Authorization: Bearer $(cat "$scratch/token")" -H 'Content-Type: application/json' \
        http://127.0.0.1:18791/api/v1/alertmanager -d '{"version":"4","status":"firing",
        "groupKey":"a","groupLabels":{},"commonLabels":{},"commonAnnotations":{},"receiver":"monitor",
        "externalURL":"","alerts":[{"status":"firing","labels":{"alertname":"A","severity":"warning"},
        "annotations":{"summary":"a"},"startsAt":"2026-11-23T00:00:00Z",
        "endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"a"}]}'
}
sleep 15
post
curl -sf http://127.0.0.1:18791/metrics > "$here/monitor-1.txt"
sleep 15
curl -sf http://127.0.0.1:18791/metrics > "$here/monitor-2.txt"
tail -5 "$scratch/log"
