"""Search over HTTP beside peers on the same vectors: recall, queries per CPU-second, tail latency, filters, writes."""
