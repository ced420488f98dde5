"""Role `embed`: texts in, vectors (or scores) out, from one prepared model.

http/        bytes -> request            (OpenAI, TEI and simple endpoints)
texts.py     role and prefix of a text
tokens.py    text -> token ids
service.py   request -> vectors: cache, rate limit, identical texts once
encoder.py   token ids -> vectors: the scheduler's queue and the worker threads
scheduler.py which texts make the next batch (pure)
engines/     batch -> vectors
"""
