"""HTTP plumbing of every role: sockets, one request and its answer, errors.

server.py       sockets, connections, drain
exchange.py     one request on bare ASGI: its body, its answer, a client that hangs up
problems.py     errors
body.py         members of a JSON body
ratelimit.py    how much one client may ask for
admin_tokens.py who may command a pod
surface.py      errors of the routes that FastAPI serves
"""
