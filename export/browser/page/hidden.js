// Colours that tell nothing of what was cut away, as sdk/media/cutout.py makes them.

const FAINT = 3; // of 255: up to here alpha shows nothing, and the pixel counts as removed
const SHRINK = 4; // pixels of a block's side

// Makes black what is removed: red, green, blue and alpha, changed in place. Returns whether anything is left.
export function hide(pixels) {
  let left = false;
  for (let at = 0; at < pixels.length; at += 4) {
    if (pixels[at + 3] > FAINT) left = true;
    else pixels[at] = pixels[at + 1] = pixels[at + 2] = 0;
  }
  return left;
}

// A copy where the subject's colours go on outwards a little, and fade to black, for software that
// interpolates colour and alpha apart.
export function extended(pixels, height, width) {
  const result = pixels.slice();
  const rows = Math.ceil(height / SHRINK);
  const columns = Math.ceil(width / SHRINK);
  const sums = new Float32Array(4 * rows * columns); // colours by alpha, and alpha
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      const alpha = pixels[at + 3];
      if (alpha <= FAINT) continue;
      const to = 4 * (Math.trunc(y / SHRINK) * columns + Math.trunc(x / SHRINK));
      for (let c = 0; c < 3; c++) sums[to + c] += alpha * pixels[at + c];
      sums[to + 3] += alpha * 255;
    }
  }
  for (let at = 0; at < sums.length; at++) sums[at] = Math.round(sums[at] / SHRINK ** 2);
  const radius = Math.max(1, Math.round((height + width) / (256 * SHRINK)));
  const away = distances(sums, rows, columns);
  const around = boxed(boxed(sums, rows, columns, radius), columns, rows, radius);
  const blocks = new Uint8ClampedArray(4 * rows * columns);
  for (let block = 0; block < rows * columns; block++) {
    const share = Math.min(Math.max((radius + 0.5 - away[block]) / Math.max(1, radius - 1), 0), 1);
    const held = Math.max(around[4 * block + 3], 1);
    for (let c = 0; c < 3; c++) blocks[4 * block + c] = (255 * share * around[4 * block + c]) / held;
  }
  const down = Float32Array.from({ length: height }, (_, y) => Math.min(Math.max((y + 0.5) / SHRINK - 0.5, 0), rows - 1));
  const across = Float32Array.from({ length: width }, (_, x) => Math.min(Math.max((x + 0.5) / SHRINK - 0.5, 0), columns - 1));
  for (let y = 0, at = 0; y < height; y++) {
    const upper = columns * Math.floor(down[y]);
    const lower = columns * Math.ceil(down[y]);
    for (let x = 0; x < width; x++, at += 4) {
      if (pixels[at + 3] > FAINT) continue;
      const [left, right] = [Math.floor(across[x]), Math.ceil(across[x])];
      for (let c = 0; c < 3; c++) {
        const [one, two] = [left, right].map((column) => {
          const above = blocks[4 * (upper + column) + c];
          return above + (blocks[4 * (lower + column) + c] - above) * (down[y] % 1);
        });
        result[at + c] = one + (two - one) * (across[x] % 1);
      }
    }
  }
  return result;
}

// How far each block lies from the nearest that holds something, in blocks: OpenCV's DIST_L2 of 3×3.
function distances(sums, rows, columns) {
  const [straight, slanted] = [0.955, 1.3693];
  const away = Float32Array.from({ length: rows * columns }, (_, block) => (sums[4 * block + 3] ? 0 : 1e6));
  const pass = (step) => {
    for (let i = 0, y = step > 0 ? 0 : rows - 1; i < rows; i++, y += step) {
      for (let j = 0, x = step > 0 ? 0 : columns - 1; j < columns; j++, x += step) {
        const to = y * columns + x;
        const nearer = (row, column, length) => {
          if (row < 0 || row >= rows || column < 0 || column >= columns) return;
          away[to] = Math.min(away[to], away[row * columns + column] + length);
        };
        nearer(y, x - step, straight);
        nearer(y - step, x - step, slanted);
        nearer(y - step, x, straight);
        nearer(y - step, x + step, slanted);
      }
    }
  };
  pass(1);
  pass(-1);
  return away;
}

// Sums of windows along columns, and the result turned: rows become columns.
function boxed(values, rows, columns, radius) {
  const result = new Float32Array(values.length);
  for (let x = 0; x < columns; x++) {
    for (let c = 0; c < 4; c++) {
      let sum = 0;
      for (let y = -radius; y < rows; y++) {
        if (y + radius < rows) sum += values[4 * ((y + radius) * columns + x) + c];
        if (y > radius) sum -= values[4 * ((y - radius - 1) * columns + x) + c];
        if (y >= 0) result[4 * (x * rows + y) + c] = sum;
      }
    }
  }
  return result;
}
