"""The max-unpool as a plugin of TensorRT, over the CuPy kernel.

``python -m export.build --unpool plugin`` writes a plan with this operator where the default graph
has Pad, Slice, Equal, Where and DepthToSpace (``training.networks.unpool``). It reads each feature
and offset once, and writes each pixel once. Such a plan needs this very package where it runs, and
not TensorRT for RTX, which has no plugins.

Written against the documented interface (IPluginV3) and **not run on a GPU yet**; the tests hold
what can be held without one: that the bindings take these classes, what shapes and types they
answer, and what ``enqueue`` computes, with NumPy in CuPy's place.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np

from matter_sdk.kernels import max_unpool
from matter_sdk.kernels.foreign_stream import stream_at
from matter_sdk.sdk.errors import BackendError

NAME, VERSION = "MatterMaxUnpool", "1"


def register(trt: Any, names: Iterable[str] = (NAME,)) -> None:
    """Make the plugin known to a TensorRT module; may be called more than once.

    Args:
        trt: the module ``tensorrt``.
        names: what a plan needs.

    Raises:
        BackendError: it needs another plugin than ours, or TensorRT does not take it.
    """
    unknown = set(names) - {NAME}
    if unknown:
        raise BackendError(
            f"the plan needs the plugin {sorted(unknown)[0]!r}; this package has {NAME!r} only. "
            f"Upgrade it: pip install --upgrade matter-sdk"
        )
    registry = trt.get_plugin_registry()
    if registry.get_creator(NAME, VERSION, "") is None and not registry.register_creator(
        _creator(trt), ""
    ):
        raise BackendError(f"TensorRT {trt.__version__} refused the plugin {NAME}")


@functools.cache  # the registry does not keep it alive
def _creator(trt: Any) -> Any:
    """The plugin's creator; a class of the module's own, so it is made when that is there."""

    class Plugin(
        trt.IPluginV3,  # type: ignore[name-defined, misc]
        trt.IPluginV3OneCore,  # type: ignore[name-defined, misc]
        trt.IPluginV3OneBuild,  # type: ignore[name-defined, misc]
        trt.IPluginV3OneRuntime,  # type: ignore[name-defined, misc]
    ):
        """Inputs: features N×C×h×w, and offsets of the same shape, int32 (TensorRT computes no
        others). Output: N×C×2h×2w in the type of the features, whose bits are only moved."""

        def __init__(self) -> None:
            trt.IPluginV3.__init__(self)
            trt.IPluginV3OneCore.__init__(self)
            trt.IPluginV3OneBuild.__init__(self)
            trt.IPluginV3OneRuntime.__init__(self)
            self.plugin_name, self.plugin_version, self.plugin_namespace = NAME, VERSION, ""
            self.num_outputs = 1
            self.timing_cache_id = ""  # equal instances need no timing of their own

        def get_capability_interface(self, _kind: Any) -> Any:
            return self

        def clone(self) -> Any:
            return Plugin()  # it has no state

        def get_fields_to_serialize(self) -> Any:
            return trt.PluginFieldCollection([])

        def get_output_data_types(self, input_types: Any) -> Any:
            return [input_types[0]]

        def get_output_shapes(self, inputs: Any, _shape_inputs: Any, build: Any) -> Any:
            shape = trt.DimsExprs(inputs[0])
            for axis in (2, 3):
                shape[axis] = build.operation(
                    trt.DimensionOperation.PROD, inputs[0][axis], build.constant(2)
                )
            return [shape]

        def supports_format_combination(self, pos: int, in_out: Any, _inputs: int) -> bool:
            desc = in_out[pos].desc
            if desc.format != trt.TensorFormat.LINEAR:
                return False
            if pos == 0:
                return desc.type in (trt.float32, trt.float16, trt.bfloat16)
            return desc.type == (trt.int32 if pos == 1 else in_out[0].desc.type)

        def configure_plugin(self, _inputs: Any, _outputs: Any) -> None:
            pass  # nothing depends on shapes

        def get_workspace_size(self, inputs: Any, _outputs: Any) -> int:
            return int(np.prod(tuple(inputs[1].max)))  # the offsets as bytes

        def on_shape_change(self, _inputs: Any, _outputs: Any) -> None:
            pass

        def set_tactic(self, _tactic: int) -> None:
            pass

        def attach_to_context(self, _resources: Any) -> Any:
            return self.clone()

        def enqueue(
            self,
            input_desc: Any,
            output_desc: Any,
            inputs: Any,
            outputs: Any,
            workspace: int,
            stream: int,
        ) -> None:
            pooled, full = tuple(input_desc[0].dims), tuple(output_desc[0].dims)
            # bfloat16 and float16 are both two bytes, and no kernel looks at more than that.
            kind = np.dtype("f4" if input_desc[0].type == trt.float32 else "f2")
            unpool(
                _array(inputs[0], pooled, kind),
                _array(inputs[1], pooled, np.dtype("i4")),
                _array(workspace, pooled, np.dtype("u1")),
                _array(outputs[0], full, kind),
                stream,
            )

    class Creator(trt.IPluginCreatorV3One):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_version, self.plugin_namespace = NAME, VERSION, ""
            self.field_names = trt.PluginFieldCollection([])

        def create_plugin(self, _name: str, _fields: Any, _phase: Any) -> Any:
            return Plugin()

    return Creator()


def unpool(features: Any, offsets: Any, narrow: Any, out: Any, stream: int) -> None:
    """What the plugin does: offsets to bytes in ``narrow``, then ``kernels.max_unpool``.

    CuPy arrays in TensorRT's memory; ``stream`` is the address of its stream. Nothing is
    allocated, so that it can be captured.
    """
    import cupy

    with stream_at(stream):
        cupy.copyto(narrow, offsets, casting="unsafe")
        max_unpool(features, narrow, out=out)


def _array(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Memory of TensorRT's on the current device as a CuPy array."""
    import cupy

    size = int(np.prod(shape)) * dtype.itemsize
    memory = cupy.cuda.UnownedMemory(address, size, None)
    return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))
