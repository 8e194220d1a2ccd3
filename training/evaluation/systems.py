"""What is evaluated: an engine file through the SDK, or a checkpoint in PyTorch.

Both go from a picture to alpha at the picture's size by the SDK's own steps: the choice of a size,
resizing and normalising before the network, enlarging after it. Only the network differs, so that
what two rows of a table differ by is what the deployment cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matter_sdk.kernels import windows
from matter_sdk.kernels.trimap import Trimap
from matter_sdk.sdk import Matter
from matter_sdk.sdk.backends import Backend
from matter_sdk.sdk.engine import (
    ExtraInput,
    Head,
    InputInfo,
    Manifest,
    ModelEntry,
    NetworkInfo,
    WeightsInfo,
)
from matter_sdk.sdk.inference import Network, Stages, open_mode
from matter_sdk.training import checkpoints, networks
from matter_sdk.training.evaluation.pictures import EvaluationError
from matter_sdk.training.weights import identity

Alpha = NDArray[np.float32]
Frame = NDArray[np.uint8]
Size = tuple[int, int]

DEFAULT_SIZE: Size = (288, 512)  # of an ordinary build
SIM = "sim"
# As backends name the precision that they compute in; "bfloat16" contains "float16".
_PRECISIONS = ("float32", "bfloat16", "float16")


class System(ABC):
    """A network that runs somewhere.

    Attributes:
        name: the file's.
        stored: precision of the weights in it, such as "fp16".
        runtime: what runs it, such as "openvino" or "pytorch".
        computes: the precision that it computes in, such as "bfloat16".
        reads: the network's inputs, name -> channels.
        sizes: (height, width) that it runs at; each picture takes the nearest by aspect ratio.
    """

    name: str
    stored: str
    runtime: str
    computes: str
    reads: Mapping[str, int]
    sizes: tuple[Size, ...]

    @abstractmethod
    def matte(self, frame: Frame, trimap: Trimap, plate: Frame | None = None) -> Alpha:
        """Return alpha at the frame's own size, float32 H×W in 0..1.

        ``frame`` and ``plate`` are uint8 H×W×3 BGR, as ``Matter`` takes them. What the network does
        not read is not looked at.
        """

    @abstractmethod
    def describe(self) -> str:
        """Say what runs where, from which weights."""

    def close(self) -> None:
        """Release the network."""
        return

    @property
    def title(self) -> str:
        """Such as ``gfm.engine (fp16), openvino bfloat16``."""
        return f"{self.name} ({self.stored}), {self.runtime} {self.computes}"


class Engine(System):
    """An engine file, run by ``Matter`` as an application would.

    Args:
        path: the file.
        backend: its name, or None for the first that works.
        sizes: the only ones that it may run at: one that it holds, or all; none gives no order.
        device: "cpu", "cuda" or "cuda:N".
        threads: of a CPU backend.

    Raises:
        EvaluationError: other sizes.
        MatterError: as ``Matter``.
    """

    def __init__(
        self,
        path: Path,
        backend: str | None = None,
        sizes: Sequence[Size] = (),
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        only = sizes[0] if len(sizes) == 1 else None
        self._matter = Matter(path, backend=backend, device=device, size=only, threads=threads)
        manifest = self._matter.manifest
        if len(sizes) > 1 and set(sizes) != {model.size for model in manifest.models}:
            self._matter.close()
            raise EvaluationError(
                f"{path} holds {_text(model.size for model in manifest.models)} and {len(sizes)} "
                f"sizes were given; give one of these as --size, or none"
            )
        self.name = path.name
        self.runtime = self._matter.backend
        self.stored = manifest.precision
        # A CPU may compute in another precision than the weights are stored in; what the backend
        # says is of the size that was loaded first.
        words = (word for word in _PRECISIONS if word in self._matter.runtime)
        self.computes = next(words, manifest.precision)
        self.reads = manifest.inputs
        models = [model for model in manifest.models if only in (None, model.size)]
        self.sizes = tuple(model.size for model in models)
        if self.runtime == "openvino" and len({model.cpu_precision for model in models}) > 1:
            self.computes = "mixed"

    def matte(self, frame: Frame, trimap: Trimap, plate: Frame | None = None) -> Alpha:
        """See :class:`System`."""
        if "plate" in self.reads:
            self._matter.plate = plate
        given = trimap if "trimap" in self.reads else None
        return cast("Alpha", self._matter(frame, trimap=given).alpha)

    def describe(self) -> str:
        """See :class:`System`."""
        return self._matter.describe()

    def close(self) -> None:
        """See :class:`System`."""
        self._matter.close()


class Torch(System):
    """A network in PyTorch, float32, between the SDK's own steps.

    Args:
        network: one of :mod:`training.networks`; it is switched to evaluation.
        name: for the tables.
        sizes: what it runs at.
        device: "cpu", "cuda" or "cuda:N"; the network is moved there.
        classifier: for SIM, the network that makes its semantic trimap.
    """

    stored, runtime, computes = "fp32", "pytorch", "float32"

    def __init__(
        self,
        network: nn.Module,
        name: str,
        sizes: Sequence[Size] = (DEFAULT_SIZE,),
        device: str | None = None,
        classifier: nn.Module | None = None,
    ) -> None:
        self.name = name
        self.sizes = tuple(sizes)
        self._network = _TorchNetwork(network, name, self.sizes, device or "cpu", classifier)
        self.reads = self._network.manifest.inputs
        self._stages = Stages(open_mode(self._network))

    def matte(self, frame: Frame, trimap: Trimap, plate: Frame | None = None) -> Alpha:
        """See :class:`System`."""
        if "plate" in self.reads:
            self._stages.mode.plate = plate
        given = trimap if "trimap" in self.reads else None
        (matte,) = self._stages.mattes([frame], [given])
        return matte.alpha

    def describe(self) -> str:
        """See :class:`System`."""
        network = self._network.manifest.network
        words = [word for word in (network.name, network.backbone, network.rosta) if word != "none"]
        if network.without:
            words.append(f"without {' and '.join(network.without)}")
        where = f"{_text(self.sizes)}, {self._network.backend.detail}"
        return f"{self.name}: {' '.join(words)} at {where}"


@dataclass(frozen=True)
class Checkpoint:
    """Which network a checkpoint is of: the options of ``training.networks.create``."""

    path: Path
    model: str
    backbone: str | None = None
    rosta: str | None = None
    without: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        path: Path,
        model: str | None = None,
        backbone: str | None = None,
        rosta: str | None = None,
        without: Sequence[str] = (),
    ) -> Checkpoint:
        """Take what the file says of itself (our safetensors), else what is given.

        Raises:
            EvaluationError: no such file, or neither says which network it is.
            CheckpointError: a damaged file.
            UnknownNetwork: an option that does not exist.
        """
        if not path.is_file():
            raise EvaluationError(
                f"{path}: no such file; expected a checkpoint, .safetensors or .pth"
            )
        metadata = checkpoints.read_metadata(path) if path.suffix == ".safetensors" else {}
        known = identity.recorded(metadata)
        if known:
            parts = tuple(filter(None, known.get("without", "").split(",")))
            return cls(path, known["network"], known["backbone"], known["rosta"], parts)
        if model is None:
            raise EvaluationError(
                f"{path} does not say which network it is of; add --model, one of "
                f"{', '.join(networks.names())}, with --backbone and --rosta where it has several"
            )
        networks.parts(model)  # known?
        return cls(path, model, backbone, rosta, tuple(without))

    def load(self) -> nn.Module:
        """Create the network and load the file's weights.

        Raises:
            UnknownNetwork: an option that does not exist.
            CheckpointError: weights of another network, or a damaged file.
        """
        with torch.device("meta"):
            network = networks.create(
                self.model, backbone=self.backbone, rosta=self.rosta, without=self.without
            )
        checkpoints.load(network, self.path)
        return network


def open_checkpoint(
    checkpoint: Checkpoint,
    sizes: Sequence[Size] = (DEFAULT_SIZE,),
    device: str | None = None,
    classifier: Path | None = None,
) -> Torch:
    """Open a checkpoint as a system; ``classifier`` is the file of SIM's patch classifier.

    Raises:
        EvaluationError: a size that the network does not take, a device that is not there, or a
            classifier that is missing or not wanted.
        UnknownNetwork, CheckpointError: as :meth:`Checkpoint.load`.
    """
    if (classifier is None) == (checkpoint.model == SIM):
        raise EvaluationError(
            f"{checkpoint.path} holds {checkpoint.model} and --classifier is "
            f"{classifier or 'missing'}; expected the checkpoint of its patch classifier with "
            f"{SIM}, and with no other network"
        )
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise EvaluationError(
            f"--device {device}: PyTorch sees no GPU here; expected cpu, or a PyTorch with CUDA"
        )
    network = checkpoint.load()
    multiple = int(cast("Any", network).size_multiple)
    for height, width in sizes:
        if height % multiple or width % multiple:
            raise EvaluationError(
                f"--size {height}x{width} does not fit {checkpoint.model}; expected multiples of "
                f"{multiple}"
            )
    second = None if classifier is None else Checkpoint(classifier, "sim_classifier").load()
    return Torch(network, checkpoint.path.name, sizes, device, second)


class _Backend(Backend):
    """PyTorch where the SDK has a runtime: eager, float32."""

    name = "pytorch"

    def __init__(self, network: nn.Module, heads: Sequence[str], device: str) -> None:
        self.device = device
        self._network = network.to(device).eval()
        self._heads = heads
        threads = torch.get_num_threads()
        where = device if device != "cpu" else f"{threads} thread{'s' if threads > 1 else ''}"
        self.detail = f"PyTorch {torch.__version__}, float32, {where}"

    def run(self, *inputs: Any, lane: int = 0) -> Mapping[str, Any]:
        """See ``Backend.run``."""
        del lane
        with torch.inference_mode():
            outputs = self._network(*(torch.from_numpy(x).to(self.device) for x in inputs))
            return {head: outputs[head].cpu().numpy() for head in self._heads}

    def close(self) -> None:
        """See ``Backend.close``."""
        return


class _TorchNetwork(Network):
    """A PyTorch module as the SDK's passes run a network.

    A matting network answers with the alpha that it fuses itself, not with glance and focus for the
    SDK's kernel: what the two differ by is a cost of deployment too.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        sizes: Sequence[Size],
        device: str,
        classifier: nn.Module | None = None,
    ) -> None:
        self._parts: dict[str, _TorchNetwork] = {}
        if classifier is not None:
            looks = {window[2:] for size in sizes for window in windows(size)}
            part = _TorchNetwork(classifier, name, sorted(looks), device)
            self._parts["classifier"] = part
        module_: Any = module
        spec = module_.input_spec
        classifier = module_.fusion == "cam"
        head = Head("cam", 20, 32) if classifier else Head("alpha", 1)
        inputs = networks.inputs(module)
        manifest = Manifest(
            network=NetworkInfo(
                module_.name,
                module_.backbone,
                module_.rosta,
                without=tuple(getattr(module, "without", ())),
            ),
            input=InputInfo(
                colour=spec.colour, mean=spec.mean, std=spec.std, multiple=module_.size_multiple
            ),
            heads=(head,),
            fusion=head.name,
            batch=1,
            precision="fp32",
            models=tuple(ModelEntry(size, onnx="") for size in sizes),
            plans=(),
            weights=WeightsInfo(name, "", False, ""),
            extra_inputs=tuple(ExtraInput(*entry) for entry in list(inputs.items())[1:]),
            parts={name: part.manifest for name, part in self._parts.items()},
        )
        super().__init__(Path(name), manifest, manifest.models)
        self.backend = _Backend(module, (head.name,), device)

    def part(self, name: str) -> Network:
        """See :class:`Network`."""
        return self._parts[name]

    def open(self, size: tuple[int, ...]) -> Backend:
        """Return the module itself, which runs at any size."""
        del size
        return self.backend


def _text(sizes: Iterable[Size]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes)
