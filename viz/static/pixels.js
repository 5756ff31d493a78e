// The cells of a trace at a step as pixels: one for each cell, or fewer where there is less room.
const Pixels = (() => {
  "use strict";

  const { FADE } = Traces;
  const { mix, packed } = Colours;

  // The cells of `span` = {row0, row1, column0, column1} (rows of evictedAt) at a step as width × height pixels, one a
  // cell or fewer. A pixel of several cells is the mean of those that have been read, so a map with more cells than
  // pixels still tells the truth. A `memo` given again makes the next step of the same picture cheap.
  function rasterise(trace, step, span, width, height, palette, memo = {}) {
    if (width === span.column1 - span.column0 && height === span.row1 - span.row0) {
      return cellPixels(trace, step, span, width, height, palette);
    }
    const wanted = [trace, span.row0, span.row1, span.column0, span.column1, width, height, palette];
    if (!memo.of || wanted.some((value, i) => value !== memo.of[i])) {
      memo.of = wanted;
      memo.means = new Means(trace, span, width, height, palette);
    }
    return memo.means.moveTo(step);
  }

  function cellPixels(trace, step, span, width, height, palette) {
    const pixels = new Uint32Array(width * height);
    const shades = new Uint32Array(trace.length + 1).fill(packed(palette.kept));
    for (let end = 0; end <= step; end++) shades[end] = packed(mix(palette.evicted, palette.fresh, heat(step - end)));
    const read = Math.max(0, Math.min(step + 1, span.column1, trace.length) - span.column0);
    const { evictedAt, length } = trace;
    for (let y = 0; y < height; y++) {
      const from = (span.row0 + y) * length + span.column0;
      const to = y * width;
      for (let x = 0; x < read; x++) pixels[to + x] = shades[evictedAt[from + x]];
      pixels.fill(packed(palette.paper), to + read, to + width);
    }
    return pixels;
  }

  const heat = (age) => (age < 0 || age >= FADE ? 0 : 1 - age / FADE);

  // One weight tells what a cell adds to its pixel: its heat or, above all heat that a pixel can hold, that it is kept.
  const KEPT = 2 ** 20;
  const weight = (step, end, position) => {
    if (end <= step) return Math.max(0, FADE - (step - end));
    return position <= step ? KEPT : 0;
  };

  // The colours of a mean: 64 shares that are kept, each with 16 shares of heat.
  const SHARES = 63;
  const HEATS = 15;

  function meanColours({ kept, fresh, evicted }) {
    const colours = new Uint32Array((SHARES + 1) * (HEATS + 1));
    for (let i = 0; i < colours.length; i++) {
      const warm = mix(evicted, fresh, (i % (HEATS + 1)) / HEATS);
      const share = Math.floor(i / (HEATS + 1)) / SHARES;
      colours[i] = packed(warm.map((value, channel) => value + (kept[channel] - evicted[channel]) * share));
    }
    return colours;
  }

  // `cells` in a row over `pixels`: which pixel each falls into, and where each pixel begins.
  function spread(cells, pixels) {
    const pixelOf = Uint16Array.from({ length: cells }, (_, i) => Math.floor((i * pixels) / cells));
    const edges = Uint32Array.from({ length: pixels + 1 }, (_, pixel) => Math.ceil((pixel * cells) / pixels));
    return { pixelOf, edges };
  }

  // A map with more cells than pixels. A step changes few of millions of cells, so sums and pixels live on.
  class Means {
    constructor(trace, span, width, height, palette) {
      Object.assign(this, { trace, span, width, height });
      this.columns = spread(span.column1 - span.column0, width);
      this.rows = spread(span.row1 - span.row0, height);
      this.colours = meanColours(palette);
      this.paper = packed(palette.paper);
      this.sums = new Float64Array(width * height);
      this.pixels = new Uint32Array(width * height);
      this.step = -Infinity;
    }

    moveTo(step) {
      const from = this.step;
      this.step = step;
      if (Math.abs(step - from) > 2 * FADE) this.startAt(step);
      else if (step !== from) this.change(from, step);
      return this.pixels;
    }

    startAt(step) {
      const { trace, span, sums, width } = this;
      const { evictedAt, length } = trace;
      const weights = Float64Array.from({ length: length + 1 }, (_, end) => weight(step, end, 0));
      const read = Math.max(0, Math.min(step + 1, span.column1) - span.column0);
      sums.fill(0);
      for (let row = span.row0; row < span.row1; row++) {
        const cell = row * length + span.column0;
        const pixel = this.rows.pixelOf[row - span.row0] * width;
        for (let x = 0; x < read; x++) sums[pixel + this.columns.pixelOf[x]] += weights[evictedAt[cell + x]];
      }
      for (let y = 0; y < this.height; y++) for (let x = 0; x < width; x++) this.paint(x, y);
    }

    change(from, to) {
      const { starts, evicted, evictedAt, length, rows } = this.trace;
      const low = Math.min(from, to);
      const high = Math.max(from, to);
      for (let end = Math.max(0, low - FADE + 1); end <= high; end++) {
        for (let i = starts[end]; i < starts[end + 1]; i++) {
          const row = Math.floor(evicted[i] / length);
          const position = evicted[i] - row * length;
          this.add(row, position, weight(to, end, position) - weight(from, end, position));
        }
      }
      for (let row = 0; row < rows; row++) {
        for (let position = low + 1; position <= high; position++) {
          if (evictedAt[row * length + position] > high) this.add(row, position, to > from ? KEPT : -KEPT);
        }
      }
    }

    add(row, position, change) {
      const { row0, row1, column0, column1 } = this.span;
      if (row < row0 || row >= row1 || position < column0 || position >= column1) return;
      const x = this.columns.pixelOf[position - column0];
      const y = this.rows.pixelOf[row - row0];
      this.sums[y * this.width + x] += change;
      this.paint(x, y);
    }

    // The mean of the cells that have been read; paper if none has.
    paint(x, y) {
      const pixel = y * this.width + x;
      const { edges } = this.columns;
      const read = Math.min(edges[x + 1], this.step + 1 - this.span.column0) - edges[x];
      if (read <= 0) {
        this.pixels[pixel] = this.paper;
        return;
      }
      const cells = read * (this.rows.edges[y + 1] - this.rows.edges[y]);
      const count = Math.floor(this.sums[pixel] / KEPT);
      const warmth = (this.sums[pixel] - count * KEPT) / FADE;
      const share = Math.round((SHARES * count) / cells);
      this.pixels[pixel] = this.colours[share * (HEATS + 1) + Math.round((HEATS * warmth) / cells)];
    }
  }

  return { rasterise, spread };
})();
