"""Every hot route."""

from . import openai, rerank, tei

HOT_ROUTES = (*openai.ROUTES, *tei.ROUTES, *rerank.ROUTES)
