// Several policies on one text, or on one prompt: their maps one under another, moved by one step control.
const ComparisonMap = (() => {
  "use strict";

  const { say, counted, tokens, translate } = Words;
  const { decode, floats, noCounts, moveCounts, keepersIn, isKept, olderTotal, inText } = Traces;
  const { percent, capitalised, tokenName, placeName, deciderName, policyName, stepName } = Sentences;
  const { cellHistory, shareStory, markStory, alternative, olderStory, olderLegend, unseenStory } = Sentences;
  const { canHide, unseenTotal } = Sight;
  const { mix, packed, readPalette, setTints, setTint } = Colours;
  const { spread } = Pixels;
  const { clamp, isNarrow, margins, makeScene, rowsOf } = Scenes;
  const { retention, makeScratch, drawScene } = Painter;
  const { StepControl, WindowControl, MarkKeys, TextPane, Viewport, Pointer } = Controls;
  const { lookOf, oncePerFrame, fitted, setText, toggleHelp } = Controls;
  const { Picture, statesOf } = Pictures;

  const WORST = 3; // nats: a token that costs more has the last tint
  const COST_LEVELS = 8; // tints on each side of no difference

  // ---- What several traces are at a step ----------------------------------------------------------------------------

  function decodeAll({ policies, ...shared }) {
    const traces = policies.map((policy) => ({
      ...decode({ ...shared, ...policy }),
      divergesAt: policy.diverges_at ?? null,
      deltaNll: policy.delta_nll ? floats(policy.delta_nll) : null,
    }));
    const length = Math.max(...traces.map((trace) => trace.length));
    return { ...shared, traces, length, priced: traces.every((trace) => trace.deltaNll) };
  }

  // A trace that ended earlier than the others stays as it was.
  const stepOf = (trace, step) => Math.min(step, trace.length - 1);

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

  // -COST_LEVELS … COST_LEVELS; where nothing is predicted, nothing is lost.
  function costLevel(nats) {
    if (Number.isNaN(nats)) return 0;
    return Math.round((COST_LEVELS * clamp(nats, -WORST, WORST)) / WORST) || 0;
  }

  // ---- Words --------------------------------------------------------------------------------------------------------

  const nats = (value) => say("{nats}\u00a0nats", { nats: (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2) });

  const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const mean = (value) => TENTHS.format(value);

  // Per decider, because policies that decide per head count every row once a head.
  function rowsStory(trace, step, counts) {
    const own = stepOf(trace, step);
    const older = olderTotal(trace, own) / trace.rows;
    const kept = counts.total / trace.rows + older;
    const hidden = unseenTotal(trace, own) / trace.rows;
    const told = {
      rows: counted("{n} row", "{n} rows", kept, mean(kept)),
      share: percent(kept, inText(trace, own) + 1),
      older: olderStory(trace, mean(older)) + unseenStory(hidden, mean(hidden)),
    };
    if (trace.groups > 1) return say("{rows} per KV head ({share} of those read){older}", told);
    return say("{rows} per layer ({share} of those read){older}", told);
  }

  const storyUnder = (trace, story) => say("{policy}: {story}", { policy: policyName(trace), story });

  // The rows and the marks of a policy, as they stand beside its name.
  function keptStory(trace, step, counts) {
    const marks = trace.marks.map((mark) => markStory(trace, mark, stepOf(trace, step), counts));
    return [rowsStory(trace, step, counts), ...marks].join(" · ");
  }

  function overlapStory(a, b, { both, onlyA, onlyB }) {
    const means = { both: mean(both), onlyA: mean(onlyA), onlyB: mean(onlyB) };
    const counts = say("{both} tokens under both, {onlyA} only under A, {onlyB} only under B", means);
    const told = { counts, share: percent(both, both + onlyA + onlyB) };
    if (rowsPerLayer(a, b, false) > 1) {
      return say("On average a KV head keeps {counts}: {share} of what either keeps is in both.", told);
    }
    return say("On average a layer keeps {counts}: {share} of what either keeps is in both.", told);
  }

  // The tokens of two texts position by position; where they are not the same, there is no one token to name.
  function commonPieces(a, b) {
    const longer = a.length < b.length ? b : a;
    return longer.pieces.map((piece, i) => (a.pieces[i] === b.pieces[i] ? piece : "≠"));
  }

  // How a text that its policy has written goes on, against the first one.
  function continuationStory(trace, first) {
    if (trace === first) return say("the others are compared with this one");
    const at = trace.divergesAt;
    if (at === null) return say("the same text");
    if (at < Math.min(trace.length, first.length)) {
      return say("differs from token {position} on: {token}", { position: at, token: tokenName(trace, at) });
    }
    return at === trace.length
      ? say("the same, but ends at token {position}", { position: at - 1 })
      : say("the same, and goes on");
  }

  // ---- The canvases -------------------------------------------------------------------------------------------------

  function make(name, className, text = "") {
    const element = document.createElement(name);
    element.className = className;
    element.textContent = text;
    return element;
  }

  // One canvas on the common window. `per` is the rows that a layer has in it.
  class Panel {
    constructor(canvas, comparison, scratch) {
      this.canvas = canvas;
      this.comparison = comparison;
      this.scratch = scratch;
      this.trace = null;
      this.collapsed = false;
      this.above = this.below = false;
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "application");
      const { viewport } = comparison;
      new Pointer(canvas, {
        scene: () => this.scene(),
        zoom: (x, y, atX, atY) => viewport.zoom(x, y, atX, atY / this.per),
        move: (dx, dy) => viewport.move(dx, dy / this.per),
        isWhole: () => viewport.isWhole(),
        point: (hit) => comparison.point(hit && hit.position !== null ? this.crossAt(hit) : null),
        click: (hit) => hit.position !== null && this.click(this.crossAt(hit)),
      });
    }

    get per() {
      return this.collapsed ? 1 : this.trace.groups;
    }

    crossAt({ row, position }) {
      return { layer: Math.floor(row / this.per), group: row % this.per, per: this.per, position };
    }

    // The common crosshair in rows of this map: the same decider where there is one, else the whole layer.
    crossHere({ layer, group, per, position }) {
      if (layer === null) return { row: null, position };
      if (per === this.per) return { row: layer * per + group, position };
      return { row: layer * this.per, rows: this.per, position };
    }

    setHeight(cells, cssWidth, heads) {
      const { top, bottom } = margins(this.trace, { cssWidth, heads, above: this.above, below: this.below });
      this.cssHeight = Math.round(cells + top + bottom);
      this.canvas.parentElement.style.height = this.cssHeight + "px";
    }

    scene(ratio = window.devicePixelRatio || 1) {
      const { comparison, trace, collapsed, above, below, cssHeight } = this;
      const { palette, cssWidth, heads, viewport, steps } = comparison;
      if (!trace || !cssWidth) return null;
      const { x0, x1, y0, y1 } = viewport.view;
      const view = { x0, x1, y0: y0 * this.per, y1: y1 * this.per };
      const step = stepOf(trace, steps.step);
      return makeScene(trace, { step, view, collapsed, palette, cssWidth, cssHeight, ratio, heads, above, below });
    }

    draw() {
      const scene = this.scene();
      if (!scene) return;
      const { cross } = this.comparison;
      drawScene(fitted(this.canvas, scene), scene, this.scratch, cross && this.crossHere(cross));
    }
  }

  class PolicyPanel extends Panel {
    constructor(list, comparison, policy) {
      const box = make("div", "rm-canvas");
      const canvas = make("canvas", "");
      box.append(canvas);
      super(canvas, comparison, makeScratch());
      this.policy = policy;
      this.name = make("h4", "cm-name");
      this.rows = make("p", "cm-rows");
      this.story = make("p", "cm-story");
      const head = make("div", "cm-head");
      head.append(this.name, this.rows, this.story);
      list.append(head, box);
    }

    setTrace(trace) {
      this.trace = trace;
      this.counts = noCounts(trace);
      this.name.textContent = policyName(trace);
    }

    click({ layer, group, position }) {
      // A cell of a collapsed row is many heads' at once: their common story is the token's.
      if (this.per !== this.trace.groups) this.comparison.clickToken(position, this.policy);
      else this.comparison.send("cell", { policy: this.policy, layer, group, position });
    }

    drawWords(step, cross) {
      setText(this.rows, keptStory(this.trace, step, this.counts));
      setText(this.story, cross ? this.storyOf(cross, step) : "");
    }

    storyOf({ layer, group, per, position }, step) {
      const { trace } = this;
      if (position >= trace.length) return say("had ended before");
      const own = stepOf(trace, step);
      const name = this.comparison.mode === "write" ? tokenName(trace, position) + " · " : "";
      if (layer === null) return name + this.tokenStory(position, own);
      const same = trace.groups === 1 ? 0 : per === trace.groups ? group : null;
      return name + cellHistory(trace, own, layer, same, position);
    }

    tokenStory(position, step) {
      const { trace, counts } = this;
      const kept = shareStory(trace, step, position, counts.keepers[position]);
      const cost = trace.deltaNll && position <= step ? trace.deltaNll[position] : NaN;
      return Number.isNaN(cost) ? kept : kept + " · " + say("{nats} against the full model", { nats: nats(cost) });
    }
  }

  class DifferencePanel extends Panel {
    constructor(canvas, comparison) {
      super(canvas, comparison, makeScratch((...drawing) => this.pixels(...drawing)));
      this.below = true;
    }

    setPair(a, b, policy) {
      this.a = a;
      this.b = b;
      this.policy = policy;
      const per = rowsPerLayer(a, b, this.comparison.collapsed);
      const longer = a.length < b.length ? b : a;
      const own = { groups: per, rows: longer.layers * per, pieces: commonPieces(a, b) };
      // What is kept is compared, not what is seen.
      this.trace = { ...longer, ...own, older: null, slidingWindows: [] };
    }

    pixels({ palette }, span, width, height) {
      return differencePixels(this.a, this.b, this.per, this.comparison.steps.step, span, width, height, palette);
    }

    click({ position }) {
      this.comparison.clickToken(position, this.policy);
    }
  }

  function setOptions(select, names, chosen) {
    const options = names.map((name, i) => new Option(name, i));
    select.replaceChildren(...options);
    select.value = chosen;
  }

  // ---- The comparison -----------------------------------------------------------------------------------------------

  class Comparison {
    constructor(root, onEvent) {
      this.root = root;
      this.onEvent = onEvent;
      this.runs = null; // what decodeAll returns
      this.cross = null; // {layer, group, per, position} as in Panel.crossAt, layer null for the whole column
      this.panels = [];
      this.panes = [];
      const find = (selector) => root.querySelector(selector);
      this.empty = find(".rm-empty");
      this.body = find(".rm-body");
      this.tints = find(".cm-tints");
      this.by = find(".cm-by");
      this.of = find(".cm-of");
      this.texts = find(".cm-texts");
      this.title = find(".rm-title");
      this.collapse = find(".rm-collapse");
      this.readout = find(".rm-readout");
      this.list = find(".cm-list");
      this.difference = find(".cm-difference");
      this.a = find(".cm-a");
      this.b = find(".cm-b");
      this.words = find(".cm-words");
      this.marks = new MarkKeys(find(".rm-marks"));
      this.olderKey = find(".rm-key-older");
      this.unseenKey = find(".rm-key-unseen");
      this.alternative = find(".rm-alternative");
      this.changed = oncePerFrame(() => this.runs && root.isConnected && this.draw());
      this.steps = new StepControl(root, this.changed);
      this.part = new WindowControl(root, (position) => onEvent("window", { position, run: this.runs.run }));
      this.viewport = new Viewport(() => this.onView());
      this.between = new DifferencePanel(find(".cm-difference canvas"), this);
      this.listen();
      this.readColours();
    }

    get mode() {
      return this.runs.mode;
    }

    get collapsed() {
      return !this.collapse.hidden && this.collapse.firstElementChild.checked;
    }

    // -- what comes in --

    setPayload(payload) {
      if (!payload) return;
      try {
        this.show(decodeAll(payload));
      } catch (error) {
        this.empty.textContent = say("The picture cannot be shown: {reason}", { reason: error.message });
        this.empty.hidden = false;
        throw error;
      }
    }

    show(runs) {
      const { steps, viewport } = this;
      const before = this.runs;
      const same = before !== null && runs.run !== "" && runs.run === before.run;
      const other = same && runs.start !== before.start;
      const grown = same && !other && runs.traces.length === before.traces.length;
      const following = steps.step === steps.last;
      const wasWhole = viewport.isWhole();
      this.runs = runs;
      steps.setLast(runs.length - 1, runs.start);
      if (!grown) this.startRun();
      // In a later window time goes on where the one before it ended.
      if (other && runs.start > before.start) steps.step = 0;
      else if (!grown || following) steps.step = steps.last;
      if (!grown || runs.mode !== before.mode) this.makePanes();
      this.fillIn();
      viewport.setSize(runs.total, runs.layers);
      if (!grown || wasWhole) viewport.all();
      this.drawn = null;
      this.empty.hidden = true;
      this.body.hidden = false;
      this.resize();
    }

    startRun() {
      const { steps, runs } = this;
      steps.pause();
      this.cross = null;
      const names = runs.traces.map(policyName);
      this.list.replaceChildren();
      this.panels = names.map((_, policy) => new PolicyPanel(this.list, this, policy));
      this.panels[0].above = true;
      this.difference.hidden = names.length === 1;
      setOptions(this.of, names, 0);
      setOptions(this.a, names, 0);
      setOptions(this.b, names, Math.min(1, names.length - 1));
    }

    // One text for all who have read it, else one for each who has written it.
    makePanes() {
      const { runs } = this;
      const writing = runs.mode === "write";
      this.texts.replaceChildren();
      this.texts.classList.toggle("cm-writing", writing);
      this.panes = (writing ? runs.traces : [null]).map((trace, policy) => this.makePane(trace, policy));
      this.tints.hidden = writing;
      // Tokens that all maps share stand under the last one.
      this.panels.forEach((panel, i) => (panel.below = writing || i === this.panels.length - 1));
    }

    makePane(trace, policy) {
      const box = make("div", "rm-text");
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      const pane = new TextPane(box, {
        onPoint: (position) => this.point(position === null ? null : this.columnAt(position)),
        onClick: (position) => this.clickToken(position, this.policyOf(pane)),
      });
      pane.policy = trace && policy;
      const column = make("div", "cm-text");
      if (trace) {
        pane.caption = make("p", "cm-continuation");
        column.append(make("h4", "cm-name", policyName(trace)), pane.caption);
      }
      column.append(box);
      this.texts.append(column);
      return pane;
    }

    policyOf(pane) {
      return pane.policy === null ? Number(this.of.value) : pane.policy;
    }

    traceOf(pane) {
      return this.runs.traces[this.policyOf(pane)];
    }

    fillIn() {
      const { runs } = this;
      this.title.textContent = say("What each policy keeps · {model}", runs);
      this.collapse.hidden = runs.traces.every((trace) => trace.groups === 1);
      this.by.options[1].disabled = !runs.priced;
      if (!runs.priced) this.by.value = "kept";
      this.panels.forEach((panel, i) => panel.setTrace(runs.traces[i]));
      for (const pane of this.panes) this.fillPane(pane);
      this.part.setTrace(runs);
      this.marks.setMarks(runs.traces[0].marks);
      this.unseenKey.hidden = !runs.traces.some(canHide);
      this.olderKey.hidden = runs.start === 0;
      this.olderKey.querySelector(".rm-older-from").textContent = olderLegend(runs);
      this.setRows();
    }

    fillPane(pane) {
      const trace = this.traceOf(pane);
      pane.setTrace(trace);
      const said = {
        policy: policyName(trace),
        tokens: tokens(trace.length),
        keys: say("Control and arrows move through it; Enter explains a token."),
      };
      const isCommon = pane.policy === null;
      const label = isCommon ? say("The text, {tokens}. {keys}", said) : say("The text under {policy}, {tokens}. {keys}", said);
      pane.box.setAttribute("aria-label", label);
      if (pane.policy === null) return;
      pane.caption.textContent = continuationStory(trace, this.runs.traces[0]);
      pane.mark("diverging", "cm-diverging", trace.divergesAt === null ? null : pane.spans[trace.divergesAt]);
    }

    // Which rows each map has.
    setRows() {
      const { collapsed } = this;
      for (const panel of this.panels) panel.collapsed = collapsed && panel.trace.groups > 1;
      this.setPair();
      this.heads = [...this.panels, this.between].some((panel) => panel.per > 1);
    }

    setPair() {
      const { traces } = this.runs;
      const [a, b] = [this.a, this.b].map((select) => traces[select.value]);
      this.between.setPair(a, b, Number(this.a.value));
      const names = { ".cm-key-a": a, ".cm-key-b": b };
      for (const [key, trace] of Object.entries(names)) {
        this.root.querySelector(key + " span").textContent = policyName(trace);
      }
    }

    // -- drawing, at most once a frame --

    draw() {
      const { panels, steps, cross } = this;
      for (const panel of panels) moveCounts(panel.trace, panel.counts, stepOf(panel.trace, steps.step));
      this.drawSteps();
      for (const pane of this.panes) {
        pane.draw(stepOf(pane.trace, steps.step), this.looks(pane), cross && cross.position);
      }
      for (const panel of panels) {
        panel.draw();
        panel.drawWords(steps.step, cross);
      }
      if (!this.difference.hidden) this.between.draw();
      setText(this.readout, this.story());
    }

    // What the text is coloured by.
    looks(pane) {
      const { trace, counts } = this.panels[this.policyOf(pane)];
      if (this.by.value === "cost") return (position) => "cost" + costLevel(trace.deltaNll[position]);
      return lookOf(trace, stepOf(trace, this.steps.step), counts);
    }

    drawSteps() {
      const { steps } = this;
      if (this.drawn === steps.step) return;
      this.drawn = steps.step;
      steps.draw(this.tokenOf(steps.step));
      if (!this.difference.hidden) this.drawOverlap();
      clearTimeout(this.telling);
      // Late, so that a screen reader hears where scrubbing ended and not every step on the way.
      this.telling = setTimeout(() => this.tell(), 250);
    }

    drawOverlap() {
      const { a, b } = this.between;
      const differ = a.pieces.findIndex((piece, i) => piece !== b.pieces[i]);
      const same = this.mode === "read" || differ < 0;
      const note = same ? "" : say(" From token {position} on their texts differ.", { position: inText(a, differ) });
      setText(this.words, overlapStory(a, b, overlap(a, b, this.steps.step)) + note);
    }

    // The token at a position, where all have the same one.
    tokenOf(position) {
      const names = this.runs.traces.map((trace) => (position < trace.length ? tokenName(trace, position) : ""));
      return names.every((name) => name === names[0]) ? names[0] : "";
    }

    tell() {
      const { steps, panels } = this;
      const keys = say("Arrows change the step; control and arrows move the crosshair; Enter explains the cell.");
      for (const { canvas, trace, counts } of panels) {
        const story = alternative(trace, stepOf(trace, steps.step), counts);
        const said = { policy: policyName(trace), keys, story };
        canvas.setAttribute("aria-label", say("Retention map of {policy}. {keys} {story}", said));
      }
      const told = { difference: this.pairName(), keys, story: this.words.textContent };
      this.between.canvas.setAttribute("aria-label", say("{difference}. {keys} {story}", told));
      const rows = panels.map(({ trace, counts }) => storyUnder(trace, keptStory(trace, steps.step, counts)));
      const stories = rows.join(say("; "));
      this.alternative.textContent = say("{where}. {stories}.", { where: capitalised(this.stepName()), stories });
    }

    pairName() {
      const [a, b] = [this.between.a, this.between.b].map(policyName);
      return say("Difference between A, {a}, and B, {b}", { a, b });
    }

    stepName() {
      return stepName(this.runs, this.steps.step, this.tokenOf(this.steps.step));
    }

    story() {
      const { cross } = this;
      if (!cross) return say("Point at a cell or at a token: what has each policy done with it?");
      const name = this.placeName(cross.position);
      if (cross.layer === null) return capitalised(name);
      return deciderName({ groups: cross.per }, cross.layer, cross.group) + " · " + name;
    }

    placeName(position) {
      if (this.tokenOf(position)) return placeName(this.runs.traces[0], position);
      return say("position {position}", { position: inText(this.runs, position) });
    }

    // -- size and colours --

    resize() {
      if (!this.runs) return;
      this.cssWidth = this.list.clientWidth;
      const { cssWidth, heads, panels } = this;
      const { layers } = this.runs;
      // All maps on one screen, as long as a layer is still a line.
      const room = (window.innerHeight * 0.56) / panels.length / layers;
      const cells = Math.max(60, layers * clamp(Math.floor(room), 3, isNarrow(cssWidth) ? 6 : 12));
      for (const panel of [...panels, this.between]) panel.setHeight(cells, cssWidth, heads);
      for (const pane of this.panes) pane.resized();
      this.changed();
    }

    readColours() {
      const { root } = this;
      this.palette = readPalette(root, ["only-a", "only-b", "worse", "better", "equal"]);
      const { worse, better, equal } = this.palette;
      setTints(root, this.palette);
      for (let at = -COST_LEVELS; at <= COST_LEVELS; at++) {
        setTint(root, "cost" + at, mix(equal, at < 0 ? better : worse, Math.abs(at) / COST_LEVELS));
      }
      this.changed();
    }

    // -- listening --

    listen() {
      const { root } = this;
      root.addEventListener("click", (event) => this.onButton(event));
      root.addEventListener("keydown", (event) => this.onKey(event));
      this.by.addEventListener("change", () => this.onTint());
      this.of.addEventListener("change", this.changed);
      this.collapse.addEventListener("change", () => this.onRows());
      for (const select of [this.a, this.b]) select.addEventListener("change", () => this.onRows());
      new ResizeObserver(() => this.resize()).observe(root);
      new MutationObserver(() => this.readColours()).observe(document.body, { attributeFilter: ["class"] });
    }

    onTint() {
      this.root.classList.toggle("cm-costs", this.by.value === "cost");
      this.changed();
    }

    onRows() {
      this.cross = null;
      this.setRows();
      this.drawn = null;
      this.resize();
    }

    onView() {
      for (const { canvas } of [...this.panels, this.between]) {
        canvas.classList.toggle("rm-zoomed", !this.viewport.isWhole());
      }
      this.changed();
    }

    onButton(event) {
      const button = event.target.closest(".rm-tools button");
      if (!button || !this.runs) return;
      const actions = {
        "zoom-in": () => this.zoomHere(1 / 1.5),
        "zoom-out": () => this.zoomHere(1.5),
        "zoom-reset": () => this.viewport.all(),
        png: () => this.picture().savePng(this.fileName()),
        svg: () => this.picture().saveSvg(this.fileName()),
        help: () => toggleHelp(this.root, button),
      };
      actions[button.dataset.do]();
    }

    zoomHere(factor) {
      const { layer, position } = this.cross || { layer: null, position: null };
      this.viewport.zoomAround(factor, { row: layer, position });
    }

    onKey(event) {
      const { target, key } = event;
      if (!this.runs || event.metaKey || target.matches("select")) return;
      const panel = [...this.panels, this.between].find(({ canvas }) => canvas === target);
      const pane = this.panes.find(({ box }) => box === target);
      const crossing = event.ctrlKey || event.altKey;
      const handled = crossing
        ? this.moveCross(key, panel, pane)
        : this.steps.onKey(event) || this.mapKey(key, panel, pane);
      if (handled) event.preventDefault();
    }

    mapKey(key, panel, pane) {
      if (!panel && !pane) return false;
      const at = this.cross || { layer: 0, group: 0, per: 1, position: this.steps.step };
      const policy = panel ? panel.policy : this.policyOf(pane);
      const actions = {
        "+": () => this.zoomHere(1 / 1.5),
        "=": () => this.zoomHere(1 / 1.5),
        "-": () => this.zoomHere(1.5),
        0: () => this.viewport.all(),
        Enter: () => (panel ? panel.click(this.cellIn(panel, at)) : this.clickToken(at.position, policy)),
        t: () => this.clickToken(at.position, policy),
        Escape: () => this.point(null),
      };
      const action = actions[key.length === 1 ? key.toLowerCase() : key];
      if (action) action();
      return Boolean(action);
    }

    // One cell of a panel for the common crosshair, which may be on a whole layer or column there.
    cellIn(panel, cross) {
      const { row, position } = panel.crossHere(cross);
      return panel.crossAt({ row: row || 0, position });
    }

    moveCross(key, panel, pane) {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (!(key in moves) || (!panel && !pane)) return false;
      const [down, right] = this.cross ? moves[key] : [0, 0];
      const from = this.cross || { layer: 0, group: 0, per: 1, position: this.steps.step };
      const onwards = pane && pane.readsFromRight(from.position) ? -right : right;
      const position = clamp(from.position + onwards, 0, this.runs.length - 1);
      if (pane) this.point(this.columnAt(position));
      else {
        const row = (panel.crossHere(from).row || 0) + down;
        this.point(panel.crossAt({ row: clamp(row, 0, rowsOf(panel) - 1), position }));
      }
      this.viewport.reveal({ row: this.cross.layer, position });
      if (pane && position < pane.spans.length) pane.scrollTo(position);
      // A crosshair moved by key is news to whoever cannot see it.
      const stories = this.panels.map((one) => storyUnder(one.trace, one.storyOf(this.cross, this.steps.step)));
      const told = { where: this.story(), stories: stories.join(say("; ")) };
      this.alternative.textContent = say("{where}. {stories}", told);
      return true;
    }

    columnAt(position) {
      return { layer: null, group: null, per: null, position };
    }

    point(cross) {
      this.cross = cross;
      this.changed();
    }

    // -- what goes out --

    clickToken(position, policy) {
      if (position < this.runs.traces[policy].length) this.send("token", { policy, position });
    }

    send(name, { position, ...detail }) {
      const [at, step] = [position, this.steps.step].map((place) => inText(this.runs, place));
      this.onEvent(name, { ...detail, position: at, step });
    }

    // -- pictures to save --

    fileName() {
      return "comparison-step-" + inText(this.runs, this.steps.step);
    }

    picture() {
      const { panels, runs, steps } = this;
      const picture = new Picture(panels[0].scene(2));
      const title = this.title.textContent + " · " + this.stepName();
      picture.addText(title, { bold: true, size: picture.font + 3 });
      picture.addLegend([...statesOf(runs.traces), ...runs.traces[0].marks.map(({ kind, label }) => ({ mark: kind, text: label }))]);
      for (const panel of panels) {
        picture.addText(policyName(panel.trace), { bold: true });
        picture.addText(keptStory(panel.trace, steps.step, panel.counts));
        picture.addMap(panel.scene(2), retention);
      }
      if (!this.difference.hidden) this.addDifference(picture);
      return picture;
    }

    addDifference(picture) {
      const { a, b, scratch } = this.between;
      picture.addText(this.pairName(), { bold: true });
      picture.addLegend([
        { text: say("kept by both"), colour: "kept" },
        { text: say("only by A: {policy}", { policy: policyName(a) }), colour: "only-a" },
        { text: say("only by B: {policy}", { policy: policyName(b) }), colour: "only-b" },
        { text: say("by neither"), colour: "evicted" },
        { text: say("not read yet"), colour: "paper" },
      ]);
      picture.addMap(this.between.scene(2), scratch.pixels);
      picture.addText(this.words.textContent);
    }
  }

  // `element` contains comparison_map.html. `onEvent(name, detail)` hears of "cell", "token" and "window".
  function mount(element, { onEvent = () => {} } = {}) {
    translate(element);
    return new Comparison(element.querySelector(".cm"), onEvent);
  }

  return { mount, decodeAll, overlap, differencePixels, costLevel };
})();
