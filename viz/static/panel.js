// The map of one policy: a heading and a canvas on the window that all maps share.
const Panels = (() => {
  "use strict";

  const { say } = Words;
  const { stepOf, noCounts, moveCounts, goesOn } = Traces;
  const { tokenName, policyName, cellHistory, alternative } = Sentences;
  const { rowsStory, marksStory, tokenStory } = Stories;
  const { margins, makeScene } = Scenes;
  const { makeScratch, drawScene } = Painter;
  const { Pointer } = Viewports;
  const { make, setText, fitted } = Elements;

  // One canvas. `per` is the rows that a layer has in it; `host` is the RetentionMap. A cross is {layer, group, per,
  // position}: layer null for a whole column, position null for a row.
  class Panel {
    constructor(host, pixels) {
      this.host = host;
      this.scratch = makeScratch(pixels);
      this.trace = null;
      this.collapsed = this.above = this.below = false;
      this.box = make("div", "rm-canvas");
      this.canvas = make("canvas", "");
      this.canvas.tabIndex = 0;
      this.canvas.setAttribute("role", "application");
      this.box.append(this.canvas);
      const { viewport } = host;
      new Pointer(this.canvas, {
        scene: () => this.scene(),
        zoom: (x, y, atX, atY) => viewport.zoom(x, y, atX, atY / this.per),
        move: (dx, dy) => viewport.move(dx, dy / this.per),
        isWhole: () => viewport.isWhole(),
        point: (hit) => host.point(hit && this.crossAt(hit)),
        click: (hit) => {
          host.pin(this.crossAt(hit));
          this.click(this.crossAt(hit));
        },
      });
    }

    get per() {
      return this.collapsed ? 1 : this.trace.groups;
    }

    crossAt({ row, position }) {
      return { layer: Math.floor(row / this.per), group: row % this.per, per: this.per, position, panel: this };
    }

    // The common crosshair in rows of this map: the same decider where there is one, else the whole layer.
    crossHere({ layer, group, per, position }) {
      if (layer === null) return { row: null, position };
      if (per === this.per) return { row: layer * per + group, position };
      return { row: layer * this.per, rows: this.per, position };
    }

    // The room above and below the cells; with or without the labels of tokens.
    margins(below = this.below) {
      const { cssWidth, heads } = this.host;
      return margins(this.trace, { cssWidth, heads, above: this.above, below });
    }

    // What the labels of tokens take.
    get taken() {
      return this.margins().bottom - this.margins(false).bottom;
    }

    setCells(cells) {
      const { top, bottom } = this.margins();
      this.cssHeight = Math.round(cells + top + bottom);
      this.box.style.height = this.cssHeight + "px";
    }

    scene(ratio = window.devicePixelRatio || 1) {
      const { host, trace, collapsed, above, below, cssHeight } = this;
      const { palette, cssWidth, heads, viewport, steps } = host;
      if (!trace || !cssWidth || !cssHeight) return null;
      const { x0, x1, y0, y1 } = viewport.view;
      const view = { x0, x1, y0: y0 * this.per, y1: y1 * this.per };
      const step = stepOf(trace, steps.step);
      return makeScene(trace, { step, view, collapsed, palette, cssWidth, cssHeight, ratio, heads, above, below });
    }

    draw() {
      const scene = this.scene();
      if (!scene) return;
      const { cross } = this.host;
      const shown = cross && cross.position !== null ? this.crossHere(cross) : null;
      drawScene(fitted(this.canvas, scene), scene, this.scratch, shown);
    }
  }

  class PolicyPanel extends Panel {
    constructor(host, policy) {
      super(host);
      this.policy = policy;
      this.name = make("h3", "rm-name");
      this.note = make("p", "rm-note");
      this.head = make("div", "rm-head");
      this.head.append(this.name, this.note);
    }

    setTrace(trace) {
      this.trace = trace;
      this.counts = noCounts(trace);
      this.name.textContent = policyName(trace);
    }

    moveTo(step) {
      moveCounts(this.trace, this.counts, stepOf(this.trace, step));
    }

    click({ layer, group, position }) {
      const { host, policy } = this;
      if (position === null) host.send("row", { policy, layer, group });
      // A cell of a collapsed row is many heads' at once: their common story is the token's.
      else if (this.per !== this.trace.groups) host.clickToken(position, policy);
      else host.send("cell", { policy, layer, group, position });
    }

    // What stands beside the name: at the end what is to be seen in it, before how many rows it keeps, and of marks how
    // much. `alone`, the marks' story stands in the legend.
    noteAt(step, alone) {
      const { trace, counts } = this;
      const atEnd = step >= trace.length - 1 && !goesOn(trace);
      const told = (atEnd && trace.note) || rowsStory(trace, step, counts);
      return told + (alone ? "" : marksStory(trace, step, counts));
    }

    drawNote(step, alone) {
      const note = this.noteAt(step, alone);
      if (this.note.textContent !== note) this.note.textContent = this.note.title = note;
    }

    tell(step, keys) {
      const { trace, counts } = this;
      const story = trace.length ? alternative(trace, stepOf(trace, step), counts) : say("had ended before");
      const said = { policy: policyName(trace), keys, story };
      this.canvas.setAttribute("aria-label", say("Retention map of {policy}. {keys} {story}", said));
    }

    storyOf({ layer, group, per, position }, step) {
      const { trace, host } = this;
      if (position >= trace.length) return say("had ended before");
      const own = stepOf(trace, step);
      const name = host.mode === "write" ? tokenName(trace, position) + " · " : "";
      if (layer === null) return name + tokenStory(trace, own, position, this.counts);
      const same = trace.groups === 1 ? 0 : per === trace.groups ? group : null;
      return name + cellHistory(trace, own, layer, same, position);
    }
  }

  return { Panel, PolicyPanel };
})();
