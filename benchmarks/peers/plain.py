"""One plain route of FastAPI, which answers a generation: the unit for calls of tools.

    python -m benchmarks.peers.plain ANSWER

ANSWER is a file with an answer of ours, see `benchmarks.peers.raw.write`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from benchmarks.peers.serving import serve


def make(path: Path) -> FastAPI:
    """An application that has one generation, and it in memory."""
    app, generation = FastAPI(), json.loads(json.loads(path.read_text())["body"])

    @app.get("/generations/{generation_id}")
    async def get_generation(generation_id: str) -> dict[str, Any]:
        return {**generation, "id": generation_id}

    return app


if __name__ == "__main__":
    serve(make(Path(sys.argv[1])))
