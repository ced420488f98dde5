"""What an engineer writes in an afternoon to serve a model: FastAPI, transformers, pydantic in and out.

The yardstick of this benchmark. It is correct and not made slow on purpose: the model is loaded once, gradients are
off, a request's texts run as one batch, and the endpoint is a plain `def`, so that FastAPI runs it on a thread and the
event loop stays free. It just has no queue of its own, no sorting by length and no engine but torch.
"""

import argparse

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModel, AutoTokenizer


class EmbeddingsRequest(BaseModel):
    input: str | list[str]
    model: str = "minilm"


class Embedding(BaseModel):
    object: str = "embedding"
    index: int
    embedding: list[float]


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    object: str = "list"
    data: list[Embedding]
    model: str
    usage: Usage


def build(directory: str) -> FastAPI:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModel.from_pretrained(directory)
    model.eval()
    app = FastAPI()

    @app.post("/v1/embeddings", response_model=EmbeddingsResponse)
    def embeddings(request: EmbeddingsRequest) -> EmbeddingsResponse:
        texts = [request.input] if isinstance(request.input, str) else request.input
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
        tokens = int(inputs["attention_mask"].sum())
        return EmbeddingsResponse(
            data=[Embedding(index=index, embedding=vector) for index, vector in enumerate(vectors.tolist())],
            model=request.model,
            usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        )

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "serving"}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    uvicorn.run(build(arguments.directory), host="127.0.0.1", port=arguments.port, log_level="warning")
