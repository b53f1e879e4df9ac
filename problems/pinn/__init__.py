"""Physics-informed networks: a sample is a collocation point, the unknown is the jet of u there."""
