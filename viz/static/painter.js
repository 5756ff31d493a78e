// Paints a scene on a canvas: the cells, and around them the axes, which the SVG file draws from the same items.
const Painter = (() => {
  "use strict";

  const { say } = Words;
  const { inText, heldIn, olderIn, mostOlder } = Traces;
  const { unseenRuns } = Sight;
  const { shortName } = Sentences;
  const { mix, css } = Colours;
  const { rasterise } = Pixels;
  const { clamp, spanOf, cellWidth, cellHeight, toX, toY } = Scenes;

  const LARGEST = 4096; // a canvas side that every browser can draw

  // ---- Axes: texts and lines, drawn alike by the canvas and by the SVG file -----------------------------------------

  function axes(scene) {
    const above = scene.above ? [...positionAxis(scene), ...stepMarker(scene)] : [];
    const older = scene.trace.older ? olderColumn(scene) : [];
    const held = scene.trace.uneven ? heldColumn(scene) : [];
    return [...layerAxis(scene), ...older, ...held, ...above, ...brackets(scene), ...(scene.below ? tokenAxis(scene) : [])];
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

  // Right of the cells, for each row: how many rows it holds, as a bar, and as a number where there is room.
  function heldColumn(scene) {
    const { trace, palette, view, step, font, left, width, top, height, collapsed } = scene;
    const per = collapsed ? trace.groups : 1;
    const x = left + width + 3;
    const room = font * 2.2;
    const all = Array.from({ length: trace.rows / per }, (_, row) => heldIn(trace, step, row, per));
    const most = Math.max(1, ...all);
    const items = [];
    for (let row = Math.floor(view.y0); row < view.y1; row++) {
      const y = Math.max(top, toY(scene, row));
      const high = Math.min(top + height, toY(scene, row + 1)) - y;
      items.push({ box: [x, y, Math.max(1, (room * all[row]) / most), Math.max(1, high * 0.8)], fill: palette.kept });
    }
    // A number for each row, or, beside that of the layer, for its heads together: their mean.
    const together = cellHeight(scene) >= font ? per : trace.groups;
    const every = stride(font + 3, (cellHeight(scene) * together) / per);
    for (let row = 0; row < trace.rows / together; row += every) {
      const y = toY(scene, ((row + 0.5) * together) / per);
      const text = String(Math.round(heldIn(trace, step, row, together)));
      if (insideRows(scene, y)) items.push({ text, x: x + room + 4, y, anchor: "start", faint: true });
    }
    if (scene.above) items.push({ text: say("rows"), x: x + room + 4, y: top - font, anchor: "start", faint: true });
    return items;
  }

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
    const items = [];
    const y = scene.top + scene.height;
    const end = Math.min(view.x1, trace.length);
    for (let column = Math.ceil(view.x0); column < end; column++) {
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

  // A round number of cells that lie at least `room` pixels apart.
  function stride(room, cell) {
    const least = Math.max(1, room / cell);
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((times) => times * power).find((nice) => nice >= least && nice >= 1);
  }

  function paint(context, item, scene) {
    if (item.box) paintBox(context, item, scene);
    else if (item.path) paintPath(context, item);
    else if (item.line) paintLine(context, item, scene);
    else if (item.triangle) paintTriangle(context, item, scene);
    else paintText(context, item, scene);
  }

  function paintBox(context, { box: [x, y, width, height], fill, stroke, hatched }, { palette }) {
    context.fillStyle = css(fill);
    context.fillRect(x, y, width, height);
    if (hatched) {
      context.fillStyle = hatch(context, palette.paper);
      context.fillRect(x, y, width, height);
    }
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

  // ---- What is held, but out of the model's sight, is hatched -------------------------------------------------------

  const HATCH = { size: 6, width: 2, lines: [[-1, 1, 1, -1], [0, 6, 6, 0], [5, 7, 7, 5]] };

  function hatch(context, colour) {
    const { size, width, lines } = HATCH;
    const tile = Object.assign(document.createElement("canvas"), { width: size, height: size });
    const inside = tile.getContext("2d");
    inside.strokeStyle = css(colour);
    inside.lineWidth = width;
    for (const [x1, y1, x2, y2] of lines) {
      inside.moveTo(x1, y1);
      inside.lineTo(x2, y2);
    }
    inside.stroke();
    return context.createPattern(tile, "repeat");
  }

  // [x, y, width, height] of the cells to be hatched, neighbours together.
  function unseenBoxes(scene) {
    const { trace, step, collapsed } = scene;
    const { y0, y1, column0, column1 } = spanOf(scene);
    const boxes = [];
    for (let row = y0; row < y1; row++) {
      const y = toY(scene, row);
      for (const [from, end] of unseenRuns(trace, step, row, collapsed ? trace.groups : 1, column0, column1)) {
        boxes.push([toX(scene, from), y, (end - from) * cellWidth(scene), cellHeight(scene)]);
      }
    }
    return boxes;
  }

  function drawUnseen(context, scene) {
    const boxes = unseenBoxes(scene);
    if (!boxes.length) return;
    context.fillStyle = hatch(context, scene.palette.paper);
    context.beginPath();
    for (const box of boxes) context.rect(...box);
    context.fill();
  }

  // ---- The map on a canvas ------------------------------------------------------------------------------------------

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
    drawUnseen(context, scene);
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
    // Around the cells whatever is behind the canvas can be seen, for not every page is as dark as our paper.
    context.clearRect(0, 0, scene.cssWidth, scene.cssHeight);
    context.fillStyle = css(scene.palette.paper);
    context.fillRect(scene.left, scene.top, scene.width, scene.height);
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

  return { axes, paint, textWidth, THICK, DASHES, HATCH, unseenBoxes, retention, makeScratch, drawScene };
})();
