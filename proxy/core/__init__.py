"""The pure rooms: values in, values out. No asyncio, sockets, clock, random, logging or YAML; of third parties only mmh3."""
