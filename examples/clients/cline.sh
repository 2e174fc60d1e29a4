#!/usr/bin/env bash
# Cline's command line with these memories: cline.sh sse|http|pasted URL PROMPT
#   sse | http  URL  http://localhost:8765/mcp/{client_name}/sse/{user_id}, or .../http/...
#   pasted      URL  a file with a block that the server printed at its start ({"mcpServers": ...}), such as for stdio
# AGENT_BASE_URL, AGENT_API_KEY and AGENT_MODEL choose Cline's model (fake_llm.py will do); OPENAI_... would reach the
# memory server that Cline starts, too. Cline comes from `npm install -g cline`, or from where CLINE says. It runs in a
# HOME of its own, so nothing of yours is read or changed.
set -euo pipefail
transport=$1 target=$2 prompt=$3
cline=${CLINE:-cline}

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export HOME=$home CLINE_SESSION_BACKEND_MODE=local # or it leaves a daemon running
cd "$home"

if [ "$transport" = pasted ]; then
  mkdir -p .cline/data/settings
  cp "$target" .cline/data/settings/cline_mcp_settings.json
else
  "$cline" mcp add memory --transport "$transport" --yes --json "$target"
fi
"$cline" auth openai-compatible -k "${AGENT_API_KEY:-none}" -m "${AGENT_MODEL:-fake-model}" -b "$AGENT_BASE_URL"
"$cline" -P openai-compatible -k "${AGENT_API_KEY:-none}" -m "${AGENT_MODEL:-fake-model}" --json -t 120 "$prompt"
