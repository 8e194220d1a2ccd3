"""The whole way in a few minutes: build an engine, matte pictures and a clip, look at the result.

    make demo        (or: python -m samples.demo --output out)

Builds ``gfm.engine`` with ``--fp16``, then cuts the subjects out of
scikit-image's photographs, makes a clip with a moving camera and a tone from them, mattes it, and
draws a contact sheet. What it writes and how fast it was is said at the end.
"""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data
from tqdm import tqdm

from matter_sdk import Matter, matte_video, write_picture
from matter_sdk.sdk.command_line import Parser, run, start, typed

# scikit-image's name of a photograph, and the colour that it is put over
PICTURES = (("chelsea", "#2f6f4f"), ("astronaut", "#c8d8e8"))
# Of the clip, and of the photographs: `Matter` takes the one nearest to a frame's aspect ratio.
SIZES = ("288x512", "224x320", "384x384")
RATE, SECONDS, CLIP_SIZE = 25, 5, (720, 1280)
TONE, AUDIO_RATE = 440.0, 44_100


def main() -> int:
    """See the module's docstring."""
    parser = Parser("samples.demo", "See what it does.")
    parser.add_argument("--engine", type=Path, default=Path("gfm.engine"))
    parser.add_argument("--output", type=Path, default=Path("out"), metavar="FOLDER")
    args = parser.parse_args()

    build = [sys.executable, "-m", "matter_sdk.export.build", "--model", "gfm", "--fp16"]
    for size in SIZES:
        build += ["--size", size]
    if subprocess.run([*build, "--output", str(args.engine)], check=False).returncode:
        print("the engine could not be built; the lines above say why", file=sys.stderr)
        return 1
    written, rows = [], []
    with Matter(args.engine, lanes=2) as matter:
        print(f"\n{matter.describe()}\n", file=sys.stderr)
        for name, background in tqdm(PICTURES, desc="pictures", dynamic_ncols=True):
            frame = np.ascontiguousarray(getattr(data, name)()[..., ::-1])  # RGB → BGR
            matte = matter(frame)
            composite = matte.over(background, clean=True)
            grey = np.rint(matte.alpha * 255).astype(np.uint8)
            written.append(write_picture(args.output / f"{name}-matte.png", grey))
            written.append(write_picture(args.output / f"{name}-cutout.png", matte.cutout()))
            written.append(write_picture(args.output / f"{name}-composite.png", composite))
            rows.append(
                (name, frame, cv2.merge([grey] * 3), on_checkers(matte.cutout()), composite)
            )
        written.append(write_picture(args.output / "contact-sheet.png", contact_sheet(rows)))
        clip = make_clip(args.output / "clip.mp4", [frame for _, frame, *_ in rows])
        written.append(clip)
        with tqdm(desc="video", unit=" frames", total=RATE * SECONDS, dynamic_ncols=True) as bar:
            report = matte_video(
                matter,
                clip,
                args.output / "clip-composite.mp4",
                background="#2f6f4f",
                progress=lambda done, _: bar.update(done - bar.n),
            )
        written.append(report.path)
    print(f"\n{report}\n", file=sys.stderr)
    for path in written:
        print(path)
    own = ["--engine", str(args.engine), "--background", "blur"]
    print(
        f"\nLook at {args.output / 'contact-sheet.png'} and {report.path}. Next, with your own:\n"
        f"  {typed('samples.image', ['PICTURE', *own])}\n"
        f"  {typed('samples.webcam', ['0', *own])}",
        file=sys.stderr,
    )
    return 0


def on_checkers(cutout: np.ndarray, cell: int = 16) -> np.ndarray:
    """A BGRA picture over the checkerboard that stands for transparency."""
    height, width = cutout.shape[:2]
    rows, columns = np.arange(height)[:, None] // cell, np.arange(width)[None] // cell
    board = np.where((rows + columns) % 2, 255, 200)[..., None]
    alpha = cutout[..., 3:] / 255
    return np.rint(cutout[..., :3] * alpha + board * (1 - alpha)).astype(np.uint8)


def contact_sheet(rows: list[tuple], height: int = 260) -> np.ndarray:
    """Input, matte, cut-out and composite of each picture side by side, with captions."""
    strips = []
    for name, *pictures in rows:
        cells = []
        for caption, picture in zip(
            ("input", "matte", "cut-out", "composite"), pictures, strict=True
        ):
            width = round(picture.shape[1] * height / picture.shape[0])
            cell = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            cell = cv2.copyMakeBorder(cell, 26, 6, 6, 6, cv2.BORDER_CONSTANT, value=(255, 255, 255))
            label = f"{name}: {caption}"
            cv2.putText(
                cell, label, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA
            )
            cells.append(cell)
        strips.append(np.hstack(cells))
    widest = max(strip.shape[1] for strip in strips)
    return np.vstack(
        [
            cv2.copyMakeBorder(
                s, 0, 0, 0, widest - s.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)
            )
            for s in strips
        ]
    )


def make_clip(path: Path, pictures: list[np.ndarray]) -> Path:
    """A clip of the pictures, each in its turn under a slowly moving camera, with a tone."""
    height, width = CLIP_SIZE
    frames = RATE * SECONDS
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"preset": "veryfast", "crf": "20"}
        audio = container.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        for index in tqdm(range(frames), desc="clip", unit=" frames", dynamic_ncols=True):
            turn = index / frames * len(pictures)
            picture, phase = pictures[int(turn)], turn % 1
            zoom = max(width / picture.shape[1], height / picture.shape[0]) * (1.0 + 0.15 * phase)
            matrix = cv2.getRotationMatrix2D(
                (picture.shape[1] / 2, picture.shape[0] / 2), 4 * (phase - 0.5), zoom
            )
            sway = 0.03 * width * np.sin(2 * np.pi * phase)
            # Begin at the picture's upper edge, where heads are, and tilt down a little.
            spare = picture.shape[0] * zoom - height
            matrix[:, 2] += (
                width / 2 - picture.shape[1] / 2 + sway,
                height / 2 - picture.shape[0] / 2 + spare * (0.5 - 0.25 * phase),
            )
            view = cv2.warpAffine(
                picture,
                matrix,
                (width, height),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT,
            )
            frame = av.VideoFrame.from_ndarray(view, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        times = np.arange(AUDIO_RATE * SECONDS) / AUDIO_RATE
        tone = (0.1 * np.sin(2 * np.pi * TONE * times)).astype(np.float32)[None]
        sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        sound.sample_rate, sound.pts = AUDIO_RATE, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return path


if __name__ == "__main__":
    start(lambda: run("samples.demo", main))
