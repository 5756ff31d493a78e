"""What the guided lesson says, in English and Chinese. Numbers and tokens are filled in by `viz.lesson.lesson.numbers`.

The words for our concepts in Chinese, one each: 多状态 multi-state, 行 row, 预算 budget, 策略 policy, 淘汰 evict,
保留 keep, 词元 token, 位置 position, 步 step, 层 layer, 注意力头 head, KV 头 KV head, 注意力 attention, 查询 query,
汇点 sink, 困惑度 perplexity, 运行 run. The policies keep their names.
"""

from typing import Literal, NamedTuple, TypeAlias

Language: TypeAlias = Literal["en", "zh"]


class Words(NamedTuple):
    """The words of one step."""

    title: str
    told: str
    question: str
    answer: str


LESSON_LABELS: dict[Language, dict[str, str]] = {
    "en": {
        "back": "← Back",
        "next": "Next →",
        "answer": "Show the answer",
        "perplexity": "Perplexity over the whole text (lower is better)",
        "about": "All runs: SmolLM2 135M, the same English text of {n} tokens.",
    },
    "zh": {
        "back": "← 上一步",
        "next": "下一步 →",
        "answer": "显示答案",
        "perplexity": "整段文本的困惑度（越低越好）",
        "about": "所有运行：SmolLM2 135M，同一段 {n} 个词元的英文文本。",
    },
}

LESSON: dict[Language, tuple[Words, ...]] = {
    "en": (
        Words(
            "The infinite state",
            "From left to right: the tokens of a text. From top to bottom: the model's {layers} layers. Blue: this "
            "layer holds the token's key and value, one row of its state. An ordinary Transformer forgets nothing: "
            "after step {full_step} every layer holds {full_rows} rows, and each token adds one. So it is a recurrent "
            "network whose state, a multi-state, grows without end. Press ▶ to watch. Perplexity says how much each "
            "next token surprises the model; here it is {full_perplexity}.",
            "How many rows does each layer hold after this text, and after a book of 100,000 tokens?",
            "{n} and 100,000: one per token, in each of the {layers} layers. Every new token also costs more work, "
            "since its query attends to all of them. A finite multi-state has a fixed number of rows, its budget, and "
            "a policy that says which row to evict.",
        ),
        Words(
            "Window forgets the beginning and breaks",
            "Now every layer may hold {budget} rows, and Window evicts the oldest. Look at the left edge: at step "
            "{window_step} the first tokens have just been evicted (orange, then grey), in all layers at once. For the "
            "first {budget} predictions nothing was missing. For the next {budget}, perplexity is "
            "{window_perplexity_next}; the full model has {full_perplexity_next}. Over the whole text it is "
            "{window_perplexity} instead of {full_perplexity}.",
            "The sentence at this step has little to do with the first words. Why does losing them hurt so much?",
            "Attention always adds up to one, so a head that finds nothing of interest looks at the first token: in "
            "the full model, that token alone receives {first_share} of all attention. Window takes this resting place "
            "away, and the attention falls on tokens that it was not meant for.",
        ),
        Words(
            "Four sink tokens repair it",
            "Window+{sinks} has one more rule: the first {sinks} tokens are never evicted. They are the thin blue line "
            "at the left edge. The other {rest} rows are the most recent tokens, as before. That is enough: "
            "perplexity falls from {window_perplexity} to {sinks_perplexity}; the full model has {full_perplexity}. "
            "The {sinks} tokens are {sink_text}.",
            "What do these four tokens tell the model about the sentence that it is reading now?",
            "Next to nothing. They are needed as a place where attention can rest, a sink: in the full model they "
            "receive {sink_share} of it. But perplexity is a mean. Everything else from more than {rest} tokens ago is "
            "gone, and a question about it can hardly be answered.",
        ),
        Words(
            "H2O keeps what has drawn attention",
            "H2O adds up the attention that every row has received since it was read. The {h2o_recent} most recent "
            "rows "
            "are safe; of the others, the one with the smallest sum is evicted. Each KV head decides for itself, so a "
            "layer has {h2o_heads} lines in the map. Old tokens stay as vertical lines: {h2o_old} of the rows kept "
            "are not among the last {budget} tokens. Apart from the first four, {h2o_token} at position {h2o_position} "
            "is kept longest: {h2o_steps} steps on average. Perplexity: {h2o_perplexity}.",
            "A sum can only grow. Which tokens does that favour?",
            "The old ones: they have collected for longer. Even the second token, {second_token}, is held to the end "
            "by {h2o_second} of the KV heads, whatever the text is about by then. A new token has {h2o_recent} safe "
            "steps to collect enough.",
        ),
        Words(
            "TOVA asks only the current query",
            "TOVA adds nothing up and protects nothing. At every step it evicts the row that the current query attends "
            "to least, in the mean over the layer's heads. The first token may go, and the newest, too. Look at "
            "the orange front: tokens leave at very different ages. And at the left edge: at step {tova_step}, "
            "{tova_first} of {layers} layers hold the first token, and {tova_next} any of the three after it. "
            "Perplexity: {tova_perplexity}, with the same {budget} rows.",
            "Nobody protects the first token. Why does it stay?",
            "Nearly every query gives it attention, so it is hardly ever the least attended. Window+{sinks} has to be "
            "told about the sinks; TOVA finds them, and for it one is enough. On this text TOVA ({tova_perplexity}) "
            "and H2O "
            "({h2o_perplexity}) are nearly even. For LLaMA-2-7B and a budget of {budget}, the paper reports TOVA "
            "{paper_tova}, H2O {paper_h2o}, Window+{sinks} {paper_sinks} and Window {paper_window} (table 3).",
        ),
        Words(
            "Mostly recent, but not only",
            "The same run at its end: {tova_recent} of the rows kept are among the last {budget} tokens. Under Window "
            "all would be. So TOVA leans towards the recent, but only slightly; the paper finds {paper_recent}% "
            "(section 7.3, where recent is not defined). The others are the pillars. The marked one is {held_token}, "
            "{held_steps} steps old and held by {held_layers} of {layers} layers. Full stops are kept for {stop_steps} "
            "steps on average, all tokens for {mean_steps}.",
            "Why would a model hold on to a full stop rather than to a noun?",
            "A policy does not know what a token means: it keeps what queries attend to, and queries look back to "
            "where sentences end. In the paper, too, punctuation lives long: full stops {paper_stop_steps} "
            "steps, all tokens {paper_mean_steps}, at a budget of {paper_budget} (table 5). And in your own text? Open "
            "Explore and press Run.",
        ),
    ),
    "zh": (
        Words(
            "无限的状态",
            "从左到右是文本的词元，从上到下是模型的 {layers} 层。蓝色表示这一层保留着该词元的键和值，即状态中的一行。"
            "普通的 Transformer 什么都不忘：第 {full_step} 步之后，每层有 {full_rows} 行，此后每读一个词元就多一行。"
            "所以它是一个循环神经网络，只是它的状态，即“多状态”，会无限增长。按 ▶ 看它增长。"
            "困惑度表示下一个词元让模型有多意外，这里是 {full_perplexity}。",
            "读完这段文本，每层有多少行？读完一本 100,000 个词元的书呢？",
            "{n} 行和 100,000 行：在 {layers} 层的每一层里，每个词元占一行。处理一个新词元的计算量也随之增长，"
            "因为它的查询要关注所有的行。有限的多状态则只有固定的行数，即预算，并由一个策略决定淘汰哪一行。",
        ),
        Words(
            "Window 忘掉开头，随即崩溃",
            "现在每层最多保留 {budget} 行，Window 总是淘汰最旧的一行。请看左边缘：在第 {window_step} 步，"
            "开头的词元刚刚被淘汰（先橙后灰），所有层同时如此。前 {budget} 次预测时什么都不缺；接下来的 {budget} "
            "次预测，"
            "困惑度升到 {window_perplexity_next}，而完整模型为 {full_perplexity_next}。"
            "就整段文本而言，困惑度是 {window_perplexity}，而不是 {full_perplexity}。",
            "这一步正在读的句子与开头的几个词关系不大。为什么丢掉它们的代价如此之大？",
            "注意力的总和恒为 1，所以当一个注意力头找不到值得关注的内容时，就会去看第一个词元："
            "在完整模型中，仅这一个词元就得到全部注意力的 {first_share}。Window 拿走了这个歇脚处，"
            "注意力便落到了本不该得到它的词元上。",
        ),
        Words(
            "四个汇点词元就能修复",
            "Window+{sinks} 只多一条规则：开头的 {sinks} 个词元永不淘汰，它们就是左边缘那条细细的蓝线。"
            "其余 {rest} 行与之前一样，是最近的词元。这就够了：困惑度从 {window_perplexity} 降到 {sinks_perplexity}，"
            "完整模型为 {full_perplexity}。这 {sinks} 个词元是 {sink_text}。",
            "关于正在读的句子，这四个词元能告诉模型什么？",
            "几乎什么也没有。需要它们，是因为注意力得有一个歇脚处，即“汇点”（attention sink）："
            "在完整模型中，它们得到全部注意力的 {sink_share}。但困惑度只是平均值：除它们以外，"
            "{rest} 个词元之前的内容都已丢失，有关的问题几乎无法再回答。",
        ),
        Words(
            "H2O：保留曾受关注的",
            "H2O 累加每一行自读入以来得到的注意力。最近的 {h2o_recent} 行受保护；其余的行中，累计值最小的一行被淘汰。"
            "每个 KV 头各自决定，所以图中每层有 {h2o_heads} 条。旧词元成为一条条竖线：保留的行中有 {h2o_old} "
            "不属于最近的 {budget} 个词元。除开头四个以外，保留最久的是位置 {h2o_position} 上的 {h2o_token}，"
            "平均 {h2o_steps} 步。困惑度：{h2o_perplexity}。",
            "累计值只增不减。这对哪些词元有利？",
            "对旧词元有利：它们累积的时间更长。就连第二个词元 {second_token}，也有 {h2o_second} 的 KV "
            "头一直保留到结尾，"
            "不论那时文本在讲什么。新词元则只有 {h2o_recent} 步的保护期来积攒足够的注意力。",
        ),
        Words(
            "TOVA：只问当前的查询",
            "TOVA 不做累加，也不保护任何词元。每一步，它淘汰当前查询关注最少的那一行（对该层所有注意力头取平均）；"
            "第一个词元可能被淘汰，最新的也可能。请看橙色的前沿：词元离开时的年龄相差很大。再看左边缘：在第 "
            "{tova_step} 步，"
            "{layers} 层中有 {tova_first} 层保留着第一个词元，而还保留着其后三个词元之一的只有 {tova_next} 层。"
            "同样是 {budget} 行，困惑度为 {tova_perplexity}。",
            "没有谁保护第一个词元，它为什么留了下来？",
            "几乎每个查询都会给它一些注意力，所以它几乎从不是最少的那个。Window+{sinks} 的汇点要由人指定，"
            "TOVA 则自己找到，而且一个就够。在这段文本上，TOVA（{tova_perplexity}）与 H2O（{h2o_perplexity}）相差无几。"
            "对于 LLaMA-2-7B 和预算 {budget}，论文给出 TOVA {paper_tova}、H2O {paper_h2o}、"
            "Window+{sinks} {paper_sinks}、Window {paper_window}（表 3）。",
        ),
        Words(
            "以近期为主，但不止近期",
            "同一次运行的结尾：保留的行中，{tova_recent} 属于最近的 {budget} 个词元；若是 Window，则全部都是。"
            "可见 TOVA 偏向近期，但只是略微偏向；论文给出的是 {paper_recent}%（第 7.3 节，文中没有定义何为近期）。"
            "其余的就是那些竖线。标出的一条是 {held_token}，已经 {held_steps} 步，{layers} 层中仍有 {held_layers} "
            "层保留着它。"
            "句号平均保留 {stop_steps} 步，全部词元平均 {mean_steps} 步。",
            "模型为什么宁可留住一个句号，而不是一个名词？",
            "策略不懂词元的含义：它保留查询所关注的，而查询会回头去看句子结束的地方。论文中的标点也很长寿："
            "预算为 {paper_budget} 时，句号保留 {paper_stop_steps} 步，全部词元平均 {paper_mean_steps} 步（表 5）。"
            "在你自己的文本里呢？打开“探索”，按“运行”。",
        ),
    ),
}
