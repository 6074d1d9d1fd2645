"""`doctor`'s look at Metronome: may it be called, does it answer, its clock, and the key.

One request that reads. What only a write could tell is told as unknown.
"""

from urllib.parse import urlsplit

from metronome_salesforce.clockskew import TOLERATED, Heard, skew
from metronome_salesforce.doctor import Area, Check
from metronome_salesforce.errors import ProductError
from metronome_salesforce.hosts import HostRules
from metronome_salesforce.metronome.probing import Probe, probe
from metronome_salesforce.spec import MetronomeSync

HOST, REACHABLE, CLOCK, KEY, WRITE_BACK = (
    "allowed host", "reachable", "clock", "API key", "write back",
)  # fmt: skip


async def metronome_checks(
    sync: MetronomeSync, rules: HostRules, api_key: str | None, why_no_key: str
) -> list[Check]:
    """The checks of Metronome; `why_no_key` says what comes first where there is no key."""
    url, writes = sync.spec.metronome.base_url, sync.spec.linking.write_back
    area = Area("Metronome", [HOST, REACHABLE, CLOCK, KEY, *([WRITE_BACK] if writes else [])])
    if not tell_host(area, rules, url):
        return area.checks()
    try:
        answer = await probe(url, api_key)
    except ProductError as error:
        area.failed(REACHABLE, error)
        return area.checks()
    area.fine(REACHABLE, reached(url))
    tell_clock(area, answer.heard)
    _tell_key(area, answer, api_key, why_no_key)
    if writes:
        area.unknown(
            WRITE_BACK,
            "Whether the key may change customers shows only when it does.",
            "Look at the condition WriteBack of the MetronomeSync.",
        )
    return area.checks()


def _tell_key(area: Area, answer: Probe, api_key: str | None, why_no_key: str) -> None:
    if api_key is None:
        area.wait(KEY, why_no_key)
    elif answer.refused is not None:
        area.failed(KEY, answer.refused)
    else:
        area.fine(KEY, "Metronome takes it, and it may read customers.")


def tell_host(area: Area, rules: HostRules, url: str) -> bool:
    """Tell whether the operator's rules, as this process has them, allow a URL."""
    try:
        rules.check(url)
    except ProductError as error:
        area.failed(HOST, error)
        return False
    area.fine(HOST, f"{_place(url)} may be called, by the environment of this command.")
    return True


def reached(url: str) -> str:
    """What is told of a URL that answered."""
    how = "its certificate is trusted" if url.startswith("https:") else "by plain http"
    return f"{_place(url)} answers, {how}."


def _place(url: str) -> str:
    return urlsplit(url).netloc


def tell_clock(area: Area, heard: Heard) -> None:
    """Tell how far the other side's clock is from ours."""
    difference = skew(heard)
    if difference is None:
        area.unknown(CLOCK, "The answer has no date.")
        return
    seconds = round(abs(difference).total_seconds())
    if abs(difference) <= TOLERATED:
        area.fine(CLOCK, f"It differs from this machine's by {seconds} s or less.")
        return
    side = "ahead of" if difference > -difference else "behind"
    area.broken(
        CLOCK,
        f"It is {seconds} s {side} this machine's.",
        "Set this machine's clock (NTP): sign-ins by JWT are refused, and days begin at other "
        "times.",
    )
