#!/usr/bin/env bash
# opencode with these memories: opencode.sh URL PROMPT
#   URL  http://localhost:8765/mcp/{client_name}/http/{user_id} or .../sse/...: opencode finds out which it is
# AGENT_BASE_URL, AGENT_API_KEY and AGENT_MODEL choose its model (fake_llm.py will do). opencode comes from `npm install
# -g opencode-ai`, or from where OPENCODE says. It runs in a HOME of its own, so nothing of yours is read or changed.
set -euo pipefail
url=$1 prompt=$2
opencode=${OPENCODE:-opencode}
model=${AGENT_MODEL:-fake-model}

home=$(mktemp -d)
export HOME=$home XDG_CONFIG_HOME=$home/config XDG_DATA_HOME=$home/data XDG_CACHE_HOME=$home/cache XDG_STATE_HOME=$home/state
trap 'rm -rf "$home"' EXIT
cd "$home"

cat >opencode.json <<JSON
{
  "\$schema": "https://opencode.ai/config.json",
  "autoupdate": false,
  "share": "disabled",
  "model": "ours/$model",
  "small_model": "ours/$model",
  "provider": {
    "ours": {
      "npm": "@ai-sdk/openai-compatible",
      "name": "Ours",
      "options": { "baseURL": "$AGENT_BASE_URL", "apiKey": "${AGENT_API_KEY:-none}" },
      "models": { "$model": { "name": "$model" } }
    }
  },
  "mcp": { "memory": { "type": "remote", "url": "$url", "enabled": true } }
}
JSON
"$opencode" run "$prompt"
