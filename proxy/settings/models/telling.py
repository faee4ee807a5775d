"""Who is asked before a rollout goes on, and who is told of it."""

from typing import Final, Literal

from pydantic import model_validator

from proxy.settings.models.part import Part, duration_key, option
from proxy.settings.scalars import Duration, Secret, refuse
from proxy.settings.urls import WebUrl

EVENTS: Final = ("started", "step", "paused", "insufficient", "aborted", "completed")


class Webhook(Part):
    """A POST with what is about to happen, or has. Tried again where no answer comes."""

    url: WebUrl = option("Where to.")
    when: Literal["before_start", "before_step", "after_step", "after_end"] = option("When it is called.")
    veto: bool = option(
        '`before_start`, `before_step`: it goes on only after an answer of 2xx without `"allow": false`; else it pauses.',
        False,
    )
    secret: Secret | None = option(
        "Signs the body: HMAC-SHA256 in `X-Tidegate-Signature`. At least 16 characters. Absent: not signed.", None
    )
    timeout: Duration = duration_key("For one try.", "5s")
    retries: int = option("Tries after the first, each later than the one before.", 3, unit="count", ge=0, le=20)

    @model_validator(mode="after")
    def _asked_in_time(self) -> "Webhook":
        if self.veto and not self.when.startswith("before"):
            refuse(f"`veto` is for what is asked before: `{self.when}` comes too late")
        return self


class Notice(Part):
    """A message of what has happened."""

    url: WebUrl = option("Where to.")
    format: Literal["json", "slack"] = option("`json`, or what Slack's incoming webhooks take.", "json")
    events: list[Literal["started", "step", "paused", "insufficient", "aborted", "completed"]] = option(
        "Of what: started, step, paused, insufficient, aborted, completed.",
        makes=lambda: list(EVENTS),
        shown="all",
        min_length=1,
    )
