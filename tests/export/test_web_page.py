"""The page in a browser: alpha beside ``Matter``, what is loaded, and that nobody sees the room."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from matter_sdk.export import web
from matter_sdk.export.errors import BuildError
from matter_sdk.sdk import Matter, installation
from matter_sdk.sdk.matte import Matte
from matter_sdk.sdk.media.cutout import FAINT
from matter_sdk.sdk.streaming.temporal_filter import TemporalFilter
from tests.export import chromium
from tests.export.films import drawn_film
from tests.sdk.checks import smooth_frame
from tests.sdk.conftest import Tiny

pytestmark = [
    pytest.mark.slow,  # a browser compiles 14 MB of WebAssembly
    pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium"),
]
EXACT = 1e-5
RUNTIMES = 4e-5
"""The network's alpha of a photograph in two runtimes, whose sums have other orders: on one picture
that is squeezed, OpenVINO is off ONNX Runtime's by 1.1e-5 and WebAssembly by 1.9e-5."""
READY = "!document.getElementById('camera').disabled"
STATUS = "document.getElementById('status')"

# What the page's worker answers to pictures, one after another; floats and files are in base64.
ASK = """(async (names, film) => {
  const { png } = await import("./png.js");
  const worker = new Worker("worker.js", { type: "module" });
  const text = buffer => new Promise(done => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.split(",")[1]);
    reader.readAsDataURL(new Blob([buffer]));
  });
  const answers = [];
  for (const name of names) {
    const file = await (await fetch(name, { cache: "no-store" })).blob();
    const picture = await createImageBitmap(file);
    const answer = await new Promise(done => {
      worker.onmessage = ({ data }) => (data.id || data.error) && done(data);
      worker.postMessage({ id: 1, picture, film, blur: false }, [picture]);
    });
    if (answer.error) throw new Error(answer.error);
    const { width, height, size } = answer;
    answers.push({
      width, height, size, alpha: await text(answer.alpha), steady: await text(answer.steady),
      png: await text(await png(answer.pixels, height, width)),
    });
  }
  worker.terminate();
  return answers;
})(%s, %d)"""


class Answer(NamedTuple):
    """Of the worker, to a picture: alpha float32 H×W, as the network has it, the file BGRA."""

    alpha: NDArray[np.float32]
    steady: NDArray[np.float32]
    cut: NDArray[np.uint8]


def answers(
    page: chromium.Page, folder: Path, frames: Sequence[NDArray[np.uint8]], film: int = 0
) -> list[Answer]:
    names = [f"picture{at}.png" for at in range(len(frames))]
    for name, frame in zip(names, frames, strict=True):
        cv2.imwrite(str(folder / name), frame)
    found = []
    for one in page.run(ASK % (names, film)):
        alpha, steady = (
            np.frombuffer(base64.b64decode(one[name]), np.float32) for name in ("alpha", "steady")
        )
        file = np.frombuffer(base64.b64decode(one["png"]), np.uint8)
        shape = (one["height"], one["width"])
        cut = np.asarray(cv2.imdecode(file, cv2.IMREAD_UNCHANGED), np.uint8)
        found.append(Answer(alpha.reshape(shape), steady.reshape(one["size"]), cut))
    return found


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


def compared(engine: Path, frame: NDArray[np.uint8], found: Answer) -> str:
    """The page beside ``Matter``: the network's alpha, its enlargement, and the cut-out.

    The enlargement is compared for the page's own network alpha. It works on levels of 8 bits, and
    two runtimes' last digits may lie on two sides of a border between levels: that single
    difference becomes one of up to some thousandths around it, natively too.
    """
    with Matter(engine, backend="onnxruntime", arithmetic="float32", hybrid=False) as matter:
        matte = matter(frame)
        small, enlarged = matter.infer(matter.prepare(frame)), matter.finish(frame, found.steady)
    assert found.alpha.shape == frame.shape[:2]
    assert ((found.alpha > 0) & (found.alpha < 1)).mean() > 0.005
    np.testing.assert_allclose(found.steady, small, rtol=0, atol=RUNTIMES)
    np.testing.assert_allclose(found.alpha, enlarged.alpha, rtol=0, atol=EXACT)
    off = np.abs(found.alpha - matte.alpha)
    assert off.max() < 4e-3
    assert (off > EXACT).mean() < 1e-3
    cut = enlarged.cutout()
    levels = np.abs(found.cut.astype(int) - cut)
    shown = cut[..., 3] > FAINT
    assert levels[..., 3].max() <= 1
    assert levels[shown].max() <= 1
    assert (levels[shown].max(-1) > 0).mean() < 0.01
    assert levels.max() <= 2
    return f"alpha {off.max():.1e}, of {off.size} pixels {(off > EXACT).sum()} above {EXACT}"


def test_the_matte_is_matters(address: str, folder: Path, engine: Path) -> None:
    frames = [
        smooth_frame(shape, seed)
        for seed, shape in enumerate([(90, 160), (131, 97), (64, 128), (20, 51), (300, 1)])
    ]
    with chromium.opened(address) as page:
        for frame, found in zip(frames, answers(page, folder, frames), strict=True):
            compared(engine, frame, found)


def test_the_packages_own_engine(tmp_path: Path) -> None:
    """Photographs, the sides of cameras, and one smaller than the network."""
    data = pytest.importorskip("skimage").data_dir
    engine = installation.own_engine()
    if engine is None:
        pytest.skip("no engine has been built here")
    folder = written(tmp_path / "page", engine)
    astronaut = cv2.imread(f"{data}/astronaut.png")
    cat = cv2.imread(f"{data}/chelsea.png")
    frames = [
        astronaut,
        cv2.resize(astronaut, (513, 719), interpolation=cv2.INTER_AREA),
        cv2.resize(cat, (640, 480), interpolation=cv2.INTER_AREA),
        cat,
    ]
    with chromium.served(folder) as address, chromium.opened(address) as page:
        for frame, found in zip(frames, answers(page, folder, frames), strict=True):
            print(compared(engine, frame, found))


def test_a_cameras_frames_are_filtered_over_time(folder: Path, engine: Path) -> None:
    """As ``TemporalFilter``, where they are one film; otherwise each is for itself."""
    frames = drawn_film()
    with chromium.served(folder) as address, chromium.opened(address) as page:
        film, alone = (answers(page, folder, frames, number) for number in (1, 0))
    steady = TemporalFilter[int]()
    filtered = False
    with Matter(engine, backend="onnxruntime", arithmetic="float32", hybrid=False) as matter:
        for at, frame in enumerate(frames):
            now = matter.infer(matter.prepare(frame))
            [(_, expected)] = steady.push(at, frame, now)
            filtered |= bool(np.abs(expected - now).max() > 1e-3)
            np.testing.assert_allclose(alone[at].steady, now, rtol=0, atol=EXACT)
            np.testing.assert_allclose(film[at].steady, expected, rtol=0, atol=EXACT)
            whole = matter.finish(frame, film[at].steady).alpha
            np.testing.assert_allclose(film[at].alpha, whole, rtol=0, atol=EXACT)
    assert filtered


def test_a_pictures_own_transparency(folder: Path, engine: Path) -> None:
    frame = smooth_frame((90, 160), 4)
    frame[:, :60] = 0  # what a canvas keeps of what is transparent
    own = np.full(frame.shape[:2], 255, np.uint8)
    own[:, :60] = 0
    picture = np.dstack([frame, own])
    with chromium.served(folder) as address, chromium.opened(address) as page:
        [found] = answers(page, folder, [picture])
    with Matter(engine, backend="onnxruntime", arithmetic="float32", hybrid=False) as matter:
        np.testing.assert_allclose(found.alpha, matter(picture).alpha, rtol=0, atol=EXACT)
    assert not found.cut[:, :60, 3].any() and found.cut[..., 3].any()


def test_what_is_saved(folder: Path, engine: Path, tmp_path: Path) -> None:
    """The cut-out, and the composite without the old background's rim."""
    frame = smooth_frame((90, 160), 4)
    cv2.imwrite(str(folder / "dropped.png"), frame)
    with Matter(engine, backend="onnxruntime", arithmetic="float32", hybrid=False) as matter:
        matte = matter(frame)
    save = "document.getElementById('save').click()"
    pictures = []
    with chromium.served(folder) as address, chromium.opened(address) as page:
        page.until(READY)
        page.run(DROP % "dropped.png")
        page.until("!document.getElementById('save').disabled")
        for kind, name in (("none", "cut-out.png"), ("colour", "composite.png")):
            page.run(f"document.querySelector('[value={kind}]').click()")
            place = tmp_path / kind
            place.mkdir()
            file = page.download(place, save)
            assert file.name == name
            pictures.append(cv2.imread(str(file), cv2.IMREAD_UNCHANGED).astype(int))
    cut, composite = pictures
    assert np.abs(cut - matte.cutout()).max() <= 2
    whole = Matte(frame, matte.alpha)  # estimated at the frame's size, as for the cut-out
    green = (64, 192, 32)  # as the page has it at first
    left, clean = (whole.over(green, clean=clean).astype(int) for clean in (False, True))
    assert np.abs(left - clean).max() > 20
    assert np.abs(composite[..., :3] - clean).max() <= FAINT + 1
    assert (composite[..., 3:] == 255).all()


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


KEEP = """const media = navigator.mediaDevices, own = media.getUserMedia.bind(media);
media.getUserMedia = async wanted => (window.lent = await own(wanted));"""

# The session takes a while, so that things happen while it works.
SLOW = """import('%sruntime/ort.wasm.min.mjs').then(ort => {
  const own = ort.InferenceSession.prototype.run;
  ort.InferenceSession.prototype.run = async function (...given) {
    await new Promise(done => setTimeout(done, 200));
    return own.apply(this, given);
  };
})"""
DROP = """(async () => {
  const file = await (await fetch("%s")).blob();
  const carried = new DataTransfer();
  carried.items.add(new File([file], "dropped.png"));
  dispatchEvent(new DragEvent("drop", { dataTransfer: carried, cancelable: true }));
})()"""
# As when it is unplugged; stopping a track from a script tells nobody.
UNPLUG = "lent.getTracks().forEach(one => { one.stop(); one.dispatchEvent(new Event('ended')) })"
OTHER_SIZE = "lent.getVideoTracks()[0].applyConstraints({ width: { exact: 160 } })"


@contextlib.contextmanager
def filming(folder: Path, camera: Path) -> Iterator[chromium.Page]:
    """The page while the camera runs and the network is slow."""
    with (
        chromium.served(folder) as address,
        chromium.opened(address, camera=camera, before=WATCH + ";" + KEEP) as page,
    ):
        page.until(READY)
        page.run(SLOW % address, page.workers[0])
        page.run("document.getElementById('camera').click()")
        page.until("seen.some(([, , , width]) => width > 16)")
        yield page


def after(page: chromium.Page, seconds: float = 1.2) -> Any:
    """What is painted from now on, for a while. No frame may show the room."""
    seen(page)
    time.sleep(seconds)
    shots = seen(page)
    assert len(shots) > 5
    assert not any(videos for _, _, videos, _ in shots)
    assert all(room <= 0.002 * max(painted, 1) for painted, room, _, _ in shots)
    return shots


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (UNPLUG, "camera"),
        ("document.getElementById('camera').click()", "Ready"),
        (DROP % "page.js", "dropped.png"),
    ],
    ids=["unplugged", "stopped", "no picture dropped"],
)
def test_the_stage_is_empty_at_once(folder: Path, camera: Path, happens: str, said: str) -> None:
    with filming(folder, camera) as page:
        page.run(happens)
        assert not any(painted for painted, _, _, _ in after(page))
        assert said in page.run(f"{STATUS}.textContent")
        assert page.run("lent.getTracks().every(one => one.readyState === 'ended')")
        page.run("document.getElementById('camera').click()")  # and it begins anew
        page.until("seen.some(([, , , width]) => width > 16)")
        assert any(painted for painted, _, _, _ in after(page))


def test_a_picture_dropped_into_a_film(folder: Path, camera: Path) -> None:
    """It is of another network size, which is loaded then. No late frame of the camera is shown."""
    picture = np.full((150, 75, 3), (0, 0, 120), np.uint8)
    picture[40:110, 20:55] = (230, 40, 40)
    cv2.imwrite(str(folder / "dropped.png"), picture)
    with filming(folder, camera) as page:
        page.run(DROP % "dropped.png")
        shots = after(page, 3)
        widths = {width for painted, _, _, width in shots if painted}
        assert widths == {75}
        assert page.run("lent.getTracks().every(one => one.readyState === 'ended')")


def test_other_backgrounds_and_another_size_of_the_camera(folder: Path, camera: Path) -> None:
    cv2.imwrite(str(folder / "behind.png"), np.full((20, 20, 3), 90, np.uint8))
    with filming(folder, camera) as page:
        for kind in ("picture", "colour", "none"):
            page.run(f"document.querySelector('[value={kind}]').click()")
            assert all(painted for painted, _, _, _ in after(page))
        page.run(OTHER_SIZE)
        assert {width for _, _, _, width in after(page, 3)} >= {160}


def test_the_page_is_hidden_for_a_while(folder: Path, camera: Path) -> None:
    with filming(folder, camera) as page:
        page.hidden(1.0)
        assert all(painted for painted, _, _, _ in after(page))
