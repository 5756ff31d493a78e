// The retention map: step control, text and map of one trace. Draws everything from one payload, asks for nothing.
// Written for three hosts: a gr.HTML component, a single HTML file on disk, and the tests of its pure functions.
const RetentionMap = (() => {
  "use strict";

  const SCHEMA = 1;
  const LEVELS = 16; // tints of a token in the text, besides none
  const FADE = 12; // steps for which an evicted cell stays warm
  const LARGEST = 4096; // a canvas side that every browser can draw

  // ---- The trace, and what is true of it at a step ------------------------------------------------------------------

  function bytes(base64) {
    const characters = atob(base64);
    const result = new Uint8Array(characters.length);
    for (let i = 0; i < result.length; i++) result[i] = characters.charCodeAt(i);
    return result;
  }

  function integers({ dtype, base64 }) {
    const { buffer } = bytes(base64);
    return dtype === "int16" ? new Int16Array(buffer) : new Int32Array(buffer);
  }

  function decode(payload) {
    if (payload.schema !== SCHEMA) throw new Error("this picture is of another version of the app: reload the page");
    const ends = integers(payload.piece_ends);
    const pieces = Array.from(ends, (end, i) => payload.text.slice(i ? ends[i - 1] : 0, end));
    const evictedAt = integers(payload.evicted_at);
    return {
      ...payload,
      promptLength: payload.prompt_length,
      rows: payload.layers * payload.groups,
      pieces,
      special: bytes(payload.special),
      continued: bytes(payload.continued),
      evictedAt,
      ...evictionsByStep(evictedAt, payload.length),
    };
  }

  // The cells (places in evictedAt) evicted at a step are evicted[starts[step]] … evicted[starts[step + 1] - 1]; so a
  // step onwards or back costs no look at the whole array.
  function evictionsByStep(evictedAt, length) {
    const starts = new Uint32Array(length + 2);
    for (let i = 0; i < evictedAt.length; i++) starts[evictedAt[i] + 1]++;
    for (let step = 0; step <= length; step++) starts[step + 1] += starts[step];
    const next = starts.slice();
    const evicted = new Uint32Array(evictedAt.length);
    for (let cell = 0; cell < evictedAt.length; cell++) evicted[next[evictedAt[cell]]++] = cell;
    return { starts, evicted };
  }

  // In the multi-state after the step; and seen by the query of the step. As Trace.kept and Trace.attended in Python.
  const isKept = (step, position, end) => position <= step && step < end;
  const isAttended = (step, position, end) => position <= step && step <= end;

  // A predicate of every cell, flat, as 0 or 1.
  const everyCell = (predicate) => (trace, step) =>
    Uint8Array.from(trace.evictedAt, (end, cell) => Number(predicate(step, cell % trace.length, end)));

  // How many deciders keep each position after the step: counts = {step, keepers, total}, moved there from where it is.
  function moveCounts(trace, counts, step) {
    const { starts, evicted, rows, length } = trace;
    const { keepers } = counts;
    while (counts.step < step) {
      keepers[++counts.step] = rows;
      for (let i = starts[counts.step]; i < starts[counts.step + 1]; i++) keepers[evicted[i] % length]--;
      counts.total += rows - evictedDuring(trace, counts.step);
    }
    while (counts.step > step) {
      counts.total -= rows - evictedDuring(trace, counts.step);
      for (let i = starts[counts.step]; i < starts[counts.step + 1]; i++) keepers[evicted[i] % length]++;
      keepers[counts.step--] = 0;
    }
    return counts;
  }

  const noCounts = (trace) => ({ step: -1, keepers: new Uint16Array(trace.length), total: 0 });
  const evictedDuring = (trace, step) => trace.starts[step + 1] - trace.starts[step];

  // 0 only for nobody and LEVELS only for everybody: "almost forgotten" is not "forgotten".
  function level(count, of) {
    if (count === 0 || count === of) return count && LEVELS;
    return Math.min(LEVELS - 1, Math.max(1, Math.round((LEVELS * count) / of)));
  }

  // ---- Words --------------------------------------------------------------------------------------------------------

  const number = (value) => value.toLocaleString("en");
  const percent = (part, whole) => Math.round((100 * part) / whole) + "\u00a0%";
  const counted = (count, noun) => number(count) + " " + noun + (count === 1 ? "" : "s");

  const visible = (text) => text.replace(/\r?\n/g, "↵").replace(/\t/g, "⇥");

  function tokenName(trace, position) {
    const piece = trace.pieces[position];
    if (!trace.continued[position]) return "“" + visible(piece) + "”";
    let first = position;
    while (first > 0 && trace.continued[first]) first--;
    return "more of “" + visible(trace.pieces[first]) + "”";
  }

  function shortName(trace, position, longest) {
    if (trace.continued[position]) return "…";
    const characters = Array.from(visible(trace.pieces[position]).trim() || "␣");
    return characters.length > longest ? characters.slice(0, longest - 1).join("") + "…" : characters.join("");
  }

  function deciderName(trace, layer, group) {
    if (group === null) return "Layer " + layer;
    return trace.groups > 1 ? "Layer " + layer + ", KV head " + group : "Layer " + layer;
  }

  // One line about one cell: what it is now and its history.
  function cellStory(trace, step, layer, group, position) {
    const name = deciderName(trace, layer, group) + " · token " + position + " " + tokenName(trace, position);
    if (position > step) return name + " · not read yet";
    if (group === null) return name + " · " + shareStory(trace, step, layer, position);
    const end = trace.evictedAt[(layer * trace.groups + group) * trace.length + position];
    const lived = end === position ? "at once" : "after " + counted(end - position, "step");
    const reader = end === position ? "" : ", reading " + tokenName(trace, Math.min(end, trace.length - 1));
    if (end === trace.length) return name + " · kept to the end";
    const when = lived + ", at step " + end;
    if (isKept(step, position, end)) return name + " · kept now · will be evicted " + when + reader;
    const verb = step - end < FADE ? "just evicted " : "evicted ";
    if (isAttended(step, position, end)) return name + " · seen for the last time, then " + verb + when;
    return name + " · " + verb + when + reader;
  }

  function shareStory(trace, step, layer, position) {
    let count = 0;
    for (let group = 0; group < trace.groups; group++) {
      count += isKept(step, position, trace.evictedAt[(layer * trace.groups + group) * trace.length + position]);
    }
    return "kept by " + count + " of " + counted(trace.groups, "KV head");
  }

  function tokenStory(trace, step, position, count) {
    const name = "Token " + position + " " + tokenName(trace, position);
    if (position > step) return name + " · not read yet";
    const who = trace.groups > 1 ? counted(trace.rows, "KV head") : counted(trace.layers, "layer");
    return name + " · kept by " + count + " of " + who;
  }

  // Rows of the multi-state at a step: the summary under the map, and the text alternative of the picture.
  function stepStory(trace, step, counts) {
    const read = (step + 1) * trace.rows;
    const share = " rows kept of " + number(read) + " read (" + percent(counts.total, read) + ")";
    return number(counts.total) + share + "; " + number(evictedDuring(trace, step)) + " evicted at this step.";
  }

  function alternative(trace, step, counts) {
    const heads = trace.groups > 1 ? " of " + trace.groups + " KV heads" : "";
    const where = "Step " + step + " of " + (trace.length - 1) + ", token " + tokenName(trace, step) + ". ";
    return where + counted(trace.layers, "layer") + heads + ". " + stepStory(trace, step, counts);
  }

  function titleOf(trace) {
    const policy = trace.policy + (trace.budget === null ? "" : ", budget " + number(trace.budget));
    return policy + " · " + trace.model;
  }

  // ---- Colours ------------------------------------------------------------------------------------------------------

  const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
  const mix = (from, to, share) => from.map((value, i) => value + (to[i] - value) * share);
  const css = (colour) => "rgb(" + colour.map(Math.round).join(",") + ")";
  // Little-endian RGBA, as ImageData stores it.
  const packed = ([r, g, b]) => (255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r);

  function luminance(colour) {
    const [r, g, b] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  // Black or white, whichever reads better: on any colour the better of the two has a contrast above 4.5.
  const inkOn = (colour) => (luminance(colour) > 0.179 ? "#000" : "#fff");

  // What the stylesheet says, so that light and dark live in one place.
  function readPalette(element) {
    const style = getComputedStyle(element);
    const colour = (name) => {
      const hex = style.getPropertyValue("--rm-" + name).trim();
      return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    };
    const names = ["kept", "fresh", "evicted", "paper", "ink", "faint", "line"];
    return { ...Object.fromEntries(names.map((name) => [name, colour(name)])), font: style.fontFamily };
  }

  const heat = (age) => (age < 0 || age >= FADE ? 0 : 1 - age / FADE);

  // ---- Cells to pixels ----------------------------------------------------------------------------------------------

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
      const read = clamp(step + 1 - span.column0, 0, span.column1 - span.column0);
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

  // ---- Where things are ---------------------------------------------------------------------------------------------

  // A window of the given length inside 0 … whole, as near to `start` as it can be.
  function windowOf(start, length, whole) {
    const size = clamp(length, Math.min(whole, 4), whole);
    const from = clamp(start, 0, whole - size);
    return [from, from + size];
  }

  function zoomed(view, whole, factorX, factorY, atX, atY) {
    const [x0, x1] = windowOf(atX - (atX - view.x0) * factorX, (view.x1 - view.x0) * factorX, whole.columns);
    const [y0, y1] = windowOf(atY - (atY - view.y0) * factorY, (view.y1 - view.y0) * factorY, whole.rows);
    return { x0, x1, y0, y1 };
  }

  function moved(view, whole, dx, dy) {
    const [x0, x1] = windowOf(view.x0 + dx, view.x1 - view.x0, whole.columns);
    const [y0, y1] = windowOf(view.y0 + dy, view.y1 - view.y0, whole.rows);
    return { x0, x1, y0, y1 };
  }

  // The part of one axis between two cells, in pixels, and back.
  const cellWidth = ({ width, view }) => width / (view.x1 - view.x0);
  const cellHeight = ({ height, view }) => height / (view.y1 - view.y0);
  const toX = (scene, column) => scene.left + (column - scene.view.x0) * cellWidth(scene);
  const toY = (scene, row) => scene.top + (row - scene.view.y0) * cellHeight(scene);
  const toColumn = (scene, x) => scene.view.x0 + (x - scene.left) / cellWidth(scene);
  const toRow = (scene, y) => scene.view.y0 + (y - scene.top) / cellHeight(scene);

  // A round number of cells that lie at least `room` pixels apart.
  function stride(room, cell) {
    const least = Math.max(1, room / cell);
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((times) => times * power).find((nice) => nice >= least && nice >= 1);
  }

  // ---- Axes: texts and lines, drawn alike by the canvas and by the SVG file -----------------------------------------

  function axes(scene) {
    return [...layerAxis(scene), ...positionAxis(scene), ...tokenAxis(scene), ...stepMarker(scene)];
  }

  function layerAxis(scene) {
    const { trace, view, font, collapsed } = scene;
    const perLayer = collapsed ? 1 : trace.groups;
    const rowHeight = cellHeight(scene);
    const every = stride(font + 3, rowHeight * perLayer);
    const middle = scene.top + scene.height / 2;
    const items = [{ text: "layer", x: font * 0.7, y: middle, angle: -90, anchor: "middle", faint: true }];
    const heads = perLayer > 1 && rowHeight >= font;
    const x = scene.left - (heads ? font * 1.9 : 8);
    for (let layer = 0; layer < trace.layers; layer += every) {
      // In the middle of what can be seen of the layer.
      const from = Math.max(layer * perLayer, view.y0);
      const to = Math.min((layer + 1) * perLayer, view.y1);
      const y = toY(scene, (from + to) / 2);
      if (from < to && insideRows(scene, y)) items.push({ text: String(layer), x, y, anchor: "end" });
    }
    for (let row = Math.floor(view.y0); heads && row < view.y1; row++) {
      const y = toY(scene, row + 0.5);
      const text = String(row % perLayer);
      if (insideRows(scene, y)) items.push({ text, x: scene.left - 8, y, anchor: "end", faint: true });
    }
    return items;
  }

  const insideRows = (scene, y) => y >= scene.top + 3 && y <= scene.top + scene.height - 3;

  function positionAxis(scene) {
    const { view, font, step } = scene;
    const every = stride(font * 4, cellWidth(scene));
    const items = [];
    const marker = toX(scene, step + 0.5);
    for (let column = Math.ceil(view.x0 / every) * every; column < view.x1; column += every) {
      const x = toX(scene, column + 0.5);
      if (x > scene.left + scene.width - 4) continue;
      items.push({ x1: x, y1: scene.top - 5, x2: x, y2: scene.top - 1 });
      if (Math.abs(x - marker) < font * 3) continue;
      items.push({ text: String(column), x, y: scene.top - 6 - font * 0.6, anchor: "middle", faint: true });
    }
    return items;
  }

  function tokenAxis(scene) {
    const { trace, view, font } = scene;
    const every = Math.ceil((font * 1.5) / cellWidth(scene));
    const items = [];
    const y = scene.top + scene.height;
    const end = Math.min(view.x1, trace.length);
    for (let column = Math.ceil(view.x0 / every) * every; column < end; column += every) {
      const x = toX(scene, column + 0.5);
      if (x > scene.left + scene.width) continue;
      const faint = column > scene.step;
      items.push({ x1: x, y1: y + 1, x2: x, y2: y + 5 });
      items.push({ text: shortName(trace, column, 11), x: x + 2, y: y + 10, angle: -45, anchor: "end", faint });
    }
    return items;
  }

  function stepMarker(scene) {
    const { font, step } = scene;
    const x = toX(scene, step + 0.5);
    if (x < scene.left - 1 || x > scene.left + scene.width + 1) return [];
    const tip = scene.top - 1;
    const triangle = [x - 5, tip - 7, x + 5, tip - 7, x, tip];
    const text = String(step);
    const inside = Math.min(x, scene.left + scene.width - text.length * font * 0.3);
    return [{ triangle }, { text, x: inside, y: tip - 9 - font * 0.45, anchor: "middle", bold: true }];
  }

  function paint(context, item, scene) {
    const { palette, font } = scene;
    context.fillStyle = css(item.faint ? palette.faint : palette.ink);
    if (item.triangle) {
      const [x1, y1, x2, y2, x3, y3] = item.triangle;
      context.beginPath();
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
      context.lineTo(x3, y3);
      context.fill();
    } else if (item.text === undefined) {
      context.fillStyle = css(palette.line);
      context.fillRect(Math.round(item.x1), item.y1, Math.max(1, item.x2 - item.x1), Math.max(1, item.y2 - item.y1));
    } else {
      context.save();
      context.font = (item.bold ? "600 " : "") + (item.size || font) + "px " + palette.font;
      context.textAlign = item.anchor === "middle" ? "center" : item.anchor; // SVG's word, and canvas's
      context.textBaseline = "middle";
      context.translate(item.x, item.y);
      if (item.angle) context.rotate((item.angle * Math.PI) / 180);
      context.fillText(item.text, 0, 0);
      context.restore();
    }
  }

  // ---- The map on a canvas ------------------------------------------------------------------------------------------

  // Everything a drawing depends on; `ratio` is device pixels per CSS pixel.
  function makeScene(trace, { step, view, collapsed, palette, cssWidth, cssHeight, ratio }) {
    const narrow = cssWidth < 560;
    const font = narrow ? 11 : 13;
    const heads = trace.groups > 1 && !collapsed;
    const left = Math.round(font * (heads ? 5.2 : 4));
    const top = font * 2.2;
    const bottom = font * 4.8;
    const right = narrow ? 6 : 12;
    const width = Math.max(40, cssWidth - left - right);
    const height = Math.max(40, cssHeight - top - bottom);
    return { trace, step, view, collapsed, palette, cssWidth, cssHeight, ratio, font, left, top, width, height };
  }

  function spanOf({ trace, view, collapsed }) {
    const per = collapsed ? trace.groups : 1;
    const rows = trace.rows / per;
    const y0 = Math.max(0, Math.floor(view.y0));
    const y1 = Math.min(rows, Math.ceil(view.y1));
    const column1 = Math.min(trace.length, Math.ceil(view.x1));
    const column0 = Math.min(Math.floor(view.x0), column1 - 1);
    return { row0: y0 * per, row1: y1 * per, column0, column1, y0, y1 };
  }

  const makeScratch = () => ({ canvas: document.createElement("canvas"), memo: {} });

  // `scratch` = {canvas, memo} lives from one drawing to the next.
  function drawCells(context, scene, scratch) {
    const span = spanOf(scene);
    const columns = span.column1 - span.column0;
    const rows = span.y1 - span.y0;
    const x = toX(scene, span.column0);
    const y = toY(scene, span.y0);
    const across = toX(scene, span.column1) - x;
    const down = toY(scene, span.y1) - y;
    const width = clamp(Math.round(across * scene.ratio), 1, Math.min(columns, LARGEST));
    const height = clamp(Math.round(down * scene.ratio), 1, Math.min(rows, LARGEST));
    const pixels = rasterise(scene.trace, scene.step, span, width, height, scene.palette, scratch.memo);
    const { canvas } = scratch;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
    context.save();
    context.beginPath();
    context.rect(scene.left, scene.top, scene.width, scene.height);
    context.clip();
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, x, y, across, down);
    drawSeparators(context, scene);
    context.restore();
  }

  // Hairlines between the layers where each of them is a band of heads.
  function drawSeparators(context, scene) {
    const { trace } = scene;
    if (scene.collapsed || trace.groups === 1) return;
    if (trace.groups * cellHeight(scene) < 9) return;
    context.fillStyle = css(scene.palette.paper);
    for (let layer = 1; layer < trace.layers; layer++) {
      context.fillRect(scene.left, Math.round(toY(scene, layer * trace.groups)) - 0.5, scene.width, 1);
    }
  }

  function drawScene(context, scene, scratch, cross) {
    context.setTransform(scene.ratio, 0, 0, scene.ratio, 0, 0);
    context.fillStyle = css(scene.palette.paper);
    context.fillRect(0, 0, scene.cssWidth, scene.cssHeight);
    drawCells(context, scene, scratch);
    context.strokeStyle = css(scene.palette.line);
    context.lineWidth = 1;
    context.strokeRect(scene.left - 0.5, scene.top - 0.5, scene.width + 1, scene.height + 1);
    for (const item of axes(scene)) paint(context, item, scene);
    if (cross) drawCross(context, scene, cross);
  }

  function drawCross(context, scene, { row, position }) {
    const { left, top, width, height, palette } = scene;
    const x = toX(scene, position);
    const across = Math.max(toX(scene, position + 1) - x, 1);
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.strokeStyle = css(palette.ink);
    context.globalAlpha = 0.55;
    context.strokeRect(x - 0.5, top - 2, across + 1, height + 4);
    if (row !== null) {
      const y = toY(scene, row);
      const down = Math.max(toY(scene, row + 1) - y, 1);
      context.strokeRect(left - 2, y - 0.5, width + 4, down + 1);
      context.globalAlpha = 1;
      context.lineWidth = 2;
      context.strokeRect(x - 1, y - 1, across + 2, down + 2);
    }
    context.restore();
  }

  // ---- Pictures to save ---------------------------------------------------------------------------------------------

  const HEADER = 64;

  // Title and legend above the map, in both formats.
  function caption(scene, title) {
    const { trace, step, font } = scene;
    const where = "step " + step + " of " + (trace.length - 1) + ", token " + tokenName(trace, step);
    const items = [{ text: title + " · " + where, x: 14, y: 20, anchor: "start", bold: true, size: font + 3 }];
    const legend = [["kept", "kept"], ["just evicted", "fresh"], ["evicted", "evicted"], ["not read yet", "paper"]];
    let x = 14;
    for (const [text, colour] of legend) {
      items.push({ swatch: colour, x, y: 37, side: 13 }, { text, x: x + 19, y: 44, anchor: "start" });
      x += 19 + (text.length + 3) * font * 0.52;
    }
    return items;
  }

  function drawPicture(scene, title) {
    const canvas = document.createElement("canvas");
    canvas.width = scene.cssWidth * scene.ratio;
    canvas.height = (scene.cssHeight + HEADER) * scene.ratio;
    const context = canvas.getContext("2d");
    const map = document.createElement("canvas");
    map.width = scene.cssWidth * scene.ratio;
    map.height = scene.cssHeight * scene.ratio;
    drawScene(map.getContext("2d"), scene, makeScratch(), null);
    context.fillStyle = css(scene.palette.paper);
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(map, 0, HEADER * scene.ratio);
    context.setTransform(scene.ratio, 0, 0, scene.ratio, 0, 0);
    for (const item of caption(scene, title)) {
      if (item.swatch) {
        context.fillStyle = css(scene.palette[item.swatch]);
        context.fillRect(item.x, item.y, item.side, item.side);
        context.strokeStyle = css(scene.palette.faint);
        context.strokeRect(item.x + 0.5, item.y + 0.5, item.side - 1, item.side - 1);
      } else paint(context, item, scene);
    }
    return canvas;
  }

  const SVG = "http://www.w3.org/2000/svg";

  const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g;

  // Built as nodes, never as a string: the serialiser escapes what users wrote.
  function svgNode(name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) {
      node.setAttribute(key, typeof value === "number" ? +value.toFixed(2) : value);
    }
    if (text !== undefined) node.textContent = text.replace(NOT_XML, "\ufffd");
    return node;
  }

  function svgItem(item, scene) {
    const { palette, font } = scene;
    const fill = css(item.faint ? palette.faint : palette.ink);
    if (item.swatch) {
      const box = { x: item.x, y: item.y, width: item.side, height: item.side };
      return svgNode("rect", { ...box, fill: css(palette[item.swatch]), stroke: css(palette.faint) });
    }
    if (item.triangle) return svgNode("polygon", { points: item.triangle.join(" "), fill });
    if (item.text === undefined) {
      return svgNode("line", { x1: item.x1, y1: item.y1, x2: item.x2, y2: item.y2, stroke: css(palette.line) });
    }
    const at = { x: item.x, y: item.y, fill, "text-anchor": item.anchor, "dominant-baseline": "central" };
    const look = { "font-size": item.size || font, "font-weight": item.bold ? 600 : 400, "xml:space": "preserve" };
    const turn = item.angle ? { transform: "rotate(" + item.angle + " " + item.x + " " + item.y + ")" } : {};
    return svgNode("text", { ...at, ...look, ...turn }, item.text);
  }

  // One rectangle for each run of equal neighbours: a real drawing, small and sharp at any size.
  function svgCells(scene) {
    const span = spanOf(scene);
    const width = span.column1 - span.column0;
    const height = span.y1 - span.y0;
    const pixels = rasterise(scene.trace, scene.step, span, width, height, scene.palette);
    const cells = svgNode("g", { "shape-rendering": "crispEdges", "clip-path": "url(#plot)" });
    const paper = packed(scene.palette.paper) >>> 0;
    for (let y = 0; y < height; y++) {
      for (let x = 0, end; x < width; x = end) {
        const colour = pixels[y * width + x];
        for (end = x + 1; end < width && pixels[y * width + end] === colour; ) end++;
        if (colour !== paper) cells.append(svgRun(scene, span, x, end, y, colour));
      }
    }
    return cells;
  }

  function svgRun(scene, span, from, to, row, colour) {
    const x = toX(scene, span.column0 + from);
    const y = toY(scene, span.y0 + row);
    const fill = css([colour & 255, (colour >> 8) & 255, (colour >> 16) & 255]);
    return svgNode("rect", { x, y, width: (to - from) * cellWidth(scene), height: cellHeight(scene), fill });
  }

  function svgPicture(scene, title) {
    const { cssWidth, cssHeight, palette } = scene;
    const height = cssHeight + HEADER;
    const size = { width: cssWidth, height, viewBox: [0, 0, cssWidth, height].join(" ") };
    const svg = svgNode("svg", { ...size, "font-family": palette.font });
    const clip = svgNode("clipPath", { id: "plot" });
    const plot = { x: scene.left, y: scene.top, width: scene.width, height: scene.height };
    clip.append(svgNode("rect", plot));
    const map = svgNode("g", { transform: "translate(0 " + HEADER + ")" });
    map.append(svgCells(scene), svgNode("rect", { ...plot, fill: "none", stroke: css(palette.line) }));
    map.append(...axes(scene).map((item) => svgItem(item, scene)));
    svg.append(clip, svgNode("rect", { width: "100%", height: "100%", fill: css(palette.paper) }));
    svg.append(...caption(scene, title).map((item) => svgItem(item, scene)), map);
    return new XMLSerializer().serializeToString(svg);
  }

  function download(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // ---- The address carries the step ---------------------------------------------------------------------------------

  function stepInAddress() {
    const text = new URLSearchParams(location.search).get("step");
    return text !== null && /^[0-9]+$/.test(text) ? Number(text) : null;
  }

  function writeAddress(step) {
    const address = new URL(location.href);
    if (step === null) address.searchParams.delete("step");
    else address.searchParams.set("step", step);
    try {
      history.replaceState(history.state, "", address);
    } catch {
      // Some browsers let no file opened from disk change its address; the picture works without.
    }
  }

  // ---- The instrument -----------------------------------------------------------------------------------------------

  class Instrument {
    constructor(root, onEvent) {
      this.root = root;
      this.onEvent = onEvent;
      this.trace = null;
      this.step = 0;
      this.collapsed = false;
      this.gutter = null; // the row whose label is pointed at
      this.cross = null; // {row, position}, row as drawn or null for the whole column
      this.spans = [];
      this.shown = []; // what each span shows now, so that only changes touch the page
      this.playing = 0;
      this.scratch = makeScratch();
      const find = (selector) => root.querySelector(selector);
      this.empty = find(".rm-empty");
      this.body = find(".rm-body");
      this.slider = find(".rm-slider input");
      this.number = find(".rm-number");
      this.token = find(".rm-token");
      this.speed = find(".rm-speed select");
      this.text = find(".rm-text");
      this.title = find(".rm-title");
      this.canvas = find("canvas");
      this.readout = find(".rm-readout");
      this.alternative = find(".rm-alternative");
      this.collapse = find(".rm-collapse");
      this.listen();
      this.readColours();
    }

    // -- what comes in --

    setPayload(payload) {
      if (!payload) return;
      try {
        this.show(decode(payload));
      } catch (error) {
        this.empty.textContent = "The picture cannot be shown: " + error.message;
        this.empty.hidden = false;
        throw error;
      }
    }

    show(trace) {
      const before = this.trace;
      const grown = before !== null && trace.run !== "" && trace.run === before.run;
      const following = !before || this.step === before.length - 1;
      const wasWhole = !before || this.isWhole();
      this.trace = trace;
      this.counts = noCounts(trace);
      if (!grown) this.startRun(before === null);
      else if (following) this.step = trace.length - 1;
      this.step = Math.min(this.step, trace.length - 1);
      if (!grown || wasWhole) this.view = this.whole();
      this.showWords(grown ? before : null);
      this.empty.hidden = true;
      this.body.hidden = false;
      this.resize();
      this.changed();
    }

    startRun(first) {
      this.pause();
      this.cross = null;
      const asked = first ? stepInAddress() : null;
      this.step = asked === null ? this.trace.length - 1 : asked;
      if (!first) writeAddress(null);
      this.collapse.hidden = this.trace.groups === 1;
      this.collapsed = this.trace.groups > 1 && this.collapse.firstElementChild.checked;
    }

    showWords(before) {
      const { trace } = this;
      this.slider.max = trace.length - 1;
      this.title.textContent = titleOf(trace);
      const keys = ". Control and arrows move through it; Enter explains a token.";
      this.text.setAttribute("aria-label", "The text, " + counted(trace.length, "token") + keys);
      const same = before !== null && before.pieces.every((piece, i) => piece === trace.pieces[i]);
      if (!same) this.text.replaceChildren();
      this.spans.length = this.shown.length = same ? before.length : 0;
      const more = document.createDocumentFragment();
      for (let position = this.spans.length; position < trace.length; position++) more.append(this.makeSpan(position));
      this.text.append(more);
    }

    makeSpan(position) {
      const { trace } = this;
      const span = document.createElement("span");
      const piece = trace.pieces[position];
      span.textContent = piece;
      const kinds = {
        "rm-special": trace.special[position],
        "rm-continued": trace.continued[position] && piece === "",
        "rm-newline": piece.includes("\n"),
        "rm-generated": position >= trace.promptLength,
      };
      span.className = ["rm-t", ...Object.keys(kinds).filter((kind) => kinds[kind])].join(" ");
      this.spans.push(span);
      this.shown.push(null);
      return span;
    }

    // -- drawing, at most once a frame --

    changed() {
      if (this.frame) return;
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        if (this.trace && this.root.isConnected) this.draw();
      });
    }

    draw() {
      moveCounts(this.trace, this.counts, this.step);
      this.drawSteps();
      this.drawText();
      this.drawMap();
      this.drawReadout();
    }

    drawSteps() {
      const { trace, step } = this;
      if (this.drawnStep === step && this.drawnTrace === trace) return;
      this.drawnStep = step;
      this.drawnTrace = trace;
      this.slider.value = step;
      this.slider.setAttribute("aria-valuetext", step + " of " + (trace.length - 1) + ", " + tokenName(trace, step));
      this.number.textContent = step + " / " + (trace.length - 1);
      this.token.textContent = tokenName(trace, step);
      clearTimeout(this.telling);
      // Late, so that a screen reader hears where scrubbing ended and not every step on the way.
      this.telling = setTimeout(() => this.tell(), 250);
    }

    tell() {
      const text = alternative(this.trace, this.step, this.counts);
      this.alternative.textContent = text;
      const keys = "Arrows change the step; control and arrows move the crosshair; Enter explains the cell. ";
      this.canvas.setAttribute("aria-label", "Retention map. " + keys + text);
    }

    drawText() {
      const { trace, step, counts, spans, shown } = this;
      for (let position = 0; position < spans.length; position++) {
        const look = position > step ? "unread" : level(counts.keepers[position], trace.rows);
        if (shown[position] === look) continue;
        shown[position] = look;
        spans[position].dataset.kept = look;
      }
      this.mark("current", "rm-current", spans[step]);
      this.mark("pointed", "rm-pointed", this.cross && spans[this.cross.position]);
      if (this.scrolledTo !== spans[step]) this.scrollTo(spans[step]);
      this.scrolledTo = spans[step];
    }

    mark(name, className, span) {
      if (this[name] === span) return;
      if (this[name]) this[name].classList.remove(className);
      if (span) span.classList.add(className);
      this[name] = span;
    }

    // Inside the box only: scrollIntoView would move the page under the reader.
    scrollTo(span) {
      const box = this.text;
      const top = span.offsetTop; // within the box, which is its offset parent
      const line = span.offsetHeight;
      const seen = top >= box.scrollTop && top + line <= box.scrollTop + box.clientHeight;
      if (!seen) box.scrollTop = top - box.clientHeight / 2;
    }

    scene(overrides = {}) {
      const { step, view, collapsed, palette, cssWidth, cssHeight } = this;
      const ratio = window.devicePixelRatio || 1;
      return makeScene(this.trace, { step, view, collapsed, palette, cssWidth, cssHeight, ratio, ...overrides });
    }

    drawMap() {
      if (!this.cssWidth) return;
      const scene = this.scene();
      const { canvas } = this;
      const width = Math.round(scene.cssWidth * scene.ratio);
      const height = Math.round(scene.cssHeight * scene.ratio);
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      drawScene(canvas.getContext("2d"), scene, this.scratch, this.cross);
    }

    drawReadout() {
      const text = this.story();
      if (this.readout.textContent !== text) this.readout.textContent = text;
    }

    story() {
      const { trace, step, cross, counts } = this;
      if (this.gutter !== null) return this.rowStory(this.gutter);
      if (!cross) return stepStory(trace, step, counts);
      if (cross.row === null) return tokenStory(trace, step, cross.position, counts.keepers[cross.position]);
      const { layer, group } = this.decider(cross.row);
      return cellStory(trace, step, layer, group, cross.position);
    }

    rowStory(row) {
      const { layer, group } = this.decider(row);
      return deciderName(this.trace, layer, group) + " · click to see its whole life";
    }

    decider(row) {
      const { groups } = this.trace;
      return this.collapsed ? { layer: row, group: null } : { layer: Math.floor(row / groups), group: row % groups };
    }

    // -- size and colours --

    size() {
      return { columns: this.trace.total, rows: this.collapsed ? this.trace.layers : this.trace.rows };
    }

    whole() {
      const { columns, rows } = this.size();
      return { x0: 0, x1: columns, y0: 0, y1: rows };
    }

    isWhole() {
      const { columns, rows } = this.size();
      const { x0, x1, y0, y1 } = this.view;
      return x1 - x0 >= columns && y1 - y0 >= rows;
    }

    resize() {
      if (!this.trace) return;
      const box = this.canvas.parentElement;
      const rows = this.size().rows;
      this.cssWidth = box.clientWidth;
      const tallest = Math.max(300, Math.min(640, window.innerHeight * 0.56));
      const perRow = this.cssWidth < 560 ? 9 : 13;
      this.cssHeight = Math.round(clamp(rows * perRow, 180, tallest)) + (this.cssWidth < 560 ? 82 : 96);
      box.style.height = this.cssHeight + "px";
      this.scrolledTo = null; // the lines of the text may have moved
      this.changed();
    }

    readColours() {
      this.palette = readPalette(this.root);
      const { evicted, kept: full } = this.palette;
      for (let at = 0; at <= LEVELS; at++) {
        const tint = mix(evicted, full, at / LEVELS).map(Math.round);
        this.root.style.setProperty("--rm-tint-" + at, css(tint));
        this.root.style.setProperty("--rm-ink-" + at, inkOn(tint));
      }
      this.changed();
    }

    // -- steps --

    go(step) {
      if (!this.trace) return;
      const next = clamp(step, 0, this.trace.length - 1);
      if (next === this.step) return;
      this.step = next;
      this.changed();
      clearTimeout(this.addressing);
      // Browsers allow a hundred changes of the address in half a minute.
      this.addressing = setTimeout(() => writeAddress(this.step), 350);
    }

    pause() {
      cancelAnimationFrame(this.playing);
      this.playing = 0;
      this.showPlaying();
    }

    play() {
      if (this.step === this.trace.length - 1) this.go(0);
      let due = 0;
      let last = performance.now();
      const tick = (now) => {
        due += ((now - last) * Number(this.speed.value)) / 1000;
        last = now;
        const whole = Math.floor(due);
        due -= whole;
        if (whole) this.go(this.step + whole);
        if (this.step === this.trace.length - 1) return this.pause();
        this.playing = requestAnimationFrame(tick);
      };
      this.playing = requestAnimationFrame(tick);
      this.showPlaying();
    }

    showPlaying() {
      const button = this.root.querySelector("[data-do=play]");
      button.classList.toggle("rm-playing", this.playing !== 0);
      button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    }

    // -- zoom --

    zoom(factorX, factorY, atX, atY) {
      this.view = zoomed(this.view, this.size(), factorX, factorY, atX, atY);
      this.viewChanged();
    }

    zoomHere(factor) {
      const { x0, x1, y0, y1 } = this.view;
      const at = this.cross || {};
      const x = at.position === undefined ? (x0 + x1) / 2 : at.position + 0.5;
      const y = at.row === undefined || at.row === null ? (y0 + y1) / 2 : at.row + 0.5;
      this.zoom(factor, factor, x, y);
    }

    viewChanged() {
      this.canvas.classList.toggle("rm-zoomed", !this.isWhole());
      this.changed();
    }

    reveal({ row, position }) {
      const { x0, x1, y0, y1 } = this.view;
      const off = (at, low, high) => (at < low ? at - low : at + 1 > high ? at + 1 - high : 0);
      this.view = moved(this.view, this.size(), off(position, x0, x1), row === null ? 0 : off(row, y0, y1));
    }

    // -- listening --

    listen() {
      this.root.addEventListener("click", (event) => this.onButton(event));
      this.root.addEventListener("keydown", (event) => this.onKey(event));
      this.slider.addEventListener("input", () => {
        this.pause();
        this.go(Number(this.slider.value));
      });
      this.collapse.addEventListener("change", (event) => this.setCollapsed(event.target.checked));
      this.listenToText();
      this.listenToCanvas();
      new ResizeObserver(() => this.resize()).observe(this.root);
      new MutationObserver(() => this.readColours()).observe(document.body, { attributeFilter: ["class"] });
    }

    onButton(event) {
      const button = event.target.closest("button[data-do]");
      if (!button || !this.trace) return;
      const actions = {
        first: () => this.go(0),
        previous: () => this.go(this.step - 1),
        next: () => this.go(this.step + 1),
        last: () => this.go(this.trace.length - 1),
        "zoom-in": () => this.zoomHere(1 / 1.5),
        "zoom-out": () => this.zoomHere(1.5),
        "zoom-reset": () => this.zoomAll(),
        png: () => this.savePng(),
        svg: () => this.saveSvg(),
        help: () => this.toggleHelp(button),
      };
      const what = button.dataset.do;
      if (what === "play") return this.playing ? this.pause() : this.play();
      if (["first", "previous", "next", "last"].includes(what)) this.pause();
      actions[what]();
    }

    zoomAll() {
      this.view = this.whole();
      this.viewChanged();
    }

    toggleHelp(button) {
      const help = this.root.querySelector(".rm-help");
      help.hidden = !help.hidden;
      button.setAttribute("aria-expanded", String(!help.hidden));
    }

    setCollapsed(collapsed) {
      this.collapsed = collapsed;
      this.cross = null;
      this.view = this.whole();
      this.viewChanged();
      this.resize();
    }

    onKey(event) {
      const { target, key } = event;
      if (!this.trace || event.metaKey || target.matches("select")) return;
      const crossing = event.ctrlKey || event.altKey;
      const handled = crossing ? this.moveCross(event) : this.stepKey(event) || this.mapKey(key, target);
      if (handled) event.preventDefault();
    }

    stepKey({ key, shiftKey, target }) {
      const by = shiftKey ? 10 : 1;
      const steps = { ArrowLeft: this.step - by, ArrowRight: this.step + by, Home: 0, End: this.trace.length - 1 };
      if (key in steps) {
        this.pause();
        this.go(steps[key]);
        return true;
      }
      if (key !== " " || target.matches("button, [type=checkbox]")) return false;
      if (this.playing) this.pause();
      else this.play();
      return true;
    }

    mapKey(key, target) {
      if (target !== this.canvas && target !== this.text) return false;
      const inMap = target === this.canvas;
      const actions = {
        "+": () => this.zoomHere(1 / 1.5),
        "=": () => this.zoomHere(1 / 1.5),
        "-": () => this.zoomHere(1.5),
        0: () => this.zoomAll(),
        Enter: () => (inMap ? this.clickCell(this.crossOrStep()) : this.clickToken(this.crossOrStep().position)),
        t: () => this.clickToken(this.crossOrStep().position),
        r: () => this.clickRow(this.crossOrStep().row || 0),
        Escape: () => this.point(null),
      };
      const action = actions[key.length === 1 ? key.toLowerCase() : key];
      if (action) action();
      return Boolean(action);
    }

    crossOrStep() {
      return this.cross || { row: 0, position: this.step };
    }

    moveCross({ key, target }) {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (!(key in moves) || (target !== this.canvas && target !== this.text)) return false;
      const [down, right] = this.cross ? moves[key] : [0, 0];
      const from = this.crossOrStep();
      const position = clamp(from.position + right, 0, this.trace.length - 1);
      const row = target === this.text ? null : clamp((from.row || 0) + down, 0, this.size().rows - 1);
      this.point({ row, position });
      this.reveal(this.cross);
      if (target === this.text) this.scrollTo(this.spans[position]);
      // A crosshair moved by key is news to whoever cannot see it.
      this.alternative.textContent = this.story();
      return true;
    }

    point(cross, gutter = null) {
      this.cross = cross;
      this.gutter = gutter;
      this.changed();
    }

    // -- the text --

    listenToText() {
      const positionOf = (target) => (target.classList.contains("rm-t") ? this.spans.indexOf(target) : -1);
      this.text.addEventListener("click", (event) => {
        const position = positionOf(event.target);
        if (position >= 0) this.clickToken(position);
      });
      this.text.addEventListener("pointermove", (event) => {
        const position = positionOf(event.target);
        this.point(position >= 0 ? { row: null, position } : null);
      });
      this.text.addEventListener("pointerleave", () => this.point(null));
    }

    // -- the canvas --

    listenToCanvas() {
      const { canvas } = this;
      this.pointers = new Map();
      canvas.addEventListener("pointerdown", (event) => this.onDown(event));
      canvas.addEventListener("pointermove", (event) => this.onMove(event));
      canvas.addEventListener("pointerup", (event) => this.onUp(event));
      canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
      canvas.addEventListener("pointerleave", () => this.pointers.size || this.point(null));
      canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    }

    // What lies under a point: a cell, a row's label (position null), or nothing.
    hit({ x, y }) {
      const scene = this.scene();
      const row = Math.floor(toRow(scene, y));
      const position = Math.floor(toColumn(scene, x));
      if (y < scene.top || y >= scene.top + scene.height || row < 0 || row >= this.size().rows) return null;
      if (x < scene.left) return { row, position: null };
      if (x >= scene.left + scene.width || position < 0 || position >= this.trace.length) return null;
      return { row, position };
    }

    onDown(event) {
      if (!this.trace) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, this.at(event));
      this.travelled = this.pointers.size > 1 ? Infinity : 0;
    }

    onMove(event) {
      if (!this.trace) return;
      const to = this.at(event);
      const from = this.pointers.get(event.pointerId);
      if (!from) return this.hover(to);
      this.travelled += Math.abs(to.x - from.x) + Math.abs(to.y - from.y);
      if (this.pointers.size === 1) {
        if (this.travelled > 5) this.pan(to.x - from.x, to.y - from.y);
        else return;
      } else this.pinch(event.pointerId, from, to);
      this.pointers.set(event.pointerId, to);
    }

    hover(point) {
      const hit = this.hit(point);
      this.canvas.classList.toggle("rm-over", hit !== null);
      if (hit && hit.position === null) this.point(null, hit.row);
      else this.point(hit);
    }

    pan(dx, dy) {
      const scene = this.scene();
      const { x0, x1, y0, y1 } = this.view;
      this.view = moved(this.view, this.size(), (-dx * (x1 - x0)) / scene.width, (-dy * (y1 - y0)) / scene.height);
      this.viewChanged();
    }

    // Each axis by how far the fingers move apart along it; an axis along which they are close stays as it is.
    pinch(id, from, to) {
      const scene = this.scene();
      const other = [...this.pointers].find(([key]) => key !== id)[1];
      const factor = (now, before) => (Math.abs(before) < 40 ? 1 : Math.abs(before) / Math.max(20, Math.abs(now)));
      const atX = toColumn(scene, other.x);
      const atY = toRow(scene, other.y);
      this.zoom(factor(to.x - other.x, from.x - other.x), factor(to.y - other.y, from.y - other.y), atX, atY);
    }

    onUp(event) {
      const was = this.pointers.get(event.pointerId);
      this.pointers.delete(event.pointerId);
      if (!was || this.travelled > 5) return;
      const hit = this.hit(this.at(event));
      if (!hit) return;
      if (hit.position === null) return this.clickRow(hit.row);
      this.point(hit);
      this.clickCell(hit);
    }

    onWheel(event) {
      if (!this.trace) return;
      const delta = event.deltaY || event.deltaX; // with shift, browsers turn the wheel sideways
      if (delta > 0 && this.isWhole()) return; // the page scrolls on
      event.preventDefault();
      const scene = this.scene();
      const { x, y } = this.at(event);
      const factor = Math.exp(clamp(delta, -120, 120) / 400);
      this.zoom(event.altKey ? 1 : factor, event.shiftKey ? 1 : factor, toColumn(scene, x), toRow(scene, y));
    }

    // -- what goes out --

    clickCell({ row, position }) {
      const { layer, group } = this.decider(row || 0);
      // A cell of a collapsed row is many heads' at once: their common story is the token's.
      if (group === null) this.clickToken(position);
      else this.onEvent("cell", { layer, group, position, step: this.step });
    }

    clickToken(position) {
      this.onEvent("token", { position, step: this.step });
    }

    clickRow(row) {
      const { layer, group } = this.decider(row);
      this.onEvent("row", { layer, group: group || 0, step: this.step });
    }

    // -- pictures to save --

    fileName(extension) {
      const words = [this.trace.policy, this.trace.budget || "", "step", this.step].join(" ").toLowerCase();
      return words.replace(/[^a-z0-9+]+/g, "-") + "." + extension;
    }

    savePng() {
      const scene = this.scene({ ratio: 2 });
      drawPicture(scene, titleOf(this.trace)).toBlob((blob) => download(blob, this.fileName("png")), "image/png");
    }

    saveSvg() {
      const text = svgPicture(this.scene(), titleOf(this.trace));
      download(new Blob([text], { type: "image/svg+xml" }), this.fileName("svg"));
    }
  }

  // `element` contains retention_map.html. `onEvent(name, detail)` hears of "cell", "token" and "row".
  function mount(element, { onEvent = () => {} } = {}) {
    return new Instrument(element.querySelector(".rm"), onEvent);
  }

  const pure = { decode, noCounts, moveCounts, level, rasterise, cellStory, luminance };
  return { mount, kept: everyCell(isKept), attended: everyCell(isAttended), ...pure };
})();
