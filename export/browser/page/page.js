// The page: where pictures come from, what is shown, and what is saved.
//
// Nothing of the room is shown but by a matte of that very frame. Before the first one, when the
// camera is lost, and after any error the stage is empty.

import { png } from "./png.js";

const of = (id) => document.getElementById(id);
const shown = of("shown");
const stage = shown.getContext("2d");

// ---- the worker

// Begun from a blob, it is under this page's Content-Security-Policy too.
const script = new Blob([`import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`], {
  type: "text/javascript",
});
const worker = new Worker(URL.createObjectURL(script), { type: "module" });
const waiting = new Map();
let count = 0;

// `film`: the camera's turn, so that its frames are filtered over time; 0: a picture alone.
function matteOf(picture, film = 0) {
  const id = ++count;
  const blur = background() === "blur";
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, picture, film, blur }, [picture]);
  });
}

worker.onmessage = ({ data }) => {
  const asked = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.ready) ready(data.ready);
  else if (!asked) broken(data.error);
  else if (data.error) asked.reject(new Error(data.error));
  else asked.resolve(data);
};
worker.onerror = (event) => broken(event.message || "the worker did not start");

let fast = false; // enough for a large camera

function ready({ device, about }) {
  fast = device === "WebGPU" || self.crossOriginIsolated;
  for (const id of ["camera", "file"]) of(id).disabled = false;
  clear();
  of("about").textContent = `${about.network}, on ${device}. Matter SDK ${about.matter}, ONNX Runtime Web ${about.runtime}.`;
  say("Ready.");
}

function broken(reason) {
  for (const { reject } of waiting.values()) reject(new Error(reason));
  waiting.clear();
  for (const id of ["camera", "file"]) of(id).disabled = true;
  fail(`The network did not start: ${reason}.`);
  clear("Reload the page to try again.");
}

// ---- what is said

function say(text, wrong = false) {
  of("status").textContent = text;
  of("status").classList.toggle("wrong", wrong);
}

function fail(text) {
  stop();
  clear();
  say(text, true);
}

// ---- the stage

let last = null; // the matte that is shown: {cut, pixels, width, height, blurred}
let behind = null; // the background picture

const background = () => document.querySelector("input[name=background]:checked").value;

function shape(width, height) {
  if (shown.width === width && shown.height === height) return;
  Object.assign(shown, { width, height });
  of("stage").style.setProperty("--ratio", width / height);
}

// Nothing is shown but a hint.
function clear(hint = "Drop a picture here, or start the camera.") {
  last?.blurred?.close();
  last = null;
  stage.clearRect(0, 0, shown.width, shown.height);
  shape(16, 9);
  Object.assign(of("hint"), { hidden: false, textContent: hint });
  of("save").disabled = true;
}

function show({ width, height, pixels, blurred }) {
  last?.blurred?.close();
  const cut = last?.width === width && last?.height === height ? last.cut : new OffscreenCanvas(width, height);
  cut.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  last = { cut, pixels, width, height, blurred };
  shape(width, height);
  of("hint").hidden = true;
  of("save").disabled = false;
  draw();
}

function draw() {
  if (!last) return;
  const { cut, width, height, blurred } = last;
  stage.clearRect(0, 0, width, height);
  const kind = background();
  stage.imageSmoothingQuality = "high";
  if (kind === "colour") {
    stage.fillStyle = of("colour").value;
    stage.fillRect(0, 0, width, height);
  } else if (kind === "blur" && blurred) {
    stage.drawImage(blurred, 0, 0, width, height);
  } else if (kind === "picture" && behind) {
    const scale = Math.max(width / behind.width, height / behind.height); // covers, in the middle
    const [wide, high] = [behind.width * scale, behind.height * scale];
    stage.drawImage(behind, (width - wide) / 2, (height - high) / 2, wide, high);
  }
  stage.drawImage(cut, 0, 0);
}

// ---- pictures

let picture = null; // the file that is shown, so that it can be matted anew
let turn = 0; // of what is shown last: what comes late is dropped

async function open(file) {
  stop();
  clear("Working…");
  picture = file;
  const mine = turn;
  say(`Working on ${file.name}…`);
  try {
    const bitmap = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture that this browser reads`);
    });
    const matte = await matteOf(bitmap);
    if (mine !== turn) return matte.blurred?.close();
    show(matte);
    if (matte.subject) say(`${matte.width}×${matte.height}, ${Math.round(matte.ms)} ms.`);
    else say(`No subject was found in ${file.name}.`);
  } catch (error) {
    if (mine === turn) fail(`No matte: ${error.message}.`);
  }
}

// ---- the camera

let camera = null;

const reasons = {
  NotAllowedError: "the browser was told not to lend it. Allow it beside the address and start again",
  NotFoundError: "this machine has none",
  NotReadableError: "another program holds it",
};

function stop() {
  turn++;
  picture = null;
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  shown.classList.remove("mirrored");
  of("camera").textContent = "Start the camera";
}

async function start() {
  stop();
  clear("Waiting for the camera…");
  const mine = turn;
  const [width, height] = fast ? [1280, 720] : [640, 360];
  try {
    if (!navigator.mediaDevices) throw new Error("browsers lend one only to https: and to localhost");
    say("Waiting for the camera…");
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: width }, height: { ideal: height } },
    });
    if (mine !== turn) return stream.getTracks().forEach((track) => track.stop());
    camera = stream;
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => camera === stream && fail("The camera is gone. Start it again."));
    of("camera").textContent = "Stop the camera";
    await film(stream, mine);
  } catch (error) {
    if (mine === turn) fail(`No camera: ${reasons[error.name] ?? error.message ?? error.name}.`);
  }
}

// One frame after another, as fast as mattes come; frames between are skipped.
async function film(stream, mine) {
  const video = document.createElement("video"); // never in the document: nobody sees it
  Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  const times = [];
  while (camera === stream) {
    const next = nextFrame(video); // mostly it comes while this one is matted
    const matte = await matteOf(await createImageBitmap(video), mine);
    if (camera !== stream) return matte.blurred?.close();
    shown.classList.add("mirrored");
    show(matte);
    times.push(performance.now());
    if (times.length > 30) times.shift();
    const rate = (1000 * (times.length - 1)) / (times.at(-1) - times[0]);
    const nobody = matte.subject ? "" : " No subject was found.";
    if (times.length > 1) say(`${matte.width}×${matte.height}, ${rate.toFixed(1)} frames a second.${nobody}`);
    await next;
  }
}

const nextFrame = (video) =>
  new Promise((resolve) =>
    "requestVideoFrameCallback" in video ? video.requestVideoFrameCallback(resolve) : requestAnimationFrame(resolve));

// ---- the controls

of("camera").onclick = () => {
  if (!camera) return void start();
  stop();
  clear();
  say("Ready.");
};

of("file").onchange = ({ target }) => {
  if (target.files[0]) open(target.files[0]);
  target.value = "";
};

of("backgrounds").onchange = async ({ target }) => {
  const kind = background();
  of("colour").hidden = kind !== "colour";
  of("behind").hidden = kind !== "picture";
  if (target.id === "behind-file" && target.files[0]) {
    const file = target.files[0];
    try {
      const opened = await createImageBitmap(file);
      behind?.close();
      behind = opened;
    } catch {
      say(`${file.name} is no picture that this browser reads.`, true);
    }
  }
  if (kind === "blur" && picture && !last?.blurred) open(picture);
  else draw();
};
of("colour").oninput = draw;

of("save").onclick = async () => {
  const cut = background() === "none";
  const blob = cut
    ? await png(last.pixels, last.height, last.width)
    : await new Promise((done) => shown.toBlob(done, "image/png"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = cut ? "cut-out.png" : "composite.png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
};

addEventListener("dragover", (event) => {
  event.preventDefault();
  of("stage").classList.add("over");
});
addEventListener("dragleave", () => of("stage").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  of("stage").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file && of("file").disabled) say("Still loading. Drop it again in a moment.");
  else if (file) open(file);
});
for (const label of document.querySelectorAll("label.button")) {
  label.onkeydown = (event) => ["Enter", " "].includes(event.key) && label.querySelector("input").click();
}
