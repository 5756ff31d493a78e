// The texts above the maps: one for all who have read it, or one for each who has written it; and what colours them.
const Texts = (() => {
  "use strict";

  const { say, tokens } = Words;
  const { stepOf } = Traces;
  const { policyName } = Sentences;
  const { continuationStory } = Stories;
  const { mix, setTint } = Colours;
  const { clamp } = Scenes;
  const { TextPane, lookOf } = TextPanes;
  const { make, setOptions } = Elements;

  const WORST = 3; // nats: a token that costs more has the last tint
  const COST_LEVELS = Shared.costLevels;

  // -COST_LEVELS … COST_LEVELS; where nothing is predicted, nothing is lost.
  function costLevel(nats) {
    if (Number.isNaN(nats)) return 0;
    return Math.round((COST_LEVELS * clamp(nats, -WORST, WORST)) / WORST) || 0;
  }

  function setCostTints(root, { worse, better, equal }) {
    for (let at = -COST_LEVELS; at <= COST_LEVELS; at++) {
      setTint(root, "cost" + at, mix(equal, at < 0 ? better : worse, Math.abs(at) / COST_LEVELS));
    }
  }

  class TextColumn {
    // `host` is the RetentionMap.
    constructor(root, host) {
      this.root = root;
      this.host = host;
      this.box = root.querySelector(".rm-texts");
      this.tints = root.querySelector(".rm-tints");
      [this.of, this.by] = this.tints.querySelectorAll("select");
      this.panes = [];
      this.of.addEventListener("change", host.changed);
      this.by.addEventListener("change", () => this.onTint());
    }

    setNames(names) {
      setOptions(this.of, names, 0);
    }

    // Anew, where another run begins, or where the texts of a run part.
    begin(runs) {
      const writing = runs.mode === "write";
      this.box.replaceChildren();
      this.root.classList.toggle("rm-writing", writing);
      this.panes = (writing ? runs.traces : [null]).map((trace, policy) => this.makePane(trace, policy));
    }

    makePane(trace, policy) {
      const { host } = this;
      const box = make("div", "rm-text");
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      const pane = new TextPane(box, {
        onPoint: (position) => host.point(position === null ? null : host.columnAt(position)),
        onClick: (position) => {
          host.pin(host.columnAt(position));
          host.clickToken(position, this.policyOf(pane));
        },
      });
      pane.policy = trace && policy;
      const column = make("div", "rm-column");
      if (trace) {
        pane.caption = make("p", "rm-note");
        const head = make("div", "rm-head");
        head.append(make("h3", "rm-name", policyName(trace)), pane.caption);
        column.append(head);
      }
      const frame = make("div", "rm-frame");
      frame.append(box);
      column.append(frame);
      this.box.append(column);
      return pane;
    }

    setRuns(runs) {
      this.runs = runs;
      const several = runs.traces.length > 1 && runs.mode === "read";
      this.of.hidden = !several;
      this.by.hidden = !runs.priced;
      this.tints.hidden = !several && !runs.priced;
      if (!runs.priced) this.by.value = "kept";
      this.onTint();
      for (const pane of this.panes) this.fill(pane);
    }

    fill(pane) {
      const trace = this.runs.traces[this.policyOf(pane)];
      pane.setTrace(trace);
      const keys = say("Control and arrows move through it; Enter explains a token.");
      const said = { policy: policyName(trace), tokens: tokens(trace.length), keys };
      const isCommon = pane.policy === null;
      const label = isCommon
        ? say("The text, {tokens}. {keys}", said)
        : say("The text under {policy}, {tokens}. {keys}", said);
      pane.box.setAttribute("aria-label", label);
      if (isCommon) return;
      pane.caption.textContent = pane.caption.title = continuationStory(trace, this.runs.traces[0]);
      pane.mark("diverging", "rm-diverging", trace.divergesAt === null ? null : pane.spans[trace.divergesAt]);
    }

    policyOf(pane) {
      return pane.policy === null ? Number(this.of.value) : pane.policy;
    }

    paneIn(box) {
      return this.panes.find((pane) => pane.box === box);
    }

    onTint() {
      this.root.classList.toggle("rm-costs", this.by.value === "cost");
      this.host.changed();
    }

    draw(step, panels, pointed) {
      for (const pane of this.panes) {
        const own = stepOf(pane.trace, step);
        pane.draw(own, this.looks(panels[this.policyOf(pane)], own), pointed);
      }
    }

    looks({ trace, counts }, step) {
      if (this.by.value === "cost") return (position) => "cost" + costLevel(trace.deltaNll[position]);
      return lookOf(trace, step, counts);
    }

    resized() {
      for (const pane of this.panes) pane.resized();
    }
  }

  return { TextColumn, costLevel, setCostTints };
})();
