"""Write outputs in private folders under unguessable names, and move them once they are complete.

Nothing is deleted but what was made here, and no link is followed. An existing file is replaced by
a complete one or not at all.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import av

from matter_sdk.sdk.errors import VideoError
from matter_sdk.sdk.media.video_source import NUMBER


class Place:
    """A folder beside an output, of this process's user alone, in which the output grows."""

    def __init__(self, final: Path) -> None:
        self._final = final.absolute()
        # Made exclusively, with a random name: nobody can have put a link into its way.
        self.folder = Path(
            tempfile.mkdtemp(
                prefix=f".{self._final.stem[:40]}.", suffix=".partial", dir=self._final.parent
            )
        )

    def file(self) -> Path:
        """The file that becomes the output."""
        return self.folder / f"output{self._final.suffix.lower()}"

    def open(self) -> Any:
        """Open that file as a container to write to."""
        # The index in front, so that a player can start before it has the whole file.
        fast = self.file().suffix in (".mp4", ".m4v", ".mov")
        options = {"movflags": "+faststart"} if fast else {}
        return av.open(str(self.file()), "w", container_options=options)

    def publish(self) -> None:
        """Give the finished file its name; what stood there before is replaced in one step."""
        self.file().replace(self._final)
        self.folder.rmdir()

    def remove(self) -> None:
        """Delete what was made. Safe to call twice."""
        with suppress(OSError):
            for file in self.folder.iterdir():
                file.unlink(missing_ok=True)
            self.folder.rmdir()


class SequencePlace(Place):
    """The same for numbered files: ``final`` is a folder, or a name with a number (``%05d``)."""

    def __init__(self, final: Path) -> None:
        super().__init__(final)
        pattern = bool(final.suffix)
        self._into = self._final.parent if pattern else self._final
        self._name = self._final.name if pattern else "%05d.png"
        self._kept = False

    def numbered(self, number: int) -> Path:
        """Where the file of a number grows."""
        before, width, after = NUMBER.split(self._name)
        return self.folder / f"{before}{number:0{int(width or 1)}d}{after}"

    def publish(self) -> None:
        """Give the files their names. Where one is taken meanwhile none is moved: VideoError, which
        says where the files stay."""
        self._into.mkdir(exist_ok=True)
        claimed: list[Path] = []
        files = sorted(self.folder.iterdir())
        try:
            for file in files:
                name = self._into / file.name
                # Claims the name, or fails where anything has it, a link included.
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                claimed.append(name)
        except FileExistsError as error:
            for name in claimed:
                name.unlink(missing_ok=True)
            self._kept = True
            raise VideoError(
                f"{self._into / file.name} was written meanwhile by another, expected a free name; "
                f"the frames stay in {self.folder}"
            ) from error
        for file in files:
            file.replace(self._into / file.name)
        self.folder.rmdir()

    def remove(self) -> None:
        """Delete what was made, unless it could not be moved and is kept. Safe to call twice."""
        if not self._kept:
            super().remove()
