// The address of the page carries the run and the step, so that a link opens on both.
const Address = (() => {
  "use strict";

  function step() {
    const text = new URLSearchParams(location.search).get("step");
    return text !== null && /^[0-9]+$/.test(text) ? Number(text) : null;
  }

  // The address of this page with the run of this key at this step; without what is null, undefined or empty.
  function of(key, step) {
    const address = new URL(location.href);
    for (const [name, value] of Object.entries({ trace: key || null, step: step ?? null })) {
      if (value === null) address.searchParams.delete(name);
      else address.searchParams.set(name, value);
    }
    return address;
  }

  function write(key, step) {
    try {
      history.replaceState(history.state, "", of(key, step));
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

  return { step, of, write };
})();
