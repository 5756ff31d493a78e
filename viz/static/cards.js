// What the cards of policies do at once, without asking the server: its answer would come late, and with values of before.
// `looks` has, by policy, the updates of a card; `rows` its values: policy, budget, settings. "" stands for no policy.
// `own` is what static/own_policy.js returns.
(looks, rows, most, own) => {
  const update = (properties) => ({ __type__: "update", ...properties });

  const cardsOf = (values) => {
    const width = rows[""].length;
    return Array.from({ length: most }, (_, i) => values.slice(i * width, (i + 1) * width));
  };
  const filled = (values) => cardsOf(values).filter(([policy]) => policy);
  const valuesOf = (cards) => [...cards, ...Array(most).fill(rows[""])].slice(0, most).flat();

  window.policyCards = {
    all: [],
    settled(...values) {
      this.all = cardsOf(values);
      own.settled();
    },
    clicked: (budget, ...settings) => own.after(budget, settings),

    look: (policy) => looks[policy ?? ""],
    defaults: (policy) => rows[policy].slice(2),

    // One more, with a policy that is not chosen yet and the budget of the first.
    add(...values) {
      const cards = filled(values);
      const isFree = (policy) => policy && cards.every(([chosen]) => chosen !== policy);
      const [policy, budget, ...settings] = rows[Object.keys(rows).find(isFree) ?? cards[0][0]];
      return valuesOf([...cards, [policy, cards[0][1] ?? budget, ...settings]]);
    },

    remove: (i, values) => valuesOf(filled(values).filter((_, card) => card !== i)),

    // Of "add", and of "remove" on the first card, which stays.
    buttons(...policies) {
      const n = policies.filter(Boolean).length;
      return [update({ interactive: n < most }), update({ interactive: n > 1 })];
    },
  };
}
