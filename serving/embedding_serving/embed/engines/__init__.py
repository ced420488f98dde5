"""Engines: ONNX Runtime and OpenVINO on the CPU, torch on a GPU and as the reference; chosen at start."""
