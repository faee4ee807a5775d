"""Plans as the file compiles them, for playing."""

from proxy.settings.loader import load

HEAD = """
listen: 127.0.0.1:8080
upstreams: {a: {endpoints: [http://127.0.0.1:9001]}, b: {endpoints: [http://127.0.0.1:9002]}}
segments: {beta: {header: x-beta, exists: true}}
routes:
  - name: shop
    unit: [{header: x-user-id}]
    versions: {stable: {upstream: a, weight: 100}, canary: {upstream: b, weight: 0}, fresh: {upstream: a, weight: 0}}
    rings: [{version: canary, order: [beta], open: none}]
"""
BOUND = {"stable": 100.0, "canary": 0.0, "fresh": 0.0}


def plan_of(directory, keys):
    """The compiled plan of a rollout with these keys, as YAML within braces."""
    file = directory / "tidegate.yaml"
    file.write_text(HEAD + f"    rollout: {{revision: v2, from: stable, to: canary, {keys}}}\n")
    return load(file, {}).spec["routes"][0]["rollout"]
