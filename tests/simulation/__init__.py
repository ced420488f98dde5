"""The blue-green rebuild, simulated: the shipped code of shards, gateways and operator in one process, from a seed.

Clock, network and disk are replaced and nothing else, so there is no second implementation of the protocol. A seed decides
what clients do, what people ask for, and which messages, processes and volumes are lost when.
"""
