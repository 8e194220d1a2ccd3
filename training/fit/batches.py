"""Which samples make up each step of a run.

The sample at place k of micro-batch m of step s, on process r of R, has the index

    ((s · accumulate + m) · R + r) · batch + k,

and everything about it follows from that index. So a run resumes exactly, is the same whatever the
number of its workers, and R processes see what one would see with R times the batch.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from matter_sdk.training.data.layer_sources import Source
from matter_sdk.training.fit import objectives
from matter_sdk.training.recipes import Recipe

Key = tuple[int, int, int]
"""Index, height and width of a sample."""

# The targets' random numbers differ from those that drew the sample.
_STREAM = 1


@dataclass(frozen=True)
class Batches:
    """The keys of each batch from step ``first`` up to ``steps``. All batches of a step have one
    size, drawn from ``sizes``.

    It has no length, so that Lightning, resuming, does not count the steps of before among it.
    """

    sizes: tuple[tuple[int, int], ...]
    batch: int
    accumulate: int
    first: int
    steps: int
    rank: int = 0
    processes: int = 1

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.first, self.steps):
            height, width = self.sizes[np.random.default_rng(step).integers(len(self.sizes))]
            for part in range(step * self.accumulate, (step + 1) * self.accumulate):
                start = (part * self.processes + self.rank) * self.batch
                yield [(start + k, height, width) for k in range(self.batch)]


@dataclass(frozen=True)
class Samples:
    """Map-style dataset: key → what the objective wants of that sample."""

    source: Source
    network: str
    rosta: str
    seed: int
    settings: Mapping[str, Any]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        index, height, width = key
        layers = self.source.draw(index, (height, width))
        rng = np.random.default_rng((self.seed, _STREAM, index))
        return objectives.targets(layers, self.network, self.rosta, rng, **self.settings)


def sizes(recipe: Recipe, multiple: int) -> tuple[tuple[int, int], ...]:
    """Scale the recipe's sizes, each side to the nearest multiple that the network takes."""

    def fit(side: int) -> int:
        return max(multiple, round(side * recipe.scale / multiple) * multiple)

    return tuple((fit(height), fit(width)) for height, width in recipe.sizes)


def loader(samples: Samples, keys: Any, workers: int) -> Any:
    """A DataLoader of ``keys``, an iterable of batches. It leaves PyTorch's random numbers alone,
    and what it loads does not depend on ``workers``."""
    import torch
    from torch.utils.data import DataLoader

    return DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=keys,
        num_workers=workers,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
    )


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    # Ctrl-C goes to every process of a terminal: the main one finishes its step and then stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
