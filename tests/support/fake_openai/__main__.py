"""The endpoint as a process of its own: for benchmarks and for trying the server by hand."""

import argparse
import time

from .endpoint import FakeOpenAI


def main() -> None:
    parser = argparse.ArgumentParser(prog="fake_openai", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--llm-delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--embedder-delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--llm-errors", type=float, default=0.0, metavar="SHARE", help="of chat requests: status 500")
    given = parser.parse_args()
    delay = {"chat": given.llm_delay, "embeddings": given.embedder_delay}
    with FakeOpenAI(port=given.port, delay=delay, broken=given.llm_errors) as fake:
        print(f"OPENAI_BASE_URL={fake.base_url}", flush=True)
        while True:  # nobody asks what was requested: a long benchmark would fill the memory with it
            time.sleep(1)
            fake.forget()


main()
