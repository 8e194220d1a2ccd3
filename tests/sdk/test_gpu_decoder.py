"""NVDEC and NVENC with stand-ins, and files where there are none."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from matter_sdk.kernels import YUV
from matter_sdk.sdk import Matter
from matter_sdk.sdk.media import hardware_encoder, video_reader
from matter_sdk.sdk.media import nvdec as gpu_decoder
from matter_sdk.sdk.video import VideoReader, VideoWriter, matte_video
from tests.fakes.cuda import DeviceArray, device_now
from tests.sdk.clips import numbered, write_clip
from tests.sdk.test_gpu_matte import picture_of
from tests.sdk.test_tensorrt import built


class Surface:
    """A decoded plane, as PyAV gives it: CuPy's stream is refused."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: Any = None) -> Any:
        if stream is not None:
            raise NotImplementedError("CUDA stream synchronization is not supported")
        return DeviceArray(self.array)


def frame_of(image: YUV, sw_format: str = "nv12") -> Any:
    height, width = image.shape
    return SimpleNamespace(
        planes=[Surface(plane) for plane in image.planes],
        format=SimpleNamespace(name="cuda"),
        color_primaries=2,
        color_trc=2,
        sw_format=SimpleNamespace(name=sw_format),
        height=height,
        width=width,
        colorspace=1,
        color_range=1,
        side_data=[],
    )


@pytest.fixture
def dlpack(fake_cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy takes an object's capsule with its stream, as the protocol has it."""
    monkeypatch.setattr(fake_cuda, "from_dlpack", lambda value: value.__dlpack__(stream=1))


def test_planes_are_copied_from_the_decoders_surface(dlpack: None) -> None:
    image = YUV.from_bgr(picture_of(1), layout="nv12")
    planes = gpu_decoder.planes(frame_of(image))
    assert planes is not None
    expected = [plane.copy() for plane in image.planes]
    for plane in image.planes:
        plane[...] = 0  # the decoder takes its surface for another frame
    for plane, same in zip(planes, expected, strict=True):
        np.testing.assert_array_equal(plane.get(), same)


def test_what_is_not_nv12_of_even_sides(dlpack: None) -> None:
    image = YUV.from_bgr(picture_of(1), layout="nv12")
    assert gpu_decoder.planes(frame_of(image, "p010le")) is None
    odd = YUV.from_bgr(picture_of(1, (71, 130, 3)), layout="nv12")
    assert gpu_decoder.planes(frame_of(odd)) is None


def test_a_reader_gives_planes_on_the_gpu(dlpack: None, tmp_path: Path) -> None:
    """The frames of a file, replaced by what NVDEC would give."""
    path = write_clip(tmp_path / "in.mp4", [numbered(number) for number in range(3)])
    with VideoReader(path, planes=True) as reader:
        image = YUV.from_bgr(picture_of(2, (*reader.size, 3)), layout="nv12")
        got = reader._in_planes(frame_of(image))
    assert got is not None
    assert (got.layout, got.matrix, got.full_range) == ("nv12", "bt709", False)
    np.testing.assert_array_equal(got.planes[1].get(), image.planes[1])


def test_nvdec_is_opened_in_the_context_that_cupy_uses(
    fake_cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg refuses the primary context of whoever gave it other flags, as CuPy and TensorRT do:
    it is given the current one."""
    path = write_clip(tmp_path / "in.mp4", [numbered(number) for number in range(2)])
    opened = []

    class FFmpeg(video_reader.Source):
        def __init__(self, *arguments: Any, hwaccel: Any = None, **options: Any) -> None:
            if hwaccel is not None:
                current = hwaccel.options == {"primary_ctx": "0", "current_ctx": "1"}
                opened.append((hwaccel.is_hw_owned, current, device_now()))
            super().__init__(*arguments, **options)

    monkeypatch.setattr(video_reader, "Source", FFmpeg)
    VideoReader(path, planes=True, gpu=1).close()
    assert opened == [(True, True, 1)]


def test_the_cpu_decodes_where_nvdec_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_clip(tmp_path / "in.mp4", [numbered(number) for number in range(4)])
    with caplog.at_level(logging.INFO, "matter"), VideoReader(path, planes=True, gpu=99) as reader:
        assert not reader.on_gpu
        got = list(reader)
    assert "GPU 99" in caplog.text
    with VideoReader(path, planes=True) as reader:
        expected = list(reader)
    assert len(got) == len(expected) == 4
    for one, other in zip(got, expected, strict=True):
        for plane, same in zip(one.planes, other.planes, strict=True):
            np.testing.assert_array_equal(plane, same)


def test_the_cpu_decodes_what_is_not_in_planes(
    fake_cuda: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A decoder that the GPU's is not asked for, as for a codec that NVDEC does not know."""
    path = write_clip(tmp_path / "in.mp4", [numbered(number) for number in range(2)])
    monkeypatch.setattr(gpu_decoder, "decoder", lambda number: None)
    with caplog.at_level(logging.INFO, "matter"), VideoReader(path, planes=True, gpu=0) as reader:
        assert not reader.on_gpu
        assert len(list(reader)) == 2
    assert "on the CPU: NVDEC" in caplog.text


@pytest.mark.parametrize("hardware", [False, True])
def test_a_file_is_decoded_where_the_matter_runs(
    tiny: Any,
    fake_tensorrt: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hardware: bool,
) -> None:
    asked = []
    monkeypatch.setattr(gpu_decoder, "decoder", asked.append)  # none: the CPU decodes
    source = write_clip(tmp_path / "in.mp4", [picture_of(1, (72, 128, 3))] * 2)
    with Matter(built(tiny, fake_tensorrt), backend="tensorrt-rtx") as matter:
        matte_video(matter, source, tmp_path / "out.mp4", hardware=hardware)
    assert asked == ([0] if hardware else [])


# ------------------------------------------------------------------------------------------ NVENC


@pytest.fixture
def asked_to_encode(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """(crf, gpu) of each time that encoders in hardware are looked for; x264 stands in for one, and
    is handed pixels as some of them want them."""
    asked: list[Any] = []

    def encoders(crf: int, gpu: int | None = None) -> list[hardware_encoder.Encoder]:
        asked.append((crf, gpu))
        broken = hardware_encoder.Encoder("of no FFmpeg", "yuv420p", {})
        return [broken, hardware_encoder.Encoder("libx264", "nv12", {"crf": str(crf)})]

    monkeypatch.setattr(hardware_encoder, "encoders", encoders)
    return asked


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"gpu": 3}, (20, 3)),
        ({"gpu": 3, "crf": 31}, (31, 3)),
        ({"hardware": True}, (20, None)),
        ({"hardware": True, "gpu": 1}, (20, 1)),
        ({"hardware": True, "quick": True}, (20, None)),
    ],
)
def test_the_first_encoder_that_opens_encodes(
    asked_to_encode: list[Any], tmp_path: Path, given: dict[str, Any], wanted: tuple[int, int]
) -> None:
    pictures = [picture_of(number, (71, 129, 3)) for number in range(3)]
    with VideoWriter(tmp_path / "a.mp4", (71, 129), **given) as writer:
        for picture in pictures:
            writer.write(picture)
    assert asked_to_encode == [wanted]
    with VideoReader(tmp_path / "a.mp4") as reader:
        for picture, found in zip(pictures, reader, strict=True):
            assert np.abs(found[:71, :129].astype(int) - picture).mean() < 6


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("a.mp4", {"gpu": None, "hardware": False}),
        ("a.mp4", {"crf": 0}),  # lossless
        ("a.mp4", {"preset": "fast"}),  # x264's
        ("a.webm", {}),
        ("a.mov", {"alpha": True}),
    ],
)
def test_no_encoder_in_hardware_is_looked_for(
    asked_to_encode: list[Any], tmp_path: Path, name: str, given: dict[str, Any]
) -> None:
    options = {"gpu": 0, "hardware": True} | given
    with VideoWriter(tmp_path / name, (72, 128), **options) as writer:
        writer.write(np.zeros((72, 128, 4 if "alpha" in given else 3), np.uint8))
    assert asked_to_encode == []


def test_x264_encodes_where_no_hardware_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """GPU 99, which nobody has, and whatever encoders this FFmpeg has."""
    if any(not hardware_encoder.refused(one, (72, 128)) for one in hardware_encoder.encoders(20)):
        pytest.skip("an encoder in hardware opens here")
    contents = []
    for name, given in {"x264": {}, "gpu": {"gpu": 99}, "any": {"hardware": True}}.items():
        path = tmp_path / f"{name}.mp4"
        with (
            caplog.at_level(logging.INFO, "matter"),
            VideoWriter(path, (72, 128), **given) as out,  # type: ignore[arg-type]
        ):
            for number in range(3):
                out.write(picture_of(number, (72, 128, 3)))
        with VideoReader(path) as reader:
            contents.append(list(reader))
    np.testing.assert_array_equal(contents[0], contents[1])
    np.testing.assert_array_equal(contents[0], contents[2])
    for codec in ("nvenc", "videotoolbox", "qsv", "amf"):
        assert caplog.text.count(f"h264_{codec} does not encode") == 1 + (codec == "nvenc")


@pytest.mark.parametrize("crf", [1, 20, 51])
def test_encoders_are_asked_for_a_quality_that_they_know(crf: int) -> None:
    options = {one.codec: one.options for one in hardware_encoder.encoders(crf)}
    assert options["h264_nvenc"]["cq"] == options["h264_qsv"]["global_quality"] == str(crf)
    assert 1 <= int(options["h264_videotoolbox"]["global_quality"]) / 118 <= 100
    assert options["h264_amf"]["qp_i"] == str(crf)
    assert int(options["h264_amf"]["qp_p"]) <= 51


@pytest.mark.parametrize("hardware", [False, True])
def test_a_file_is_encoded_where_the_matter_runs(
    tiny: Any,
    fake_tensorrt: Any,
    asked_to_encode: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hardware: bool,
) -> None:
    monkeypatch.setattr(gpu_decoder, "decoder", lambda number: None)
    source = write_clip(tmp_path / "in.mp4", [picture_of(1, (72, 128, 3))] * 2)
    with Matter(built(tiny, fake_tensorrt), backend="tensorrt-rtx") as matter:
        matte_video(matter, source, tmp_path / "out.mp4", hardware=hardware)
    assert asked_to_encode[-1:] == ([(20, 0)] if hardware else [])
