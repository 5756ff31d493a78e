"""The page's fixed texts in Chinese, and which language a page is in.

English stands in the code, as the key. What is computed has its Chinese in `status_words`, `figure_words`, `findings`,
`sentences` and `static/words.js`; errors in `messages`. The words for our concepts are those of
`lesson_words`, and besides: 探索 Explore, 比较 Compare, 统计 Measure, 提问 Ask, 写作 Write, 课程 Lesson, 证据
evidence, 完整模型 full model, 轨迹 trace, 新近 recent, 存活 survival.
"""

import re

import gradio as gr
from gradio.blocks import Block
from gradio.context import LocalContext
from gradio.i18n import I18nData

from core.measures.paper import RECENT_PERCENT
from core.model.registry import MODELS
from core.policies import POLICIES
from viz.words.lesson_words import Language


def _sources(between: str, ours: str) -> str:
    """Where the policies are from, one in each line."""
    papers = {policy.label: policy.paper for policy in POLICIES.values()}
    return "\n".join(f"{label}{between}{ours if paper == 'ours' else paper}" for label, paper in papers.items())


POLICY_TIP = "The rule that says which row a layer forgets when its multi-state is full.\n" + _sources(": ", "ours")

CHINESE = {
    # the page
    "# What does a Transformer keep?\nA Transformer remembers one row for every token it has read. Give it a finite "
    "memory and a rule for what to forget, and watch what each layer keeps of your own text.": (
        "# Transformer 保留了什么？\nTransformer 为读过的每个词元记住一行。给它有限的记忆和一条遗忘的规则，"
        "看看每一层从你的文本中保留了什么。"
    ),
    "Model": "模型",
    **{str(spec): str(spec).replace("layers", "层") for spec in MODELS.values()},
    "Projector": "投影模式",
    "Explore": "探索",
    "Compare": "比较",
    "Measure": "统计",
    "Budget": "预算",
    "Ask": "提问",
    "Write": "写作",
    "Lesson": "课程",
    "Limits of this app": "本应用的限制",
    "Run": "运行",
    "Stop": "停止",
    "Policy": "策略",
    "Policies": "策略",
    **{f"Policy {i}": f"策略 {i}" for i in range(1, 7)},
    "Multi-state size (budget)": "多状态大小（预算）",
    "One budget for all": "统一预算",
    "Add a policy": "添加策略",
    "Sink tokens (i)": "汇点词元数 (i)",
    "Seed": "随机种子",
    # the tips
    "Which language model reads the text. Heads are given as query heads / KV heads.": (
        "由哪个语言模型来读文本。注意力头的写法：查询头数 / KV 头数。"
    ),
    POLICY_TIP: "多状态已满时，决定一层淘汰哪一行的规则。\n" + _sources("：", "本应用"),
    "How many rows (one per token) each layer may hold. Everything else is evicted, for good.": (
        "每层最多保留多少行（每个词元一行）。其余的都被淘汰，不再恢复。"
    ),
    "0 only reads your text; with more, the model writes on from what it still remembers.": (
        "0 表示只读文本；大于 0 时，模型凭它还记得的内容续写。"
    ),
    "The first i tokens of the text are never evicted.": "文本开头的 i 个词元永不淘汰。",
    "Another seed evicts other tokens.": "换一个种子，就淘汰另一些词元。",
    # Explore
    "New tokens to write": "续写的词元数",
    "Your text": "你的文本",
    "Texts to try": "试试这些文本",
    "### What to see here": "### 这里能看到什么",
    "Positions · open a saved run": "位置编码 · 打开已保存的运行",
    "Positions of the rows kept": "所保留行的位置",
    "original: each row keeps its place in the text, as in the published TOVA code. in-cache: the rows are numbered "
    "anew at every step, as in StreamingLLM, so a text may be longer than the model was trained for. log-gap: as "
    "original, but gaps of more than 10 shrink to ln(ln gap), the paper's own way (section 7.2).": (
        "original：每一行保持它在文本中的位置，与公开的 TOVA 代码相同。in-cache：每一步都给各行重新编号，与 "
        "StreamingLLM "
        "相同，因此文本可以超过模型训练时的长度。log-gap：与 original 相同，但大于 10 的间隔缩小为 ln(ln 间隔)，"
        "这是论文自己的做法（第 7.2 节）。"
    ),
    "Open a saved run (.npz)": "打开已保存的运行 (.npz)",
    "### One layer's life\nClick a row of the map, or a cell in it.": (
        "### 一层的历程\n点击图中的一层，或其中的一格。"
    ),
    "colour by attention": "按注意力着色",
    "### One token's life": "### 一个词元的历程",
    "Export this run": "导出这次运行",
    "Copy link": "复制链接",
    "The trace (.npz), a table (.csv), and the map as a page of its own (.html)": (
        "轨迹 (.npz)、表格 (.csv) 和可单独打开的图页 (.html)"
    ),
    # Compare
    "### What does forgetting cost?\nAll chosen policies read your text from the Explore tab in lockstep beside the "
    "full model, or each writes on from what it remembers. *Oracle* knows the future of the text and shows how much "
    "room a policy leaves; *Random* is the floor.": (
        "### 遗忘的代价有多大？\n所选的策略与完整模型同步阅读“探索”页中的文本，或者各自凭记得的内容续写。"
        "*Oracle* 预知文本的后文，显示一个策略还有多少改进余地；*Random* 是下限。"
    ),
    "New tokens to write (0: read only)": "续写的词元数（0：只读）",
    "### What it costs\nBeside the full model on the same text: ΔNLL is how many nats a token costs more, KL how far "
    "the expected next token is from the full model's, both in the mean over the tokens; the memory is that of the "
    "keys and values held, for this model and for Llama 2 7B in 16 bits. The menu ⋮ in a heading sorts.": (
        "### 代价\n在同一文本上与完整模型相比：ΔNLL 是每个词元多付出的奈特 (nat) 数，KL "
        "是对下一个词元的预测与完整模型相差"
        "多远，两者都对词元取平均；内存是所保留的键和值占用的内存，分别针对本模型和 16 位的 Llama 2 7B。"
        "表头中的 ⋮ 菜单用于排序。"
    ),
    "Export the comparison": "导出比较结果",
    "The table (.csv) and the traces (.npz)": "表格 (.csv) 和轨迹 (.npz)",
    # Measure
    "### What kind of tokens survive?\nWhere the paper gives a number, it stands beside ours; its texts and models are "
    "others, so compare the order rather than the size.": (
        "### 哪类词元能存活？\n论文给出的数字列在我们的数字旁边；它用的文本和模型不同，所以请比较次序，而不是大小。"
    ),
    "Which runs": "哪些运行",
    "the run in Explore": "“探索”中的运行",
    "the runs in Compare": "“比较”中的运行",
    "saved traces (.npz)": "已保存的轨迹 (.npz)",
    "Layer by layer": "逐层查看",
    "Up to 8 traces, as exported by Explore or Compare": "最多 8 个由“探索”或“比较”导出的轨迹",
    "### Recency\nHow many of the rows kept are *recent*: among the last *budget* tokens. Window keeps nothing else. "
    f"The paper reports {RECENT_PERCENT[0]}–{RECENT_PERCENT[1]} % for TOVA (section 7.3) without defining recent. "
    "Ages are in multiples of the budget: at 1, a line has reached the share of recent rows.": (
        "### 新近程度\n保留的行中有多少是*新近的*，即属于最近*预算*个词元。Window 只保留这些。"
        f"论文给出 TOVA 为 {RECENT_PERCENT[0]}–{RECENT_PERCENT[1]} %（第 7.3 节），但没有定义何为新近。"
        "年龄以预算的倍数计：在 1 处，曲线到达新近行的比例。"
    ),
    "### Which tokens live long\nThe mean number of steps for which tokens of a kind were kept; in brackets, how many "
    "of them there are. The paper's numbers (tables 2 and 5) are of longer texts, at the budget that comes nearest; so "
    "they have an axis of their own.": (
        "### 哪些词元长寿\n各类词元平均保留的步数；括号中是词元的个数。论文的数字（表 2 和表 5）来自更长的文本，"
        "取最接近的预算，因此另用一个坐标轴。"
    ),
    "### The first tokens\nFor how many steps each was kept. In the paper (figure 9) the very first is kept to the end "
    "at every multi-state size, while the other early ones go far sooner.": (
        "### 开头的词元\n每个词元保留了多少步。在论文中（图 9），无论多状态多大，第一个词元都保留到最后，"
        "而其他靠前的词元早得多就被淘汰。"
    ),
    "### Survival\nThe probability that a token is still kept so many steps after it was read. Tokens that are there "
    "at the end of the text count for as long as they were seen (Kaplan and Meier).": (
        "### 存活\n词元读入若干步之后仍被保留的概率。到文本结尾仍在的词元，按观察到的时长计入（Kaplan–Meier 估计）。"
    ),
    "### Agreement\nHow far two layers, or two runs, keep the same tokens: of all that either keeps, the share that "
    "both keep (Jaccard), in the mean over the steps.": (
        "### 一致程度\n两层或两次运行在多大程度上保留相同的词元：任一方保留的词元中，双方都保留的比例（Jaccard），"
        "对各步取平均。"
    ),
    "### The life of every layer\nTokens across, steps downwards: blue is kept, grey is forgotten, and Window would "
    "end "
    "at the dotted line (the paper's figures 8, 12 and 13). **Click a layer to see it large.**": (
        "### 每一层的历程\n横向是词元，向下是步：蓝色为保留，灰色为已淘汰；若是 Window，则止于虚线（论文的图 8、12、"
        "13）。"
        "**点击一层可放大。**"
    ),
    "KV head": "KV 头",
    "### The numbers\nWhat the figures show; the file has all digits. The ⋮ in a heading sorts and filters. Shares are "
    "from 0 to 1.": ("### 数据\n图中所示的数据；文件中有全部小数位。表头中的 ⋮ 用于排序和筛选。比例在 0 到 1 之间。"),
    "Table": "表格",
    "Kinds of token": "词元的类别",
    "The longest-lived tokens": "最长寿的词元",
    "Recency by layer": "各层的新近程度",
    "Recency by step": "各步的新近程度",
    "Ages of kept rows": "所保留行的年龄",
    "First tokens": "开头的词元",
    "First tokens by layer": "各层开头的词元",
    "Survival": "存活",
    "Agreement of layers": "各层的一致程度",
    "Agreement of KV heads": "各 KV 头的一致程度",
    "Agreement of the runs": "各次运行的一致程度",
    "The life of one layer": "一层的历程",
    "Download as CSV": "下载 CSV",
    # Budget
    "### How much memory does your text need?\nEvery chosen policy reads the text with every budget. Lower is better; "
    "the full model, which forgets nothing, is the line to reach, and *short context* is a model that only ever sees "
    "that many tokens at a time. Both axes are logarithmic. The paper's model and texts are others than yours: compare "
    "the order of the curves.": (
        "### 你的文本需要多大的记忆？\n所选的每个策略都用每种预算读一遍文本。越低越好；"
        "什么都不忘的完整模型是要接近的线，"
        "*短上下文*是一次只看到那么多词元的模型。两个坐标轴都取对数。论文的模型和文本与你的不同："
        "请比较曲线的次序。"
    ),
    "Budgets, with commas between": "预算，以逗号分隔",
    "Or a .txt of any length": "或任意长度的 .txt",
    "### All points\nThe menu ⋮ in a heading sorts.": "### 所有数据点\n表头中的 ⋮ 菜单用于排序。",
    "Export the points": "导出数据点",
    "The points (.csv)": "数据点 (.csv)",
    # Ask
    "### What does it still know when you ask?\nThe model reads the document once, then your question, and every "
    "policy answers from what it has kept, beside the full model, which has kept everything. **Mark the evidence**: "
    "select the passage that has the answer, and see when each policy loses it.": (
        "### 提问时，它还知道什么？\n模型先读一遍文档，再读你的问题；每个策略凭自己保留的内容作答，"
        "旁边是保留了一切的完整模型。"
        "**标出证据**：选中答案所在的段落，看看每个策略何时失去它。"
    ),
    "Document": "文档",
    "Question": "问题",
    "The right answer, if you know it": "正确答案（如果你知道）",
    "Open a .txt as document": "打开 .txt 作为文档",
    "Depth of the fact (%)": "事实所在的深度 (%)",
    "Length (tokens)": "长度（词元数）",
    "Hide a fact in a text of this length": "在这一长度的文本中藏入一个事实",
    "### Where is it lost?\nThe same fact at several depths of texts of several lengths: who still finds it, and how "
    "much of it was kept when the question came. A policy that judges a token when it reads it cannot know what will "
    "be asked. For TOVA, Quest (arXiv 2406.10774) found a passkey in 10,000 tokens in 0 to 8 % of the cases, at "
    "budgets "
    "of 32 to 512.": (
        "### 在哪里丢失？\n把同一个事实放在不同长度文本的不同深度：谁还找得到它，提问时它还保留了多少。"
        "策略在读到词元时就要作出取舍，无法预知会被问到什么。Quest (arXiv 2406.10774) 报告：预算为 32 至 512 时，"
        "TOVA 在 "
        "10,000 个词元中找到口令的比例为 0 至 8 %。"
    ),
    "Lengths (tokens)": "长度（词元数）",
    "Draw the matrix": "绘制矩阵",
    # Write
    "### What does it write when it forgets?\nEvery policy writes from what it remembers, beside the full model, which "
    "forgets nothing. At every token all of them draw with the same random numbers, so what differs comes from "
    "forgetting alone.": (
        "### 会遗忘的模型写出什么？\n每个策略凭它记得的内容写作，旁边是什么都不忘的完整模型。每写一个词元，"
        "它们都用相同的"
        "随机数抽样，所以差别只来自遗忘。"
    ),
    "Story prompt; several, one per line, give the table of lengths": "故事提示；每行一个，写多个则得到长度表",
    "Prompts to try": "试试这些提示",
    "Longest story, in tokens": "故事的最大长度（词元数）",
    "Temperature (0: always the likeliest)": "温度（0：总取最可能的）",
    "### Lengths and repetition\nLengths are in tokens. *distinct-n* is the share of a story's runs of n tokens that "
    "are different ones: the lower, the more it repeats itself; it falls with the length, so compare stories of about "
    "the same length. The paper's lengths are of a 13B model and 100 prompts.": (
        "### 长度与重复\n长度以词元计。*distinct-n* 是故事中连续 n 个词元的片段里互不相同者的比例：越低，重复越多；"
        "它随长度下降，所以请比较长度相近的故事。论文的长度来自一个 13B 模型和 100 个提示。"
    ),
    "### Blind judging\nTwo stories from the same prompt and seed: one by the full model, one by a policy. Which is "
    "better to read? The names come after your vote, and your first vote counts.": (
        "### 盲评\n同一提示、同一随机种子的两个故事：一个由完整模型写，一个由某个策略写。哪个更好读？投票后才显示名称，"
        "以你的第一票为准。"
    ),
    "A is better": "A 更好",
    "Tie": "不分上下",
    "B is better": "B 更好",
    "Next pair": "下一对",
    "Export the votes": "导出投票",
    "All votes (.csv)": "全部投票 (.csv)",
}


def _key(text: str) -> str:
    """What the browser looks a text up by: no value of a choice, which it would translate, too, and send back so."""
    return f"text: {text}"


_CHINESE = {_key(english): chinese for english, chinese in CHINESE.items()}
CHINESE_LOCALES = ("zh-CN", "zh-TW")
"""All that Gradio has; in any other Chinese it shows a page in English."""

I18N = gr.I18n(**{"en": {_key(text): text for text in CHINESE}} | dict.fromkeys(CHINESE_LOCALES, _CHINESE))


def language(request: gr.Request | None = None) -> Language:
    """The language of the page that a request (or the event in progress) comes from: what its browser prefers."""
    request = request or LocalContext.request.get(None)
    preferred = request.headers.get("accept-language", "") if request is not None else ""
    return "zh" if re.split("[,;]", preferred)[0].strip() in CHINESE_LOCALES else "en"


def is_asked() -> bool:
    """Whether an event of a page is in progress; not while a page is being made, for whoever opens it."""
    return LocalContext.request.get(None) is not None


def translate(page: gr.Blocks) -> None:
    """Let the browser show the fixed texts of a page in its language: labels, infos, buttons, headings, choices."""
    for block in page.blocks.values():
        for name, text in fixed_texts(block):
            setattr(block, name, _either(text))
        if choices := getattr(block, "choices", None):
            setattr(block, "choices", [(_either(shown), value) for shown, value in choices])  # noqa: B010 (not all have it)


def fixed_texts(block: Block) -> list[tuple[str, str]]:
    """The attributes of a component that are texts for people, each with its text; not what it holds as a value."""
    names = ["label", "info"] + ["value"] * isinstance(block, gr.Button | gr.Markdown)
    texts = [(name, getattr(block, name, None)) for name in names]
    return [(name, text) for name, text in texts if isinstance(text, str) and text]


def _either(text: str) -> str | I18nData:
    return I18nData(_key(text)) if text in CHINESE else text
