"""Sets of weights in what training scripts save: bare, under a key, wrapped, averaged, or several.

A file may hold the raw weights beside averaged ones, whose mattes are better. Which of them is
meant is then asked, never guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

HERE = "."
"""The name of a set whose tensors lie at the top of a file under their own names."""

# Components that wrappers put into a name: DataParallel, torch.compile, checkpointing, sharding.
_WRAPPERS = frozenset(("module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"))
_AVERAGED = re.compile(r"(^|[._])(ema|averaged?|shadow|swa|polyak|teacher)", re.IGNORECASE)
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel
_ENOUGH = 0.5  # of the names that the best set has: another with so many is one, too
_DEEPEST = 6  # levels of mappings that are looked into


@dataclass(frozen=True)
class Weights:
    """One set of weights.

    Attributes:
        name: where it lies, keys and components joined by dots, or ``HERE``.
        tensors: by the network's own names, and whatever lies beside them there.
        beside: names of entries of the same mapping that stand outside the set.
        wrong: names of the network whose entry is no tensor, and that entry's type.
    """

    name: str
    tensors: dict[str, Tensor]
    beside: tuple[str, ...] = ()
    wrong: tuple[tuple[str, str], ...] = ()


class SeveralSets(ValueError):
    """There are several sets of weights, or averaged ones that cannot be told by their names.

    Attributes:
        names: of those that can be chosen.
    """

    def __init__(self, names: Sequence[str], text: str) -> None:
        super().__init__(text)
        self.names = tuple(names)


def choose(content: Mapping[Any, Any], known: Set[str], entry: str | None = None) -> Weights | None:
    """Choose the set of weights of a network whose names are ``known``; None if there is none.

    Args:
        content: what was loaded, with mappings in mappings.
        known: the names of the network's tensors, of every layout.
        entry: the name of the set that is meant, where there are several.

    Raises:
        SeveralSets: there are several and ``entry`` names none of them, or there are raw ones
            beside averaged ones without names.
    """
    found = _sets(content, known)
    if entry is not None:
        for one in found:
            if one.name == entry:
                return one
        raise SeveralSets([one.name for one in found], f"no set of weights is named {entry!r}")
    different = found[:1]
    different += [one for one in found[1:] if not _equal(one, found[0])]
    if len(different) > 1:
        raise SeveralSets([one.name for one in found], "several sets of weights")
    if found:
        averaged = _nameless(content, found)
        if averaged is not None:
            raise SeveralSets(
                [found[0].name],
                f"averaged weights at {averaged!r}, whose names are not the network's, beside",
            )
    return found[0] if found else None


def extract(content: Mapping[Any, Any], entry: str) -> dict[str, Tensor]:
    """Take the tensors under a name as ``choose`` gives them, without knowing the network.

    Raises:
        KeyError: nothing lies under that name.
    """
    for where, mapping in _mappings(content):
        tensors = _cleaned({key: v for key, v in mapping.items() if isinstance(v, Tensor)})
        rest = _rest(entry, where)
        if rest is None:
            continue
        prefix = f"{rest}." if rest else ""
        under = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        under.pop(_COUNTER, None)
        if under:
            return under
    raise KeyError(entry)


def _rest(entry: str, where: str) -> str | None:
    """What of an entry's name is left below a mapping; None if it lies elsewhere."""
    entry = "" if entry == HERE else entry
    if not where or entry == where:
        return entry if not where else ""
    return entry[len(where) + 1 :] if entry.startswith(f"{where}.") else None


def _sets(content: Mapping[Any, Any], known: Set[str]) -> list[Weights]:
    """Every set that has enough of the known names, the fullest first."""
    counted: list[tuple[int, str, str, Mapping[str, Any]]] = []
    for where, mapping in _mappings(content):
        entries = _cleaned(mapping)
        counts: Counter[str] = Counter()
        for key, value in entries.items():
            if isinstance(value, Tensor):
                counts.update(_prefixes(key, known))
        counted += [(count, where, prefix, entries) for prefix, count in counts.items()]
    best = max((count for count, *_ in counted), default=0)
    kept = [one for one in counted if one[0] >= _ENOUGH * best]
    kept.sort(key=lambda one: -one[0])
    sets = []
    for _, where, prefix, entries in kept:
        # The tensors of a set that lies within this one are not of this one.
        within = tuple(
            p for _, w, p, _ in kept if w == where and p != prefix and p.startswith(prefix)
        )
        own = {k: v for k, v in entries.items() if not (within and k.startswith(within))}
        sets.append(_set(where, prefix, own, known))
    return sets


def _set(where: str, prefix: str, entries: Mapping[str, Any], known: Set[str]) -> Weights:
    """The set whose names begin with ``prefix`` in the mapping at ``where``."""
    name = ".".join(filter(None, (where, prefix.rstrip(".")))) or HERE
    under = {k[len(prefix) :]: v for k, v in entries.items() if k.startswith(prefix)}
    tensors = {key: value for key, value in under.items() if isinstance(value, Tensor)}
    tensors.pop(_COUNTER, None)
    wrong = [(k, type(v).__name__) for k, v in under.items() if k in known and k not in tensors]
    beside = [k for k, v in entries.items() if not k.startswith(prefix) and isinstance(v, Tensor)]
    return Weights(name, tensors, tuple(beside), tuple(wrong))


def _mappings(content: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every mapping with tensors under names, and the keys that lead to it."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    if any(isinstance(value, Tensor) for value in named.values()):
        yield where, named
    for key, value in named.items():
        yield from _mappings(value, ".".join(filter(None, (where, key))), depth + 1)


def _cleaned(entries: Mapping[str, Any]) -> Mapping[str, Any]:
    """Entries without wrappers' components; as they are where two would then have one name."""
    cleaned = {
        ".".join(part for part in key.split(".") if part not in _WRAPPERS) or key: value
        for key, value in entries.items()
    }
    return cleaned if len(cleaned) == len(entries) else entries


def _prefixes(key: str, known: Set[str]) -> list[str]:
    """What may stand before a known name in a key, dot included; the shortest alone."""
    at = 0
    while True:
        if key[at:] in known:
            return [key[:at]]
        at = key.find(".", at) + 1
        if at == 0:
            return []


def _equal(one: Weights, other: Weights) -> bool:
    """Whether two sets are the same, as where averaging has not begun."""
    return one.tensors.keys() == other.tensors.keys() and all(
        tensor.shape == other.tensors[key].shape
        and tensor.dtype == other.tensors[key].dtype
        and torch.equal(tensor, other.tensors[key])
        for key, tensor in one.tensors.items()
    )


def _nameless(content: Any, sets: Sequence[Weights], where: str = "", depth: int = 0) -> str | None:
    """Where averaged weights lie that are of none of the sets; None if nowhere."""
    if depth > _DEEPEST + 2:
        return None
    if isinstance(content, Mapping):
        pairs = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, (list, tuple)):
        pairs = [(str(at), value) for at, value in enumerate(content)]
    else:
        return None
    for key, value in pairs:
        place = ".".join(filter(None, (where, key)))
        if not isinstance(value, Tensor):
            found = _nameless(value, sets, place, depth + 1)
            if found is not None:
                return found
        # Several numbers: not a decay or a count.
        elif value.numel() > 1 and _AVERAGED.search(place) and not _any_within(place, sets):
            return place
    return None


def _any_within(place: str, sets: Sequence[Weights]) -> bool:
    """Whether a tensor lies in one of the sets, whatever wrappers stand between."""
    parts = [part for part in place.split(".") if part not in _WRAPPERS]
    for one in sets:
        wanted = [part for part in one.name.split(".") if part not in _WRAPPERS]
        if one.name == HERE and ".".join(parts) in one.tensors:
            return True
        if one.name != HERE and parts[: len(wanted)] == wanted:
            return True
    return False
