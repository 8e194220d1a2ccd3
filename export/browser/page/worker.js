// Pictures in, mattes out. It runs beside the page, so that the page stays awake meanwhile.
//
// In: {id, picture: ImageBitmap, film: a number for all frames of one camera and 0 for a picture, blur:
// whether a blurred copy of the picture is wanted behind}.
// Out: {ready: what it runs on}, then for each picture {id, width, height, pixels, alpha, steady, size,
// ms, subject, blurred} or {id, error}. `subject`: whether there is one. `pixels` are red, green, blue, alpha: the subject's own colours, black where
// alpha shows nothing. `alpha` is float32; `steady` is it as it comes from the network, of `size` (height,
// width), filtered over time in a film.

import { foreground } from "./foreground.js";
import { hide } from "./hidden.js";

const MOST = 4096; // pixels of a picture's longer side; larger ones are reduced first

const here = (name) => new URL(name, import.meta.url).href;

async function fetched(name) {
  const answer = await fetch(here(name));
  if (!answer.ok) throw new Error(`${name} cannot be loaded (${answer.status})`);
  return answer;
}

async function opened() {
  if (typeof WebAssembly === "undefined") throw new Error("this browser has no WebAssembly, or it is switched off");
  const about = await (await fetched("engine.json")).json();
  const [weights, adapter] = await Promise.all([
    about.weights && fetched(about.weights).then((answer) => answer.arrayBuffer()),
    navigator.gpu?.requestAdapter().catch(() => null),
  ]);
  if (adapter) {
    try {
      return await started("webgpu", about, weights);
    } catch (error) {
      console.warn("WebGPU does not work here:", error); // WebAssembly does everywhere
    }
  }
  return started("wasm", about, weights);
}

// With the first network loaded and run once, so that what must be compiled is.
async function started(provider, about, weights) {
  const ort = await import(here(`runtime/ort.${provider}.min.mjs`));
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
  Object.assign(ort.env.wasm, { wasmPaths: here("runtime/"), numThreads: threads });
  const options = {
    executionProviders: [provider],
    externalData: weights ? [{ path: about.weights, data: new Uint8Array(weights) }] : [],
  };
  const sessions = new Map();

  const session = ({ graph }) => {
    if (!sessions.has(graph)) {
      const created = fetched(graph).then(async (answer) =>
        ort.InferenceSession.create(new Uint8Array(await answer.arrayBuffer()), options));
      created.catch(() => sessions.delete(graph)); // the next picture tries again
      sessions.set(graph, created);
    }
    return sessions.get(graph);
  };
  const floats = (shape, fill) =>
    new ort.Tensor("float32", new Float32Array(shape.reduce((one, other) => one * other)).fill(fill), shape);
  let last = {}; // frame of a film, as the next one needs it

  const run = async (model, film, pixels, height, width) => {
    const network = await session(model);
    const { before, kept } = film && last.film === film && last.model === model ? last : {};
    last = {};
    const shape = (name) => network.inputMetadata.find((one) => one.name === name).shape;
    const result = await network.run({
      "matter/picture": new ort.Tensor("uint8", new Uint8Array(pixels.buffer), [height, width, 4]),
      "matter/before": before ?? floats(shape("matter/before"), 0),
      "matter/kept": kept ?? floats(shape("matter/kept"), -1),
    });
    const [alpha, small, steady] = await Promise.all(["alpha", "small", "steady"].map(async (name) => {
      const { [`matter/${name}`]: tensor } = result;
      const values = Float32Array.from(await tensor.getData(true));
      if (!finite(values)) throw new Error("the network gave no matte of this picture");
      return new ort.Tensor("float32", values, tensor.dims);
    }));
    last = { film, model, before: small, kept: steady };
    return { alpha: alpha.data, steady: steady.data };
  };
  const [first] = about.models;
  const [height, width] = first.size.map((side) => side + 1);
  await run(first, 0, new Uint8ClampedArray(4 * height * width), height, width);
  const device =
    provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`;
  return { about, device, run };
}

function finite(values) {
  let total = 0;
  for (let at = 0; at < values.length; at++) total += values[at];
  return Number.isFinite(total);
}

// The network's size for a picture, as Matter chooses it: of the nearest aspect ratio.
function nearest(models, height, width) {
  const stretch = ({ size }) => Math.abs(Math.log(((size[0] / size[1]) * width) / height));
  return models.reduce((best, one) => (stretch(one) < stretch(best) ? one : best));
}

function drawn(picture, height, width) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return context;
}

async function matte(engine, { picture, film, blur }) {
  const began = performance.now();
  const scale = Math.min(1, MOST / Math.max(picture.height, picture.width));
  const [height, width] = [picture.height, picture.width].map((side) => Math.max(1, Math.round(side * scale)));
  const model = nearest(engine.about.models, height, width);
  const { data: pixels } = drawn(picture, height, width).getImageData(0, 0, width, height);
  const { alpha, steady } = await engine.run(model, film, pixels, height, width);
  for (let at = 0; at < alpha.length; at++) {
    alpha[at] *= pixels[4 * at + 3] / 255; // the picture's own
    pixels[4 * at + 3] = 255 * alpha[at];
  }
  foreground(pixels, height, width);
  const subject = hide(pixels);
  const small = Math.max(1, Math.round((40 * height) / width));
  const blurred = blur ? drawn(picture, small, 40).canvas.transferToImageBitmap() : null;
  const { size } = model;
  return { width, height, pixels, alpha, steady, size, subject, blurred, ms: performance.now() - began };
}

const engine = opened();
engine
  .then(({ about, device }) => self.postMessage({ ready: { device, about } }))
  .catch((error) => self.postMessage({ error: String(error.message ?? error) }));

// One after another: a session runs one picture at a time.
let queue = Promise.resolve();
self.onmessage = ({ data }) => {
  queue = queue.then(() => answer(data));
};

async function answer({ id, picture, ...wanted }) {
  try {
    const result = await matte(await engine, { picture, ...wanted });
    const moved = [result.pixels.buffer, result.alpha.buffer];
    self.postMessage({ id, ...result }, result.blurred ? [...moved, result.blurred] : moved);
  } catch (error) {
    self.postMessage({ id, error: String(error.message ?? error) });
  } finally {
    picture.close();
  }
}
