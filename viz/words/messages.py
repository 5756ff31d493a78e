"""What comes to the page as plain English, from wherever, in Chinese: errors, and what a sweep finds.

A key is the English with {holes}; whatever fills one there is put into the Chinese, itself translated if it is one of
`PARTS`. What only programs meet (`core` from Python, the commands, the endpoints) has no Chinese.
"""

import re
from functools import cache

from viz.words.lesson_words import Language
from viz.words.model_messages import MODEL_MESSAGES

PARTS = {
    # what a limit counts, and what to do about it
    "characters in a text": "个字符",
    "tokens in a text": "个词元",
    "new tokens to write": "个续写的词元",
    "rows in a multi-state": "行",
    "MB in an uploaded file": "MB",
    "Shorten the text": "请缩短文本",
    "Ask for fewer": "请减少数量",
    "Lower the budget": "请调低预算",
    "Choose a smaller file": "请选择较小的文件",
    # what a number of a policy is called
    "budget": "预算",
    "n_sink": "汇点词元数",
    "seed": "随机种子",
    "The number of new tokens": "续写的词元数",
    "The text's length": "文本的长度",
    "Short context": "短上下文",
    # where runs come from
    "press Run in Explore": "请在“探索”中按“运行”",
    "press Run in Compare": "请在“比较”中按“运行”",
    "choose some .npz files": "请选择几个 .npz 文件",
}

_TOO_LONG = "{total} tokens are more than the {limit} that {model} was trained to read. "
_TOO_LONG_ZH = "{total} 个词元超过了 {model} 训练时所读的 {limit} 个。"
_SHORTEN = "Shorten the text by {excess} tokens, or ask for fewer new ones"
_SHORTEN_ZH = "请把文本缩短 {excess} 个词元，或减少续写的词元"

MESSAGES = {
    # first, for it holds another message, which would be taken for the whole
    "{policy} is left out with budget {budget}: {why}": "{policy} 没有用预算 {budget}：{why}",
    # the text
    "The text is empty. Write or paste some text first.": "文本是空的。请先输入或粘贴一些文本。",
    "The text is a single token: there is nothing to predict. Write at least two words.": (
        "文本只有一个词元，没有可预测的。请至少写两个词。"
    ),
    "The tokenizer of {model} has no token for some of this text: {why}. Take out what it does not know, or choose "
    "another model.": "{model} 的分词器没有这段文本中某些部分的词元：{why}。请删去它不认识的内容，或选择其他模型。",
    "The chat template of {model} cannot be filled in ({why}). Mend the template in its files, or choose another "
    "model.": "{model} 的对话模板无法填写（{why}）。请修正其文件中的模板，或选择其他模型。",
    "The eos_token_id {said} in generation_config.json or config.json is no token id. Take the file that came with the "
    "weights.": "generation_config.json 或 config.json 中的 eos_token_id {said} 不是词元编号。请使用随权重提供的文件。",
    "There is an adapter beside the weights (adapter_config.json), which would be left out. Merge it into the weights "
    "first, or take its files out of the directory.": "权重旁有一个适配器（adapter_config.json），它会被忽略。"
    "请先把它合并进权重，或把它的文件移出该目录。",
    "The file {name} is not a whole GGUF file. Download it again.": "文件 {name} 不是完整的 GGUF 文件。请重新下载。",
    "There is half a character at place {place} of the text. Take it out.": "文本第 {place} 处有半个字符。请把它删去。",
    "The text has the character {character}, which {model} takes for a command. Remove it.": (
        "文本中有字符 {character}，{model} 会把它当作命令。请把它删去。"
    ),
    "{text} has fewer than two tokens: there is nothing to predict.": "{text} 不到两个词元，没有可预测的。",
    _TOO_LONG + "It has no positions beyond them. " + _SHORTEN + ".": _TOO_LONG_ZH
    + "在此之外它没有位置。"
    + _SHORTEN_ZH
    + "。",
    _TOO_LONG + _SHORTEN + "; only a policy that evicts can read on.": _TOO_LONG_ZH
    + _SHORTEN_ZH
    + "；只有会淘汰的策略才能继续读。",
    _TOO_LONG + _SHORTEN + '. Or read on: with positions="in-cache", which numbers only the rows that are kept, or '
    "with beyond_context=True, at positions that the model has never seen.": _TOO_LONG_ZH
    + _SHORTEN_ZH
    + "。也可以继续读：选择位置编码 in-cache，它只给保留的行编号。",
    _TOO_LONG + "As many as {rows} rows would be attended to at once. Lower the budget.": _TOO_LONG_ZH
    + "同时要关注的行多达 {rows} 行。请调低预算。",
    # the limits of this app
    "These are {amount} {what}; at most {most} are allowed here. {remedy}, or run the app yourself with {flag}.": (
        "这里有 {amount} {what}，最多允许 {most}。{remedy}，或自行运行本应用并加上 {flag}。"
    ),
    "Stopped after {seconds} seconds, the most a run may take here. Take a shorter text or fewer new tokens, or run "
    "the app yourself with --max-seconds.": (
        "运行满 {seconds} 秒，已到上限，因此停止。请缩短文本或减少续写的词元，或自行运行本应用并加上 --max-seconds。"
    ),
    "{n} of your runs are waiting in line; at most {most} may. Wait until one begins, or stop it.": (
        "你有 {n} 次运行在排队，最多 {most} 次。请等其中一次开始，或停止它。"
    ),
    # policies and budgets
    "Choose at least one policy.": "请至少选择一个策略。",
    "{policy} has no budget. Give it a whole number from 1.": "{policy} 没有预算。请给它一个不小于 1 的整数。",
    "{policy} with a budget of {budget} is chosen twice. Change one of the two.": (
        "选了两次 {policy}（预算 {budget}）。请改动其中一个。"
    ),
    "{name} must be a whole number from {least} to {most}.": "{name}应是 {least} 到 {most} 之间的整数。",
    "The temperature must be 0 (greedy) or a number from {coldest} to {hottest}.": (
        "温度应是 0（总取最可能的词元），或 {coldest} 到 {hottest} 之间的数。"
    ),
    "{sinks} sink tokens leave no room for recent ones in a budget of {budget}: raise the budget above {above}, or "
    "spare fewer.": (
        "预算 {budget} 放下 {sinks} 个汇点词元后，没有余地留给新近的词元：请把预算提高到 {above} 以上，或减少汇点词元。"
    ),
    "The budgets must be whole numbers with commas between, such as 16, 32, not {text}.": (
        "预算应是用逗号分开的整数，例如 16, 32，而不是 {text}。"
    ),
    "Choose at least one text and one budget.": "请至少选择一个文本和一个预算。",
    "The oracle foresees at most {most} tokens, and this text has {n}. Shorten it by {excess} tokens, or compare "
    "without the oracle.": (
        "Oracle 最多预见 {most} 个词元，而这个文本有 {n} 个。请缩短 {excess} 个词元，或比较时不选 Oracle。"
    ),
    "The oracle knows the future only of a text that is there: it can read, but it cannot write. Choose another "
    "policy, or ask for no new tokens.": (
        "Oracle 只知道已有文本的未来：它能读，不能写。请选择别的策略，或者不要续写。"
    ),
    # a sweep
    "{policy}: none of the budgets tried comes within {percent} % of the full model's perplexity.": (
        "{policy}：试过的预算都达不到与完整模型的困惑度相差 {percent}% 以内。"
    ),
    "{policy}: {budget} is the smallest budget tried that comes within {percent} % of the full model's perplexity.": (
        "{policy}：在试过的预算中，{budget} 是与完整模型的困惑度相差 {percent}% 以内的最小预算。"
    ),
    # Ask
    "The document is empty. Paste or upload a text first.": "文档是空的。请先粘贴或上传一个文本。",
    "There is no question. Write one.": "没有问题。请写一个。",
    "Choose at least one length.": "请至少选择一个长度。",
    "The text's length must be from {least} to {most} tokens, not {length}.": (
        "文本的长度应在 {least} 到 {most} 个词元之间，而不是 {length} 个。"
    ),
    # Write
    "Write a story prompt first.": "请先写一个故事提示。",
    "These are {n} prompts; a batch takes {most}. Every line is a prompt.": (
        "这里有 {n} 个提示，一批最多 {most} 个。每行是一个提示。"
    ),
    "A prompt has {n} characters; shorten it to {most}.": "有一个提示长 {n} 个字符，请缩短到 {most} 个。",
    "This pair of stories is no longer there. Take the next one.": "这一对故事已经不在了。请取下一对。",
    "The stories are not offered for judging: {n} pairs have been judged, and there is room for {most}. Export the "
    "votes and start the app with a new file.": (
        "这些故事不提供评判：已评判 {n} 对，只容得下 {most} 对。请导出投票，用新文件启动本应用。"
    ),
    "The file of the votes, {path}, cannot be used ({reason}). Check the disk and the rights, or start the app with "
    "another file.": "投票文件 {path} 无法使用（{reason}）。请检查磁盘和权限，或用另一个文件启动本应用。",
    # Measure
    "There is nothing to measure yet: {remedy}.": "还没有可统计的运行：{remedy}。",
    "A run is measured from its second token on; give the model a longer text.": (
        "统计从第二个词元开始；请让模型读更长的文本。"
    ),
    "These are {n} files; at most {most} are measured at once.": "这里有 {n} 个文件，一次最多统计 {most} 个。",
    "These runs are over different tokens, so what they keep cannot be compared.": (
        "这些运行读的词元不同，所以无法比较它们保留了什么。"
    ),
    "These runs are of models with different numbers of layers.": "这些运行所用模型的层数不同。",
    # files
    "{file} is not a {suffix} file, and no other is opened here.": "{file} 不是 {suffix} 文件，这里只打开这种文件。",
    "The file is not a UTF-8 text. Save it as UTF-8, or paste the text.": (
        "文件不是 UTF-8 文本。请存为 UTF-8，或直接粘贴文本。"
    ),
    "{file}: {unpacked} MB when unpacked; at most {most} MB are opened here, {times} times the {packed} MB that a file "
    "may have. Export a shorter run, or run the app yourself with --max-upload-mb.": (
        "{file}：解压后有 {unpacked} MB，这里最多打开 {most} MB，即文件上限 {packed} MB 的 {times} 倍。"
        "请导出较短的运行，或自行运行本应用并加上 --max-upload-mb。"
    ),
    "{file}: Its policy is none of this app; open it with the version that made it.": (
        "{file}：它的策略不属于本应用；请用生成它的版本打开。"
    ),
    "{file}: This is not a trace (.npz) saved by this app; export it again.": (
        "{file}：这不是本应用保存的轨迹 (.npz)；请重新导出。"
    ),
    "{file}: This file is not a whole trace (.npz) saved by this app; download or export it again.": (
        "{file}：这不是本应用保存的完整轨迹 (.npz)；请重新下载或导出。"
    ),
    "{file}: This trace has schema {schema}; this version reads schema {ours}. Save it again with a matching version "
    "of the app.": "{file}：这个轨迹的格式是 {schema}，本版本读取格式 {ours}。请用匹配的版本重新保存。",
    # models
    **MODEL_MESSAGES,
    "{model} is not among the models of this app. Choose one from the menu; who runs the app can offer another with "
    "--model, or any with --any-model.": (
        "{model} 不在本应用的模型之中。请从菜单中选择；运行本应用的人可以用 --model 提供另一个，或用 --any-model 允许任"
        "何模型。"
    ),
    "{model} does not fit the memory of this machine. Choose a smaller model.": (
        "这台机器的内存放不下 {model}。请选择较小的模型。"
    ),
    "Reading {tokens} tokens under {policies} policies does not fit the memory. Shorten the text, choose fewer "
    "policies or a smaller model.": (
        "用 {policies} 个策略读 {tokens} 个词元，内存放不下。请缩短文本，减少策略，或选择较小的模型。"
    ),
    "{model} is gated: accept its terms on its hub page, create an access token there, and set it as HF_TOKEN.": (
        "{model} 需要授权：请在它的 hub 页面接受条款，在那里创建访问令牌，并设为 HF_TOKEN。"
    ),
    "The weights of {model} are not on this machine and the hub does not answer. Check the connection, or load a local "
    "directory; {default} comes with the app and needs no network.": (
        "{model} 的权重不在这台机器上，hub 也没有应答。请检查网络连接，或加载本地目录；{default} 随本应用提供，"
        "不需要网络。"
    ),
    "The GPU of this Space is not to be had ({reason}). Take a shorter text, try again later, or run the app "
    "yourself.": ("这个 Space 的 GPU 暂时无法使用（{reason}）。请缩短文本、稍后再试，或自行运行本应用。"),
    "The model's output is not a number. Its weights are damaged, or its numbers overflow: load it again in float32.": (
        "模型的输出不是数。可能权重已损坏，或数值溢出：请用 float32 重新加载。"
    ),
    # ours
    "Something went wrong here, not in your text. Reference {reference}. Try again; if it happens again, tell whoever "
    "runs this app the reference.": (
        "出错的是本应用，不是你的文本。编号 {reference}。请再试一次；如果又出错，请把编号告诉运行本应用的人。"
    ),
}


def message_in(language: Language, message: str) -> str:
    """The message in this language, or as it is if that is not known."""
    for pattern, chinese in _patterns() if language == "zh" else []:
        if found := pattern.fullmatch(message):
            parts = found.groupdict().items()
            return chinese.format(**{hole: PARTS.get(part) or message_in(language, part) for hole, part in parts})
    return message


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(_pattern(english), chinese) for english, chinese in MESSAGES.items()]


def _pattern(template: str) -> re.Pattern[str]:
    fixed = (re.escape(text) for text in re.split(r"\{\w+\}", template))
    holes = (rf"(?P<{hole}>.+?)" for hole in re.findall(r"\{(\w+)\}", template))
    return re.compile("".join(text + hole for text, hole in zip(fixed, [*holes, ""], strict=True)), re.DOTALL)
