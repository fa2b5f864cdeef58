"""What a set of files comes to: ``python -m gateway.management.rendering.survey PATH...``.

Renders through the same pool and limits as the gateway does, and says for each file what was made of it, or why
nothing was. For whoever brings a new modality, and for comparing two versions of this package.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.management.rendering.limits import RenderLimits
from gateway.management.workers import RenderJob, RenderPool, RenderRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(slots=True)
class Outcome:
    """One file. ``result`` is ``rendered`` or the reason of the refusal."""

    path: str
    result: str = "rendered"
    frames: int = 0
    picture_bytes: int = 0
    media: str = ""
    rows: int = 0
    columns: int = 0
    photometric: str = ""
    lossy: bool = False
    seconds: float = 0.0
    """With the time that it waited for a worker."""


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files among ``paths`` and in the folders among them, each once."""
    seen = set()
    for path in paths:
        found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        for each in found:
            if each not in seen:
                seen.add(each)
                yield each


async def survey(paths: Iterable[Path], *, workers: int, frames: int | None, limits: RenderLimits) -> list[Outcome]:
    """Render ``frames`` frames (None: all) of every file."""
    async with RenderPool(workers, limits) as pool:
        # jobs wait for a worker inside the pool: all may be under way at once
        outcomes = await asyncio.gather(*(_render(pool, path, frames) for path in paths))
    return sorted(outcomes, key=lambda outcome: outcome.path)


async def _render(pool: RenderPool, path: Path, frames: int | None) -> Outcome:
    outcome = Outcome(str(path))
    started = time.perf_counter()
    try:
        async with aclosing(pool.render(RenderJob(path, frame_count=frames))) as pictures:
            async for picture in pictures:
                outcome.frames += 1
                outcome.picture_bytes += len(picture.data)
                outcome.media, outcome.rows, outcome.columns = picture.media, picture.rows, picture.columns
                outcome.lossy = picture.lossy
                outcome.photometric = str(picture.attributes.get("00280004", {"Value": [""]})["Value"][0])
    except RenderRefused as refused:
        outcome.result = refused.reason
    outcome.seconds = round(time.perf_counter() - started, 4)
    return outcome


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of a table.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--all-frames", is_flag=True, help="Every frame, not only the first.")
def main(paths: tuple[Path, ...], *, as_json: bool, workers: int, all_frames: bool) -> None:
    """Render files and folders, and say what came of each.

    Example: python -m gateway.management.rendering.survey --json /data/incoming
    """
    found = survey(files(paths), workers=workers, frames=None if all_frames else 1, limits=RenderLimits())
    outcomes = asyncio.run(found)
    if as_json:
        click.echo(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
        return
    for each in outcomes:
        size = f"{each.columns}x{each.rows}" if each.frames else "-"
        click.echo(
            f"{each.result:12} {each.seconds * 1000:8.0f} ms {each.frames:5} {size:>11} {each.picture_bytes:>9}"
            f" {each.media or '-':10} {each.photometric or '-':16} {each.path}"
        )
    totals = Counter(each.result for each in outcomes)
    click.echo(", ".join(f"{count} {result}" for result, count in totals.most_common()))


if __name__ == "__main__":
    main()
