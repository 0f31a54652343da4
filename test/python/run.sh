#!/usr/bin/env bash
# Lets PEFT itself load what this library exports, in the virtual environment of the benchmark's peers, which it makes if there is none.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv="${TFJS_LORA_PEERS:-bench/peers/.venv}"
if ! "$venv/bin/python" -c 'import peft, torch' 2>/dev/null; then
  bench/peers/setup
fi
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
npx tsx test/python/exportAdapters.ts "$out"
"$venv/bin/python" test/python/check_exports.py "$out"

minilm="$(npx tsx scripts/setupPretrained.ts minilm | tail -n 1)"
"$venv/bin/python" test/python/make_minilm.py "$minilm" "$out/expected"
npx tsx test/python/exportTransformers.ts "$out/expected" "$out/trained"
"$venv/bin/python" test/python/check_transformers.py "$out/trained" test/fixtures/transformers "$minilm"

npx tsx test/python/cluster.ts "$venv" "$out"
