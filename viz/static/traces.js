// Traces as they arrive from Python, and what is true of them at a step.
const Traces = (() => {
  "use strict";

  const { say } = Words;

  const SCHEMA = 2;
  const FADE = 12; // steps for which an evicted row counts as just evicted

  function bytes(base64) {
    const characters = atob(base64);
    const result = new Uint8Array(characters.length);
    for (let i = 0; i < result.length; i++) result[i] = characters.charCodeAt(i);
    return result;
  }

  function integers({ dtype, base64 }) {
    const { buffer } = bytes(base64);
    return dtype === "int16" ? new Int16Array(buffer) : new Int32Array(buffer);
  }

  function floats({ base64 }) {
    return new Float32Array(bytes(base64).buffer);
  }

  // What a payload has: `traces`, and what is the same for all of them; `length` is that of the longest.
  function decode({ policies, ...shared }) {
    if (shared.schema !== SCHEMA) {
      throw new Error(say("this picture is of another version of the app: reload the page"));
    }
    const traces = policies.map((policy) => decodeTrace({ ...shared, ...policy }));
    const length = Math.max(...traces.map((trace) => trace.length));
    return { ...shared, traces, length, priced: traces.every((trace) => trace.deltaNll) };
  }

  function decodeTrace(sent) {
    const ends = integers(sent.piece_ends);
    const pieces = Array.from(ends, (end, i) => sent.text.slice(i ? ends[i - 1] : 0, end));
    const evictedAt = integers(sent.evicted_at);
    return {
      ...sent,
      promptLength: sent.prompt_length,
      divergesAt: sent.diverges_at ?? null,
      deltaNll: sent.delta_nll ? floats(sent.delta_nll) : null,
      rows: sent.layers * sent.groups,
      pieces,
      special: bytes(sent.special),
      continued: bytes(sent.continued),
      evictedAt,
      ...evictionsByStep(evictedAt, sent.length),
      older: decodeHeld(sent.older),
      olderSeen: decodeHeld(sent.older_seen),
      slidingWindows: integers(sent.sliding_windows),
      marks: sent.marks.map((mark) => ({ ...mark, older: decodeHeld(mark.older) })),
    };
  }

  // Rows from before the window that is shown, as `_held_before` in Python sends them.
  function decodeHeld(sent) {
    return sent && { kept: integers(sent.kept), ends: integers(sent.ends), evictedAt: integers(sent.evicted_at) };
  }

  // How many of them a holder still has after the step.
  function heldAfter({ kept, ends, evictedAt }, holder, step) {
    const first = holder ? ends[holder - 1] : 0;
    let [low, high] = [first, ends[holder]];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (evictedAt[middle] <= step) low = middle + 1;
      else high = middle;
    }
    return kept[holder] - (low - first);
  }

  // The same of a row of a map in which `per` deciders share one; the mean of theirs.
  function olderIn(trace, step, row, per = 1) {
    let sum = 0;
    for (let holder = row * per; holder < (row + 1) * per; holder++) sum += heldAfter(trace.older, holder, step);
    return sum / per;
  }

  const olderTotal = (trace, step) => (trace.older ? olderIn(trace, step, 0, trace.rows) * trace.rows : 0);

  // So many rows from before the window can a decider hold; `at_most` is null where it may be more than the budget.
  const mostOlder = ({ at_most, start }) => Math.min(at_most ?? start, start);

  // How many rows a row of a map holds after the step, in which `per` deciders share one; the mean of theirs.
  function heldIn(trace, step, row, per = 1) {
    const { evictedAt, length } = trace;
    let sum = trace.older ? olderIn(trace, step, row, per) * per : 0;
    for (let decider = row * per; decider < (row + 1) * per; decider++) {
      const read = decider * length + Math.min(step, length - 1);
      for (let cell = decider * length; cell <= read; cell++) sum += Number(evictedAt[cell] > step);
    }
    return sum / per;
  }

  // The cells (places in evictedAt) evicted at a step are evicted[starts[step]] … evicted[starts[step + 1] - 1]; so a
  // step onwards or back costs no look at the whole array.
  function evictionsByStep(evictedAt, length) {
    const starts = new Uint32Array(length + 2);
    for (let i = 0; i < evictedAt.length; i++) starts[evictedAt[i] + 1]++;
    for (let step = 0; step <= length; step++) starts[step + 1] += starts[step];
    const next = starts.slice();
    const evicted = new Uint32Array(evictedAt.length);
    for (let cell = 0; cell < evictedAt.length; cell++) evicted[next[evictedAt[cell]]++] = cell;
    return { starts, evicted };
  }

  // In the multi-state after the step; and seen by the query of the step. As Trace.kept and Trace.attended in Python.
  const isKept = (step, position, end) => position <= step && step < end;
  const isAttended = (step, position, end) => position <= step && step <= end;

  // How many deciders keep each position after the step: counts = {step, keepers, total}, moved there from where it is.
  function moveCounts(trace, counts, step) {
    const { starts, evicted, rows, length } = trace;
    const { keepers } = counts;
    while (counts.step < step) {
      keepers[++counts.step] = rows;
      for (let i = starts[counts.step]; i < starts[counts.step + 1]; i++) keepers[evicted[i] % length]--;
      counts.total += rows - evictedDuring(trace, counts.step);
    }
    while (counts.step > step) {
      counts.total -= rows - evictedDuring(trace, counts.step);
      for (let i = starts[counts.step]; i < starts[counts.step + 1]; i++) keepers[evicted[i] % length]++;
      keepers[counts.step--] = 0;
    }
    return counts;
  }

  // How many deciders of one layer keep the token after the step.
  function keepersIn({ evictedAt, groups, length }, step, layer, position) {
    let count = 0;
    for (let group = 0; group < groups; group++) {
      count += isKept(step, position, evictedAt[(layer * groups + group) * length + position]);
    }
    return count;
  }

  const noCounts = (trace) => ({ step: -1, keepers: new Uint16Array(trace.length), total: 0 });
  const evictedDuring = (trace, step) => trace.starts[step + 1] - trace.starts[step];

  // Of a marked passage after the step: its tokens that have been read, and the rows of them that are kept.
  function markState(mark, step, { keepers }) {
    const end = Math.min(mark.end, step + 1);
    let kept = mark.older ? heldAfter(mark.older, 0, step) : 0;
    for (let position = Math.max(0, mark.start); position < end; position++) kept += keepers[position];
    return { read: Math.max(0, end - mark.start), kept };
  }

  // Positions and steps count from the first of the window that is shown; people read those of the whole text.
  const inText = (trace, position) => trace.start + position;

  // A trace that ended earlier than the others stays as it was; -1 if it ended before the window.
  const stepOf = (trace, step) => Math.min(step, trace.length - 1);

  const goesOn = ({ start, total, whole }) => start + total < whole;

  return {
    ...{ FADE, decode, stepOf, isKept, isAttended, noCounts, moveCounts, keepersIn, evictedDuring, markState },
    ...{ heldIn, olderIn, olderTotal, mostOlder, inText, goesOn },
  };
})();
