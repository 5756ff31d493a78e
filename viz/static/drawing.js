// What is true of a trace at a step, in words, colours and pixels: shared by everything that draws maps.
const Drawing = (() => {
  "use strict";

  const { say, amount } = Words;

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

  function floats({ base64 }) {
    return new Float32Array(bytes(base64).buffer);
  }

  function decode(payload) {
    if (payload.schema !== SCHEMA) {
      throw new Error(say("this picture is of another version of the app: reload the page"));
    }
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
      older: decodeHeld(payload.older),
      marks: payload.marks.map((mark) => ({ ...mark, older: decodeHeld(mark.older) })),
    };
  }

  // Rows from before the window that is shown, as `_held_before` in Python sends them.
  function decodeHeld(sent) {
    return sent && { kept: integers(sent.kept), ends: integers(sent.ends), evictedAt: integers(sent.evicted_at) };
  }

  // How many of them a holder still has after the step.
  function heldAfter({ kept, ends, evictedAt }, holder, step) {
    const first = holder ? ends[holder - 1] : 0;
    let [low, high] = [first, ends[holder]];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (evictedAt[middle] <= step) low = middle + 1;
      else high = middle;
    }
    return kept[holder] - (low - first);
  }

  // The same of a row of a map in which `per` deciders share one; the mean of theirs.
  function olderIn(trace, step, row, per = 1) {
    let sum = 0;
    for (let holder = row * per; holder < (row + 1) * per; holder++) sum += heldAfter(trace.older, holder, step);
    return sum / per;
  }

  const olderTotal = (trace, step) => (trace.older ? olderIn(trace, step, 0, trace.rows) * trace.rows : 0);

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

  // How many deciders of one layer keep the token after the step.
  function keepersIn({ evictedAt, groups, length }, step, layer, position) {
    let count = 0;
    for (let group = 0; group < groups; group++) {
      count += isKept(step, position, evictedAt[(layer * groups + group) * length + position]);
    }
    return count;
  }

  const noCounts = (trace) => ({ step: -1, keepers: new Uint16Array(trace.length), total: 0 });
  const evictedDuring = (trace, step) => trace.starts[step + 1] - trace.starts[step];

  // Of a marked passage after the step: its tokens that have been read, and the rows of them that are kept.
  function markState(mark, step, { keepers }) {
    const end = Math.min(mark.end, step + 1);
    let kept = mark.older ? heldAfter(mark.older, 0, step) : 0;
    for (let position = Math.max(0, mark.start); position < end; position++) kept += keepers[position];
    return { read: Math.max(0, end - mark.start), kept };
  }

  // 0 only for nobody and LEVELS only for everybody: "almost forgotten" is not "forgotten".
  function level(count, of) {
    if (count === 0 || count === of) return count && LEVELS;
    return Math.min(LEVELS - 1, Math.max(1, Math.round((LEVELS * count) / of)));
  }

  // ---- Words --------------------------------------------------------------------------------------------------------

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  const number = (value) => value.toLocaleString("en");
  const inPercent = (share) => say("{share}\u00a0%", { share });
  const percent = (part, whole) => inPercent(Math.round((100 * part) / whole));
  const counted = (count, noun) => amount(number(count), noun);

  const visible = (text) => text.replace(/\r?\n/g, "↵").replace(/\t/g, "⇥");

  function tokenName(trace, position) {
    const piece = trace.pieces[position];
    if (!trace.continued[position]) return "“" + visible(piece) + "”";
    let first = position;
    while (first > 0 && trace.continued[first]) first--;
    return say("more of {token}", { token: "“" + visible(trace.pieces[first]) + "”" });
  }

  function shortName(trace, position, longest) {
    if (trace.continued[position]) return "…";
    const characters = Array.from(visible(trace.pieces[position]).trim() || "␣");
    return characters.length > longest ? characters.slice(0, longest - 1).join("") + "…" : characters.join("");
  }

  // Positions and steps count from the first of the window that is shown; people read those of the whole text.
  const inText = (trace, position) => trace.start + position;

  // The token with its place and the marks that it lies in.
  function placeName(trace, position) {
    const token = say("token {position} {name}", {
      position: inText(trace, position),
      name: tokenName(trace, position),
    });
    const marked = trace.marks.filter(({ start, end }) => start <= position && position < end);
    const marks = marked.map((mark) => mark.label).join(", ");
    return marked.length ? say("{token} ({marks})", { token, marks }) : token;
  }

  function deciderName(trace, layer, group) {
    if (group === null || trace.groups === 1) return say("Layer {layer}", { layer });
    return say("Layer {layer}, KV head {group}", { layer, group });
  }

  // One line about one cell: what it is now and its history.
  function cellStory(trace, step, layer, group, position) {
    const name = deciderName(trace, layer, group) + " · " + placeName(trace, position);
    return name + " · " + cellHistory(trace, step, layer, group, position);
  }

  function cellHistory(trace, step, layer, group, position) {
    if (position > step) return say("not read yet");
    if (group === null) return keptBy(keepersIn(trace, step, layer, position), counted(trace.groups, "KV head"));
    const end = trace.evictedAt[(layer * trace.groups + group) * trace.length + position];
    if (end === trace.length) return goesOn(trace) ? say("kept to the end of this window") : say("kept to the end");
    const when = endOfLife(trace, step, position, end);
    if (isKept(step, position, end)) return say("kept now · will be evicted {when}", { when });
    if (isAttended(step, position, end)) return say("seen for the last time, then just evicted {when}", { when });
    return step - end < FADE ? say("just evicted {when}", { when }) : say("evicted {when}", { when });
  }

  function endOfLife(trace, step, position, end) {
    const at = inText(trace, end);
    if (end === position) return say("at once, at step {step}", { step: at });
    // At that very step the map says already what is being read.
    const reader = step === end ? "" : say(", reading {token}", { token: tokenName(trace, end) });
    return say("after {steps}, at step {step}{reader}", { steps: counted(end - position, "step"), step: at, reader });
  }

  const goesOn = ({ start, total, whole }) => start + total < whole;

  const keptBy = (count, all) => say("kept by {count} of {all}", { count: number(count), all });

  // Of a token: by how many deciders it is kept after the step.
  function shareStory(trace, step, position, count) {
    if (position > step) return say("not read yet");
    return keptBy(count, trace.groups > 1 ? counted(trace.rows, "KV head") : counted(trace.layers, "layer"));
  }

  const tokenStory = (trace, step, position, count) =>
    sentence(placeName(trace, position)) + " · " + shareStory(trace, step, position, count);

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  // Rows of the multi-state at a step: the summary under the map, and the text alternative of the picture.
  function stepStory(trace, step, counts) {
    const read = (inText(trace, step) + 1) * trace.rows;
    const older = olderTotal(trace, step);
    const kept = counts.total + older;
    const evicted = evictedDuring(trace, step) + olderTotal(trace, step - 1) - older;
    return say("{kept} rows kept of {read} read ({share}){older}; {evicted} evicted at this step.", {
      kept: number(kept),
      read: number(read),
      share: percent(kept, read),
      older: olderStory(trace, number(older)),
      evicted: number(evicted),
    });
  }

  // How many of the rows, a number that is written out, are older than the window; nothing where none can be.
  const olderStory = (trace, older) =>
    trace.older ? say(", {older} of them from before token {start}", { older, start: number(trace.start) }) : "";

  const olderLegend = ({ start }) => say("older: kept from before token {start}:", { start: number(start) });

  function markStory(trace, mark, step, counts) {
    const { read, kept } = markState(mark, step, counts);
    if (read === 0) return say("{mark}: not read yet", { mark: mark.label });
    const all = read * trace.rows;
    // "Almost forgotten" is not "forgotten", nor "almost all" "all".
    const near = inPercent(clamp(Math.round((100 * kept) / all), 1, 99));
    return say("{mark}: {share} kept", { mark: mark.label, share: kept && kept < all ? near : percent(kept, all) });
  }

  function alternative(trace, step, counts) {
    const { groups } = trace;
    const layers = counted(trace.layers, "layer");
    const rows = groups > 1 ? say("{layers} of {groups} KV heads", { layers, groups }) : layers;
    const story = stepStory(trace, step, counts);
    const told = say("{step}. {rows}. {story}", { step: sentence(stepName(trace, step)), rows, story });
    const marks = trace.marks.map((mark) => say(" {mark}.", { mark: sentence(markStory(trace, mark, step, counts)) }));
    return told + marks.join("");
  }

  // Where in the text a step is; `token` is its token in words, "" where several texts have different ones.
  function stepName(trace, step, token = tokenName(trace, step)) {
    const where = { step: inText(trace, step), last: inText(trace, trace.length - 1), token };
    return token ? say("step {step} of {last}, token {token}", where) : say("step {step} of {last}", where);
  }

  function windowName({ start, length, whole }) {
    const [first, last] = [start, start + length - 1].map(number);
    return say("tokens {first}–{last} of {whole}", { first, last, whole: number(whole) });
  }

  function policyName({ policy, budget, positions }) {
    const name = budget === null ? policy : say("{policy}, budget {budget}", { policy, budget: number(budget) });
    return positions === "original" ? name : say("{policy}, {positions} positions", { policy: name, positions });
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
  function readPalette(element, more = []) {
    const style = getComputedStyle(element);
    const colour = (name) => {
      const hex = style.getPropertyValue("--rm-" + name).trim();
      return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    };
    const marks = ["evidence", "question"];
    const names = ["kept", "fresh", "evicted", "paper", "ink", "faint", "line", ...marks, ...more];
    return { ...Object.fromEntries(names.map((name) => [name, colour(name)])), font: style.fontFamily };
  }

  // The tints of the tokens of a text, from kept by nobody to kept by everybody, for the stylesheet.
  function setTints(element, { evicted, kept }) {
    for (let at = 0; at <= LEVELS; at++) setTint(element, at, mix(evicted, kept, at / LEVELS));
  }

  function setTint(element, name, colour) {
    const tint = colour.map(Math.round);
    element.style.setProperty("--rm-tint-" + name, css(tint));
    element.style.setProperty("--rm-ink-" + name, inkOn(tint));
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
    const above = scene.above ? [...positionAxis(scene), ...stepMarker(scene)] : [];
    const older = scene.trace.older ? olderColumn(scene) : [];
    return [...layerAxis(scene), ...older, ...above, ...brackets(scene), ...(scene.below ? tokenAxis(scene) : [])];
  }

  function layerAxis(scene) {
    const { trace, view, font, collapsed } = scene;
    const perLayer = collapsed ? 1 : trace.groups;
    const rowHeight = cellHeight(scene);
    const every = stride(font + 3, rowHeight * perLayer);
    const middle = scene.top + scene.height / 2;
    const name = say("layer");
    const turned = name.length > 1 ? { angle: -90 } : {}; // a word, but not a single Chinese character
    const items = [{ text: name, x: font * 0.7, y: middle, ...turned, anchor: "middle", faint: true }];
    const heads = perLayer > 1 && rowHeight >= font;
    const edge = scene.left - scene.older - 8;
    const x = heads ? edge + 8 - font * 1.9 : edge;
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
      if (insideRows(scene, y)) items.push({ text, x: edge, y, anchor: "end", faint: true });
    }
    return items;
  }

  // Left of the cells, for each row: how much of what it may hold it still holds of rows from before the window.
  function olderColumn(scene) {
    const { trace, palette, view, step, font } = scene;
    const width = Math.round(font);
    const x = scene.left - scene.older;
    const per = scene.collapsed ? trace.groups : 1;
    const items = [];
    for (let row = Math.floor(view.y0); row < view.y1; row++) {
      const y = Math.max(scene.top, toY(scene, row));
      const height = Math.min(scene.top + scene.height, toY(scene, row + 1)) - y;
      const share = clamp(olderIn(trace, step, row, per) / mostOlder(trace), 0, 1);
      items.push({ box: [x, y, width, height], fill: mix(palette.evicted, palette.kept, share) });
    }
    if (!scene.below) return items;
    const place = { x: x + width / 2 + 2, y: scene.top + scene.height + 10, angle: -45, anchor: "end" };
    return [...items, { text: say("older"), ...place, faint: true }];
  }

  // So many rows from before the window can a decider hold.
  const mostOlder = ({ budget, start }) => Math.min(budget ?? start, start);

  // Over the columns of each mark; where there is room above, with its name.
  function brackets(scene) {
    const { trace, palette, left, width, top, font } = scene;
    const items = [];
    let free = left;
    for (const { start, end, label, kind } of trace.marks) {
      if (toX(scene, end) <= left || toX(scene, start) >= left + width) continue;
      const x1 = clamp(toX(scene, start), left, left + width - THICK);
      const x2 = clamp(toX(scene, end), x1 + THICK, left + width);
      const y = top - 5;
      const path = [[x1, top], [x1, y], [x2, y], [x2, top]];
      items.push({ path, stroke: palette[kind], dashed: kind === "question" });
      const long = textWidth(label, font, palette.font);
      const x = clamp((x1 + x2) / 2, free + long / 2, left + width - long / 2);
      if (!scene.above || x < free + long / 2 || Math.abs(x - (x1 + x2) / 2) > long) continue;
      items.push({ text: label, x, y: y - font * 0.7, anchor: "middle" });
      free = x + long / 2 + font;
    }
    return items;
  }

  const measuring = document.createElement("canvas").getContext("2d");

  function textWidth(text, size, family, bold = false) {
    measuring.font = (bold ? "600 " : "") + size + "px " + family;
    return measuring.measureText(text).width;
  }

  const insideRows = (scene, y) => y > scene.top + 1 && y < scene.top + scene.height - 1;

  function positionAxis(scene) {
    const { trace, view, font, step, axis } = scene;
    const every = stride(font * 4, cellWidth(scene));
    const items = [];
    const marker = toX(scene, step + 0.5);
    const first = Math.ceil(inText(trace, view.x0) / every) * every - trace.start;
    for (let column = first; column < view.x1; column += every) {
      const x = toX(scene, column + 0.5);
      if (x > scene.left + scene.width - 4) continue;
      items.push({ line: [x, axis - 5, x, axis - 1] });
      if (Math.abs(x - marker) < font * 3) continue;
      items.push({ text: String(inText(trace, column)), x, y: axis - 6 - font * 0.6, anchor: "middle", faint: true });
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
      items.push({ line: [x, y + 1, x, y + 5] });
      items.push({ text: shortName(trace, column, 11), x: x + 2, y: y + 10, angle: -45, anchor: "end", faint });
    }
    return items;
  }

  function stepMarker(scene) {
    const { trace, font, step, axis } = scene;
    const x = toX(scene, step + 0.5);
    if (x < scene.left - 1 || x > scene.left + scene.width + 1) return [];
    const tip = axis - 1;
    const triangle = [x - 5, tip - 7, x + 5, tip - 7, x, tip];
    const text = String(inText(trace, step));
    const inside = Math.min(x, scene.left + scene.width - text.length * font * 0.3);
    const name = { text, x: inside, y: tip - 9 - font * 0.45, anchor: "middle", bold: true };
    return axis === scene.top ? [{ triangle }, name] : [{ triangle }, { line: [x, axis, x, scene.top] }, name];
  }

  function paint(context, item, scene) {
    if (item.box) paintBox(context, item);
    else if (item.path) paintPath(context, item);
    else if (item.line) paintLine(context, item, scene);
    else if (item.triangle) paintTriangle(context, item, scene);
    else paintText(context, item, scene);
  }

  function paintBox(context, { box: [x, y, width, height], fill, stroke }) {
    context.fillStyle = css(fill);
    context.fillRect(x, y, width, height);
    if (!stroke) return;
    context.strokeStyle = css(stroke);
    context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  }

  const THICK = 3; // pixels of a bracket
  const DASHES = [4, 3];

  function paintPath(context, { path, stroke, dashed }) {
    context.save();
    context.strokeStyle = css(stroke);
    context.lineWidth = THICK;
    context.setLineDash(dashed ? DASHES : []);
    context.beginPath();
    for (const [x, y] of path) context.lineTo(x, y);
    context.stroke();
    context.restore();
  }

  function paintLine(context, { line: [x1, y1, x2, y2] }, { palette }) {
    context.fillStyle = css(palette.line);
    context.fillRect(Math.round(x1), y1, Math.max(1, x2 - x1), Math.max(1, y2 - y1));
  }

  function paintTriangle(context, { triangle: [x1, y1, x2, y2, x3, y3] }, { palette }) {
    context.fillStyle = css(palette.ink);
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.lineTo(x3, y3);
    context.fill();
  }

  function paintText(context, item, { palette, font }) {
    context.save();
    context.fillStyle = css(item.faint ? palette.faint : palette.ink);
    context.font = (item.bold ? "600 " : "") + (item.size || font) + "px " + palette.font;
    context.textAlign = item.anchor === "middle" ? "center" : item.anchor; // SVG's word, and canvas's
    context.textBaseline = "middle";
    context.translate(item.x, item.y);
    if (item.angle) context.rotate((item.angle * Math.PI) / 180);
    context.fillText(item.text, 0, 0);
    context.restore();
  }

  // ---- The map on a canvas ------------------------------------------------------------------------------------------

  const isNarrow = (cssWidth) => cssWidth < 560;

  // The room around the cells. Maps one under another need the positions above and the tokens below only once, and the
  // same `heads` (room for the numbers of KV heads) for all, so that their columns are aligned. `older` is how much of
  // the left is for the column of older rows, `axis` how far down the positions stand on the brackets of the marks.
  function margins(trace, { cssWidth, heads, above = true, below = true }) {
    const font = isNarrow(cssWidth) ? 11 : document.body.classList.contains("projector") ? 20 : 13;
    const older = trace.start ? font * 2 : 0;
    const bracket = trace.marks.length ? (above ? font * 1.5 + 4 : 6) : 0;
    const axis = above ? font * 2.2 : font * 0.6;
    return {
      font,
      older,
      axis,
      left: Math.round(font * (heads ? 5.2 : 4)) + older,
      right: isNarrow(cssWidth) ? 6 : 12,
      top: axis + bracket,
      bottom: below ? font * 4.8 : 2,
    };
  }

  // Everything a drawing depends on; `ratio` is device pixels per CSS pixel.
  function makeScene(trace, options) {
    const { cssWidth, cssHeight, above = true, below = true } = options;
    const { heads = trace.groups > 1 && !options.collapsed } = options;
    const { right, bottom, ...room } = margins(trace, { cssWidth, heads, above, below });
    const width = Math.max(40, cssWidth - room.left - right);
    const height = Math.max(40, cssHeight - room.top - bottom);
    return { ...options, ...room, trace, above, below, width, height };
  }

  const rowsOf = ({ trace, collapsed }) => (collapsed ? trace.layers : trace.rows);

  function spanOf({ trace, view, collapsed }) {
    const per = collapsed ? trace.groups : 1;
    const rows = trace.rows / per;
    const y0 = Math.max(0, Math.floor(view.y0));
    const y1 = Math.min(rows, Math.ceil(view.y1));
    const column1 = Math.min(trace.length, Math.ceil(view.x1));
    const column0 = Math.min(Math.floor(view.x0), column1 - 1);
    return { row0: y0 * per, row1: y1 * per, column0, column1, y0, y1 };
  }

  const retention = (scene, span, width, height, memo) =>
    rasterise(scene.trace, scene.step, span, width, height, scene.palette, memo);

  // What lives from one drawing of cells to the next. `pixels` colours them, as `retention` does.
  const makeScratch = (pixels = retention) => ({ canvas: document.createElement("canvas"), memo: {}, pixels });

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
    const pixels = scratch.pixels(scene, span, width, height, scratch.memo);
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

  // `rows` of the map, or one: a layer's heads where somebody points at a layer.
  function drawCross(context, scene, { row, rows = 1, position }) {
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
      const down = Math.max(toY(scene, row + rows) - y, 1);
      context.strokeRect(left - 2, y - 0.5, width + 4, down + 1);
      context.globalAlpha = 1;
      context.lineWidth = 2;
      context.strokeRect(x - 1, y - 1, across + 2, down + 2);
    }
    context.restore();
  }

  return {
    ...{ decode, floats, setText, noCounts, moveCounts, keepersIn, olderIn, olderTotal, mostOlder, level },
    ...{ isKept, isAttended, everyCell, number, percent, counted, inText, goesOn, sentence, tokenName, placeName },
    ...{ deciderName, cellStory, cellHistory, shareStory, tokenStory, stepStory, stepName, windowName, olderStory },
    ...{ olderLegend, markStory },
    ...{ alternative, policyName, clamp, mix, css, packed, luminance, readPalette, setTints, setTint },
    ...{ rasterise, spread, zoomed, moved, toX, toY, toColumn, toRow, cellWidth, cellHeight, axes, paint, textWidth },
    ...{ THICK, DASHES, isNarrow, margins, makeScene, rowsOf, spanOf, retention, makeScratch, drawScene },
  };
})();
