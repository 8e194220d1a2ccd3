"""Open an engine: its file, its network, and the mode that it runs in."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from pathlib import Path
from typing import Any, cast

from matter_sdk.sdk import describe
from matter_sdk.sdk.closing import Closing
from matter_sdk.sdk.engine.file import EngineFile
from matter_sdk.sdk.errors import EngineError, printable
from matter_sdk.sdk.files import as_path
from matter_sdk.sdk.inference import sizes
from matter_sdk.sdk.inference.modes import GlanceMode
from matter_sdk.sdk.inference.network import EngineNetwork
from matter_sdk.sdk.inference.quality import Quality, resolve
from matter_sdk.sdk.inference.select import open_mode
from matter_sdk.sdk.inference.trimaps import check_source
from matter_sdk.sdk.shielded import shielded

log = logging.getLogger("matter")


class OpenEngine(Closing):
    """An engine that is ready to run; the arguments are those of ``Matter``.

    Args:
        trimap_from: a path, or an engine that is open and stays so.
        options: the others of ``open_backend``: backend, device, threads, lanes.

    Attributes:
        network: the engine's own.
        mode: runs it, and what further networks it needs.
        backend: of the size that was loaded first.

    Raises:
        EngineError, FrameError, BackendError: as ``Matter``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        quality: Quality,
        *,
        size: tuple[int, int] | None = None,
        hybrid: Any = None,
        plate: Any = None,
        trimap_from: Any = None,
        trust_plans: bool = False,
        **options: Any,
    ) -> None:
        self.path: Path = as_path(path, "the engine", EngineError)
        self._quality = quality
        self._options = {**options, "trust_plans": trust_plans}
        self._lock = threading.Lock()
        with contextlib.ExitStack() as opened:
            file = EngineFile.open(self.path, trust_plans=trust_plans)
            opened.callback(file.close)
            self.manifest = file.manifest
            models = sizes.chosen(self.path, self.manifest, size)
            self.network = EngineNetwork(file, models, arithmetic=quality.arithmetic, **options)
            opened.callback(self.network.close)
            self._scales = sizes.resolve_scales(
                self.path, self.manifest, hybrid, size, quality.hybrid
            )
            self.mode = open_mode(
                self.network,
                pixels=quality.pixels,
                scales=self._scales,
                trimap_from=trimap_from,
                open_source=lambda given: self._glance_of(given, opened),
            )
            opened.callback(self.mode.close)
            if plate is not None:
                self.mode.plate = plate
            # Further sizes are loaded when the first frame wants them.
            self.backend = self.network.load(self.size)
            self._closing = opened.pop_all()
        for name, manifest in {"": self.manifest, **self.manifest.parts}.items():
            if manifest.weights.random:
                what = printable(f"{self.path}{name and f', part {name},'}")
                log.warning("%s holds random weights: its mattes mean nothing", what)

    @property
    def size(self) -> tuple[int, int]:
        """The network's (height, width) for frames of the engine's first aspect ratio."""
        models = self.network.models
        return sizes.nearest_aspect(models, models[0].size, self._quality.pixels).size

    def describe(self) -> str:
        """See ``Matter.describe``."""
        lines = describe.engine(self.network)
        if self._scales is not None:
            lines.append(describe.hybrid(self._scales))
        return describe.text(lines + self.mode.describe() + describe.verified(self.network))

    def close(self) -> None:
        """Release the networks and the file; may be called more than once."""
        shielded(self._close)

    def _close(self) -> None:
        with self._lock:
            self._closing.close()

    def __repr__(self) -> str:
        height, width = self.size
        state = ", closed" if self.network.closed else ""
        place = f"{self.backend.name} on {self.backend.device}"
        return f"{str(self.path)!r}, {place}, {height}×{width}{state}"

    def _glance_of(self, given: Any, opened: contextlib.ExitStack) -> GlanceMode:
        """The mode of the engine that makes trimaps."""
        source = given
        if isinstance(given, OpenEngine):
            given.network.check_open()
        elif isinstance(given, (str, os.PathLike)):
            quality = resolve("balanced", arithmetic=self._quality.arithmetic)
            source = opened.enter_context(OpenEngine(given, quality, **self._options))
        else:
            raise EngineError(
                f"trimap_from is a {type(given).__name__}; expected the path of an engine such as "
                f"'gfm.engine', or an open Matter"
            )
        check_source(source.path, source.manifest)
        if source is not given:
            source.mode.check_streamable()  # nobody can give it a plate
        return cast("GlanceMode", source.mode)
