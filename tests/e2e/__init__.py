"""Real processes, real sockets: the proxy as its users meet it."""
