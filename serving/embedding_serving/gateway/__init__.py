"""Role `gateway`: the HTTP API that applications call.

main.py          settings -> a running gateway
routes.py        which generation serves: the route, mounted, pushed or learnt; pinned once per request
pods.py          every copy of every shard: addresses, connections, breakers
fanout.py        one question to some shards: deadlines, other copies, partial answers
encoder.py       texts -> vectors of the pinned generation; reranker.py texts by relevance
search.py        queries -> hits (search_request.py what is asked, merge.py best of several lists, hits.py the answer)
writes.py        documents in (document_request.py what is asked); bulk.py as a stream
reads.py         documents out: get, scroll, export, count, facet
position.py      read-your-writes
cache.py keys.py limits of a client: who asks, how much, how large
gate.py          every request; endpoints.py hot routes; surface.py, openapi.py the rest and the documentation
"""
