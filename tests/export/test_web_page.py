"""The page in a browser: alpha beside ``Matter``, what is loaded, and that nobody sees the room."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.export import web
from matter_sdk.export.errors import BuildError
from matter_sdk.sdk import Matter, installation
from tests.export import chromium
from tests.sdk.checks import smooth_frame
from tests.sdk.conftest import Tiny

pytestmark = [
    pytest.mark.slow,  # a browser compiles 14 MB of WebAssembly
    pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium"),
]
EXACT = 1e-5
READY = "!document.getElementById('camera').disabled"
STATUS = "document.getElementById('status')"

# What the page's worker answers to a picture, with floats in base64.
ASK = """(async name => {
  const worker = new Worker("worker.js", { type: "module" });
  const picture = await createImageBitmap(await (await fetch(name, { cache: "no-store" })).blob());
  const answer = await new Promise(done => {
    worker.onmessage = ({ data }) => (data.id || data.error) && done(data);
    worker.postMessage({ id: 1, picture, blur: false }, [picture]);
  });
  worker.terminate();
  if (answer.error) throw new Error(answer.error);
  const text = buffer => new Promise(done => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.split(",")[1]);
    reader.readAsDataURL(new Blob([buffer]));
  });
  const [alpha, pixels] = [await text(answer.alpha), await text(answer.pixels)];
  return { ...answer, alpha, pixels, blurred: null };
})("%s")"""

# In every frame that is painted: how many pixels of the stage show anything, and how many the room.
WATCH = """window.seen = [];
(function look() {
  const canvas = document.getElementById("shown");
  if (canvas) {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let painted = 0, room = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3]) painted++;
      if (data[at + 3] > 8 && data[at] > 150 && data[at + 1] < 100 && data[at + 2] < 100) room++;
    }
    const videos = document.querySelectorAll("video").length;
    window.seen.push([painted, room, videos, canvas.width]);
  }
  requestAnimationFrame(look);
})()"""


def written(folder: Path, engine: Path) -> Path:
    try:
        web.write_page(engine, folder)
    except BuildError as error:
        pytest.skip(f"no ONNX Runtime Web: {error}")
    return folder


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(tmp_path_factory.mktemp("engine")).build(sizes=((32, 64), (64, 32)))


@pytest.fixture(scope="module")
def folder(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("site") / "page", engine)


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red room with a blue square: the tiny network tells background by red, subject by blue."""
    picture = np.full((180, 320, 3), (40, 40, 230), np.uint8)
    picture[60:120, 120:200] = (230, 40, 40)
    planes = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).tobytes()
    path = tmp_path_factory.mktemp("camera") / "room.y4m"
    path.write_bytes(b"YUV4MPEG2 W320 H180 F30:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + planes) * 2)
    return path


@pytest.fixture(params=[False, True], ids=["plain", "isolated"])
def address(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """With one thread, and with several."""
    with chromium.served(folder, isolated=request.param) as address:
        yield address


def undecided(small: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels near to where the small alpha lies between two levels of 8 bits.

    The guided enlargement works on levels (``level_of``): where two runtimes' arithmetic differs in
    its last digits there, a level may be another.
    """
    levels = small.astype(np.float64) * 255 + 0.5
    unsure = np.abs(levels - np.round(levels)) < 255 * 4e-6
    around = cv2.dilate(unsure.astype(np.float32), np.ones((7, 7)))
    return cv2.resize(around, shape[::-1], interpolation=cv2.INTER_LINEAR) > 0


def compared(page: chromium.Page, folder: Path, engine: Path, frame: NDArray[np.uint8]) -> float:
    """The largest difference from Matter's alpha; no more than ``EXACT`` where it is decided."""
    cv2.imwrite(str(folder / "picture.png"), frame)
    answer = page.run(ASK % "picture.png")
    assert (answer["height"], answer["width"]) == frame.shape[:2]
    alpha = np.frombuffer(base64.b64decode(answer["alpha"]), np.float32).reshape(frame.shape[:2])
    with Matter(engine, backend="onnxruntime", arithmetic="float32", hybrid=False) as matter:
        prepared = matter.prepare(frame)
        assert list(prepared.shape[2:]) == answer["size"]
        small, expected = matter.infer(prepared), matter(frame).alpha
    soft = (expected > 0) & (expected < 1)
    unsure = undecided(small, alpha.shape)
    difference = np.abs(alpha - expected)
    assert (unsure & soft).sum() < 0.2 * soft.sum()
    assert difference[~unsure].max() <= EXACT
    assert difference.max() < 4e-3
    pixels = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8).reshape(*alpha.shape, 4)
    assert np.abs(pixels[..., 3] - 255 * alpha.astype(np.float64)).max() <= 0.5 + 1e-6
    shown = pixels[..., 3] > 0
    assert np.array_equal(pixels[shown][:, :3], frame[shown][:, ::-1])
    assert not pixels[~shown].any()
    return float(difference.max())


def test_alpha_is_matters(address: str, folder: Path, engine: Path) -> None:
    with chromium.opened(address) as page:
        for seed, shape in enumerate([(90, 160), (131, 97), (64, 128)]):
            frame = smooth_frame(shape, seed)
            assert compared(page, folder, engine, frame) <= 4e-3


def test_the_packages_own_engine(tmp_path: Path) -> None:
    """Photographs, the sides of cameras, and one smaller than the network."""
    data = pytest.importorskip("skimage").data_dir
    engine = installation.own_engine()
    if engine is None:
        pytest.skip("no engine has been built here")
    folder = written(tmp_path / "page", engine)
    astronaut = cv2.imread(f"{data}/astronaut.png")
    cat = cv2.imread(f"{data}/chelsea.png")
    pictures = [
        astronaut,
        cv2.resize(astronaut, (513, 719), interpolation=cv2.INTER_AREA),
        cv2.resize(cat, (640, 480), interpolation=cv2.INTER_AREA),
    ]
    with chromium.served(folder) as address, chromium.opened(address) as page:
        largest = [compared(page, folder, engine, picture) for picture in pictures]
    print("largest differences:", largest)


def test_nothing_is_loaded_from_elsewhere(folder: Path) -> None:
    with (
        chromium.served(folder) as address,
        chromium.served(folder) as other,
        chromium.opened(address) as page,
    ):
        page.until(READY)
        assert {url for url in page.asked if not url.startswith((address, "blob:"))} == set()
        assert any(url.endswith(".wasm") for url in page.asked)
        for session in (page.main, page.workers[0]):
            with pytest.raises(RuntimeError, match="fetch"):
                page.run(f"fetch('{other}engine.json').then(() => 1)", session)
            page.run(f"fetch('{address}engine.json').then(() => 1)", session)


def seen(page: chromium.Page) -> Any:
    """What was painted since the last look; forgotten then."""
    return page.run("window.seen.splice(0)")


def test_nobody_sees_the_room(address: str, camera: Path) -> None:
    with chromium.opened(address, camera=camera, before=WATCH) as page:
        page.until(READY)
        page.run("document.querySelector('[value=colour]').click()")
        page.run("document.getElementById('camera').click()")
        page.until("seen.some(([, , , width]) => width > 16)")
        before = seen(page)
        page.until("seen.length > 20")
        during = seen(page)
        shots = before + during
        assert all(
            videos == 0 and room <= 0.002 * max(painted, 1) for painted, room, videos, _ in shots
        )
        empty = [painted for painted, _, _, width in before if width == 16]
        assert empty and not any(empty)
        assert all(painted > 1000 for painted, _, _, width in during)

        # The session fails in the middle.
        module = f"{address}runtime/ort.wasm.min.mjs"
        page.run(
            f"import('{module}').then(ort => {{ ort.InferenceSession.prototype.run = "
            "async () => { throw new Error('provoked') } })",
            page.workers[0],
        )
        page.until(f"{STATUS}.classList.contains('wrong')")
        assert "provoked" in page.run(f"{STATUS}.textContent")
        seen(page)
        page.until("seen.length > 20")
        assert not any(painted for painted, _, _, _ in seen(page))


def test_a_lost_camera_leaves_an_empty_stage(folder: Path, camera: Path) -> None:
    keep = """const media = navigator.mediaDevices, own = media.getUserMedia.bind(media);
    media.getUserMedia = async wanted => (window.lent = await own(wanted));"""
    with (
        chromium.served(folder) as address,
        chromium.opened(address, camera=camera, before=WATCH + ";" + keep) as page,
    ):
        page.until(READY)
        page.run("document.getElementById('camera').click()")
        page.until("seen.some(([, , , width]) => width > 16)")
        # As when it is unplugged; stopping a track from a script tells nobody.
        page.run(
            "lent.getTracks().forEach(one => { one.stop(); one.dispatchEvent(new Event('ended')) })"
        )
        page.until(f"{STATUS}.classList.contains('wrong')")
        assert "camera" in page.run(f"{STATUS}.textContent")
        seen(page)
        page.until("seen.length > 20")
        assert not any(painted for painted, _, _, _ in seen(page))
        page.run("document.getElementById('camera').click()")  # and it begins anew
        page.until("seen.some(([, , , width]) => width > 16)")
