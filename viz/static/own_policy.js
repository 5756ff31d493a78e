// What a card says of a policy of one's own: presets, the formula as its settings are now, and the policy as Python.
// `window.ownClass` asks the server for it. `presets` has the settings by key of a policy, for a budget of 2.
(names, presets) => {
  const WAIT = 200; // milliseconds after the last change until the server is asked again

  const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  function formula(words, own) {
    const terms = [
      own.w_attention && fill(words.attention, { weight: own.w_attention, gamma: own.gamma }),
      own.w_recent && fill(words.recent, { weight: own.w_recent }),
      own.w_keys && fill(words.keys, { weight: own.w_keys }),
    ].filter(Boolean);
    const parts = [
      fill(words.importance, { terms: terms.join(" + ") || words.nothing }),
      own.n_sink && fill(words.sinks, { n: own.n_sink }),
      own.n_recent && fill(words.last, { n: own.n_recent }),
      own.per_head ? words.head : words.layer,
    ];
    return parts.filter(Boolean).join(words.and);
  }

  class OwnPolicy extends HTMLElement {
    connectedCallback() {
      this.words = JSON.parse(this.dataset.words);
      this.python = this.querySelector("details");
      this.python.addEventListener("toggle", () => this.write());
      // before Gradio hears of the click, and asks for the preset
      this.addEventListener("click", ({ target }) => (OwnPolicy.pressed = target.dataset.preset));
      this.show();
    }

    get card() {
      return [...document.querySelectorAll(".card")].indexOf(this.closest(".card"));
    }

    show() {
      const card = policyCards.all[this.card];
      if (card?.[0] !== "own") return;
      const [, budget, ...settings] = card;
      this.own = Object.fromEntries([["budget", budget], ...names.map((name, i) => [name, settings[i] ?? 0])]);
      this.querySelector(".now").textContent = formula(this.words, this.own);
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.write(), WAIT);
    }

    async write() {
      if (!this.python.open || !this.own) return;
      const asked = this.own;
      const code = await window.ownClass(asked);
      if (asked === this.own) this.querySelector("pre").textContent = code;
    }
  }
  if (!customElements.get("own-policy")) customElements.define("own-policy", OwnPolicy);

  return {
    // The settings after a click on a card: those of the preset, if it was one.
    after(budget, settings) {
      const preset = presets[OwnPolicy.pressed];
      OwnPolicy.pressed = undefined;
      if (!preset) return settings;
      const half = Math.floor(budget / 2);
      return settings.map((_, i) => (names[i] === "n_recent" ? preset.n_recent * half : preset[names[i]] ?? 0));
    },

    settled() {
      document.querySelectorAll("own-policy").forEach((own) => own.show());
    },
  };
}
