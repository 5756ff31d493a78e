// The text of one trace: its tokens as they stand in it, each with a tint, and the marks in it.
const TextPanes = (() => {
  "use strict";

  const { join, isFromRight, readsFromRight } = Letters;
  const { unseen } = Sight;
  const { level } = Colours;
  const { setText } = Elements;

  // In a legend, the marked passages: each with its name, as it looks in the text.
  class MarkKeys {
    constructor(box) {
      this.box = box;
    }

    setMarks(marks) {
      const keys = marks.map(({ kind }) => {
        const key = document.createElement("span");
        key.className = "rm-marked rm-marked-" + kind;
        return key;
      });
      this.box.replaceChildren(...keys);
      this.draw(marks.map(({ label }) => label));
    }

    // `words` of each mark.
    draw(words) {
      words.forEach((text, i) => setText(this.box.children[i], text));
    }
  }

  // Of tokens that are no text of their own but continue a character: they stand behind it.
  const continues = ({ continued, pieces }, position) => continued[position] && pieces[position] === "";

  // The texts around such a token.
  function around(trace, position) {
    let [before, after] = [position, position];
    while (before > 0 && continues(trace, before)) before--;
    while (after < trace.length && continues(trace, after)) after++;
    return { before: trace.pieces[before], after: trace.pieces[after] || "", behind: after - position };
  }

  function joins(trace, position) {
    const { before, after } = around(trace, position);
    return join(before, after);
  }

  // Which place above the end of its character it has: to the left, or to the right where that is where it stands.
  function placeOf(trace, position) {
    const { before, behind } = around(trace, position);
    return isFromRight(before) ? behind - 1 : -behind;
  }

  // The tokens of one trace as they stand in the text, each with a tint.
  class TextPane {
    // `box` becomes the pane. `onPoint(position or null)` and `onClick(position)` hear of the pointer.
    constructor(box, { onPoint, onClick }) {
      this.box = box;
      this.trace = null;
      this.spans = [];
      this.shown = []; // what each span shows now, so that only changes touch the page
      const positionOf = (target) => (target.classList.contains("rm-t") ? this.spans.indexOf(target) : -1);
      box.addEventListener("click", (event) => {
        const position = positionOf(event.target);
        if (position >= 0) onClick(position);
      });
      box.addEventListener("pointermove", (event) => {
        const position = positionOf(event.target);
        onPoint(position >= 0 ? position : null);
      });
      box.addEventListener("pointerleave", () => onPoint(null));
    }

    // A text that has only grown keeps its spans.
    setTrace(trace) {
      const before = this.spans.length;
      const { pieces } = this.trace || { pieces: [] };
      const same = before <= trace.length && pieces.every((piece, i) => piece === trace.pieces[i]);
      this.trace = trace;
      if (!same) {
        this.box.replaceChildren();
        this.spans.length = this.shown.length = 0;
      }
      const more = document.createDocumentFragment();
      for (let position = this.spans.length; position < trace.length; position++) more.append(this.makeSpan(position));
      this.box.append(more);
      this.showMarks();
    }

    // Anew, for a text that stays may be marked elsewhere.
    showMarks() {
      const names = ["rm-marked", "rm-marked-evidence", "rm-marked-question"];
      for (const span of this.box.querySelectorAll(".rm-marked")) span.classList.remove(...names);
      for (const { start, end, kind } of this.trace.marks) {
        for (const span of this.spans.slice(Math.max(0, start), Math.max(0, end))) {
          span.classList.add("rm-marked", "rm-marked-" + kind);
        }
      }
    }

    makeSpan(position) {
      const { trace } = this;
      const span = document.createElement("span");
      const piece = trace.pieces[position];
      span.textContent = piece;
      const kinds = {
        "rm-special": trace.special[position],
        "rm-continued": continues(trace, position),
        "rm-joined": continues(trace, position) && joins(trace, position),
        "rm-newline": piece.includes("\n"),
        "rm-generated": position >= trace.promptLength,
      };
      span.className = ["rm-t", ...Object.keys(kinds).filter((kind) => kinds[kind])].join(" ");
      if (kinds["rm-joined"]) span.style.setProperty("--rm-place", placeOf(trace, position));
      this.spans.push(span);
      this.shown.push(null);
      return span;
    }

    // `lookOf(position)` names the tint of a token that has been read, with "unseen" after it where those that keep it
    // do not see it; `pointed` is a position or null.
    draw(step, lookOf, pointed) {
      const { spans, shown } = this;
      for (let position = 0; position < spans.length; position++) {
        const look = position > step ? "unread" : String(lookOf(position));
        if (shown[position] === look) continue;
        shown[position] = look;
        const [tint, unseen] = look.split(" ");
        spans[position].dataset.kept = tint;
        spans[position].classList.toggle("rm-unseen", Boolean(unseen));
      }
      this.mark("current", "rm-current", spans[step]);
      this.mark("pointed", "rm-pointed", pointed === null ? null : spans[pointed]);
      if (this.scrolledTo !== spans[step] && spans[step]) this.scrollTo(step);
      this.scrolledTo = spans[step];
    }

    mark(name, className, span) {
      if (this[name] === span) return;
      if (this[name]) this[name].classList.remove(className);
      if (span) span.classList.add(className);
      this[name] = span;
    }

    // Inside the box only: scrollIntoView would move the page under the reader. By whole lines.
    scrollTo(position) {
      const { box } = this;
      const { offsetTop, offsetHeight } = this.spans[position]; // within the box, which is its offset parent
      const middle = offsetTop + offsetHeight / 2;
      if (middle >= box.scrollTop && middle <= box.scrollTop + box.clientHeight) return;
      const line = parseFloat(getComputedStyle(box).lineHeight);
      box.scrollTop = line * (Math.floor(middle / line) - 1);
    }

    // Whether its line is read from right to left, as the browser takes it, too: special tokens do not count.
    readsFromRight(position) {
      const { pieces, special } = this.trace;
      const plain = pieces.map((piece, at) => (special[at] ? "" : piece));
      const before = plain.slice(0, position).join("");
      const [after] = plain.slice(position).join("").split("\n", 1);
      return readsFromRight(before.slice(before.lastIndexOf("\n") + 1) + after);
    }

    // The lines may have moved.
    resized() {
      this.scrolledTo = null;
    }
  }

  // How a text looks that is coloured by how many deciders keep each token; as TextPane.draw takes it.
  const lookOf = (trace, step, { keepers }) => {
    const { of } = unseen(trace, step);
    return (position) => {
      const hidden = of[position] > 0 && of[position] === keepers[position];
      return level(keepers[position], trace.rows) + (hidden ? " unseen" : "");
    };
  };

  return { TextPane, MarkKeys, lookOf };
})();
