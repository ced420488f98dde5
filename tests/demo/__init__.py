"""`make demo`: from nothing to vectors of real sentences, on a real cluster."""
