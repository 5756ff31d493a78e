// Pictures to save, as PNG and as SVG: lines of words, legends and maps, one under another.
const Pictures = (() => {
  "use strict";

  const { say } = Words;
  const { canHide } = Sight;
  const { css, packed } = Colours;
  const { toX, toY, cellWidth, cellHeight, spanOf } = Scenes;
  const { axes, paint, textWidth, THICK, DASHES, HATCH, unseenBoxes, makeScratch, drawScene } = Painter;

  const MARGIN = 14;
  // Where a line may end: after a space, and in Chinese after every character that no punctuation follows.
  const BREAKS = /(?<= )|(?<=[，。：；、）])|(?<=[\u4e00-\u9fff])(?=[\u4e00-\u9fff])/;

  class Picture {
    // Of the width and in the colours and letters of this scene.
    constructor({ cssWidth, palette, font, ratio }) {
      Object.assign(this, { width: cssWidth, palette, font, ratio });
      this.height = 8;
      this.items = [];
      this.maps = []; // {scene, scratch, y}
    }

    // Words, over as many lines as they need.
    addText(text, { bold = false, size = this.font } = {}) {
      for (const line of this.lines(text, size, bold)) {
        this.items.push({ text: line, x: MARGIN, y: this.height + size * 0.8, anchor: "start", bold, size });
        this.height += Math.round(size * 1.5);
      }
    }

    lines(text, size, bold) {
      const room = this.width - 2 * MARGIN;
      const lines = [""];
      for (const word of text.split(BREAKS)) {
        const longer = lines.at(-1) + word;
        if (lines.at(-1) === "" || textWidth(longer.trimEnd(), size, this.palette.font, bold) <= room) {
          lines[lines.length - 1] = longer;
        } else lines.push(word);
      }
      return lines.map((line) => line.trimEnd());
    }

    // `keys` are {text, colour} for cells, hatched where they say so, or {text, mark} for a mark of this kind.
    addLegend(keys) {
      const line = this.font * 1.6;
      let x = MARGIN;
      for (const key of keys) {
        const long = 19 + textWidth(key.text, this.font, this.palette.font);
        if (x > MARGIN && x + long > this.width - MARGIN) {
          x = MARGIN;
          this.height += line;
        }
        const y = this.height + line / 2;
        this.items.push(this.sample(key, x, y), { text: key.text, x: x + 19, y, anchor: "start" });
        x += long + 18;
      }
      this.height += Math.round(line) + 2;
    }

    sample({ colour, hatched, mark }, x, y) {
      const { palette } = this;
      if (mark) return { path: [[x, y], [x + 14, y]], stroke: palette[mark], dashed: mark === "question" };
      return { box: [x, y - 7, 13, 13], fill: palette[colour], stroke: palette.faint, hatched };
    }

    // `pixels` colours the cells, as in Painter.makeScratch.
    addMap(scene, pixels) {
      this.maps.push({ scene, scratch: makeScratch(pixels), y: this.height });
      this.height += scene.cssHeight + 4;
    }

    toCanvas() {
      const { ratio, palette, items, maps } = this;
      const [canvas, context] = this.sheet(this.height);
      context.fillStyle = css(palette.paper);
      context.fillRect(0, 0, canvas.width, canvas.height);
      for (const { scene, scratch, y } of maps) {
        const [map, inside] = this.sheet(scene.cssHeight);
        drawScene(inside, { ...scene, ratio }, scratch, null);
        context.drawImage(map, 0, Math.round(y * ratio));
      }
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      for (const item of items) paint(context, item, this);
      return canvas;
    }

    sheet(height) {
      const canvas = document.createElement("canvas");
      canvas.width = this.width * this.ratio;
      canvas.height = Math.ceil(height * this.ratio);
      return [canvas, canvas.getContext("2d")];
    }

    toSvg() {
      const { width, height, palette, items, maps } = this;
      const svg = node("svg", { width, height, viewBox: [0, 0, width, height].join(" "), "font-family": palette.font });
      svg.append(node("rect", { width: "100%", height: "100%", fill: css(palette.paper) }));
      svg.append(...items.map((item) => nodeOf(item, this)));
      maps.forEach(({ scene, scratch, y }, i) => svg.append(svgMap(scene, scratch.pixels, y, "plot" + i)));
      if (svg.querySelector("[fill='url(#hatch)']")) svg.append(hatchOf(palette));
      return new XMLSerializer().serializeToString(svg);
    }

    savePng(name) {
      this.toCanvas().toBlob((blob) => download(blob, name + ".png"), "image/png");
    }

    saveSvg(name) {
      download(new Blob([this.toSvg()], { type: "image/svg+xml" }), name + ".svg");
    }
  }

  const SVG = "http://www.w3.org/2000/svg";

  const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g;

  // Built as nodes, never as a string: the serialiser escapes what users wrote.
  function node(name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) {
      element.setAttribute(key, typeof value === "number" ? +value.toFixed(2) : value);
    }
    if (text !== undefined) element.textContent = text.replace(NOT_XML, "\ufffd");
    return element;
  }

  // As Painter's `paint`.
  function nodeOf(item, { palette, font }) {
    const fill = css(item.faint ? palette.faint : palette.ink);
    if (item.box) {
      const [x, y, width, height] = item.box;
      const look = { fill: css(item.fill), stroke: item.stroke ? css(item.stroke) : "none" };
      const box = node("rect", { x, y, width, height, ...look });
      return item.hatched ? group(box, hatched(item.box)) : box;
    }
    if (item.path) {
      const look = { fill: "none", stroke: css(item.stroke), "stroke-width": THICK };
      const dashes = item.dashed ? { "stroke-dasharray": DASHES.join(" ") } : {};
      return node("polyline", { points: item.path.join(" "), ...look, ...dashes });
    }
    if (item.line) {
      const [x1, y1, x2, y2] = item.line;
      return node("line", { x1, y1, x2, y2, stroke: css(palette.line) });
    }
    if (item.triangle) return node("polygon", { points: item.triangle.join(" "), fill });
    const at = { x: item.x, y: item.y, fill, "text-anchor": item.anchor, "dominant-baseline": "central" };
    const look = { "font-size": item.size || font, "font-weight": item.bold ? 600 : 400, "xml:space": "preserve" };
    const turn = item.angle ? { transform: "rotate(" + item.angle + " " + item.x + " " + item.y + ")" } : {};
    return node("text", { ...at, ...look, ...turn }, item.text);
  }

  function group(...nodes) {
    const all = node("g", {});
    all.append(...nodes);
    return all;
  }

  const hatched = ([x, y, width, height]) => node("rect", { x, y, width, height, fill: "url(#hatch)" });

  function hatchOf({ paper }) {
    const { size, width, lines } = HATCH;
    const pattern = node("pattern", { id: "hatch", width: size, height: size, patternUnits: "userSpaceOnUse" });
    const d = lines.map(([x1, y1, x2, y2]) => `M${x1} ${y1}L${x2} ${y2}`).join("");
    pattern.append(node("path", { d, stroke: css(paper), "stroke-width": width }));
    return pattern;
  }

  function svgMap(scene, pixels, y, id) {
    const map = node("g", { transform: "translate(0 " + y + ")" });
    const plot = { x: scene.left, y: scene.top, width: scene.width, height: scene.height };
    const clip = node("clipPath", { id });
    clip.append(node("rect", plot));
    const frame = node("rect", { ...plot, fill: "none", stroke: css(scene.palette.line) });
    map.append(clip, svgCells(scene, pixels, id), frame, ...axes(scene).map((item) => nodeOf(item, scene)));
    return map;
  }

  // One rectangle for each run of equal neighbours: a real drawing, small and sharp at any size.
  function svgCells(scene, pixels, clip) {
    const span = spanOf(scene);
    const width = span.column1 - span.column0;
    const height = span.y1 - span.y0;
    const colours = pixels(scene, span, width, height);
    const cells = node("g", { "shape-rendering": "crispEdges", "clip-path": "url(#" + clip + ")" });
    const paper = packed(scene.palette.paper) >>> 0;
    for (let y = 0; y < height; y++) {
      for (let x = 0, end; x < width; x = end) {
        const colour = colours[y * width + x];
        for (end = x + 1; end < width && colours[y * width + end] === colour; ) end++;
        if (colour !== paper) cells.append(svgRun(scene, span, x, end, y, colour));
      }
    }
    cells.append(...unseenBoxes(scene).map(hatched));
    return cells;
  }

  function svgRun(scene, span, from, to, row, colour) {
    const x = toX(scene, span.column0 + from);
    const y = toY(scene, span.y0 + row);
    const fill = css([colour & 255, (colour >> 8) & 255, (colour >> 16) & 255]);
    return node("rect", { x, y, width: (to - from) * cellWidth(scene), height: cellHeight(scene), fill });
  }

  function download(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const fileName = (words) => words.join(" ").toLowerCase().replace(/[^a-z0-9+]+/g, "-");

  // The legend of the cells of these traces.
  function statesOf(traces) {
    const unseen = { text: say("held, but out of the model's sight"), colour: "kept", hatched: true };
    return [
      { text: say("kept"), colour: "kept" },
      ...(traces.some(canHide) ? [unseen] : []),
      { text: say("just evicted"), colour: "fresh" },
      { text: say("evicted"), colour: "evicted" },
      { text: say("not read yet"), colour: "paper" },
    ];
  }

  return { Picture, statesOf, fileName };
})();
