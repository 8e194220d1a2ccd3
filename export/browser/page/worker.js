// Pictures in, mattes out. It runs beside the page, so that the page stays awake meanwhile.
//
// In: {id, picture: ImageBitmap, blur: whether a blurred copy of the picture is wanted behind}.
// Out: {ready: what it runs on}, then for each picture {id, width, height, pixels, alpha, size, ms,
// blurred} or {id, error}. `pixels` are red, green, blue, alpha: the cut-out, where alpha is 0 black.
// `alpha` is float32, and of `size` (height, width) was the network.

const MOST = 4096; // pixels of a picture's longer side; larger ones are reduced first

const here = (name) => new URL(name, import.meta.url).href;

async function fetched(name) {
  const answer = await fetch(here(name));
  if (!answer.ok) throw new Error(`${name} cannot be loaded (${answer.status})`);
  return answer;
}

async function opened() {
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
  const run = async (model, pixels, height, width) => {
    const network = await session(model);
    const picture = new ort.Tensor("uint8", new Uint8Array(pixels.buffer), [height, width, 4]);
    const [result] = Object.values(await network.run({ [network.inputNames[0]]: picture }));
    return Float32Array.from(await result.getData(true));
  };
  const [first] = about.models;
  const [height, width] = first.size.map((side) => side + 1);
  await run(first, new Uint8ClampedArray(4 * height * width), height, width);
  const device =
    provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`;
  return { about, device, run };
}

// The network's size for a picture, as Matter chooses it: of the nearest aspect ratio.
function nearest(models, height, width) {
  const stretch = ({ size }) => Math.abs(Math.log(((size[0] / size[1]) * width) / height));
  return models.reduce((best, one) => (stretch(one) < stretch(best) ? one : best));
}

// Neither side below the network's: such a picture is enlarged.
function sides(picture, [height, width]) {
  const longer = Math.max(picture.height, picture.width);
  const reduced = Math.min(1, MOST / longer);
  const scale = Math.max(reduced, height / picture.height, width / picture.width);
  const side = (length, least) => Math.max(least, Math.round(length * scale));
  return [side(picture.height, height), side(picture.width, width)];
}

function drawn(picture, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return context;
}

async function matte(engine, { picture, blur }) {
  const began = performance.now();
  const model = nearest(engine.about.models, picture.height, picture.width);
  const [height, width] = sides(picture, model.size);
  const { data: pixels } = drawn(picture, width, height).getImageData(0, 0, width, height);
  const alpha = await engine.run(model, pixels, height, width);
  let total = 0;
  for (let at = 0; at < alpha.length; at++) {
    total += alpha[at];
    pixels[4 * at + 3] = 255 * alpha[at];
    if (pixels[4 * at + 3] === 0) pixels.fill(0, 4 * at, 4 * at + 3);
  }
  if (alpha.length !== height * width || !Number.isFinite(total)) {
    throw new Error("the network gave no matte of this picture");
  }
  const small = Math.max(1, Math.round((40 * height) / width));
  const blurred = blur ? drawn(picture, 40, small).canvas.transferToImageBitmap() : null;
  return { width, height, pixels, alpha, size: model.size, blurred, ms: performance.now() - began };
}

const engine = opened();
engine
  .then(({ about, device }) => self.postMessage({ ready: { device, about } }))
  .catch((error) => self.postMessage({ error: String(error.message ?? error) }));

self.onmessage = async ({ data }) => {
  try {
    const result = await matte(await engine, data);
    const moved = [result.pixels.buffer, result.alpha.buffer];
    self.postMessage({ id: data.id, ...result }, result.blurred ? [...moved, result.blurred] : moved);
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error.message ?? error) });
  } finally {
    data.picture.close();
  }
};
