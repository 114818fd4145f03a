"""One plain route of FastAPI: the unit that calls of MCP tools are counted in."""

from fastapi import FastAPI

from benchmarks.peers.serving import serve

app = FastAPI()


@app.get("/things/{thing_id}")
async def get_thing(thing_id: str) -> dict[str, str]:
    """Answer at once."""
    return {"id": thing_id, "state": "completed"}


if __name__ == "__main__":
    serve(app)
