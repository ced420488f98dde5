"""Documentation of the hot routes, which FastAPI does not see."""

from fastapi import FastAPI


def document_hot_routes(app: FastAPI) -> None:
    return
