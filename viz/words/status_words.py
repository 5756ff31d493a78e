"""What the page says while it is used, in Chinese: status lines, and sentences about a run.

English stands in the code, as the key; a template has {holes}.
"""

STATUS_WORDS = {
    # titles of texts to try
    "Story: the lighthouse": "故事：灯塔",
    "Numbers and lists": "数字和清单",
    "Dialogue": "对话",
    "Two languages": "两种语言",
    "The lighthouse": "灯塔",
    "The baker": "面包师",
    "Two robots": "两个机器人",
    "The crow": "乌鸦",
    "All four": "全部四个",
    # status lines; {holes} are filled in
    "Connecting …": "正在连接……",
    "Loading the model …": "正在加载模型……",
    "Loading the model … {seconds:.0f} s. The example is real: look around.": (
        "正在加载模型…… {seconds:.0f} 秒。示例是一次真实的运行，可以先看看。"
    ),
    "Model ready. Press Run to read your own text.": "模型已就绪。按“运行”，读你自己的文本。",
    "Looking whether this was computed before …": "正在查看这次运行以前是否算过……",
    "The same run is going on already, for another page: its result will be shown here …": (
        "另一个页面正在进行同样的运行，结果会显示在这里……"
    ),
    "Waiting for the model …": "正在等待模型……",
    "Press Ask.": "请按“提问”。",
    "Reads your text from the Explore tab, or a file.": "读“探索”里的文本，或一个文件。",
    "Choose two or more policies and press Run.": "请选择两个或更多策略，再按“运行”。",
    "Choose policies and press Run.": "请选择策略，再按“运行”。",
    "The file is the document now.": "文件现在是文档。",
    "A sentence with a number stands at {depth} % of the text. Press Ask.": (
        "一个带数字的句子藏在文本的 {depth}% 处。请按“提问”。"
    ),
    "The oracle looks ahead: it reads the whole text first …": "Oracle 正在预读：它先读完整个文本……",
    "{done:,} of {total:,} tokens": "{done:,} / {total:,} 个词元",
    "{done:,} of {total:,} tokens; about {left:.0f} s left": "{done:,} / {total:,} 个词元；约剩 {left:.0f} 秒",
    "Reading: {done:,} of at most {total:,} tokens": "正在阅读：{done:,} / 最多 {total:,} 个词元",
    "Answering: {done:,} of at most {total:,} tokens": "正在回答：{done:,} / 最多 {total:,} 个词元",
    "Writing: {done:,} of at most {most:,} tokens": "正在写作：{done:,} / 最多 {most:,} 个词元",
    "Prompt {prompt} of {prompts}: {done:,} of at most {most:,} tokens": (
        "提示 {prompt} / {prompts}：{done:,} / 最多 {most:,} 个词元"
    ),
    "Measured: {runs}": "已统计：{runs}",
    "{tokens:,} tokens of {model}": "{model} 的 {tokens:,} 个词元",
    "Below is what was measured before.": "下面是之前的统计。",
    "No two to be compared here; the table below is the one before.": "这里没有可比较的两者；下面仍是之前的表。",
    "Reading: {done:,} of {total:,} tokens": "正在阅读：{done:,} / {total:,} 个词元",
    "Writing: {done:,} of {total:,} tokens": "正在续写：{done:,} / {total:,} 个词元",
    "{tokens:,} tokens in {seconds:.1f} s. Comparing with the full model …": (
        "{tokens:,} 个词元，用时 {seconds:.1f} 秒。正在与完整模型比较……"
    ),
    "Done: {tokens:,} tokens in {seconds:.1f} s.": "完成：{tokens:,} 个词元，用时 {seconds:.1f} 秒。",
    "Done in {seconds:.1f} s.": "完成，用时 {seconds:.1f} 秒。",
    "Done.": "完成。",
    "The speed is that of then.": "速度是当时的。",
    "Others can judge these blind, below.": "其他人可以在下面盲评。",
    "They can be judged blind, below.": "可以在下面盲评。",
    "You find A better.": "你认为 A 更好。",
    "You find B better.": "你认为 B 更好。",
    "You find neither better.": "你认为两者不分上下。",
    "Your vote is stored.": "你的投票已保存。",
    "You have judged this pair before: that counts.": "你以前评过这一对，以那次为准。",
    "The judge has read {done:,} of {all:,} pairs, each in both orders.": (
        "评委已读 {done:,} / {all:,} 对，每对按两种顺序各读一次。"
    ),
    "Done: {done:,} pairs judged.": "完成：评判了 {done:,} 对。",
    "{silent:,} without a verdict; the last answers: {answers}": "{silent:,} 对没有结论；最后的回答：{answers}",
    "Done: {tokens:,} tokens.": "完成：{tokens:,} 个词元。",
    "The budget is not smaller than the text, so nothing had to be evicted.": "预算不小于文本的长度，所以无需淘汰。",
    "This was computed before and comes from the store.": "这次运行以前算过，结果取自存储。",
    "Stopped.": "已停止。",
    "The tokens read so far stay.": "已经读入的部分仍在。",
    "What has been read stays.": "已经读入的部分仍在。",
    "What is done stays.": "已完成的部分仍在。",
    "What there is stays.": "已有的部分仍在。",
    "What has been answered stays.": "已有的回答仍在。",
    "The cells that are done stay.": "已完成的格子仍在。",
    "What has been written stays; only finished stories can be judged.": "已写的部分仍在；只有写完的故事才能评判。",
    "The verdicts so far are stored.": "已有的结论都已保存。",
    "Opened: {policy}, budget {budget}, {tokens:,} tokens, read by {model}.": (
        "已打开：{policy}，预算 {budget}，{tokens:,} 个词元，由 {model} 读入。"
    ),
    "Opened: {policy}, {tokens:,} tokens, read by {model}.": "已打开：{policy}，{tokens:,} 个词元，由 {model} 读入。",
    "The run of this link is not in the store of this app: the link is not whole, or the run has made room for newer "
    "ones. Choose its text and settings below and press Run, or ask for it as a file (.npz) and open that. "
    "What you see is the example.": (
        "本应用的存储中没有这个链接所指的运行：链接不完整，或者它已让位给较新的运行。请在下方选择它的文本和设置，再按"
        "“运行”；或者索取它的文件 (.npz) 并打开。现在看到的是示例。"
    ),
    # the limits
    "At most {n:,} characters in a text": "一个文本最多 {n:,} 个字符",
    "At most {n:,} tokens in a text": "一个文本最多 {n:,} 个词元",
    "At most {n:,} new tokens to write": "最多续写 {n:,} 个词元",
    "At most {n:,} rows in a multi-state": "一个多状态最多 {n:,} 行",
    "At most {n:,} MB in an uploaded file": "上传的文件最大 {n:,} MB",
    "At most {n:,} runs of one person waiting in line": "每人最多 {n:,} 次运行在排队",
    "At most {n:,} seconds for a run, after its model is loaded": "模型加载后，一次运行最多 {n:,} 秒",
    "At most {n:,} models in memory at a time": "内存中同时最多 {n:,} 个模型",
    # Ask
    "Nothing is marked yet: select a passage in the document with the mouse or with shift and the arrows.": (
        "还没有标记：请用鼠标，或按住 Shift 用方向键，在文档中选择一段。"
    ),
    "Marked: {passage}": "已标记：{passage}",
    # Compare
    "Each has its own text now, so there is no common one whose cost could be told: set the new tokens to 0.": (
        "现在各有各的文本，没有共同的文本可比代价：请把续写的词元数设为 0。"
    ),
    "Colour the text by ΔNLL and click a token: which forgotten tokens the full model looks at there.": (
        "把文本按 ΔNLL 着色，再点击一个词元：看完整模型在那里关注哪些已被遗忘的词元。"
    ),
    "{policy}, predicting {token} (token {position}): {share:.0%} of the full model's attention falls on tokens that "
    "this policy no longer has.": (
        "{policy}，预测{token}（词元 {position}）时：完整模型有 {share:.0%} 的注意力落在该策略已没有的词元上。"
    ),
    "{token} (token {position}, {paid:.1%})": "{token}（词元 {position}，{paid:.1%}）",
    "Most of it on {tokens}.": "其中最多的是{tokens}。",
    # copying a link
    "No link yet": "还没有链接",
    "Only a whole run has one: press Run and let it come to its end.": "完成的运行才有链接：按“运行”，等它完成。",
    "Copied: the link to this run at this step": "已复制：指向这次运行当前步的链接",
    "Copy this link to this run at this step": "请复制这个链接，它指向这次运行的当前步",
}
