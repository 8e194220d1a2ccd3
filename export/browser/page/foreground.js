// The subject's own colours, without the old background that shines through hair and soft edges:
// blur fusion in two passes. kernels/include/foreground.h is the same and gives the reasons.

const REACH = 2; // blocks on each side of a block: the wide window
const LARGEST = 32; // pixels of a block's side
const RIDGE = 0.01;

const bytes = (value) => Math.min(Math.max(value, 0), 255);
const nearest = (value) => Math.trunc(value + 0.5);

// How much of what the estimates leave is the subject's, and what a pixel weighs, by alpha's level.
const share = Float32Array.from({ length: 256 }, (_, level) => (255 * level) / (level ** 2 + (255 - level) ** 2));
const weight = Uint8Array.from({ length: 256 }, (_, level) => (level ** 3 + 65535) >> 16);

// Replaces red, green and blue where alpha, the fourth channel, is neither 0 nor 255.
export function foreground(pixels, height, width) {
  const block = Math.min(Math.max((height + width + 128) >> 8, 1), LARGEST);
  const rows = axis(height, block);
  const columns = axis(width, block);
  const { sums, asked, soft } = blockSums(pixels, rows, columns);
  const wide = estimates(sums, asked, rows, columns);
  narrowed(pixels, rows, columns, wide, soft, Math.max(block >> 1, 1));
}

// A side in blocks, and where each of its pixels lies between the centres of two.
function axis(length, block) {
  const count = Math.ceil(length / block);
  const first = new Int32Array(length);
  const next = new Int32Array(length);
  const part = new Float32Array(length);
  for (let at = 0; at < length; at++) {
    const position = Math.max(2 * at + 1 - block, 0); // in half pixels
    first[at] = Math.min(Math.trunc(position / (2 * block)), count - 1);
    next[at] = Math.min(first[at] + 1, count - 1);
    part[at] = (position - first[at] * 2 * block) / (2 * block);
  }
  return { length, block, count, first, next, part };
}

// Eight sums a block: alpha times each channel and itself, and likewise 1 - alpha. `asked`: whether a
// soft pixel reads the block's estimate. `soft`: where they begin and end, down and across.
function blockSums(pixels, rows, columns) {
  const sums = new Int32Array(8 * rows.count * columns.count);
  const asked = new Uint8Array(rows.count * columns.count);
  const soft = { top: rows.length, bottom: 0, left: columns.length, right: 0 };
  const { block } = rows;
  for (let y = 0, at = 0; y < rows.length; y++) {
    const row = Math.trunc(y / block) * columns.count;
    const upper = rows.first[y] * columns.count;
    const lower = rows.next[y] * columns.count;
    for (let x = 0; x < columns.length; x++, at += 4) {
      const level = pixels[at + 3];
      const other = 255 - level;
      if (level !== 0 && other !== 0) {
        if (y < soft.top) soft.top = y;
        if (y >= soft.bottom) soft.bottom = y + 1;
        if (x < soft.left) soft.left = x;
        if (x >= soft.right) soft.right = x + 1;
        asked[upper + columns.first[x]] = asked[upper + columns.next[x]] = 1;
        asked[lower + columns.first[x]] = asked[lower + columns.next[x]] = 1;
      }
      const to = 8 * (row + Math.trunc(x / block));
      for (let c = 0; c < 3; c++) {
        sums[to + c] += level * pixels[at + c];
        sums[to + 4 + c] += other * pixels[at + c];
      }
      sums[to + 3] += level * level;
      sums[to + 7] += other * other;
    }
  }
  return { sums, asked, soft };
}

// What the window around a block holds: its first and last block, and how many pixels.
function windowOf(index, { block, count, length }) {
  const first = Math.max(index - REACH, 0);
  const last = Math.min(index + REACH, count - 1);
  return { first, last, pixels: Math.min((last + 1) * block, length) - first * block };
}

// Of each block's window the subject's colour (lanes 0 to 2) and the background's (4 to 6): the
// least-squares solution, held to the weighted averages by a ridge.
function estimates(sums, asked, rows, columns) {
  const wide = new Float32Array(sums.length);
  const total = new Float64Array(8);
  for (let row = 0; row < rows.count; row++) {
    const down = windowOf(row, rows);
    for (let column = 0; column < columns.count; column++) {
      if (!asked[row * columns.count + column]) continue;
      const across = windowOf(column, columns);
      total.fill(0);
      for (let y = down.first; y <= down.last; y++) {
        const begin = 8 * (y * columns.count + across.first);
        const end = 8 * (y * columns.count + across.last + 1);
        for (let at = begin; at < end; at++) total[at & 7] += sums[at];
      }
      const pixels = down.pixels * across.pixels;
      const unit = 1 / (65025 * pixels);
      const [ff, bb] = [total[3] * unit, total[7] * unit];
      const fb = Math.trunc((65025 * pixels - total[3] - total[7]) / 2) * unit;
      const [a, b] = [ff + RIDGE * (ff + fb), bb + RIDGE * (bb + fb)];
      const determinant = a * b - fb * fb;
      const scale = (1 + RIDGE) * 255 * unit;
      const both = determinant > 0;
      const ownF = both ? (scale * b) / determinant : ff > 0 ? scale / a : 0;
      const ownB = both ? (scale * a) / determinant : bb > 0 ? scale / b : 0;
      const other = both ? (scale * fb) / determinant : 0;
      const to = 8 * (row * columns.count + column);
      for (let c = 0; c < 3; c++) {
        wide[to + c] = bytes(total[c] * ownF - total[4 + c] * other);
        wide[to + 4 + c] = bytes(total[4 + c] * ownB - total[c] * other);
      }
    }
  }
  return wide;
}

// Solves each soft pixel by the wide estimates, then anew with the mean of such solutions around it.
function narrowed(pixels, rows, columns, wide, soft, radius) {
  const at = (y, x, lane) => {
    const upper = columns.count * rows.first[y];
    const lower = columns.count * rows.next[y];
    const [left, right] = [columns.first[x], columns.next[x]];
    const one = mixed(wide[8 * (upper + left) + lane], wide[8 * (lower + left) + lane], rows.part[y]);
    const two = mixed(wide[8 * (upper + right) + lane], wide[8 * (lower + right) + lane], rows.part[y]);
    return mixed(one, two, columns.part[x]);
  };
  // All that their windows hold.
  const [top, bottom] = [Math.max(soft.top - radius, 0), Math.min(soft.bottom + radius, rows.length)];
  const [left, right] = [Math.max(soft.left - radius, 0), Math.min(soft.right + radius, columns.length)];
  if (soft.top > soft.bottom) return;
  const row = 4 * (right - left);
  const products = new Uint16Array(row * (bottom - top));
  for (let y = top, to = 0; y < bottom; y++) {
    for (let x = left, from = 4 * (y * columns.length + left); x < right; x++, from += 4, to += 4) {
      const level = pixels[from + 3];
      if (level === 0) continue;
      for (let c = 0; c < 3; c++) {
        const value = pixels[from + c];
        products[to + c] =
          weight[level] * (level === 255 ? value : nearest(solved(at(y, x, c), at(y, x, 4 + c), level, value)));
      }
      products[to + 3] = weight[level];
    }
  }
  // Running sums of columns over the window's rows; windows of soft pixels are summed from them.
  const sums = new Int32Array(row);
  const add = (y) => {
    for (let i = 0, from = row * (y - top); i < row; i++, from++) sums[i] += products[from];
  };
  const remove = (y) => {
    for (let i = 0, from = row * (y - top); i < row; i++, from++) sums[i] -= products[from];
  };
  for (let y = top; y < Math.min(soft.top + radius, bottom); y++) add(y);
  for (let y = soft.top; y < soft.bottom; y++) {
    if (y + radius < bottom) add(y + radius);
    if (y > soft.top && y - radius - 1 >= top) remove(y - radius - 1);
    for (let x = soft.left, to = 4 * (y * columns.length + soft.left); x < soft.right; x++, to += 4) {
      const level = pixels[to + 3];
      if (level === 0 || level === 255) continue;
      let [red, green, blue, held] = [0, 0, 0, 0];
      const end = 4 * (Math.min(x + radius + 1, right) - left);
      for (let i = 4 * (Math.max(x - radius, left) - left); i < end; i += 4) {
        red += sums[i];
        green += sums[i + 1];
        blue += sums[i + 2];
        held += sums[i + 3];
      }
      if (held === 0) continue;
      pixels[to] = nearest(solved(red / held, at(y, x, 4), level, pixels[to]));
      pixels[to + 1] = nearest(solved(green / held, at(y, x, 5), level, pixels[to + 1]));
      pixels[to + 2] = nearest(solved(blue / held, at(y, x, 6), level, pixels[to + 2]));
    }
  }
}

const mixed = (first, next, part) => first + (next - first) * part;

function solved(f, b, level, value) {
  const alpha = level / 255;
  return bytes(f + share[level] * (value - alpha * f - (1 - alpha) * b));
}
