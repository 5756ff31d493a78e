"""What figures, tables and cards say, in Chinese.

English stands in the code, as the key; a template has {holes}, and what plotly fills in itself, such as ``%{x}``, goes
into a hole like any other value. The words for our concepts are those of `lesson_words` and `translations`, and
besides: 存活 survival, 重合 overlap, 年龄 age, 完整模型 full model, 短上下文 short context.
"""

FIGURE_WORDS = {
    # punctuation
    ", ": "，",
    "{number}: {run}": "{number}：{run}",
    "{one} and {other}": "{one} 与 {other}",
    "(nothing)": "（无）",
    # who and where
    "budget {budget}": "预算 {budget}",
    "{policy}, budget {budget:,}": "{policy}，预算 {budget:,}",
    "{policy}, budget {budget:,}, {model}": "{policy}，预算 {budget:,}，{model}",
    "Full model": "完整模型",
    "layer": "层",
    "layer {layer}": "第 {layer} 层",
    "layer {layer} · KV head {group}": "第 {layer} 层 · KV 头 {group}",
    "KV head {group}": "KV 头 {group}",
    "token": "词元",
    "token (position)": "词元（位置）",
    "step": "步",
    "step (token being read)": "步（正在读的词元）",
    # lives
    "evicted": "已淘汰",
    "kept": "保留",
    "after reading {reading}<br>token {token}": "读完 {reading} 之后<br>词元 {token}",
    "attention": "注意力",
    "query {query}<br>token {token}<br>log₁₀ attention {logarithm}": (
        "查询 {query}<br>词元 {token}<br>注意力的 log₁₀：{logarithm}"
    ),
    "{budget} tokens ago: the limit of Window": "{budget} 个词元之前：Window 的界限",
    "the life of layer {layer}": "第 {layer} 层的历程",
    "the life of layer {layer}, KV head {group}": "第 {layer} 层 KV 头 {group} 的历程",
    ", one token in {every}": "，每 {every} 个词元取一个",
    "kept to the end": "保留到最后",
    "evicted at step {step}, reading {token}": "第 {step} 步淘汰，正在读{token}",
    "kept for {steps} steps": "保留 {steps} 步",
    "the life of token {position}, {token}": "词元 {position}，{token}的历程",
    "steps kept": "保留步数",
    # the sweep
    "Perplexity against budget": "困惑度与预算",
    "The paper: LLaMA-2-7B on PG-19 (table 3)": "论文：LLaMA-2-7B，PG-19（表 3）",
    "Full model: {perplexity:.1f}": "完整模型：{perplexity:.1f}",
    "budget {budget}<br>perplexity {perplexity}": "预算 {budget}<br>困惑度 {perplexity}",
    "budget (rows per layer)": "预算（每层行数）",
    "perplexity": "困惑度",
    # recency and ages
    "the paper: {low:.0f}–{high:.0f} %": "论文：{low:.0f}–{high:.0f}%",
    "{share} of the rows are recent": "{share} 的行是新近的",
    "from the lowest layer to the highest": "从最低的层到最高的层",
    "step {step}, {token}": "第 {step} 步，{token}",
    "Recency after every step": "每一步之后的新近程度",
    "Recency by layer": "各层的新近程度",
    "recent rows": "新近行的比例",
    "{share} of the rows are younger than {age} steps,<br>{times} times the budget": (
        "{share} 的行年龄小于 {age} 步，<br>即预算的 {times} 倍"
    ),
    "Window, any budget": "Window，任意预算",
    "The ages of kept rows": "所保留行的年龄",
    "younger than … times the budget": "年龄小于预算的……倍",
    "share of kept rows": "占保留行的比例",
    # the first tokens
    "token {token}<br>kept for {steps} of {all} steps": "词元 {token}<br>{all} 步中保留 {steps} 步",
    "The first tokens": "开头的词元",
    "mean steps kept": "平均保留步数",
    "layer {layer}<br>token {token}<br>kept for {steps} steps": "第 {layer} 层<br>词元 {token}<br>保留 {steps} 步",
    "first token kept to the end in {share}": "第一个词元保留到最后：{share}",
    "{kept} of {all} layers": "{kept} / {all} 层",
    "{kept} of {all} KV heads": "{kept} / {all} 个 KV 头",
    # survival
    "{share} of the tokens are still kept {age} steps after they were read<br>{cases} cases known to last as long": (
        "读入 {age} 步之后，{share} 的词元仍被保留<br>已知持续这么久的有 {cases} 例"
    ),
    "Survival": "存活",
    "age: steps since the token was read": "年龄：词元读入后的步数",
    "still kept": "仍被保留",
    "layer {layer}<br>{share} still kept {age} steps after they were read": (
        "第 {layer} 层<br>读入 {age} 步之后，{share} 仍被保留"
    ),
    "Window ends here": "Window 止于此",
    "tokens still kept, by age and layer": "各层、各年龄仍被保留的词元",
    # kinds of token
    "{kind}<br>{steps} steps kept, the mean of {tokens} tokens<br>{share} kept to the end": (
        "{kind}<br>保留 {steps} 步（{tokens} 个词元的平均）<br>{share} 保留到最后"
    ),
    "the paper, budget {budget:,}": "论文，预算 {budget:,}",
    "{kind}<br>{steps} steps kept (tables 2 and 5)": "{kind}<br>保留 {steps} 步（表 2 和表 5）",
    "Which tokens live long": "哪些词元长寿",
    "steps, here": "步数（这里）",
    "steps, paper": "步数（论文）",
    # agreement
    "agreement of its layers": "各层的一致程度",
    "agreement of the KV heads of layer {layer}": "第 {layer} 层各 KV 头的一致程度",
    "Agreement of the runs": "各次运行的一致程度",
    "{share} of what either keeps is kept by both": "任一方保留的词元中，{share} 为双方共有",
    "overlap": "重合",
    # runs in a sentence
    "{policy}: nothing had to be evicted.": "{policy}：无需淘汰。",
    "{policy}: first token kept to the end in {first}; {recent:.0%} of the rows kept are recent; {evicted}.": (
        "{policy}：第一个词元保留到最后：{first}；保留的行中 {recent:.0%} 是新近的；{evicted}。"
    ),
    "fewer than half of the tokens are evicted": "被淘汰的词元不到一半",
    "half of the tokens are gone after {steps} steps": "{steps} 步之后，一半词元已被淘汰",
    # a passage and the question about it
    "each layer": "每一层",
    "layer {layer}<br>step {step}<br>{share} kept": "第 {layer} 层<br>第 {step} 步<br>保留 {share}",
    "step {step}, reading {token}<br>{share} of the passage kept": "第 {step} 步，正在读{token}<br>段落保留 {share}",
    "layer {layer}, step {step}<br>{share} of the passage kept": "第 {layer} 层，第 {step} 步<br>段落保留 {share}",
    "How much of the passage is kept": "段落保留了多少",
    "how much of the passage each layer keeps": "每一层保留了段落的多少",
    "share kept": "保留比例",
    "passage read": "段落读完",
    "question": "问题",
    "answer": "回答",
    "{tokens} tokens, depth {depth}<br>{share} of the fact kept when the question came<br>answer: {answer}": (
        "{tokens} 个词元，深度 {depth}<br>提问时事实还保留 {share}<br>回答：{answer}"
    ),
    "Is the fact found? ✓ yes, ✗ no, and how much of it was kept when the question came": (
        "找到事实了吗？✓ 是，✗ 否；数字是提问时它还保留了多少"
    ),
    "length of the text (tokens)": "文本长度（词元数）",
    "depth of the fact": "事实所在的深度",
    "{policy}: {share:.0%} of the passage was kept when the question came. {lost}.": (
        "{policy}：提问时，段落还保留 {share:.0%}。{lost}。"
    ),
    "At least half of it is kept to the end": "至少一半保留到最后",
    "Less than half of it is kept from step {step} on, reading {token}": (
        "从第 {step} 步（正在读{token}）起，保留不到一半"
    ),
    ", nothing from step {step} on, reading {token}": "；从第 {step} 步（正在读{token}）起，全部失去",
    "{policy}: finds the fact in {found} of {texts}; on average {kept:.0%} of it was kept when the question came.": (
        "{policy}：在 {texts}中，有 {found} 个找到了事实；提问时平均还保留 {kept:.0%}。"
    ),
    "F1 with your reference: {f1:.0%}": "与你的参考答案的 F1：{f1:.0%}",
    "F1 with the full model's answer: {f1:.0%}": "与完整模型回答的 F1：{f1:.0%}",
    "of the marked passage {share:.0%} was kept when the question came": "提问时，标出的段落还保留 {share:.0%}",
    "stopped at the limit": "到上限停止",
    # stories
    "Fainter: word for word as the full model. {mark} marks the first token that differs.": (
        "较淡的文字：与完整模型逐字相同。{mark} 标出第一个不同的词元。"
    ),
    "{letter}: {name}": "{letter}：{name}",
    "Story {letter}": "故事 {letter}",
    "The two are the same, word for word.": "两者逐字相同。",
    "{tokens}, ended by itself": "{tokens}，自行结束",
    "{tokens}, stopped at the limit": "{tokens}，到上限停止",
    "{tokens}, writing …": "{tokens}，正在写……",
    "distinct-{n}: {values}": "distinct-{n}：{values}",
    "leaves the full model's at token {token:,}": "从第 {token:,} 个词元起与完整模型不同",
    "the same as the full model's": "与完整模型相同",
    "so far the same as the full model's": "到目前为止与完整模型相同",
    "the first token that differs": "第一个不同的词元",
    "here it ends, where the full model goes on": "它到此结束，而完整模型继续写",
    "Press “Next pair” to read two stories without knowing who wrote them.": ("按“下一对”，读两个不知作者是谁的故事。"),
    "There is no pair that you have neither judged nor seen with its names. Write from several prompts at once, one "
    "per line: those stories are not shown above, so that you can judge them blind, too.": (
        "你已评过所有的对，或已看过它们的名称。请一次用多个提示写作，每行一个：那些故事不在上面显示，所以你也可以盲评。"
    ),
    "A batch of stories is not shown here, so that you can judge it blind, below.": (
        "一批故事不在这里显示，以便你在下面盲评。"
    ),
    # the tally of the judging
    "better": "更好",
    "tie": "不分上下",
    "worse": "更差",
    "{verdict}: {share} %": "{verdict}：{share}%",
    "<i>The paper: TOVA, budget {budget:,}</i>": "论文：TOVA，预算 {budget:,}",
    "the paper, section 6": "论文，第 6 节",
    "A policy's story, judged beside the full model's<br>Pale: the paper (13B model, GPT-4; section 6)": (
        "某个策略的故事，与完整模型的故事相比<br>浅色：论文（13B 模型，GPT-4 评判；第 6 节）"
    ),
    "{votes} on {pairs}": "{pairs}，{votes}",
    "{judge}: {votes} on {pairs}": "{judge}：{pairs}，{votes}",
    "95 % intervals": "95% 区间",
    "95 % interval: {low:.0%} to {high:.0%}, counting pairs rather than votes": (
        "95% 区间：{low:.0%} 至 {high:.0%}，按对计，不按票计"
    ),
}
"""By the English, what our own code says."""

NAMES = {
    "Full": "完整模型",
    "Short context": "短上下文",
    # kinds of token, ours and the paper's
    "possessive ending": "所有格词尾",
    "closing quote": "后引号",
    "currency sign": "货币符号",
    "closing bracket": "后括号",
    "sentence end": "句末标点",
    "comma": "逗号",
    "newline": "换行",
    "number": "数字",
    "capitalised word inside a sentence": "句中大写的词",
    "function word": "虚词",
    "other word": "其他词",
    "other sign": "其他符号",
    "special token": "特殊词元",
    "all tokens": "全部词元",
    "possessive ’s": "所有格 ’s",
    "full stop": "句号",
    "proper noun": "专有名词",
    "plural proper noun": "专有名词（复数）",
    "to": "“to” 一词",
    "modal": "情态动词",
    "determiner": "限定词",
    "possessive pronoun": "物主代词",
    "preposition": "介词",
    "noun": "名词",
    "average": "平均",
    # passages of a map
    "evidence": "证据",
    "question": "问题",
    # columns of tables
    "policy": "策略",
    "budget": "预算",
    "perplexity": "困惑度",
    "ΔNLL (nats)": "ΔNLL（奈特）",
    "KL (nats)": "KL（奈特）",
    "same top-1 (%)": "首选相同 (%)",
    "KV memory (MB)": "KV 内存 (MB)",
    "at 7B (MB)": "7B 模型 (MB)",
    "tokens/s": "词元/秒",
    "tokens": "词元数",
    "tokens per second": "词元/秒",
    "stories": "故事数",
    "mean length": "平均长度",
    "ended by themselves": "自行结束",
    "differ from full": "与完整模型不同",
    "from token (median)": "从哪个词元起（中位数）",
    "paper: length": "论文：长度",
    "run": "运行",
    "kind": "类别",
    "layer": "层",
    "KV head": "KV 头",
    "other layer": "另一层",
    "step": "步",
    "age": "年龄",
    "position": "位置",
    "token": "词元",
    "one": "一方",
    "other": "另一方",
    "mean steps kept": "平均保留步数",
    "steps kept": "保留步数",
    "of steps": "总步数",
    "kept to the end": "保留到最后",
    "kept to the end by": "保留到最后的层或头数",
    "of deciders": "层或头的总数",
    "evicted at step": "在哪一步淘汰",
    "recent, mean over steps": "新近比例（各步平均）",
    "recent at the end": "新近比例（最后）",
    "recent, mean over layers": "新近比例（各层平均）",
    "lowest layer": "最低的层",
    "highest layer": "最高的层",
    "share of kept rows": "占保留行的比例",
    "up to this age": "累计至此年龄",
    "still kept": "仍被保留",
    "overlap (Jaccard)": "重合 (Jaccard)",
}
"""By the English, what has its name in data that are files, too."""

COUNTED = {"token": "个词元", "text": "个文本", "vote": "票", "pair": "对"}
