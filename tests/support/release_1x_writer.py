"""Run by release 1.3.1's own Python: writes what it reads, `{"text", "user", "client"}` a line, and prints the id.

The rows are the release's own: its settings, its Mem0, its store. Only the LLM is left out.
"""

import json
import sys

from tablestore_openmemory_mcp.mcp_server import (  # type: ignore[import-not-found] # only that Python has it
    client_name_key,
    memory_client,
)

for line in sys.stdin:
    given = json.loads(line)
    metadata = {"source_app": "openmemory", client_name_key: given["client"]}
    done = memory_client.add(given["text"], user_id=given["user"], metadata=metadata, infer=False)
    print(done["results"][0]["id"], flush=True)
