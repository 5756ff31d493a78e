// The difference of two policies: which tokens both keep, only one of them, or neither.
const Differences = (() => {
  "use strict";

  const { say } = Words;
  const { stepOf, keepersIn, isKept, inText } = Traces;
  const { policyName } = Sentences;
  const { overlapStory } = Stories;
  const { packed } = Colours;
  const { spread } = Pixels;
  const { clamp } = Scenes;
  const { Panel } = Panels;
  const { setText, setOptions } = Elements;

  // For each position from `start` on, the share of deciders that keep it, of one row of a map with `per` rows a layer.
  function fillShares(shares, trace, per, step, row, start) {
    const { evictedAt, groups, length } = trace;
    const own = stepOf(trace, step);
    for (let i = 0; i < shares.length; i++) {
      const position = start + i;
      if (position >= length) shares[i] = 0;
      else if (groups !== per) shares[i] = keepersIn(trace, own, row, position) / groups;
      else shares[i] = isKept(own, position, evictedAt[row * length + position]) ? 1 : 0;
    }
  }

  // Where deciders of two policies correspond, each has a row; where not, each layer.
  const rowsPerLayer = (a, b, collapsed) => (collapsed || a.groups !== b.groups ? 1 : a.groups);

  // The tokens that a decider keeps on average: under both policies, only under a, only under b.
  function overlap(a, b, step) {
    const per = rowsPerLayer(a, b, false);
    const rows = a.layers * per;
    const [inA, inB] = [new Float64Array(step + 1), new Float64Array(step + 1)];
    const sum = { both: 0, onlyA: 0, onlyB: 0 };
    for (let row = 0; row < rows; row++) {
      fillShares(inA, a, per, step, row, 0);
      fillShares(inB, b, per, step, row, 0);
      for (let position = 0; position <= step; position++) {
        sum.both += Math.min(inA[position], inB[position]);
        sum.onlyA += Math.max(0, inA[position] - inB[position]);
        sum.onlyB += Math.max(0, inB[position] - inA[position]);
      }
    }
    return { both: sum.both / rows, onlyA: sum.onlyA / rows, onlyB: sum.onlyB / rows };
  }

  // As Pixels' `rasterise`, of two traces: a pixel has the colours of its cells in the shares that they have.
  function differencePixels(a, b, per, step, span, width, height, palette) {
    const columns = spread(span.column1 - span.column0, width);
    const rows = spread(span.row1 - span.row0, height);
    const sums = new Float32Array(4 * width * height); // kept by both, by a only, by b only, by neither
    const read = clamp(step + 1 - span.column0, 0, span.column1 - span.column0);
    const [inA, inB] = [new Float64Array(read), new Float64Array(read)];
    for (let row = span.row0; row < span.row1; row++) {
      fillShares(inA, a, per, step, row, span.column0);
      fillShares(inB, b, per, step, row, span.column0);
      const line = rows.pixelOf[row - span.row0] * width;
      for (let x = 0; x < read; x++) {
        const pixel = 4 * (line + columns.pixelOf[x]);
        sums[pixel] += Math.min(inA[x], inB[x]);
        sums[pixel + 1] += Math.max(0, inA[x] - inB[x]);
        sums[pixel + 2] += Math.max(0, inB[x] - inA[x]);
        sums[pixel + 3] += 1 - Math.max(inA[x], inB[x]);
      }
    }
    return mixtures(sums, [palette.kept, palette["only-a"], palette["only-b"], palette.evicted], palette.paper);
  }

  // Pixels of four colours in these amounts, four for each pixel; paper where there is nothing.
  function mixtures(amounts, colours, paper) {
    const pixels = new Uint32Array(amounts.length / 4).fill(packed(paper));
    const pure = colours.map(packed);
    for (let pixel = 0, at = 0; pixel < pixels.length; pixel++, at += 4) {
      const whole = amounts[at] + amounts[at + 1] + amounts[at + 2] + amounts[at + 3];
      if (whole === 0) continue;
      let most = 0;
      for (let i = 1; i < 4; i++) if (amounts[at + i] > amounts[at + most]) most = i;
      const alone = amounts[at + most] === whole;
      pixels[pixel] = alone ? pure[most] : packed(blend(colours, amounts.subarray(at, at + 4), whole));
    }
    return pixels;
  }

  function blend(colours, parts, whole) {
    const sum = [0, 0, 0];
    for (let i = 0; i < 4; i++) for (let c = 0; c < 3; c++) sum[c] += (colours[i][c] * parts[i]) / whole;
    return sum;
  }

  // The tokens of two texts position by position; where they are not the same, there is no one token to name.
  function commonPieces(a, b) {
    const longer = a.length < b.length ? b : a;
    return longer.pieces.map((piece, i) => (a.pieces[i] === b.pieces[i] ? piece : "≠"));
  }

  // The panel under the maps: A and B to choose, their map, and how much they have in common.
  class Difference extends Panel {
    // `root` contains .rm-difference.
    constructor(root, host) {
      super(host, (scene, ...drawing) => this.pixels(scene, ...drawing));
      this.root = root.querySelector(".rm-difference");
      const find = (selector) => this.root.querySelector(selector);
      this.selects = [find(".rm-a"), find(".rm-b")];
      this.keys = [find(".rm-key-a span"), find(".rm-key-b span")];
      this.words = find(".rm-overlap");
      this.words.before(this.box);
      for (const select of this.selects) select.addEventListener("change", () => host.onRows());
    }

    get shown() {
      return !this.root.hidden;
    }

    setNames(names) {
      this.selects.forEach((select, i) => setOptions(select, names, Math.min(i, names.length - 1)));
    }

    setPair(traces, collapsed) {
      const pair = this.selects.map((select) => traces[select.value]);
      const [a, b] = pair;
      [this.a, this.b] = pair;
      this.policy = Number(this.selects[0].value);
      const per = rowsPerLayer(a, b, collapsed);
      const longer = a.length < b.length ? b : a;
      const own = { groups: per, rows: longer.layers * per, pieces: commonPieces(a, b) };
      // What is kept is compared, not what is seen.
      this.trace = { ...longer, ...own, older: null, slidingWindows: [] };
      this.keys.forEach((key, i) => setText(key, policyName(pair[i])));
    }

    pixels({ palette }, span, width, height) {
      return differencePixels(this.a, this.b, this.per, this.host.steps.step, span, width, height, palette);
    }

    click({ position }) {
      if (position !== null) this.host.clickToken(position, this.policy);
    }

    drawWords(step) {
      const { a, b } = this;
      const differ = a.pieces.findIndex((piece, i) => piece !== b.pieces[i]);
      const same = this.host.mode === "read" || differ < 0;
      const note = same ? "" : say(" From token {position} on their texts differ.", { position: inText(a, differ) });
      setText(this.words, overlapStory(overlap(a, b, step), rowsPerLayer(a, b, false)) + note);
    }

    name() {
      const [a, b] = [this.a, this.b].map(policyName);
      return say("Difference between A, {a}, and B, {b}", { a, b });
    }

    tell(keys) {
      const told = { difference: this.name(), keys, story: this.words.textContent };
      this.canvas.setAttribute("aria-label", say("{difference}. {keys} {story}", told));
    }

    addTo(picture) {
      picture.addText(this.name(), { bold: true });
      picture.addLegend([
        { text: say("kept by both"), colour: "kept" },
        { text: say("only by A: {policy}", { policy: policyName(this.a) }), colour: "only-a" },
        { text: say("only by B: {policy}", { policy: policyName(this.b) }), colour: "only-b" },
        { text: say("by neither"), colour: "evicted" },
        { text: say("not read yet"), colour: "paper" },
      ]);
      picture.addMap(this.scene(2), this.scratch.pixels);
      picture.addText(this.words.textContent);
    }
  }

  return { Difference, overlap, differencePixels };
})();
