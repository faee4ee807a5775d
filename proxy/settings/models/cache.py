"""The last good answer."""

from proxy.settings.models.part import Part, duration_key, option, size_key
from proxy.settings.scalars import Delay, Size


class Cache(Part):
    """Keeps answers that may be kept (RFC 9111), in memory, each version's for itself."""

    size: Size = size_key("Bytes kept by each worker; the least used go first.", "64MiB")
    object_limit: Size = size_key("Larger answers are not kept.", "1MiB")
    default_ttl: Delay = duration_key("How long an answer is fresh that does not say so itself; 0s: not kept.", "0s")
    max_ttl: Delay = duration_key("No answer is fresh for longer, whatever it says.", "24h")
    stale_while_revalidate: Delay = duration_key(
        "So long after it was fresh an answer is served while a new one is fetched, where it does not say itself.", "0s"
    )
    stale_if_error: Delay = duration_key(
        "So long after it was fresh an answer is served when the version fails (ST), where it does not say itself.",
        "0s",
    )
    shared_cookies: bool = option(
        "Keep answers that set a cookie, too, cookie and all, for everybody; and let `default_ttl` hold for requests with"
        " cookies. (A unit's minted cookie is the proxy's own: it is never kept, and keeps nothing from being kept.)",
        False,
    )
