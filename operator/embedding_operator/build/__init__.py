"""Manifests of the children, each a pure function of the owner. Nothing else builds Kubernetes objects."""
