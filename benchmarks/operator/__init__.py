"""What the operator costs on a real API server with 1 to 1,000 models, and what sick objects cost the healthy ones."""
