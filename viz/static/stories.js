// What is told of several policies at once: what each keeps, how two differ, how the texts they have written go on.
const Stories = (() => {
  "use strict";

  const { say, counted } = Words;
  const { stepOf, olderTotal, inText, olderIn } = Traces;
  const { number, percent, tokenName, policyName, deciderName } = Sentences;
  const { shareStory, markStory, olderStory, unseenStory } = Sentences;
  const { unseenTotal } = Sight;

  const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const mean = (value) => TENTHS.format(value);
  const nats = (value) => say("{nats}\u00a0nats", { nats: (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2) });

  // What each policy is called in a sentence: without its budget, where that is enough to tell it from the others.
  function shortNames(traces) {
    const isAlone = ({ policy }) => traces.filter((trace) => trace.policy === policy).length === 1;
    return traces.map((trace) => (isAlone(trace) && trace.budget !== null ? trace.policy : policyName(trace)));
  }

  const storyUnder = (policy, story) => say("{policy}: {story}", { policy, story });

  // Per decider, because policies that decide per head count every row once a head.
  function rowsStory(trace, step, counts) {
    const own = stepOf(trace, step);
    const older = olderTotal(trace, own) / trace.rows;
    const kept = counts.total / trace.rows + older;
    const hidden = unseenTotal(trace, own) / trace.rows;
    const told = {
      rows: counted("{n} row", "{n} rows", kept, mean(kept)),
      share: percent(kept, own < 0 ? inText(trace, trace.end) : inText(trace, own) + 1),
      older: olderStory(trace, mean(older)) + unseenStory(hidden, mean(hidden)),
    };
    if (trace.groups > 1) return say("{rows} per KV head ({share} of those read){older}", told);
    return say("{rows} per layer ({share} of those read){older}", told);
  }

  const marksStory = (trace, step, counts) =>
    trace.marks.map((mark) => " · " + markStory(trace, mark, stepOf(trace, step), counts)).join("");

  function tokenStory(trace, step, position, { keepers }) {
    const kept = shareStory(trace, step, position, keepers[position]);
    const cost = trace.deltaNll && position <= step ? trace.deltaNll[position] : NaN;
    return Number.isNaN(cost) ? kept : kept + " · " + say("{nats} against the full model", { nats: nats(cost) });
  }

  // Of a row of a map in which `per` deciders share one.
  function rowStory(trace, step, row, per) {
    const layer = Math.floor((row * per) / trace.groups);
    const told = [deciderName(trace, layer, per > 1 ? null : row % trace.groups)];
    if (trace.older) {
      const count = number(Math.round(10 * olderIn(trace, step, row, per)) / 10); // heads' mean has tenths
      told.push(say("holds {count} rows from before token {start}", { count, start: number(trace.start) }));
    }
    return [...told, say("click to see its whole life")].join(" · ");
  }

  // `per` is the rows that a layer has in the map of their difference.
  function overlapStory({ both, onlyA, onlyB }, per) {
    const means = { both: mean(both), onlyA: mean(onlyA), onlyB: mean(onlyB) };
    const counts = say("{both} tokens under both, {onlyA} only under A, {onlyB} only under B", means);
    const told = { counts, share: percent(both, both + onlyA + onlyB) };
    if (per > 1) return say("On average a KV head keeps {counts}: {share} of what either keeps is in both.", told);
    return say("On average a layer keeps {counts}: {share} of what either keeps is in both.", told);
  }

  // How a text that its policy has written goes on, against the first one.
  function continuationStory(trace, first) {
    if (trace === first) return say("the others are compared with this one");
    const at = trace.divergesAt;
    if (at === null) return say("the same text");
    const position = inText(trace, at);
    if (at === trace.end) return say("the same, but ends at token {position}", { position: position - 1 });
    if (at === first.end) return say("the same, and goes on");
    if (at < 0 || at >= trace.length) return say("differs from token {position} on", { position });
    return say("differs from token {position} on: {token}", { position, token: tokenName(trace, at) });
  }

  return {
    ...{ shortNames, storyUnder, rowsStory, marksStory, tokenStory, rowStory, overlapStory, continuationStory },
  };
})();
