"""The worker: accepts, parses, decides, forwards, mirrors, counts. Never imports YAML, pydantic, aiohttp or prometheus_client."""
