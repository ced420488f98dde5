"""The HTTP surface. Hot routes read bytes and write bytes; FastAPI does the rest and documents both.

server.py    sockets, connections, drain
gate.py      every request: id, size, deadline, hang-up, errors, metrics; hot routes
exchange.py  one request: its body, its answer
problems.py  errors
fields.py    members of a JSON body
openai.py tei.py   hot routes
surface.py   cold routes
openapi.py   documentation of the hot routes
"""
