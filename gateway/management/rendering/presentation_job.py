"""What a presentation state is about: the job ``references``, whose answer the studio makes pictures of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.management import worker_protocol as protocol
from gateway.management.rendering import presentation
from gateway.management.rendering.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def parts(job: protocol.Job, allow_frame: Callable[[], None]) -> Iterator[tuple[protocol.Frame, bytes]]:
    """One part without bytes: ReferencedImageSequence, and InstanceNumber and ContentLabel of the state itself.

    Raises ``Refusal``.
    """
    allow_frame()
    state = presentation.read(Path(job.path))
    items: list[int | float | str | dict[str, protocol.Leaf]] = []
    for uid, frames in state.references:
        if len(items) == protocol.MAX_ITEMS:
            raise Refusal("too-large", "references")
        item = {"00081155": protocol.Leaf("UI", [uid[:64]])}
        if frames:
            item["00081160"] = protocol.Leaf("IS", [*frames[: protocol.MAX_ITEMS]])
        items.append(item)
    if not items:
        raise Refusal("malformed", "a presentation state of no image")
    attributes = {"00081140": protocol.Element("SQ", items)}
    if label := str(state.state.get("ContentLabel") or "")[:16]:
        attributes["00700080"] = protocol.Element("CS", [label])
    head = protocol.Frame(
        frame=0, kind="references", media="text/plain", rows=0, columns=0, lossy=False, ratio_x100=100,
        attributes=attributes,
    )  # fmt: skip
    yield head, b""
