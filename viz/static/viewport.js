// The part of the maps that is shown, and the pointer that moves it.
const Viewports = (() => {
  "use strict";

  const { clamp, zoomed, moved, toColumn, toRow, rowsOf } = Scenes;

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

  return { Viewport, Pointer };
})();
