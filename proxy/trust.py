"""Whom we believe upstream: the TLS context of `https://` endpoints, for requests (dataplane) and checks (control) alike."""

import ssl
from typing import Any

Spec = dict[str, Any]


def client_context(spec: Spec | None) -> ssl.SSLContext:
    """A context for `https://` endpoints: verified against the system's authorities or the upstream's own `ca`.

    Slow (it reads the system's authorities): not for the event loop's thread. Raises OSError or ssl.SSLError.
    """
    options = spec or {}
    context = ssl.create_default_context(cafile=options.get("ca"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if options.get("certificate"):
        context.load_cert_chain(options["certificate"], options.get("key"))
    return context
