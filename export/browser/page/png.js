// A cut-out as a PNG file with straight alpha. A canvas would multiply the colours by alpha and
// round them, so that little is left of them where alpha is low.

import { extended } from "./hidden.js";

const remainders = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

function chunk(name, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(data, 8);
  let check = -1;
  for (const byte of bytes.subarray(4, -4)) check = remainders[(check ^ byte) & 255] ^ (check >>> 8);
  view.setUint32(8 + data.length, ~check);
  return bytes;
}

// The file of uint8 H×W×4: red, green, blue, alpha.
export async function png(pixels, height, width) {
  const colours = extended(pixels, height, width);
  const row = 4 * width;
  const lines = new Uint8Array((row + 1) * height);
  for (let y = 0, to = 0, at = 0; y < height; y++) {
    lines[to++] = 1; // each byte less the one of the pixel to its left
    for (let i = 0; i < row; i++, at++) lines[to++] = colours[at] - (i < 4 ? 0 : colours[at - 4]);
  }
  const packed = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 6], 8); // bits a channel, and that there are four
  const parts = [
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    chunk("IHDR", header),
    chunk("IDAT", new Uint8Array(await new Response(packed).arrayBuffer())),
    chunk("IEND", new Uint8Array()),
  ];
  return new Blob(parts, { type: "image/png" });
}
