// What the letters of a text ask of whoever shows it: which way they are read, and which of them join.
const Letters = (() => {
  "use strict";

  const FROM_RIGHT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
  const TURNING = /[\u061c\u200f\u202a-\u202e\u2066-\u2069]/; // signs that turn round what stands beside them

  // Letters that take their shape from their neighbours, and signs that join to what stands before them: between such
  // two nothing may stand. Scripts from Hebrew to Myanmar and of South Asia, accents, and what emoji are made of.
  const JOINING =
    /[\u0590-\u109f\u1780-\u1aaf\u1b00-\u1c4f\ua800-\uabff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{11fff}\u{1e800}-\u{1efff}\p{M}\p{RI}\p{Emoji_Modifier}\u200d]/u;

  // A text of the user's for a sentence of ours, where it does not turn round what stands beside it; as `isolated` in
  // viz/words/say.py.
  const isolated = (text) => (FROM_RIGHT.test(text) || TURNING.test(text) ? "\u2068" + text + "\u2069" : text);

  // Whether a line is read from the right: its first letter is.
  function readsFromRight(line) {
    const letter = line.match(/\p{L}/u);
    return letter !== null && FROM_RIGHT.test(letter[0]);
  }

  const isFromRight = (character) => FROM_RIGHT.test(character);

  // Whether anything between these two texts would part what belongs together.
  const join = (before, after) => JOINING.test(before.slice(-2)) || JOINING.test(after.slice(0, 2));

  return { isolated, readsFromRight, isFromRight, join };
})();
