// Colours: those of the stylesheet, as [red, green, blue], and the tints of the tokens in a text.
const Colours = (() => {
  "use strict";

  const LEVELS = Shared.levels;

  const mix = (from, to, share) => from.map((value, i) => value + (to[i] - value) * share);
  const css = (colour) => "rgb(" + colour.map(Math.round).join(",") + ")";
  // Little-endian RGBA, as ImageData stores it.
  const packed = ([r, g, b]) => (255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r);

  function luminance(colour) {
    const [r, g, b] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  // Black or white, whichever reads better: on any colour the better of the two has a contrast above 4.5.
  const inkOn = (colour) => (luminance(colour) > 0.179 ? "#000" : "#fff");

  // What the stylesheet says, so that light and dark live in one place.
  function readPalette(element, more = []) {
    const style = getComputedStyle(element);
    const colour = (name) => {
      const hex = style.getPropertyValue("--rm-" + name).trim();
      return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    };
    const marks = ["evidence", "question"];
    const names = ["kept", "fresh", "evicted", "paper", "ink", "faint", "line", ...marks, ...more];
    return { ...Object.fromEntries(names.map((name) => [name, colour(name)])), font: style.fontFamily };
  }

  // The tints of the tokens of a text, from kept by nobody to kept by everybody, for the stylesheet.
  function setTints(element, { evicted, kept }) {
    for (let at = 0; at <= LEVELS; at++) setTint(element, at, mix(evicted, kept, at / LEVELS));
  }

  function setTint(element, name, colour) {
    const tint = colour.map(Math.round);
    element.style.setProperty("--rm-tint-" + name, css(tint));
    element.style.setProperty("--rm-ink-" + name, inkOn(tint));
  }

  // 0 only for nobody and LEVELS only for everybody: "almost forgotten" is not "forgotten".
  function level(count, of) {
    if (count === 0 || count === of) return count && LEVELS;
    return Math.min(LEVELS - 1, Math.max(1, Math.round((LEVELS * count) / of)));
  }

  return { mix, css, packed, luminance, readPalette, setTints, setTint, level };
})();
