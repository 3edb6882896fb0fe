"""The figures of a chaos run, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from tests.chaos.faults import KINDS
from tests.chaos.running import Run
from tests.chaos.verdict import reasons_of

TERM_S_MAX = 10.0


def table(run: Run) -> str:
    """Two tables and a few lines: what was folded and announced, and how long repair took by kind of fault."""
    return "\n".join([*_sums(run), "", *_faults(run), "", *_ends(run)])


def _sums(run: Run) -> list[str]:
    truth, verdict, announced = run.truth, run.verdict, run.announced
    assert truth is not None
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons_of(truth).items()))
    causes = ", ".join(f"{cause} {count:,}" for cause, count in announced.causes.most_common())
    wrong = len(verdict.profiles) + len(verdict.hysteresis)
    rows = [
        ("customers", f"{len(truth.histories):,}"),
        ("different events folded", f"{truth.accepted:,}"),
        ("lost", f"{verdict.lost:,}"),
        ("doubled", f"{verdict.doubled:,}"),
        ("differences of profiles and members from the oracle", f"{wrong:,}"),
        ("repeated events, dropped", f"{truth.duplicates:,}"),
        ("strays", f"{truth.strays:,}"),
        ("events in aborted transactions, never folded", f"{run.fed['aborted']:,}"),
        ("dead letters", f"{len(truth.refused):,} ({reasons})"),
        ("dead letters missing or wrong", f"{len(verdict.letters):,}"),
        ("changes announced", f"{announced.changes:,} ({causes})"),
        ("changes wrong", f"{len(announced.wrong):,}"),
        ("repairs of a shard behind what was announced", f"{run.repairs:,}"),
    ]
    return ["| what | how many |", "|---|---|", *(f"| {what} | {number} |" for what, number in rows)]


def _faults(run: Run) -> list[str]:
    lines = ["| fault | times | repaired in, p50 | longest |", "|---|---|---|---|"]
    for kind in KINDS:
        own = [strike for strike in run.strikes if strike.fault.kind == kind]
        if own:
            lines.append(_row(kind, len(own), [strike.repair_s for strike in own]))
        if own and kind.endswith("past its session"):
            back = [strike.back_s for strike in own if strike.back_s is not None]
            lines.append(_row("... and goes on as a zombie", len(back), back))
    return [*lines, _row("all faults", len(run.strikes), [strike.repair_s for strike in run.strikes])]


def _row(name: str, times: int, repaired_s: Iterable[float | None]) -> str:
    known = [seconds for seconds in repaired_s if seconds is not None] or [float("nan")]
    return f"| {name} | {times} | {median(known):.1f} s | {max(known):.1f} s |"


def _ends(run: Run) -> list[str]:
    endings = [seconds for _, seconds in run.endings_s] or [float("nan")]
    lines = [
        f"Seed {run.seed}; {run.seconds / 60:.1f} minutes of faults at {run.rate:g} events a second and more; "
        f"{sum(s.fault.rushed for s in run.strikes)} faults were followed by the next before they were repaired.",
        f"SIGTERM {len(run.endings_s)} times: ended in {median(endings):.1f} s (p50), {max(endings):.1f} s at most.",
        f"Catching up at the end: {run.catch_up_s:.0f} s.",
    ]
    for what, count in run.ended_alone.most_common():
        lines.append(f"Ended by itself and was started again, {count} times: {what}")
    return lines


def late_endings(run: Run) -> list[str]:
    """The programs that took more than ten seconds to end at SIGTERM."""
    return [f"{role} took {seconds:.1f} s to end" for role, seconds in run.endings_s if seconds > TERM_S_MAX]
