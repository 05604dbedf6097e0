"""A fitted reward over HTTP: what ``lens-sklearn serve`` runs.

`make_app` returns a FastAPI application with OpenRLHF's ``POST /get_reward``, ``POST /score`` for
rows of text, and ``GET /health``. Texts of requests that wait at the same time are predicted
together.

Needs the extra ``serve``: ``pip install "lens-sklearn[serve]"``.
"""

try:
    import fastapi  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "serving needs fastapi and uvicorn: pip install 'lens-sklearn[serve]'."
    ) from error

from ._app import make_app

__all__ = ["make_app"]
