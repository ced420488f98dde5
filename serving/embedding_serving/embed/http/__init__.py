"""The HTTP surface. Hot routes read bytes and write bytes; FastAPI does the rest and documents both.

gate.py      every request: id, size, deadline, hang-up, errors, metrics; hot routes
problems.py  errors as each kind of client reads them
fields.py    members of a JSON body
openai.py tei.py rerank.py   hot routes
surface.py   cold routes
openapi.py   documentation of the hot routes
"""
