// The cards that choose one to six policies, each with its budget and its own settings.
// `value` is a list of { key, budget, settings }: a budget is null if its field is empty, and a setting whose field is
// empty is left out. The server is asked nothing but the Python class of a policy of one's own.
(element, props, watch, server) => {
  const WAIT = 200; // milliseconds after the last change until the class is asked for

  element.innerHTML = props.label; // viz/cards/policies.html, in the language of this browser
  const list = element.querySelector(".cards");
  const add = element.querySelector("#add-policy");
  const together = element.querySelector("#one-budget input");
  const { most, budget: usual, policy: named, remove: removes } = list.dataset;
  const copyOf = (selector) => element.querySelector(selector).content.cloneNode(true);
  const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const numberIn = (field) => (field.value === "" ? null : Number(field.value));

  let cards = [];
  let waiting;

  const defaults = Object.fromEntries(
    Array.from(element.querySelectorAll("template[data-policy]"), ({ content, dataset }) => {
      const fields = content.querySelectorAll(".setting [type=number]");
      return [dataset.policy, Object.fromEntries(Array.from(fields, (field) => [field.name, numberIn(field)]))];
    }),
  );

  // Gradio tells the page that the value has changed.
  function say() {
    props.value = structuredClone(cards);
  }

  function show(value) {
    if (!value || JSON.stringify(value) === JSON.stringify(cards)) return;
    cards = structuredClone(value).map(({ key, budget, settings }) => ({ key, budget, settings: { ...defaults[key], ...settings } }));
    draw();
  }

  function draw() {
    list.replaceChildren(...cards.map(cardAt));
    add.disabled = cards.length >= +most;
  }

  function cardAt({ key, budget, settings }, i) {
    const card = copyOf("template.card-of-any");
    const root = card.firstElementChild;
    const [policy, rows, remove] = [".policy", ".budget", ".remove"].map((name) => card.querySelector(name));
    for (const part of [policy, rows, remove]) part.id = `${part.className}-${i + 1}`;
    policy.ariaLabel = fill(named, { i: i + 1 });
    remove.ariaLabel = fill(removes, { i: i + 1 });
    policy.value = key;
    rows.value = budget ?? "";
    rows.hidden = key === "full";
    remove.disabled = cards.length === 1;
    root.append(copyOf(`template[data-policy="${key}"]`));
    for (const [name, value] of Object.entries(settings)) setFields(root, name, value);
    root.querySelector(".class")?.addEventListener("toggle", () => writeClass(i));
    root.index = i;
    if (key === "own") showFormula(root);
    return root;
  }

  function setFields(card, name, value) {
    for (const field of card.querySelectorAll(`[name="${name}"]`)) field.value = value;
  }

  function change(card, field) {
    const chosen = cards[card.index];
    if (field.matches(".policy")) {
      chosen.key = field.value;
      chosen.budget ??= +usual;
      chosen.settings = { ...defaults[chosen.key] };
      const changed = cardAt(chosen, card.index);
      card.replaceWith(changed);
      changed.querySelector(".policy").focus();
    } else if (field.matches(".budget")) {
      const number = numberIn(field);
      for (const each of together.checked ? cards : [chosen]) each.budget = number;
      if (together.checked) list.querySelectorAll(".budget").forEach((other) => other !== field && (other.value = field.value));
    } else {
      const number = numberIn(field);
      if (number === null) delete chosen.settings[field.name];
      else chosen.settings[field.name] = number;
      card.querySelectorAll(`[name="${field.name}"]`).forEach((twin) => twin !== field && (twin.value = field.value));
    }
    list.querySelectorAll(":scope > :has(.now)").forEach(showFormula);
    say();
  }

  // One more, with a policy that is not chosen yet and the budget of the first.
  function addOne() {
    const key = Object.keys(defaults).find((each) => cards.every((card) => card.key !== each)) ?? cards[0].key;
    cards.push({ key, budget: cards[0].budget ?? +usual, settings: { ...defaults[key] } });
    draw();
    list.lastElementChild.querySelector(".policy").focus();
    say();
  }

  function removeOne(i) {
    cards.splice(i, 1);
    draw();
    list.children[Math.min(i, cards.length - 1)].querySelector(".remove").focus();
    say();
  }

  // A policy of one's own: its formula as it stands, presets, and the policy as Python.

  function showFormula(card) {
    const words = JSON.parse(card.querySelector(".own").dataset.words);
    const own = { ...defaults.own, ...cards[card.index].settings };
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
    card.querySelector(".now").textContent = parts.filter(Boolean).join(words.and);
    clearTimeout(waiting);
    waiting = setTimeout(() => cards.forEach((_, i) => writeClass(i)), WAIT);
  }

  async function writeClass(i) {
    const place = list.children[i]?.querySelector(".class[open] pre");
    if (!place) return;
    const asked = JSON.stringify(cards[i]);
    const { budget, settings } = cards[i];
    const code = await server.own_class({ budget, ...settings });
    if (JSON.stringify(cards[i]) === asked) place.textContent = code; // else another answer comes
  }

  // The presets are those for a budget of 2, so the number of last rows that they spare counts halves of a budget.
  function begin(card, preset) {
    const { budget, settings } = cards[card.index];
    const half = Math.floor(budget / 2);
    for (const name of Object.keys(defaults.own)) {
      settings[name] = name === "n_recent" ? preset.n_recent * half : preset[name];
      setFields(card, name, settings[name]);
    }
    showFormula(card);
    say();
  }

  list.addEventListener("input", ({ target }) => change(target.closest(".card"), target));
  list.addEventListener("click", ({ target }) => {
    const card = target.closest(".card");
    if (target.matches(".remove")) removeOne(card.index);
    if (target.matches("[data-preset]")) begin(card, JSON.parse(target.dataset.preset));
  });
  add.addEventListener("click", addOne);
  watch("value", () => show(props.value));
  show(props.value);
}
