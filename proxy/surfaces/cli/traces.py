"""Why a matcher holds or does not, in words."""

from typing import Any

import click

Spec = dict[str, Any]


def print_trace(trace: Spec, indent: str) -> None:
    """One matcher, and what it looked at, each part on a line of its own."""
    mark = "yes" if trace["matched"] else "no "
    for word in ("all", "any"):
        if word in trace:
            click.echo(f"{indent}{mark} {word} of")
            for part in trace[word]:
                print_trace(part, f"{indent}  ")
            return
    if "not" in trace:
        click.echo(f"{indent}{mark} not")
        print_trace(trace["not"], f"{indent}  ")
    elif "cel" in trace:
        trouble = f": {trace['trouble']}" if trace["trouble"] else ""
        click.echo(f"{indent}{mark} cel {trace['cel']}{trouble}")
    elif "segment" in trace:
        click.echo(f"{indent}{mark} segment {trace['segment']}")
        print_trace(trace["where"], f"{indent}  ")
    else:
        source = f"{trace['source']} {trace['name']}" if "name" in trace else trace["source"]
        source = f"trusted {source}" if trace.get("trusted") else source
        saw = "was not there" if trace["saw"] is None else f"was {trace['saw']!r}"
        click.echo(f"{indent}{mark} {source} {trace['test']} {trace['value']!r}: {saw}")
