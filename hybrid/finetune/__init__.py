"""A dense head on stored features, and the network tuned with it."""
