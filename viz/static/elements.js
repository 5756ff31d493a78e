// Small things that are done to elements of the page.
const Elements = (() => {
  "use strict";

  function make(name, className, text = "") {
    const element = document.createElement(name);
    element.className = className;
    element.textContent = text;
    return element;
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // The choices 0, 1, 2 … by their names.
  function setOptions(select, names, chosen) {
    select.replaceChildren(...names.map((name, i) => new Option(name, i)));
    select.value = chosen;
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

  return { make, setText, setOptions, oncePerFrame, fitted };
})();
