// What the maps say, in the language of the page. English stands in the code, as the key; a template has {holes}.
const Words = (() => {
  "use strict";

  let words = { messages: {} };
  let formOf = () => 0;

  // From Python: the messages of a language, and its rule which of the forms of a message goes with a number.
  function speak(given) {
    words = given;
    if (given.plural) formOf = new Function("n", "return Number(" + given.plural + ")");
  }

  const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  const say = (english, values = {}) => fill(words.messages[english] || english, values);

  // For a number, which is the value n: English takes the first text for 1 and the second for others.
  function counted(one, many, n, shown = n.toLocaleString("en")) {
    const forms = words.messages[one];
    return fill(forms ? forms[formOf(n)] : n === 1 ? one : many, { n: shown });
  }

  const tokens = (n) => counted("{n} token", "{n} tokens", n);
  const steps = (n) => counted("{n} step", "{n} steps", n);
  const layers = (n) => counted("{n} layer", "{n} layers", n);
  const heads = (n) => counted("{n} KV head", "{n} KV heads", n);

  // The fixed texts of a template.
  function translate(root) {
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { currentNode } = texts;
      const text = currentNode.data.trim();
      if (text) currentNode.data = currentNode.data.replace(text, () => say(text));
    }
    for (const name of ["title", "aria-label"]) {
      for (const element of root.querySelectorAll("[" + name + "]")) {
        element.setAttribute(name, say(element.getAttribute(name)));
      }
    }
  }

  return { speak, say, counted, tokens, steps, layers, heads, translate };
})();
