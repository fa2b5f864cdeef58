"""``mpacs-gateway survey``: what the gateway would make of files, without taking them in."""

import shutil
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli_support import fail, json_option, print_json, progress, state_option, table
from gateway.management.rendering.refusal import EXPLAINED

if TYPE_CHECKING:
    from gateway.management.rendering.survey import Outcome


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--all-frames", is_flag=True, help="Render every frame, not only the first.")
@click.option("--against", type=click.Choice(["dcmj2pnm"]), help="Compare every frame with what DCMTK makes of it.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--refused", "only_refused", is_flag=True, help="List only what was refused or differs.")
@json_option
@state_option
def survey(
    _state: Any,  # taken as everywhere, though nothing of it is needed
    paths: tuple[Path, ...],
    *,
    all_frames: bool,
    against: str | None,
    workers: int,
    only_refused: bool,
    as_json: bool,
) -> None:
    """Render files and folders with the gateway's limits, and say what came of each: rendered, or refused and why.

    Nothing is taken in, and no gateway has to run. With --against, pictures are compared before they become JPEG; the
    exit code is 1 where one differs by more than a grey level and no clause of the standard is known that says why.

    \b
    Example:
      mpacs-gateway survey /data/incoming --all-frames --against dcmj2pnm
    """
    import asyncio

    from gateway.management.rendering.survey import Survey, files

    if against and shutil.which(against) is None:
        fail(f"{against} is not installed: it comes with DCMTK (Debian: apt install dcmtk)")
    found = list(files(paths))
    plan = Survey(workers=workers, frames=None if all_frames else 1, against=against is not None)
    with progress("rendering", len(found)) as advance:
        outcomes = asyncio.run(plan.run(found, lambda _: advance()))
    summary = {**_summary(outcomes), "workers_left_behind": plan.left_behind}
    if as_json:
        print_json({"summary": summary, "files": [asdict(outcome) for outcome in outcomes]})
    else:
        _show([each for each in outcomes if not only_refused or each.result not in _MADE or each.differs])
        _conclude(summary)
    if summary["differ"]:
        sys.exit(1)


_MADE = ("rendered", "report")


def _summary(outcomes: "list[Outcome]") -> dict[str, Any]:
    compared = [each.against for each in outcomes if each.against and "worst" in each.against]
    return {
        "files": len(outcomes),
        "results": dict(Counter(each.result for each in outcomes).most_common()),
        "frames": sum(each.frames for each in outcomes),
        "largest_peak_mb": max((each.peak_mb for each in outcomes), default=0.0),
        "compared": len(compared),
        "frames_compared": sum(each["frames"] for each in compared),
        "within_one_level": sum(each["worst"] <= 1 for each in compared),
        "differ_by_a_known_clause": sum("clause" in each for each in compared),
        "differ": sum(each.differs for each in outcomes),
    }


def _show(outcomes: "list[Outcome]") -> None:
    compares = any(each.against for each in outcomes)
    columns = ["result", "frames", "size", "bytes", "media", "photometric", "ms", "peak MB"]
    columns += ["differs by", "file"] if compares else ["file"]
    table(columns, [_row(each, compares=compares) for each in outcomes])


def _row(each: "Outcome", *, compares: bool) -> list[str]:
    size = f"{each.columns}x{each.rows}" if each.frames else "-"
    row = [each.result, str(each.frames), size, str(each.picture_bytes), each.media or "-", each.photometric or "-"]
    row += [f"{each.seconds * 1000:.0f}", f"{each.peak_mb:.0f}"]
    return [*row, _difference(each), each.path] if compares else [*row, each.path]


def _difference(each: "Outcome") -> str:
    if not each.against:
        return "-"
    if "worst" not in each.against:
        return "DCMTK makes none" if each.against["failed"] == "peer" else "not compared"
    clause = each.against.get("clause")
    return f"{each.against['worst']}, {clause}" if clause else str(each.against["worst"])


def _conclude(summary: dict[str, Any]) -> None:
    results = ", ".join(f"{count} {result}" for result, count in summary["results"].items())
    for reason in summary["results"]:
        if reason in EXPLAINED:
            click.echo(f"{reason}: {EXPLAINED[reason]}")
    click.echo(f"{summary['files']} files: {results}")
    peak, left = summary["largest_peak_mb"], summary["workers_left_behind"]
    click.echo(f"hungriest worker {peak:.0f} MB, workers left behind {left}")
    if summary["compared"]:
        click.echo(
            f"{summary['compared']} compared with DCMTK in {summary['frames_compared']} frames: "
            f"{summary['within_one_level']} within one grey level, {summary['differ_by_a_known_clause']} differ by a "
            f"clause of the standard, {summary['differ']} differ otherwise"
        )
