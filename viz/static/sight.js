// What a model with a sliding window of its own does not see of what the policy holds.
const Sight = (() => {
  "use strict";

  const { isKept, isAttended, olderTotal } = Traces;

  // How far two neighbouring rows are apart for the model, by their gap in the text; as core/engine/rotation.py numbers them.
  const DISTANCES = {
    "in-cache": () => 1,
    "log-gap": (gap) => (gap > 10 ? Math.log(Math.log(gap)) : gap),
  };

  // How many of the oldest positions the query of a step cannot see in a row of evictedAt; see Trace.in_sight in Python.
  function hiddenBefore(trace, step, row) {
    const { evictedAt, groups, length, positions } = trace;
    const window = trace.slidingWindows[Math.floor(row / groups)];
    if (!window) return 0;
    if (positions === "original") return Math.max(0, step + 1 - window);
    let distance = 0;
    let newer = step;
    for (let position = step; position >= 0; position--) {
      if (!isAttended(step, position, evictedAt[row * length + position])) continue;
      if (position < step) distance += DISTANCES[positions](newer - position);
      if (distance >= window) return position + 1;
      newer = position;
    }
    return 0;
  }

  // Whether the window can hide anything at all.
  function canHide({ slidingWindows, positions, at_most, whole }) {
    const farthest = positions === "in-cache" && at_most !== null ? at_most + 1 : whole;
    return slidingWindows.some((window) => window && window < farthest);
  }

  const UNSEEN = new WeakMap(); // of each trace, at the step that was asked for last

  // The rows that are kept after the step and not seen: {of: how many of each position, total}.
  function unseen(trace, step) {
    const known = UNSEEN.get(trace);
    if (known && known.step === step) return known;
    const found = { step, of: new Uint16Array(trace.length), total: 0 };
    for (let row = 0; row < trace.rows; row++) {
      const hidden = hiddenBefore(trace, step, row);
      for (let position = 0; position < hidden; position++) {
        if (!isKept(step, position, trace.evictedAt[row * trace.length + position])) continue;
        found.of[position]++;
        found.total++;
      }
    }
    UNSEEN.set(trace, found);
    return found;
  }

  // With the rows from before the window that is shown; null if it is not known which of those are seen.
  function unseenTotal(trace, step) {
    if (!trace.older) return unseen(trace, step).total;
    if (!trace.olderSeen) return null;
    const seen = olderTotal({ ...trace, older: trace.olderSeen }, step);
    return unseen(trace, step).total + olderTotal(trace, step) - seen;
  }

  // How many deciders of a layer keep the token after the step and do not see it.
  function unseenIn(trace, step, layer, position) {
    let count = 0;
    for (let row = layer * trace.groups; row < (layer + 1) * trace.groups; row++) {
      count += Number(isUnseen(trace, step, row, position));
    }
    return count;
  }

  function isUnseen(trace, step, row, position) {
    const end = trace.evictedAt[row * trace.length + position];
    return isKept(step, position, end) && position < hiddenBefore(trace, step, row);
  }

  // Neighbouring cells of a row of a map, of `per` deciders, that are kept and that none of the keepers sees:
  // [first, end) columns of each run, from column0 on and before column1.
  function unseenRuns(trace, step, row, per, column0, column1) {
    const hidden = Array.from({ length: per }, (_, i) => hiddenBefore(trace, step, row * per + i));
    const end = Math.min(column1, Math.max(...hidden));
    const runs = [];
    for (let position = column0; position < end; position++) {
      let [keepers, seers] = [0, 0];
      for (let i = 0; i < per; i++) {
        if (!isKept(step, position, trace.evictedAt[(row * per + i) * trace.length + position])) continue;
        keepers++;
        if (position >= hidden[i]) seers++;
      }
      if (keepers === 0 || seers > 0) continue;
      if (runs.length && runs.at(-1)[1] === position) runs.at(-1)[1]++;
      else runs.push([position, position + 1]);
    }
    return runs;
  }

  return { hiddenBefore, canHide, unseen, unseenTotal, unseenIn, isUnseen, unseenRuns };
})();
