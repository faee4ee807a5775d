"""Keys that the configuration leaves out: made once, and kept where they outlive this process."""

import secrets
from dataclasses import dataclass
from typing import Any, Final

from proxy.control.state import Store

_STORED: Final = "secrets"


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys that were made and not configured. Empty when all were configured."""

    cookie: str = ""
    unit_hash: str = ""

    def fill(self, configured: dict[str, Any]) -> dict[str, Any]:
        """`configured` (a spec's secrets) with the made keys where it has none."""
        return {
            "cookie": configured["cookie"] or [self.cookie],
            "unit_hash": configured["unit_hash"] or self.unit_hash,
        }


async def keep_keys(store: Store, inherited: Keys) -> Keys:
    """The keys of this installation: the store's, else those inherited from the control process before, else new ones.

    Raises StoreError.
    """
    kept: dict[str, str] = await store.get(_STORED) or {}
    keys = Keys(
        kept.get("cookie") or inherited.cookie or secrets.token_urlsafe(32),
        kept.get("unit_hash") or inherited.unit_hash or secrets.token_urlsafe(32),
    )
    if kept != (values := {"cookie": keys.cookie, "unit_hash": keys.unit_hash}):
        await store.put(_STORED, values)
    return keys


def warn_of_keys(configured: dict[str, Any], *, lasting: bool) -> list[str]:
    """What the user should know about keys that are not configured, one line each."""
    missing = [f"secrets.{name}" for name in ("cookie", "unit_hash") if not configured[name]]
    if not missing:
        return []
    names = " and ".join(missing)
    if lasting:
        return [f"{names}: not configured; made once and kept in the state store, so only this machine knows them"]
    forgets = (
        f"{names}: not configured, and there is no state store: a stop forgets them, then minted cookies are not "
        "believed any more and unit hashes change; set them, or set `state: sqlite:PATH`"
    )
    return [forgets]
