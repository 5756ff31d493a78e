// A scene: everything that the drawing of a map depends on, and where in it the cells are.
const Scenes = (() => {
  "use strict";

  const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

  const fontSize = () => (document.body.classList.contains("projector") ? 20 : 13);

  const HELD = 5.2; // characters: a bar and a number

  const isNarrow = (cssWidth) => cssWidth < 560;

  // The room around the cells. Maps one under another need the positions above and the tokens below only once, and the
  // same `heads` (room for the numbers of KV heads) for all, so that their columns are aligned. `older` is how much of
  // the left is for the column of older rows, `axis` how far down the positions stand on the brackets of the marks. On
  // the right it is told how many rows each row of the map holds, where these are not equally many.
  function margins(trace, { cssWidth, heads, above = true, below = true }) {
    const font = fontSize();
    const older = trace.start ? font * 2 : 0;
    const bracket = trace.marks.length ? (above ? font * 1.5 + 4 : 6) : 0;
    const axis = above ? font * 2.2 : font * 0.4;
    return {
      font,
      older,
      axis,
      left: Math.round(font * (heads ? 4.6 : 3.2)) + older,
      right: trace.uneven ? Math.round(font * HELD) : isNarrow(cssWidth) ? 6 : 12,
      top: axis + bracket,
      bottom: below ? font * 4.8 : 2,
    };
  }

  // Whether the view is so near that the tokens below a map have room for a label each.
  const showsTokens = ({ x0, x1 }, cssWidth) => cssWidth / (x1 - x0) >= 1.5 * fontSize();

  // Everything a drawing depends on; `ratio` is device pixels per CSS pixel.
  function makeScene(trace, options) {
    const { cssWidth, cssHeight, above = true, below = true } = options;
    const { heads = trace.groups > 1 && !options.collapsed } = options;
    const { right, bottom, ...room } = margins(trace, { cssWidth, heads, above, below });
    const width = Math.max(40, cssWidth - room.left - right);
    const height = Math.max(40, cssHeight - room.top - bottom);
    return { ...options, ...room, trace, above, below, width, height };
  }

  const rowsOf = ({ trace, collapsed }) => (collapsed ? trace.layers : trace.rows);

  function spanOf({ trace, view, collapsed }) {
    const per = collapsed ? trace.groups : 1;
    const rows = trace.rows / per;
    const y0 = Math.max(0, Math.floor(view.y0));
    const y1 = Math.min(rows, Math.ceil(view.y1));
    const column1 = Math.min(trace.length, Math.ceil(view.x1));
    const column0 = Math.min(Math.floor(view.x0), column1 - 1);
    return { row0: y0 * per, row1: y1 * per, column0, column1, y0, y1 };
  }

  // A window of the given length inside 0 … whole, as near to `start` as it can be.
  function windowOf(start, length, whole) {
    const size = clamp(length, Math.min(whole, 4), whole);
    const from = clamp(start, 0, whole - size);
    return [from, from + size];
  }

  function zoomed(view, whole, factorX, factorY, atX, atY) {
    const [x0, x1] = windowOf(atX - (atX - view.x0) * factorX, (view.x1 - view.x0) * factorX, whole.columns);
    const [y0, y1] = windowOf(atY - (atY - view.y0) * factorY, (view.y1 - view.y0) * factorY, whole.rows);
    return { x0, x1, y0, y1 };
  }

  function moved(view, whole, dx, dy) {
    const [x0, x1] = windowOf(view.x0 + dx, view.x1 - view.x0, whole.columns);
    const [y0, y1] = windowOf(view.y0 + dy, view.y1 - view.y0, whole.rows);
    return { x0, x1, y0, y1 };
  }

  // The part of one axis between two cells, in pixels, and back.
  const cellWidth = ({ width, view }) => width / (view.x1 - view.x0);
  const cellHeight = ({ height, view }) => height / (view.y1 - view.y0);
  const toX = (scene, column) => scene.left + (column - scene.view.x0) * cellWidth(scene);
  const toY = (scene, row) => scene.top + (row - scene.view.y0) * cellHeight(scene);
  const toColumn = (scene, x) => scene.view.x0 + (x - scene.left) / cellWidth(scene);
  const toRow = (scene, y) => scene.view.y0 + (y - scene.top) / cellHeight(scene);

  return {
    ...{ clamp, isNarrow, margins, showsTokens, makeScene, rowsOf, spanOf, zoomed, moved, cellWidth, cellHeight },
    ...{ toX, toY, toColumn, toRow },
  };
})();
