// What the maps say, in the language of the page. English stands in the code, as the key; a template has {holes}. The
// words that figures say as well come from Python, see viz/maps/shared.py. The Chinese words for our concepts are those
// of viz/words/lesson_words.py, and besides: 保留图 retention map, 奈特 nat.
const Words = (() => {
  "use strict";

  const CHINESE = {
    ...Shared.chinese,
    // step control
    "What the model keeps, step by step": "模型在每一步保留了什么",
    "Loading the example…": "正在加载示例……",
    "Step control": "步的控制",
    "First step": "第一步",
    "First step (Home)": "第一步 (Home)",
    "Previous step": "上一步",
    "Previous step (←)": "上一步 (←)",
    Play: "播放",
    Pause: "暂停",
    "Play or pause (space)": "播放或暂停（空格）",
    "Next step": "下一步",
    "Next step (→)": "下一步 (→)",
    "Last step": "最后一步",
    "Last step (End)": "最后一步 (End)",
    "Steps per second": "每秒步数",
    "Speed, in steps per second": "速度（每秒步数）",
    "4 / s": "每秒 4 步",
    "12 / s": "每秒 12 步",
    "30 / s": "每秒 30 步",
    "60 / s": "每秒 60 步",
    Step: "步",
    "{step} of {last}": "{step} / {last}",
    "{step} of {last}, {token}": "{step} / {last}，{token}",
    "Part of the text": "文本的一段",
    "← earlier": "← 前一段",
    "later →": "后一段 →",
    "tokens {first}–{last} of {whole}": "词元 {first}–{last}，共 {whole} 个",
    // legends
    Legend: "图例",
    "just evicted": "刚被淘汰",
    "held, but out of the model's sight": "仍保留，但模型看不到",
    "not read yet": "尚未读到",
    "in the text: kept by": "文本中，保留它的层或头：",
    none: "无",
    all: "全部",
    "this step": "当前步",
    "written by the model": "模型所写",
    "control token": "控制词元",
    "older: kept from before token {start}:": "更早：词元 {start} 之前仍保留的行：",
    // bar above a map, and help
    "one row per layer": "每层合为一行",
    "Zoom out": "缩小",
    "Zoom out (-)": "缩小 (-)",
    "Zoom in": "放大",
    "Zoom in (+)": "放大 (+)",
    "Show everything (0)": "显示全部 (0)",
    All: "全图",
    "Save what is shown now as a PNG picture": "把当前画面存为 PNG 图片",
    "Save picture": "保存图片",
    "Save what is shown now as an SVG drawing": "把当前画面存为 SVG 矢量图",
    Help: "帮助",
    "Mouse and keys": "鼠标与按键",
    click: "点击",
    "a cell, a token of the text or a layer's number: its story": "格子、文中的词元或层号：查看其历程",
    "one step; with shift ten; Home, End: first, last": "一步；按住 Shift 十步；Home、End：第一步、最后一步",
    space: "空格",
    "play or pause": "播放或暂停",
    "wheel, pinch": "滚轮、双指",
    "zoom; with shift: tokens only, with alt: layers only": "缩放；按住 Shift 只缩放词元，按住 Alt 只缩放层",
    drag: "拖动",
    "move a zoomed map": "移动放大后的图",
    "zoom in, zoom out, show everything": "放大、缩小、显示全部",
    "ctrl + arrows": "Ctrl + 方向键",
    "move the crosshair in the map, or through the text (or alt + arrows)": "在图中或文中移动十字线（也可用 Alt）",
    "Enter, T, R": "Enter、T、R",
    "at the crosshair: click the cell, its token, its row": "在十字线处：点击格子、它的词元、它的行",
    // one map
    older: "更早",
    "{share}\u00a0%": "{share}%",
    "more of {token}": "{token}的后续",
    "token {position} {name}": "词元 {position} {name}",
    "{token} ({marks})": "{token}（{marks}）",
    "Layer {layer}": "第 {layer} 层",
    "Layer {layer}, KV head {group}": "第 {layer} 层 KV 头 {group}",
    "{policy}, budget {budget}": "{policy}，预算 {budget}",
    "{policy}, {positions} positions": "{policy}，{positions} 位置",
    "kept by {count} of {all}": "保留：{count} / {all}",
    "kept to the end of this window": "保留到这一段的末尾",
    "kept now · will be evicted {when}": "现在保留 · {when}淘汰",
    "evicted {when}": "{when}已淘汰",
    "{story} · out of the model's sight: this layer looks back at most {back}":
      "{story} · 模型看不到它：这一层最多回看 {back}",
    ", {count} of them out of the model's sight": "，其中 {count} 个模型看不到",
    "just evicted {when}": "{when}刚被淘汰",
    "seen for the last time, then just evicted {when}": "最后一次被关注，{when}随即淘汰",
    "at once, at step {step}": "读入当步（第 {step} 步）",
    "after {steps}, at step {step}{reader}": "读入 {steps}后（第 {step} 步{reader}）",
    ", reading {token}": "，读{token}时",
    "holds {count} rows from before token {start}": "保留着词元 {start} 之前的 {count} 行",
    "click to see its whole life": "点击查看全部历程",
    "{kept} rows kept of {read} read ({share}){older}; {evicted} evicted at this step.":
      "读入 {read} 行，保留 {kept} 行（{share}）{older}；这一步淘汰 {evicted} 行。",
    ", {older} of them from before token {start}": "，其中 {older} 行在词元 {start} 之前",
    "{mark}: not read yet": "{mark}：尚未读到",
    "{mark}: {share} kept": "{mark}：保留 {share}",
    "step {step} of {last}": "第 {step} / {last} 步",
    "step {step} of {last}, token {token}": "第 {step} / {last} 步，词元 {token}",
    "{layers} of {groups} KV heads": "{layers}，每层 {groups} 个 KV 头",
    "{step}. {rows}. {story}": "{step}。{rows}。{story}",
    " {mark}.": "{mark}。",
    "The text, {tokens}. {keys}": "文本，{tokens}。{keys}",
    "Control and arrows move through it; Enter explains a token.": "用 Ctrl 和方向键移动，用 Enter 查看词元的历程。",
    "Retention map. {keys} {story}": "保留图。{keys}{story}",
    "Arrows change the step; control and arrows move the crosshair; Enter explains the cell.":
      "用方向键换步，用 Ctrl 和方向键移动十字线，用 Enter 查看格子的历程。",
    "The picture cannot be shown: {reason}": "无法显示图：{reason}",
    "this picture is of another version of the app: reload the page": "它来自本应用的另一个版本，请重新加载页面",
    // several maps
    "What each policy keeps, step by step": "各策略在每一步保留了什么",
    "Nothing has been compared yet.": "还没有比较过。",
    "Colour the text by": "文本着色：",
    "what is kept": "保留了什么",
    "where forgetting hurts (ΔNLL)": "遗忘的代价在哪里 (ΔNLL)",
    under: "策略：",
    "Legend of the text": "文本的图例",
    "kept by": "保留它的层或头：",
    "nats that the token cost more than under the full model:": "该词元比在完整模型下多付出的奈特 (nat) 数：",
    "−3 or less": "−3 及以下",
    "+3 or more": "+3 及以上",
    "first different token": "第一个不同的词元",
    "a cell or a token of the text: its story": "格子或文中的词元：查看其历程",
    "Enter, T": "Enter、T",
    "at the crosshair: click the cell, its token": "在十字线处：点击格子、它的词元",
    "Legend of the maps": "各图的图例",
    "as many as the budget allows": "达到预算",
    Difference: "差异",
    "Legend of the difference": "差异图的图例",
    "kept by both": "两者都保留",
    "only by A:": "仅 A 保留：",
    "only by B:": "仅 B 保留：",
    "only by A: {policy}": "仅 A 保留：{policy}",
    "only by B: {policy}": "仅 B 保留：{policy}",
    "by neither": "都不保留",
    "What each policy keeps · {model}": "各策略保留了什么 · {model}",
    "{nats}\u00a0nats": "{nats} 奈特",
    "{nats} against the full model": "与完整模型相差 {nats}",
    "{rows} per layer ({share} of those read){older}": "每层 {rows}（已读的 {share}）{older}",
    "{rows} per KV head ({share} of those read){older}": "每个 KV 头 {rows}（已读的 {share}）{older}",
    "On average a layer keeps {counts}: {share} of what either keeps is in both.":
      "每层平均：{counts}；任一方保留的词元中，{share} 为双方共有。",
    "On average a KV head keeps {counts}: {share} of what either keeps is in both.":
      "每个 KV 头平均：{counts}；任一方保留的词元中，{share} 为双方共有。",
    "{both} tokens under both, {onlyA} only under A, {onlyB} only under B":
      "两者都保留 {both} 个词元，仅 A 保留 {onlyA} 个，仅 B 保留 {onlyB} 个",
    " From token {position} on their texts differ.": "从词元 {position} 起，两者的文本不同。",
    "the others are compared with this one": "其他文本与这一个比较",
    "the same text": "文本相同",
    "differs from token {position} on: {token}": "从词元 {position} 起不同：{token}",
    "the same, but ends at token {position}": "相同，但止于词元 {position}",
    "the same, and goes on": "相同，之后继续",
    "had ended before": "在此之前已结束",
    "The text under {policy}, {tokens}. {keys}": "{policy} 的文本，{tokens}。{keys}",
    "Retention map of {policy}. {keys} {story}": "{policy} 的保留图。{keys}{story}",
    "Difference between A, {a}, and B, {b}": "A（{a}）与 B（{b}）的差异",
    "{difference}. {keys} {story}": "{difference}。{keys}{story}",
    "{policy}: {story}": "{policy}：{story}",
    "; ": "；",
    "{where}. {stories}": "{where}。{stories}",
    "{where}. {stories}.": "{where}。{stories}。",
    "Point at a cell or at a token: what has each policy done with it?": "指向一个格子或词元，看各策略如何处理它。",
    "position {position}": "位置 {position}",
  };

  const COUNTED = { token: "个词元", step: "步", layer: "层", row: "行", "KV head": "个 KV 头" };

  // Gradio has set it before it mounts anything; a page of its own has that of the file.
  const isChinese = document.documentElement.lang.startsWith("zh");

  function say(english, values = {}) {
    const template = (isChinese && CHINESE[english]) || english;
    return template.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }

  // So many of these, as a number that is already written out.
  function amount(shown, noun) {
    if (isChinese) return shown + " " + COUNTED[noun];
    return shown + " " + noun + (shown === "1" ? "" : "s");
  }

  // The fixed texts of a template.
  function translate(root) {
    if (!isChinese) return;
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { currentNode } = texts;
      currentNode.data = CHINESE[currentNode.data.trim()] || currentNode.data;
    }
    for (const name of ["title", "aria-label"]) {
      for (const element of root.querySelectorAll("[" + name + "]")) {
        element.setAttribute(name, say(element.getAttribute(name)));
      }
    }
  }

  return { CHINESE, say, amount, translate };
})();
