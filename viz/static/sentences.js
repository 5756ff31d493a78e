// What is told of a trace at a step: its tokens and deciders by name, and sentences about them.
const Sentences = (() => {
  "use strict";

  const { say, tokens, steps, layers, heads } = Words;
  const { isolated } = Letters;
  const { FADE, isKept, isAttended, keepersIn, evictedDuring, markState, olderTotal, inText, goesOn } = Traces;
  const { hiddenBefore, isUnseen, unseen, unseenIn, unseenTotal } = Sight;

  const number = (value) => value.toLocaleString("en");
  const inPercent = (share) => say("{share}\u00a0%", { share });
  const percent = (part, whole) => inPercent(Math.round((100 * part) / whole));

  const visible = (text) => text.replace(/\r?\n/g, Shared.newline).replace(/\t/g, Shared.tab);

  function tokenName(trace, position) {
    const piece = trace.pieces[position];
    if (!trace.continued[position]) return quoted(piece);
    let first = position;
    while (first > 0 && trace.continued[first]) first--;
    return say("more of {token}", { token: quoted(trace.pieces[first]) });
  }

  const quoted = (piece) => "“" + isolated(visible(piece)) + "”";

  function shortName(trace, position, longest) {
    if (trace.continued[position]) return "…";
    const characters = Array.from(visible(trace.pieces[position]).trim() || "␣");
    return isolated(characters.length > longest ? characters.slice(0, longest - 1).join("") + "…" : characters.join(""));
  }

  // The token with its place and the marks that it lies in.
  function placeName(trace, position) {
    const token = say("token {position} {name}", {
      position: inText(trace, position),
      name: tokenName(trace, position),
    });
    const marked = trace.marks.filter(({ start, end }) => start <= position && position < end);
    const marks = marked.map((mark) => mark.label).join(", ");
    return marked.length ? say("{token} ({marks})", { token, marks }) : token;
  }

  function deciderName(trace, layer, group) {
    if (group === null || trace.groups === 1) return say("Layer {layer}", { layer });
    return say("Layer {layer}, KV head {group}", { layer, group });
  }

  // One line about one cell: what it is now and its history.
  function cellStory(trace, step, layer, group, position) {
    const name = deciderName(trace, layer, group) + " · " + placeName(trace, position);
    return name + " · " + cellHistory(trace, step, layer, group, position);
  }

  function cellHistory(trace, step, layer, group, position) {
    if (position > step) return say("not read yet");
    if (group === null) {
      const kept = keptBy(keepersIn(trace, step, layer, position), heads(trace.groups));
      return kept + unseenStory(unseenIn(trace, step, layer, position));
    }
    const row = layer * trace.groups + group;
    const end = trace.evictedAt[row * trace.length + position];
    if (isUnseen(trace, step, row, position)) {
      const back = tokens(trace.slidingWindows[layer]);
      const story = fate(trace, step, row, position, end);
      return say("{story} · out of the model's sight: this layer looks back at most {back}", { story, back });
    }
    return fate(trace, step, row, position, end);
  }

  function fate(trace, step, row, position, end) {
    if (end === trace.length) return goesOn(trace) ? say("kept to the end of this window") : say("kept to the end");
    const when = endOfLife(trace, step, position, end);
    if (isKept(step, position, end)) return say("kept now · will be evicted {when}", { when });
    const seen = isAttended(step, position, end) && position >= hiddenBefore(trace, step, row);
    if (seen) return say("seen for the last time, then just evicted {when}", { when });
    return step - end < FADE ? say("just evicted {when}", { when }) : say("evicted {when}", { when });
  }

  function endOfLife(trace, step, position, end) {
    const at = inText(trace, end);
    if (end === position) return say("at once, at step {step}", { step: at });
    // At that very step the map says already what is being read.
    const reader = step === end ? "" : say(", reading {token}", { token: tokenName(trace, end) });
    return say("after {steps}, at step {step}{reader}", { steps: steps(end - position), step: at, reader });
  }

  const keptBy = (count, all) => say("kept by {count} of {all}", { count: number(count), all });

  // Of a token: by how many deciders it is kept after the step.
  function shareStory(trace, step, position, count) {
    if (position > step) return say("not read yet");
    const kept = keptBy(count, trace.groups > 1 ? heads(trace.rows) : layers(trace.layers));
    return kept + unseenStory(unseen(trace, step).of[position]);
  }

  // How many of the keepers, or of the rows kept, do not see it; nothing where all do, or where it is not known.
  const unseenStory = (count, shown = count && number(count)) =>
    count ? say(", {count} of them out of the model's sight", { count: shown }) : "";

  const tokenStory = (trace, step, position, count) =>
    capitalised(placeName(trace, position)) + " · " + shareStory(trace, step, position, count);

  const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  // Rows of the multi-state at a step: the summary under the map, and the text alternative of the picture.
  function stepStory(trace, step, counts) {
    const read = (inText(trace, step) + 1) * trace.rows;
    const older = olderTotal(trace, step);
    const kept = counts.total + older;
    const evicted = evictedDuring(trace, step) + olderTotal(trace, step - 1) - older;
    return say("{kept} rows kept of {read} read ({share}){older}; {evicted} evicted at this step.", {
      kept: number(kept),
      read: number(read),
      share: percent(kept, read),
      older: olderStory(trace, number(older)) + unseenStory(unseenTotal(trace, step)),
      evicted: number(evicted),
    });
  }

  // How many of the rows, a number that is written out, are older than the window; nothing where none can be.
  const olderStory = (trace, older) =>
    trace.older ? say(", {older} of them from before token {start}", { older, start: number(trace.start) }) : "";

  const olderLegend = ({ start }) => say("older: kept from before token {start}:", { start: number(start) });

  function markStory(trace, mark, step, counts) {
    const { read, kept } = markState(mark, step, counts);
    if (read === 0) return say("{mark}: not read yet", { mark: mark.label });
    const all = read * trace.rows;
    // "Almost forgotten" is not "forgotten", nor "almost all" "all".
    const near = inPercent(Math.min(99, Math.max(1, Math.round((100 * kept) / all))));
    return say("{mark}: {share} kept", { mark: mark.label, share: kept && kept < all ? near : percent(kept, all) });
  }

  function alternative(trace, step, counts) {
    const { groups } = trace;
    const all = layers(trace.layers);
    const rows = groups > 1 ? say("{layers} of {groups} KV heads", { layers: all, groups }) : all;
    const story = stepStory(trace, step, counts);
    const told = say("{step}. {rows}. {story}", { step: capitalised(stepName(trace, step)), rows, story });
    const marks = trace.marks.map((mark) => capitalised(markStory(trace, mark, step, counts)));
    return told + marks.map((mark) => say(" {mark}.", { mark })).join("");
  }

  // Where in the text a step is; `token` is its token in words, "" where several texts have different ones.
  function stepName(trace, step, token = tokenName(trace, step)) {
    const where = { step: inText(trace, step), last: inText(trace, trace.length - 1), token };
    return token ? say("step {step} of {last}, token {token}", where) : say("step {step} of {last}", where);
  }

  function windowName({ start, length, whole }) {
    const [first, last] = [start, start + length - 1].map(number);
    return say("tokens {first}–{last} of {whole}", { first, last, whole: number(whole) });
  }

  // The lesson's payloads are made for browsers of all languages; the name of the full model is not a proper name.
  function policyName({ policy, budget, keeps_all: keepsAll, positions }) {
    const alone = keepsAll ? say("Full") : policy; // a recorded run has no budget, either
    const name = budget === null ? alone : say("{policy}, budget {budget}", { policy, budget: number(budget) });
    return positions === "original" ? name : say("{policy}, {positions} positions", { policy: name, positions });
  }

  return {
    ...{ number, percent, capitalised, tokenName, shortName, placeName, deciderName, policyName, stepName },
    ...{ windowName, cellStory, cellHistory, shareStory, tokenStory, stepStory, olderStory, olderLegend, markStory },
    ...{ unseenStory, alternative },
  };
})();
