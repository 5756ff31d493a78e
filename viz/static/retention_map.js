// The retention map: step control, text and map of one trace. Draws everything from one payload, asks for nothing.
// Written for three hosts: a gr.HTML component, a single HTML file on disk, and the tests of its pure functions.
const RetentionMap = (() => {
  "use strict";

  const { say, tokens, translate } = Words;
  const { decode, noCounts, moveCounts, olderIn, mostOlder, inText } = Traces;
  const { number, tokenName, deciderName, policyName, stepName, cellStory, tokenStory, stepStory } = Sentences;
  const { markStory, alternative, olderLegend } = Sentences;
  const { canHide } = Sight;
  const { readPalette, setTints } = Colours;
  const { clamp, isNarrow, margins, makeScene } = Scenes;
  const { retention, makeScratch, drawScene } = Painter;
  const { StepControl, WindowControl, MarkKeys, TextPane, Viewport, Pointer } = Controls;
  const { lookOf, oncePerFrame, fitted, setText, toggleHelp } = Controls;
  const { Picture, statesOf, fileName } = Pictures;

  const titleOf = (trace) => policyName(trace) + " · " + trace.model;

  // ---- The address carries the run and the step ---------------------------------------------------------------------

  function stepInAddress() {
    const text = new URLSearchParams(location.search).get("step");
    return text !== null && /^[0-9]+$/.test(text) ? Number(text) : null;
  }

  // The address of this page with the run of this key at this step; without what is null, undefined or empty.
  function addressOf(key, step) {
    const address = new URL(location.href);
    for (const [name, value] of Object.entries({ trace: key || null, step: step ?? null })) {
      if (value === null) address.searchParams.delete(name);
      else address.searchParams.set(name, value);
    }
    return address;
  }

  function writeAddress(key, step) {
    try {
      history.replaceState(history.state, "", addressOf(key, step));
      // Plotly fills its colour bars and cuts its plots by the address that the page had when it drew them
      for (const bar of document.querySelectorAll(".js-plotly-plot .gradient_filled")) {
        bar.style.fill = bar.style.fill.replace(/url\("[^"#]*#/, 'url("#');
      }
      for (const cut of document.querySelectorAll(".js-plotly-plot [clip-path]")) {
        cut.setAttribute("clip-path", cut.getAttribute("clip-path").replace(/url\('[^'#]*#/, "url('#"));
      }
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
      this.marks = new MarkKeys(find(".rm-marks"));
      this.olderKey = find(".rm-key-older");
      this.unseenKey = find(".rm-key-unseen");
      this.changed = oncePerFrame(() => this.trace && root.isConnected && this.draw());
      this.steps = new StepControl(root, () => this.onStep());
      this.part = new WindowControl(root, (position) => onEvent("window", { position, run: this.trace.run }));
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
        this.empty.textContent = say("The picture cannot be shown: {reason}", { reason: error.message });
        this.empty.hidden = false;
        throw error;
      }
    }

    show(trace) {
      const { steps, viewport } = this;
      const before = this.trace;
      const same = before !== null && trace.run !== "" && trace.run === before.run;
      const grown = same && trace.start === before.start;
      // Neither a part of a long run nor one that still grows tells the key, which comes with the whole run.
      trace.key ??= same ? before.key : null;
      const following = steps.step === steps.last;
      const wasWhole = viewport.isWhole();
      this.trace = trace;
      this.counts = noCounts(trace);
      steps.setLast(trace.length - 1, trace.start);
      if (same && !grown) this.startWindow(trace.start > before.start);
      else if (!grown) this.startRun(before === null);
      else if (following) steps.step = steps.last;
      if (grown && trace.key !== before.key) this.writeAddressSoon();
      this.sizeView();
      if (!grown || wasWhole) viewport.all();
      this.showWords();
      this.empty.hidden = true;
      this.body.hidden = false;
      this.resize();
      this.changed();
    }

    // The time goes on where the window before it ended, or back to where this one ends.
    startWindow(onwards) {
      const { steps } = this;
      steps.pause();
      this.cross = this.gutter = null;
      steps.step = onwards ? 0 : steps.last;
    }

    startRun(first) {
      const { steps } = this;
      steps.pause();
      this.cross = this.gutter = null;
      const { at } = this.trace;
      if (at) this.startAt(at);
      else this.startByAddress(first);
      this.collapse.hidden = this.trace.groups === 1;
      this.collapsed = this.trace.groups > 1 && this.collapse.firstElementChild.checked;
    }

    startByAddress(first) {
      const { steps } = this;
      const asked = first ? stepInAddress() : null;
      steps.step = asked === null ? steps.last : clamp(asked - this.trace.start, 0, steps.last);
      if (!first) writeAddress(this.trace.key, null);
    }

    startAt({ step, position }) {
      this.steps.step = clamp(step, 0, this.steps.last);
      if (position !== null) this.cross = { row: null, position };
    }

    showWords() {
      const { trace, text } = this;
      this.title.textContent = titleOf(trace);
      this.part.setTrace(trace);
      this.marks.setMarks(trace.marks);
      this.unseenKey.hidden = !canHide(trace);
      this.olderKey.hidden = !trace.older;
      this.olderKey.querySelector(".rm-older-from").textContent = olderLegend(trace);
      this.olderKey.querySelector(".rm-older-most").textContent = number(mostOlder(trace));
      const keys = say("Control and arrows move through it; Enter explains a token.");
      const said = { tokens: tokens(trace.length), keys };
      text.box.setAttribute("aria-label", say("The text, {tokens}. {keys}", said));
      text.setTrace(trace);
    }

    // -- drawing, at most once a frame --

    draw() {
      const { trace, counts, cross } = this;
      const { step } = this.steps;
      moveCounts(trace, counts, step);
      this.drawSteps();
      this.text.draw(step, lookOf(trace, step, counts), cross && cross.position);
      this.drawMap();
      this.marks.draw(trace.marks.map((mark) => markStory(trace, mark, step, counts)));
      setText(this.readout, this.story());
    }

    drawSteps() {
      const { trace, steps } = this;
      if (this.drawnStep === steps.step && this.drawnTrace === trace) return;
      this.drawnStep = steps.step;
      this.drawnTrace = trace;
      steps.draw(tokenName(trace, steps.step));
      // For whoever wants to pass it on; empty if nobody else can open this run.
      this.root.dataset.link = typeof trace.key === "string" ? addressOf(trace.key, inText(trace, steps.step)) : "";
      clearTimeout(this.telling);
      // Late, so that a screen reader hears where scrubbing ended and not every step on the way.
      this.telling = setTimeout(() => this.tell(), 250);
    }

    tell() {
      const story = alternative(this.trace, this.steps.step, this.counts);
      this.alternative.textContent = story;
      const keys = say("Arrows change the step; control and arrows move the crosshair; Enter explains the cell.");
      this.canvas.setAttribute("aria-label", say("Retention map. {keys} {story}", { keys, story }));
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
      const { trace, steps } = this;
      const { layer, group } = this.decider(row);
      const per = group === null ? trace.groups : 1;
      const told = [deciderName(trace, layer, group)];
      if (trace.older) {
        const count = number(Math.round(10 * olderIn(trace, steps.step, row, per)) / 10); // heads' mean has tenths
        told.push(say("holds {count} rows from before token {start}", { count, start: number(trace.start) }));
      }
      return [...told, say("click to see its whole life")].join(" · ");
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
      const tallest = Math.max(300, Math.min(640, window.innerHeight * 0.56));
      const height = clamp(this.viewport.size.rows * (isNarrow(this.cssWidth) ? 9 : 13), 180, tallest);
      const { top, bottom } = margins(this.trace, { cssWidth: this.cssWidth });
      this.cssHeight = Math.round(height + top + bottom) + 4;
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
      this.writeAddressSoon();
    }

    writeAddressSoon() {
      clearTimeout(this.addressing);
      if (this.trace.at) return;
      // Browsers allow a hundred changes of the address in half a minute.
      this.addressing = setTimeout(() => writeAddress(this.trace.key, inText(this.trace, this.steps.step)), 350);
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
        png: () => this.picture().savePng(this.fileName()),
        svg: () => this.picture().saveSvg(this.fileName()),
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
      const reading = target === this.text.box;
      if (!(key in moves) || (target !== this.canvas && !reading)) return false;
      const [down, right] = this.cross ? moves[key] : [0, 0];
      const from = this.crossOrStep();
      const onwards = reading && this.text.readsFromRight(from.position) ? -right : right;
      const position = clamp(from.position + onwards, 0, this.trace.length - 1);
      const row = reading ? null : clamp((from.row || 0) + down, 0, this.viewport.size.rows - 1);
      this.point({ row, position });
      this.viewport.reveal(this.cross);
      if (reading) this.text.scrollTo(position);
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
      else this.send("cell", { layer, group, position: inText(this.trace, position) });
    }

    clickToken(position) {
      this.send("token", { position: inText(this.trace, position) });
    }

    clickRow(row) {
      const { layer, group } = this.decider(row);
      this.send("row", { layer, group: group || 0 });
    }

    send(name, detail) {
      this.onEvent(name, { ...detail, step: inText(this.trace, this.steps.step) });
    }

    // -- pictures to save --

    fileName() {
      return fileName([this.trace.policy, this.trace.budget || "", "step", inText(this.trace, this.steps.step)]);
    }

    picture() {
      const { trace, counts } = this;
      const scene = this.scene({ ratio: 2 });
      const picture = new Picture(scene);
      picture.addText(titleOf(trace) + " · " + stepName(trace, scene.step), { bold: true, size: scene.font + 3 });
      const marks = trace.marks.map((mark) => ({ mark: mark.kind, text: markStory(trace, mark, scene.step, counts) }));
      picture.addLegend([...statesOf([trace]), ...marks]);
      picture.addMap(scene, retention);
      return picture;
    }
  }

  // `element` contains retention_map.html. `onEvent(name, detail)` hears of "cell", "token", "row" and "window".
  function mount(element, { onEvent = () => {} } = {}) {
    translate(element);
    return new Instrument(element.querySelector(".rm"), onEvent);
  }

  return { mount };
})();
