// The retention map: step control, text and the maps of one to six policies. Draws everything from one payload, asks
// for nothing. Written for three hosts: a gr.HTML component, a single HTML file on disk, and the tests of its parts.
const RetentionMap = (() => {
  "use strict";

  const { say, translate } = Words;
  const { decode, stepOf, mostOlder, inText } = Traces;
  const { number, capitalised, tokenName, placeName, deciderName, policyName, stepName } = Sentences;
  const { stepStory, markStory, alternative, olderLegend } = Sentences;
  const { shortNames, storyUnder, rowStory } = Stories;
  const { canHide } = Sight;
  const { readPalette, setTints } = Colours;
  const { clamp, isNarrow, rowsOf, showsTokens } = Scenes;
  const { retention } = Painter;
  const { StepControl, WindowControl } = Steps;
  const { MarkKeys } = TextPanes;
  const { Viewport } = Viewports;
  const { PolicyPanel } = Panels;
  const { Difference } = Differences;
  const { TextColumn, setCostTints } = Texts;
  const { Picture, statesOf, fileName } = Pictures;
  const { setText, oncePerFrame } = Elements;

  const GAP = 4; // pixels between headings and maps; as retention_map.css has it

  class Instrument {
    constructor(root, onEvent) {
      this.root = root;
      this.onEvent = onEvent;
      this.runs = null; // what Traces.decode returns
      this.hovered = this.pinned = null; // crosses, as Panel has them
      this.panels = [];
      const find = (selector) => root.querySelector(selector);
      this.empty = find(".rm-empty");
      this.body = find(".rm-body");
      this.list = find(".rm-list");
      this.collapse = find(".rm-collapse");
      this.readout = find(".rm-readout");
      [this.where, this.told] = this.readout.children;
      this.tools = find(".rm-tools");
      this.alternative = find(".rm-alternative");
      this.marks = new MarkKeys(find(".rm-marks"));
      this.changed = oncePerFrame(() => this.runs && root.isConnected && this.draw());
      this.steps = new StepControl(root, () => this.onStep());
      this.part = new WindowControl(root, (position) => onEvent("window", { position, run: this.runs.run }));
      this.viewport = new Viewport(() => this.onView());
      this.texts = new TextColumn(root, this);
      this.difference = new Difference(root, this);
      this.listen();
      this.readColours();
    }

    get mode() {
      return this.runs.mode;
    }

    get alone() {
      return this.panels.length === 1;
    }

    // What is pointed at, or else what has been clicked.
    get cross() {
      return this.hovered || this.pinned;
    }

    get maps() {
      return this.difference.shown ? [...this.panels, this.difference] : this.panels;
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

    show(runs) {
      const { steps, viewport } = this;
      const before = this.runs;
      const same = before !== null && runs.run !== "" && runs.run === before.run;
      const grown = same && runs.start === before.start;
      // Neither a part of a long run nor one that still grows tells the key, which comes with the whole run.
      runs.key ??= same ? before.key : null;
      const following = steps.step === steps.last;
      const wasWhole = viewport.isWhole();
      this.runs = runs;
      steps.setLast(runs.length - 1, runs.start);
      if (!same) this.startRun(before === null);
      else if (!grown) this.startWindow(runs.start > before.start);
      else if (following) steps.step = steps.last;
      if (!same || runs.mode !== before.mode) this.texts.begin(runs);
      this.fillIn();
      if (grown && runs.key !== before.key) this.writeAddressSoon();
      viewport.setSize(runs.total, runs.layers);
      this.empty.hidden = true;
      this.body.hidden = false;
      if (!grown || wasWhole) viewport.all();
      this.resize();
    }

    // The time goes on where the window before it ended, or back to where this one ends.
    startWindow(onwards) {
      const { steps } = this;
      steps.pause();
      this.hovered = this.pinned = null;
      steps.step = onwards ? 0 : steps.last;
    }

    startRun(first) {
      const { steps, runs } = this;
      steps.pause();
      this.hovered = this.pinned = null;
      this.startStep(first);
      const names = runs.traces.map(policyName);
      this.panels = names.map((_, policy) => new PolicyPanel(this, policy));
      this.panels[0].above = true;
      this.cells = null; // how high each map is, without what the labels of tokens take
      this.list.replaceChildren(...this.panels.flatMap(({ head, box }) => [head, box]));
      this.root.style.setProperty("--rm-lines", Math.max(2, names.length));
      this.root.querySelector("[data-do=difference]").hidden = this.alone;
      if (this.alone) this.showDifference(false);
      this.difference.setNames(names);
      this.texts.setNames(shortNames(runs.traces));
    }

    startStep(first) {
      const { steps, runs } = this;
      if (runs.at) {
        steps.step = clamp(runs.at.step, 0, steps.last);
        if (runs.at.position !== null) this.pinned = this.columnAt(runs.at.position);
        return;
      }
      this.linked ||= runs.key !== null;
      const asked = first && this.linked ? Address.step() : null;
      steps.step = asked === null ? steps.last : clamp(asked - runs.start, 0, steps.last);
      if (!first && this.linked) Address.write(runs.key, null);
    }

    fillIn() {
      const { runs } = this;
      const [trace] = runs.traces;
      const find = (selector) => this.root.querySelector(selector);
      this.panels.forEach((panel, i) => panel.setTrace(runs.traces[i]));
      this.texts.setRuns(runs);
      this.part.setTrace(runs);
      this.marks.setMarks(trace.marks);
      this.collapse.hidden = runs.traces.every(({ groups }) => groups === 1);
      find(".rm-key-unseen").hidden = !runs.traces.some(canHide);
      find(".rm-key-generated").hidden = runs.traces.every(({ length, promptLength }) => length <= promptLength);
      find(".rm-key-special").hidden = !runs.traces.some(({ special }) => special.includes(1));
      find(".rm-key-older").hidden = runs.start === 0;
      find(".rm-older-from").textContent = olderLegend(runs);
      find(".rm-older-most").textContent = this.alone ? number(mostOlder(trace)) : say("as many as the budget allows");
      this.setRows();
    }

    // Which rows each map has.
    setRows() {
      const collapsed = !this.collapse.hidden && this.collapse.firstElementChild.checked;
      for (const panel of this.panels) panel.collapsed = collapsed && panel.trace.groups > 1;
      this.difference.setPair(this.runs.traces, collapsed);
      this.heads = this.maps.some((panel) => panel.per > 1);
      this.drawn = null;
    }

    // -- drawing, at most once a frame --

    draw() {
      const { panels, cross, alone } = this;
      const { step } = this.steps;
      for (const panel of panels) panel.moveTo(step);
      this.drawStep();
      this.texts.draw(step, panels, cross && cross.position);
      for (const map of this.maps) map.draw();
      if (alone) {
        const [{ trace, counts }] = panels;
        this.marks.draw(trace.marks.map((mark) => markStory(trace, mark, step, counts)));
      }
      const [where, told] = this.answer();
      setText(this.where, where);
      setText(this.told, told);
    }

    drawStep() {
      const { steps, panels, runs } = this;
      if (this.drawn === steps.step) return;
      this.drawn = steps.step;
      steps.draw(this.tokenOf(steps.step));
      for (const panel of panels) panel.drawNote(steps.step, this.alone);
      if (this.difference.shown) this.difference.drawWords(steps.step);
      // For whoever wants to pass it on; empty if nobody else can open this run.
      this.root.dataset.link = typeof runs.key === "string" ? Address.of(runs.key, inText(runs, steps.step)) : "";
      clearTimeout(this.telling);
      // Late, so that a screen reader hears where scrubbing ended and not every step on the way.
      this.telling = setTimeout(() => this.tellNow(), 250);
    }

    tellNow() {
      if (!this.telling) return;
      clearTimeout(this.telling);
      this.telling = null;
      this.tell();
    }

    tell() {
      const { panels } = this;
      const { step } = this.steps;
      const keys = say("Arrows change the step; control and arrows move the crosshair; Enter explains the cell.");
      for (const panel of panels) panel.tell(step, keys);
      if (this.difference.shown) this.difference.tell(keys);
      if (this.alone) {
        this.alternative.textContent = alternative(panels[0].trace, step, panels[0].counts);
        return;
      }
      const rows = panels.map((panel) => storyUnder(policyName(panel.trace), panel.noteAt(step, false)));
      const told = { where: capitalised(this.stepName()), stories: rows.join(say("; ")) };
      this.alternative.textContent = say("{where}. {stories}.", told);
    }

    // The token at a position, where all have the same one.
    tokenOf(position) {
      const names = this.runs.traces.map((trace) => (position < trace.length ? tokenName(trace, position) : ""));
      return names.every((name) => name === names[0]) ? names[0] : "";
    }

    stepName() {
      return stepName(this.runs, this.steps.step, this.tokenOf(this.steps.step));
    }

    // [what is pointed at, what is told of it].
    answer() {
      const { cross, panels, runs } = this;
      const { step } = this.steps;
      if (!cross && this.alone) return ["", stepStory(panels[0].trace, step, panels[0].counts)];
      if (!cross) return ["", say("Point at a cell or at a token: what has each policy done with it?")];
      if (cross.position === null) return this.rowAnswer(cross);
      const names = shortNames(runs.traces);
      const stories = panels.map((panel) => panel.storyOf(cross, step));
      const told = this.alone ? stories : stories.map((story, i) => storyUnder(names[i], story));
      return [this.crossName(cross), " · " + told.join(" · ")];
    }

    rowAnswer({ layer, group, per, panel }) {
      const { trace } = panel;
      const story = rowStory(trace, stepOf(trace, this.steps.step), layer * per + group, trace.groups / per);
      return this.alone ? ["", story] : [policyName(trace), " · " + story];
    }

    crossName({ layer, group, per, position }) {
      const place = this.tokenOf(position)
        ? placeName(this.runs.traces[0], position)
        : say("position {position}", { position: inText(this.runs, position) });
      return layer === null ? capitalised(place) : deciderName({ groups: per }, layer, group) + " · " + place;
    }

    // -- size and colours --

    resize() {
      if (!this.runs || !this.list.clientWidth) return;
      if (this.cssWidth !== this.list.clientWidth) this.texts.resized();
      this.cssWidth = this.list.clientWidth;
      this.cells = this.panels.map((panel) => this.cellsOf(panel, this.share()));
      this.layOut();
      this.changed();
    }

    // How high the cells of each map may be: all maps in what the text above and the answer below leave of the window.
    share() {
      const { panels, list } = this;
      const top = list.getBoundingClientRect().top + window.scrollY;
      const screen = Math.min(document.documentElement.clientHeight, window.screen.availHeight);
      const around = panels.map((panel) => {
        const { top: above, bottom } = panel.margins(false);
        return panel.head.offsetHeight + above + bottom + 2 * GAP;
      });
      return (screen - top - this.below() - around.reduce((sum, room) => sum + room, 0)) / panels.length;
    }

    // That share, as long as a layer is still a line, and no row is a bar.
    cellsOf(panel, share) {
      const line = isNarrow(this.cssWidth) ? 9 : 14;
      return clamp(share, Math.max(48, 2 * this.runs.layers), Math.max(120, line * rowsOf(panel)));
    }

    // The room of the answer and the tools, however long the answer is just now: maps that breathe could not be read.
    below() {
      const { readout, tools } = this;
      const least = parseFloat(getComputedStyle(readout).minHeight);
      const stacked = tools.offsetTop > readout.offsetTop;
      return 20 + (stacked ? least + 8 + tools.offsetHeight : Math.max(least, tools.offsetHeight));
    }

    // The labels of tokens, where there is room for each, take their room from the cells: so the page does not jump.
    layOut() {
      const { panels, difference, cells } = this;
      const shown = showsTokens(this.viewport.view, this.cssWidth);
      panels.forEach((panel, i) => (panel.below = shown && (this.mode === "write" || i === panels.length - 1)));
      difference.below = shown;
      const sum = (values) => values.reduce((all, value) => all + value, 0);
      const left = 1 - sum(panels.map((panel) => panel.taken)) / sum(cells);
      panels.forEach((panel, i) => panel.setCells(left * cells[i]));
      if (difference.shown) difference.setCells(Math.max(...cells) - difference.taken);
    }

    readColours() {
      this.palette = readPalette(this.root, ["only-a", "only-b", "worse", "better", "equal"]);
      setTints(this.root, this.palette);
      setCostTints(this.root, this.palette);
      this.changed();
    }

    // -- listening --

    listen() {
      const { root } = this;
      root.addEventListener("click", (event) => this.onButton(event));
      root.addEventListener("keydown", (event) => this.onKey(event));
      this.collapse.addEventListener("change", () => this.onRows());
      const sizes = new ResizeObserver(() => this.resize());
      for (const box of [root, document.body]) sizes.observe(box);
      window.addEventListener("resize", () => this.resize());
      new MutationObserver(() => this.readColours()).observe(document.body, { attributeFilter: ["class"] });
    }

    onStep() {
      this.changed();
      this.writeAddressSoon();
    }

    writeAddressSoon() {
      clearTimeout(this.addressing);
      if (this.runs.at || !(this.linked ||= this.runs.key !== null)) return;
      // Browsers allow a hundred changes of the address in half a minute.
      this.addressing = setTimeout(() => Address.write(this.runs.key, inText(this.runs, this.steps.step)), 350);
    }

    onRows() {
      this.hovered = this.pinned = null;
      this.setRows();
      this.resize();
    }

    onView() {
      for (const { canvas } of this.maps) canvas.classList.toggle("rm-zoomed", !this.viewport.isWhole());
      if (this.cells) this.layOut();
      this.changed();
    }

    onButton(event) {
      const button = event.target.closest(".rm-tools button");
      if (!button || !this.runs) return;
      const actions = {
        "zoom-in": () => this.zoomHere(1 / 1.5),
        "zoom-out": () => this.zoomHere(1.5),
        "zoom-reset": () => this.viewport.all(),
        difference: () => this.showDifference(!this.difference.shown),
        png: () => this.picture().savePng(this.fileName()),
        svg: () => this.picture().saveSvg(this.fileName()),
        help: () => this.toggle("help", this.root.querySelector(".rm-help").hidden),
      };
      actions[button.dataset.do]();
    }

    // The box of this name, and the button that says whether it is shown.
    toggle(name, shown) {
      this.root.querySelector(".rm-" + name).hidden = !shown;
      this.root.querySelector("[data-do=" + name + "]").setAttribute("aria-expanded", String(shown));
    }

    showDifference(shown) {
      this.toggle("difference", shown);
      if (!this.panels[0].trace) return;
      this.setRows();
      this.resize();
      if (shown) this.difference.root.scrollIntoView({ block: "nearest" });
    }

    zoomHere(factor) {
      const { layer, position } = this.cross || { layer: null, position: null };
      this.viewport.zoomAround(factor, { row: layer, position });
    }

    onKey(event) {
      const { target, key } = event;
      if (!this.runs || event.metaKey || target.matches("select")) return;
      const panel = this.maps.find(({ canvas }) => canvas === target);
      const pane = this.texts.paneIn(target);
      const crossing = event.ctrlKey || event.altKey;
      const handled = crossing
        ? this.moveCross(key, panel, pane)
        : this.steps.onKey(event) || this.mapKey(key, panel, pane);
      if (handled) event.preventDefault();
    }

    mapKey(key, panel, pane) {
      if (key === "Escape") return this.unpin();
      if (!panel && !pane) return false;
      const at = this.crossOrStep();
      const policy = panel ? panel.policy : this.texts.policyOf(pane);
      const cell = panel && this.cellIn(panel, at);
      const actions = {
        "+": () => this.zoomHere(1 / 1.5),
        "=": () => this.zoomHere(1 / 1.5),
        "-": () => this.zoomHere(1.5),
        0: () => this.viewport.all(),
        Enter: () => (panel ? panel.click(cell) : this.clickToken(at.position, policy)),
        t: () => this.clickToken(at.position, policy),
        r: () => panel && panel.click({ ...cell, position: null }),
      };
      const action = actions[key.length === 1 ? key.toLowerCase() : key];
      if (action) action();
      return Boolean(action);
    }

    crossOrStep() {
      const { cross } = this;
      return cross && cross.position !== null ? cross : { layer: 0, group: 0, per: 1, position: this.steps.step };
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
      const from = this.crossOrStep();
      const onwards = pane && pane.readsFromRight(from.position) ? -right : right;
      const position = clamp(from.position + onwards, 0, this.runs.length - 1);
      const row = panel && clamp((panel.crossHere(from).row || 0) + down, 0, rowsOf(panel) - 1);
      this.pin(pane ? this.columnAt(position) : panel.crossAt({ row, position }));
      this.viewport.reveal({ row: this.cross.layer, position });
      if (pane && position < pane.spans.length) pane.scrollTo(position);
      // A crosshair moved by key is news to whoever cannot see it. What was still to be told of the step comes first.
      if (this.drawn !== this.steps.step) this.draw();
      this.tellNow();
      this.alternative.textContent = this.answer().join("");
      return true;
    }

    columnAt(position) {
      return { layer: null, group: null, per: null, position };
    }

    point(cross) {
      this.hovered = cross;
      this.changed();
    }

    pin(cross) {
      this.pinned = cross;
      this.point(null);
    }

    // Whether there was anything to let go.
    unpin() {
      const had = this.cross !== null;
      this.pin(null);
      return had;
    }

    // -- what goes out --

    clickToken(position, policy) {
      if (position < this.runs.traces[policy].length) this.send("token", { policy, position });
    }

    send(name, { position, ...detail }) {
      const place = position === undefined ? {} : { position: inText(this.runs, position) };
      this.onEvent(name, { ...detail, ...place, step: inText(this.runs, this.steps.step) });
    }

    // -- pictures to save --

    fileName() {
      const [{ policy, budget }] = this.runs.traces;
      const of = this.alone ? [policy, budget || ""] : ["comparison"];
      return fileName([...of, "step", inText(this.runs, this.steps.step)]);
    }

    picture() {
      const { panels, runs, alone } = this;
      const [{ trace, counts }] = panels;
      const { step } = this.steps;
      const picture = new Picture(panels[0].scene(2));
      const title = alone
        ? policyName(trace) + " · " + runs.model
        : say("What each policy keeps · {model}", { model: runs.model });
      picture.addText(title + " · " + this.stepName(), { bold: true, size: picture.font + 3 });
      const told = (mark) => (alone ? markStory(trace, mark, step, counts) : mark.label);
      const marks = trace.marks.map((mark) => ({ mark: mark.kind, text: told(mark) }));
      picture.addLegend([...statesOf(runs.traces), ...marks]);
      for (const panel of panels) {
        if (!alone) picture.addText(policyName(panel.trace), { bold: true });
        picture.addText(panel.noteAt(step, alone));
        picture.addMap(panel.scene(2), retention);
      }
      if (this.difference.shown) this.difference.addTo(picture);
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
