"""Cut the subject out of many pictures, files to files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matter_sdk.sdk.errors import FrameError
from matter_sdk.sdk.media.picture_reader import read_picture
from matter_sdk.sdk.media.places import check_kept, distinct_names, find_pictures

if TYPE_CHECKING:
    from matter_sdk.sdk.matter import Matter

log = logging.getLogger("matter")


def batch(
    matter: Matter,
    pictures: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    background: Any = None,
    progress: Callable[[int, int], object] | None = None,
) -> Mapping[Path, Path]:
    """Matte pictures of a folder into another; see ``Matter.batch``."""
    places = [pictures] if isinstance(pictures, (str, os.PathLike)) else list(pictures)
    found = find_pictures(places)
    targets = [Path(out) / f"{name}.png" for name in distinct_names(found)]
    check_kept(found, targets)
    written = {}
    for done, (path, target) in enumerate(zip(found, targets, strict=True), 1):
        try:
            image = read_picture(path, transparency=True)
        except FrameError as error:
            log.warning("left out: %s", error)
        else:
            written[path] = matter(image).save(target, background)
        if progress is not None:
            progress(done, len(found))
    if found and not written:
        raise FrameError(f"none of {len(found)} pictures can be read; the warnings say why")
    return written
