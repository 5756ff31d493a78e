// The retention map: step control, text and map of one trace. Draws everything from one payload, asks for nothing.
// Written for three hosts: a gr.HTML component, a single HTML file on disk, and the tests of its pure functions.
const RetentionMap = (() => {
  "use strict";

  const { decode, noCounts, moveCounts, level, isKept, isAttended, everyCell, counted, cellStory } = Drawing;
  const { tokenStory, stepStory, alternative, tokenName, deciderName, policyName, clamp, css, packed } = Drawing;
  const { luminance, readPalette, setTints, rasterise, toX, toY, cellWidth, cellHeight, axes } = Drawing;
  const { paint, isNarrow, makeScene, spanOf, makeScratch, drawScene } = Drawing;
  const { StepControl, TextPane, Viewport, Pointer, oncePerFrame, fitted, toggleHelp } = Controls;

  const titleOf = (trace) => policyName(trace) + " · " + trace.model;

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
      this.collapsed = false;
      this.gutter = null; // the row whose label is pointed at
      this.cross = null; // {row, position}, row as drawn or null for the whole column
      this.scratch = makeScratch();
      const find = (selector) => root.querySelector(selector);
      this.empty = find(".rm-empty");
      this.body = find(".rm-body");
      this.title = find(".rm-title");
      this.canvas = find("canvas");
      this.readout = find(".rm-readout");
      this.alternative = find(".rm-alternative");
      this.collapse = find(".rm-collapse");
      this.changed = oncePerFrame(() => this.trace && root.isConnected && this.draw());
      this.steps = new StepControl(root, () => this.onStep());
      this.text = new TextPane(find(".rm-text"), {
        onPoint: (position) => this.point(position === null ? null : { row: null, position }),
        onClick: (position) => this.clickToken(position),
      });
      this.viewport = new Viewport(() => this.onView());
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
      const { steps, viewport } = this;
      const before = this.trace;
      const grown = before !== null && trace.run !== "" && trace.run === before.run;
      const following = steps.step === steps.last;
      const wasWhole = viewport.isWhole();
      this.trace = trace;
      this.counts = noCounts(trace);
      steps.setLast(trace.length - 1);
      if (!grown) this.startRun(before === null);
      else if (following) steps.step = steps.last;
      this.sizeView();
      if (!grown || wasWhole) viewport.all();
      this.showWords();
      this.empty.hidden = true;
      this.body.hidden = false;
      this.resize();
      this.changed();
    }

    startRun(first) {
      const { steps } = this;
      steps.pause();
      this.cross = null;
      const asked = first ? stepInAddress() : null;
      steps.step = asked === null ? steps.last : Math.min(asked, steps.last);
      if (!first) writeAddress(null);
      this.collapse.hidden = this.trace.groups === 1;
      this.collapsed = this.trace.groups > 1 && this.collapse.firstElementChild.checked;
    }

    showWords() {
      const { trace, text } = this;
      this.title.textContent = titleOf(trace);
      const keys = ". Control and arrows move through it; Enter explains a token.";
      text.box.setAttribute("aria-label", "The text, " + counted(trace.length, "token") + keys);
      text.setTrace(trace);
    }

    // -- drawing, at most once a frame --

    draw() {
      const { trace, counts, cross } = this;
      const { step } = this.steps;
      moveCounts(trace, counts, step);
      this.drawSteps();
      this.text.draw(step, (position) => level(counts.keepers[position], trace.rows), cross && cross.position);
      this.drawMap();
      this.drawReadout();
    }

    drawSteps() {
      const { trace, steps } = this;
      if (this.drawnStep === steps.step && this.drawnTrace === trace) return;
      this.drawnStep = steps.step;
      this.drawnTrace = trace;
      steps.draw(tokenName(trace, steps.step));
      clearTimeout(this.telling);
      // Late, so that a screen reader hears where scrubbing ended and not every step on the way.
      this.telling = setTimeout(() => this.tell(), 250);
    }

    tell() {
      const text = alternative(this.trace, this.steps.step, this.counts);
      this.alternative.textContent = text;
      const keys = "Arrows change the step; control and arrows move the crosshair; Enter explains the cell. ";
      this.canvas.setAttribute("aria-label", "Retention map. " + keys + text);
    }

    scene(overrides = {}) {
      if (!this.trace) return null;
      const { collapsed, palette, cssWidth, cssHeight } = this;
      const { step } = this.steps;
      const { view } = this.viewport;
      const ratio = window.devicePixelRatio || 1;
      return makeScene(this.trace, { step, view, collapsed, palette, cssWidth, cssHeight, ratio, ...overrides });
    }

    drawMap() {
      if (!this.cssWidth) return;
      const scene = this.scene();
      drawScene(fitted(this.canvas, scene), scene, this.scratch, this.cross);
    }

    drawReadout() {
      const text = this.story();
      if (this.readout.textContent !== text) this.readout.textContent = text;
    }

    story() {
      const { trace, cross, counts } = this;
      const { step } = this.steps;
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

    sizeView() {
      const { total, layers, rows } = this.trace;
      this.viewport.setSize(total, this.collapsed ? layers : rows);
    }

    resize() {
      if (!this.trace) return;
      const box = this.canvas.parentElement;
      this.cssWidth = box.clientWidth;
      const narrow = isNarrow(this.cssWidth);
      const tallest = Math.max(300, Math.min(640, window.innerHeight * 0.56));
      const height = clamp(this.viewport.size.rows * (narrow ? 9 : 13), 180, tallest);
      this.cssHeight = Math.round(height) + (narrow ? 82 : 96);
      box.style.height = this.cssHeight + "px";
      this.text.resized();
      this.changed();
    }

    readColours() {
      this.palette = readPalette(this.root);
      setTints(this.root, this.palette);
      this.changed();
    }

    // -- listening --

    listen() {
      this.root.addEventListener("click", (event) => this.onButton(event));
      this.root.addEventListener("keydown", (event) => this.onKey(event));
      this.collapse.addEventListener("change", (event) => this.setCollapsed(event.target.checked));
      new Pointer(this.canvas, {
        scene: () => this.scene(),
        zoom: (...how) => this.viewport.zoom(...how),
        move: (...how) => this.viewport.move(...how),
        isWhole: () => this.viewport.isWhole(),
        point: (hit) => (hit && hit.position === null ? this.point(null, hit.row) : this.point(hit)),
        click: (hit) => this.click(hit),
      });
      new ResizeObserver(() => this.resize()).observe(this.root);
      new MutationObserver(() => this.readColours()).observe(document.body, { attributeFilter: ["class"] });
    }

    onStep() {
      this.changed();
      clearTimeout(this.addressing);
      // Browsers allow a hundred changes of the address in half a minute.
      this.addressing = setTimeout(() => writeAddress(this.steps.step), 350);
    }

    onView() {
      this.canvas.classList.toggle("rm-zoomed", !this.viewport.isWhole());
      this.changed();
    }

    onButton(event) {
      const button = event.target.closest(".rm-tools button");
      if (!button || !this.trace) return;
      const actions = {
        "zoom-in": () => this.zoomHere(1 / 1.5),
        "zoom-out": () => this.zoomHere(1.5),
        "zoom-reset": () => this.viewport.all(),
        png: () => this.savePng(),
        svg: () => this.saveSvg(),
        help: () => toggleHelp(this.root, button),
      };
      actions[button.dataset.do]();
    }

    zoomHere(factor) {
      this.viewport.zoomAround(factor, this.cross || { row: null, position: null });
    }

    setCollapsed(collapsed) {
      this.collapsed = collapsed;
      this.cross = null;
      this.sizeView();
      this.viewport.all();
      this.resize();
    }

    onKey(event) {
      const { target, key } = event;
      if (!this.trace || event.metaKey || target.matches("select")) return;
      const crossing = event.ctrlKey || event.altKey;
      const handled = crossing ? this.moveCross(event) : this.steps.onKey(event) || this.mapKey(key, target);
      if (handled) event.preventDefault();
    }

    mapKey(key, target) {
      if (target !== this.canvas && target !== this.text.box) return false;
      const inMap = target === this.canvas;
      const actions = {
        "+": () => this.zoomHere(1 / 1.5),
        "=": () => this.zoomHere(1 / 1.5),
        "-": () => this.zoomHere(1.5),
        0: () => this.viewport.all(),
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
      return this.cross || { row: 0, position: this.steps.step };
    }

    moveCross({ key, target }) {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      const inText = target === this.text.box;
      if (!(key in moves) || (target !== this.canvas && !inText)) return false;
      const [down, right] = this.cross ? moves[key] : [0, 0];
      const from = this.crossOrStep();
      const position = clamp(from.position + right, 0, this.trace.length - 1);
      const row = inText ? null : clamp((from.row || 0) + down, 0, this.viewport.size.rows - 1);
      this.point({ row, position });
      this.viewport.reveal(this.cross);
      if (inText) this.text.scrollTo(position);
      // A crosshair moved by key is news to whoever cannot see it.
      this.alternative.textContent = this.story();
      return true;
    }

    point(cross, gutter = null) {
      this.cross = cross;
      this.gutter = gutter;
      this.changed();
    }

    // -- what goes out --

    click(hit) {
      if (hit.position === null) return this.clickRow(hit.row);
      this.point(hit);
      this.clickCell(hit);
    }

    clickCell({ row, position }) {
      const { layer, group } = this.decider(row || 0);
      // A cell of a collapsed row is many heads' at once: their common story is the token's.
      if (group === null) this.clickToken(position);
      else this.onEvent("cell", { layer, group, position, step: this.steps.step });
    }

    clickToken(position) {
      this.onEvent("token", { position, step: this.steps.step });
    }

    clickRow(row) {
      const { layer, group } = this.decider(row);
      this.onEvent("row", { layer, group: group || 0, step: this.steps.step });
    }

    // -- pictures to save --

    fileName(extension) {
      const words = [this.trace.policy, this.trace.budget || "", "step", this.steps.step].join(" ").toLowerCase();
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
