// What people drive a map with: the step control, the text, the window on the map, the pointer.
const Controls = (() => {
  "use strict";

  const { say } = Words;
  const { join, isFromRight, readsFromRight } = Letters;
  const { goesOn } = Traces;
  const { unseen } = Sight;
  const { level } = Colours;
  const { windowName } = Sentences;
  const { clamp, zoomed, moved, toColumn, toRow, rowsOf } = Scenes;

  // Slider, buttons and playing: which step is shown, from 0 to `last`. People read them `offset` later.
  class StepControl {
    // `root` contains .rm-steps; `onStep` is called after every change of the step.
    constructor(root, onStep) {
      this.onStep = onStep;
      this.step = 0;
      this.last = -1;
      this.offset = 0;
      this.playing = 0;
      const find = (selector) => root.querySelector(".rm-steps " + selector);
      this.slider = find("input");
      this.number = find(".rm-number");
      this.token = find(".rm-token");
      this.speed = find("select");
      this.playButton = find("[data-do=play]");
      this.slider.addEventListener("input", () => this.jump(Number(this.slider.value)));
      root.querySelector(".rm-steps").addEventListener("click", (event) => this.onButton(event));
    }

    setLast(last, offset) {
      this.offset = offset;
      this.last = this.slider.max = last;
      this.step = clamp(this.step, 0, last);
    }

    go(step) {
      const next = clamp(step, 0, Math.max(0, this.last));
      if (next === this.step) return;
      this.step = next;
      this.onStep();
    }

    jump(step) {
      this.pause();
      this.go(step);
    }

    pause() {
      cancelAnimationFrame(this.playing);
      this.playing = 0;
      this.showPlaying();
    }

    play() {
      if (this.step === this.last) this.go(0);
      let due = 0;
      let last = performance.now();
      const tick = (now) => {
        due += ((now - last) * Number(this.speed.value)) / 1000;
        last = now;
        const whole = Math.floor(due);
        due -= whole;
        if (whole) this.go(this.step + whole);
        if (this.step === this.last) return this.pause();
        this.playing = requestAnimationFrame(tick);
      };
      this.playing = requestAnimationFrame(tick);
      this.showPlaying();
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    showPlaying() {
      this.playButton.classList.toggle("rm-playing", this.playing !== 0);
      this.playButton.setAttribute("aria-label", this.playing ? say("Pause") : say("Play"));
    }

    onButton(event) {
      const button = event.target.closest("button[data-do]");
      if (!button || this.last < 0) return;
      const { step, last } = this;
      const steps = { first: 0, previous: step - 1, next: step + 1, last };
      if (button.dataset.do === "play") this.toggle();
      else this.jump(steps[button.dataset.do]);
    }

    // Whether the key was one of ours.
    onKey({ key, shiftKey, target }) {
      const by = shiftKey ? 10 : 1;
      const steps = { ArrowLeft: this.step - by, ArrowRight: this.step + by, Home: 0, End: this.last };
      if (key in steps) {
        this.jump(steps[key]);
        return true;
      }
      if (key !== " " || target.matches("button, [type=checkbox]")) return false;
      this.toggle();
      return true;
    }

    // `name` is the token of the step, in words.
    draw(name) {
      const { step, last, offset, slider } = this;
      slider.value = step;
      const where = { step: offset + step, last: offset + last, token: name };
      const words = name ? say("{step} of {last}, {token}", where) : say("{step} of {last}", where);
      slider.setAttribute("aria-valuetext", words);
      this.number.textContent = offset + step + " / " + (offset + last);
      this.token.textContent = name;
    }
  }

  // Of a text too long to be shown whole: which part is shown, and the way to the parts beside it.
  class WindowControl {
    // `root` contains .rm-window; `onAsk` gets a position in the whole text that the wanted part contains.
    constructor(root, onAsk) {
      this.box = root.querySelector(".rm-window");
      this.name = this.box.querySelector("p");
      [this.previous, this.next] = this.box.querySelectorAll("button");
      this.previous.addEventListener("click", () => onAsk(this.trace.start - 1));
      this.next.addEventListener("click", () => onAsk(this.trace.start + this.trace.total));
    }

    setTrace(trace) {
      this.trace = trace;
      this.previous.disabled = trace.start === 0;
      this.next.disabled = !goesOn(trace);
      this.box.hidden = this.previous.disabled && this.next.disabled;
      this.name.textContent = windowName(trace);
    }
  }

  // In a legend, the marked passages: each with its name, as it looks in the text.
  class MarkKeys {
    constructor(box) {
      this.box = box;
    }

    setMarks(marks) {
      const keys = marks.map(({ kind }) => {
        const key = document.createElement("span");
        key.className = "rm-marked rm-marked-" + kind;
        return key;
      });
      this.box.replaceChildren(...keys);
      this.draw(marks.map(({ label }) => label));
    }

    // `words` of each mark.
    draw(words) {
      words.forEach((text, i) => setText(this.box.children[i], text));
    }
  }

  // Of tokens that are no text of their own but continue a character: they stand behind it.
  const continues = ({ continued, pieces }, position) => continued[position] && pieces[position] === "";

  // The texts around such a token.
  function around(trace, position) {
    let [before, after] = [position, position];
    while (before > 0 && continues(trace, before)) before--;
    while (after < trace.length && continues(trace, after)) after++;
    return { before: trace.pieces[before], after: trace.pieces[after] || "", behind: after - position };
  }

  function joins(trace, position) {
    const { before, after } = around(trace, position);
    return join(before, after);
  }

  // Which place above the end of its character it has: to the left, or to the right where that is where it stands.
  function placeOf(trace, position) {
    const { before, behind } = around(trace, position);
    return isFromRight(before) ? behind - 1 : -behind;
  }

  // The tokens of one trace as they stand in the text, each with a tint.
  class TextPane {
    // `box` becomes the pane. `onPoint(position or null)` and `onClick(position)` hear of the pointer.
    constructor(box, { onPoint, onClick }) {
      this.box = box;
      this.trace = null;
      this.spans = [];
      this.shown = []; // what each span shows now, so that only changes touch the page
      const positionOf = (target) => (target.classList.contains("rm-t") ? this.spans.indexOf(target) : -1);
      box.addEventListener("click", (event) => {
        const position = positionOf(event.target);
        if (position >= 0) onClick(position);
      });
      box.addEventListener("pointermove", (event) => {
        const position = positionOf(event.target);
        onPoint(position >= 0 ? position : null);
      });
      box.addEventListener("pointerleave", () => onPoint(null));
    }

    // A text that has only grown keeps its spans.
    setTrace(trace) {
      const before = this.spans.length;
      const { pieces } = this.trace || { pieces: [] };
      const same = before <= trace.length && pieces.every((piece, i) => piece === trace.pieces[i]);
      this.trace = trace;
      if (!same) {
        this.box.replaceChildren();
        this.spans.length = this.shown.length = 0;
      }
      const more = document.createDocumentFragment();
      for (let position = this.spans.length; position < trace.length; position++) more.append(this.makeSpan(position));
      this.box.append(more);
      this.showMarks();
    }

    // Anew, for a text that stays may be marked elsewhere.
    showMarks() {
      const names = ["rm-marked", "rm-marked-evidence", "rm-marked-question"];
      for (const span of this.box.querySelectorAll(".rm-marked")) span.classList.remove(...names);
      for (const { start, end, kind } of this.trace.marks) {
        for (const span of this.spans.slice(Math.max(0, start), Math.max(0, end))) {
          span.classList.add("rm-marked", "rm-marked-" + kind);
        }
      }
    }

    makeSpan(position) {
      const { trace } = this;
      const span = document.createElement("span");
      const piece = trace.pieces[position];
      span.textContent = piece;
      const kinds = {
        "rm-special": trace.special[position],
        "rm-continued": continues(trace, position),
        "rm-joined": continues(trace, position) && joins(trace, position),
        "rm-newline": piece.includes("\n"),
        "rm-generated": position >= trace.promptLength,
      };
      span.className = ["rm-t", ...Object.keys(kinds).filter((kind) => kinds[kind])].join(" ");
      if (kinds["rm-joined"]) span.style.setProperty("--rm-place", placeOf(trace, position));
      this.spans.push(span);
      this.shown.push(null);
      return span;
    }

    // `lookOf(position)` names the tint of a token that has been read, with "unseen" after it where those that keep it
    // do not see it; `pointed` is a position or null.
    draw(step, lookOf, pointed) {
      const { spans, shown } = this;
      for (let position = 0; position < spans.length; position++) {
        const look = position > step ? "unread" : String(lookOf(position));
        if (shown[position] === look) continue;
        shown[position] = look;
        const [tint, unseen] = look.split(" ");
        spans[position].dataset.kept = tint;
        spans[position].classList.toggle("rm-unseen", Boolean(unseen));
      }
      this.mark("current", "rm-current", spans[step]);
      this.mark("pointed", "rm-pointed", pointed === null ? null : spans[pointed]);
      if (this.scrolledTo !== spans[step] && spans[step]) this.scrollTo(step);
      this.scrolledTo = spans[step];
    }

    mark(name, className, span) {
      if (this[name] === span) return;
      if (this[name]) this[name].classList.remove(className);
      if (span) span.classList.add(className);
      this[name] = span;
    }

    // Inside the box only: scrollIntoView would move the page under the reader.
    scrollTo(position) {
      const { box } = this;
      const { offsetTop, offsetHeight } = this.spans[position]; // within the box, which is its offset parent
      const seen = offsetTop >= box.scrollTop && offsetTop + offsetHeight <= box.scrollTop + box.clientHeight;
      if (!seen) box.scrollTop = offsetTop - box.clientHeight / 2;
    }

    // Whether its line is read from right to left, as the browser takes it, too: special tokens do not count.
    readsFromRight(position) {
      const { pieces, special } = this.trace;
      const plain = pieces.map((piece, at) => (special[at] ? "" : piece));
      const before = plain.slice(0, position).join("");
      const [after] = plain.slice(position).join("").split("\n", 1);
      return readsFromRight(before.slice(before.lastIndexOf("\n") + 1) + after);
    }

    // The lines may have moved.
    resized() {
      this.scrolledTo = null;
    }
  }

  // How a text looks that is coloured by how many deciders keep each token; as TextPane.draw takes it.
  const lookOf = (trace, step, { keepers }) => {
    const { of } = unseen(trace, step);
    return (position) => {
      const hidden = of[position] > 0 && of[position] === keepers[position];
      return level(keepers[position], trace.rows) + (hidden ? " unseen" : "");
    };
  };

  // The part of a map that is shown: columns x0 … x1, rows y0 … y1.
  class Viewport {
    constructor(onChange) {
      this.onChange = onChange;
      this.size = { columns: 0, rows: 0 };
      this.view = { x0: 0, x1: 0, y0: 0, y1: 0 };
    }

    setSize(columns, rows) {
      this.size = { columns, rows };
    }

    isWhole() {
      const { x0, x1, y0, y1 } = this.view;
      return x1 - x0 >= this.size.columns && y1 - y0 >= this.size.rows;
    }

    all() {
      this.set({ x0: 0, x1: this.size.columns, y0: 0, y1: this.size.rows });
    }

    zoom(factorX, factorY, atX, atY) {
      this.set(zoomed(this.view, this.size, factorX, factorY, atX, atY));
    }

    // Around a cell {row, position}, each of them null for the middle of what is shown.
    zoomAround(factor, { row, position }) {
      const { x0, x1, y0, y1 } = this.view;
      const x = position === null ? (x0 + x1) / 2 : position + 0.5;
      const y = row === null ? (y0 + y1) / 2 : row + 0.5;
      this.zoom(factor, factor, x, y);
    }

    move(dx, dy) {
      this.set(moved(this.view, this.size, dx, dy));
    }

    reveal({ row, position }) {
      const { x0, x1, y0, y1 } = this.view;
      const off = (at, low, high) => (at < low ? at - low : at + 1 > high ? at + 1 - high : 0);
      this.move(off(position, x0, x1), row === null ? 0 : off(row, y0, y1));
    }

    set(view) {
      this.view = view;
      this.onChange();
    }
  }

  // Pointers and wheel on one canvas.
  class Pointer {
    // `host` has scene(), what the canvas shows now or null; zoom(…) and move(…) in the scene's cells; isWhole();
    // point(hit) and click(hit), of what `hit` returns.
    constructor(canvas, host) {
      this.canvas = canvas;
      this.host = host;
      this.pointers = new Map();
      canvas.addEventListener("pointerdown", (event) => this.onDown(event));
      canvas.addEventListener("pointermove", (event) => this.onMove(event));
      canvas.addEventListener("pointerup", (event) => this.onUp(event));
      canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
      canvas.addEventListener("pointerleave", (event) => this.onLeave(event));
      canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    }

    // What lies under a point: a cell, a row's label (position null), or nothing.
    hit({ x, y }) {
      const scene = this.host.scene();
      const row = Math.floor(toRow(scene, y));
      const position = Math.floor(toColumn(scene, x));
      if (y < scene.top || y >= scene.top + scene.height || row < 0 || row >= rowsOf(scene)) return null;
      if (x < scene.left) return { row, position: null };
      if (x >= scene.left + scene.width || position < 0 || position >= scene.trace.length) return null;
      return { row, position };
    }

    onDown(event) {
      if (!this.host.scene()) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, this.at(event));
      this.travelled = this.pointers.size > 1 ? Infinity : 0;
    }

    onMove(event) {
      if (!this.host.scene()) return;
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
      this.host.point(hit);
    }

    pan(dx, dy) {
      const { view, width, height } = this.host.scene();
      this.host.move((-dx * (view.x1 - view.x0)) / width, (-dy * (view.y1 - view.y0)) / height);
    }

    // Each axis by how far the fingers move apart along it; an axis along which they are close stays as it is.
    pinch(id, from, to) {
      const scene = this.host.scene();
      const other = [...this.pointers].find(([key]) => key !== id)[1];
      const factor = (now, before) => (Math.abs(before) < 40 ? 1 : Math.abs(before) / Math.max(20, Math.abs(now)));
      const atX = toColumn(scene, other.x);
      const atY = toRow(scene, other.y);
      this.host.zoom(factor(to.x - other.x, from.x - other.x), factor(to.y - other.y, from.y - other.y), atX, atY);
    }

    onUp(event) {
      const was = this.pointers.get(event.pointerId);
      this.pointers.delete(event.pointerId);
      if (!was || this.travelled > 5) return;
      const hit = this.hit(this.at(event));
      if (hit) this.host.click(hit);
    }

    // A finger always leaves: what it has pointed at stays.
    onLeave({ pointerType }) {
      if (this.pointers.size === 0 && pointerType !== "touch") this.host.point(null);
    }

    onWheel(event) {
      if (!this.host.scene()) return;
      const delta = event.deltaY || event.deltaX; // with shift, browsers turn the wheel sideways
      if (delta > 0 && this.host.isWhole()) return; // the page scrolls on
      event.preventDefault();
      const scene = this.host.scene();
      const { x, y } = this.at(event);
      const factor = Math.exp(clamp(delta, -120, 120) / 400);
      this.host.zoom(event.altKey ? 1 : factor, event.shiftKey ? 1 : factor, toColumn(scene, x), toRow(scene, y));
    }
  }

  // Calls `draw` in the next frame, once, however often it is asked.
  function oncePerFrame(draw) {
    let frame = 0;
    return () => {
      if (frame) return;
      frame = requestAnimationFrame(() => {
        frame = 0;
        draw();
      });
    };
  }

  // A canvas of the size that a scene needs, and its context.
  function fitted(canvas, { cssWidth, cssHeight, ratio }) {
    const width = Math.round(cssWidth * ratio);
    const height = Math.round(cssHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    return canvas.getContext("2d");
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function toggleHelp(root, button) {
    const help = root.querySelector(".rm-help");
    help.hidden = !help.hidden;
    button.setAttribute("aria-expanded", String(!help.hidden));
  }

  return {
    ...{ StepControl, WindowControl, MarkKeys, TextPane, Viewport, Pointer },
    ...{ lookOf, oncePerFrame, fitted, setText, toggleHelp },
  };
})();
