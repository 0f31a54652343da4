#!/usr/bin/env bash
# Lets PEFT itself load what this library exports. Makes a virtual environment of about 6 GB first, and keeps it:
# in .peft-venv, or where TFJS_LORA_PEFT_VENV says.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv="${TFJS_LORA_PEFT_VENV:-.peft-venv}"
if ! "$venv/bin/python" -c 'import peft, torch' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -r test/python/requirements.txt
fi
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
npx tsx test/python/exportAdapters.ts "$out"
"$venv/bin/python" test/python/check_exports.py "$out"
