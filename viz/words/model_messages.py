"""Why a model is refused when it is loaded, in Chinese; see `viz.words.messages`."""

_FICTION, _FICTION_ZH = ", so a picture of it would be fiction. ", "，图画会是虚构的。"
_OTHER, _OTHER_ZH = "Choose a model of another architecture.", "请选择其他架构的模型。"

MODEL_MESSAGES = {
    # its files
    "There is no model {model}: choose one of {models}, or give a directory or a hub id such as owner/name.": (
        "没有模型 {model}：请从 {models} 中选择，或给出一个目录，或 owner/name 形式的 hub 标识。"
    ),
    "The hub has no model {model}: check its spelling, or set HF_TOKEN if it is private.": (
        "hub 上没有模型 {model}：请检查拼写；如果它是私有的，请设置 HF_TOKEN。"
    ),
    "{file} is a file. Give the directory that it lies in, or a GGUF file.": (
        "{file} 是一个文件。请给出它所在的目录，或一个 GGUF 文件。"
    ),
    "There is no config.json in {directory}. Give the directory that holds the model's config.json, its weights as "
    "safetensors and its tokenizer.": (
        "{directory} 中没有 config.json。请给出存有模型的 config.json、safetensors 权重和分词器的目录。"
    ),
    "There is no model.safetensors. Weights must be safetensors or GGUF: convert them, or choose a model that comes "
    "with such.": "没有 model.safetensors。权重应是 safetensors 或 GGUF：请转换权重，或选择带有这种权重的模型。",
    "The file {file} is missing, which {index} names. Download the model again.": (
        "缺少 {index} 所列的文件 {file}。请重新下载模型。"
    ),
    "The file {file} is not a whole safetensors file ({reason}). Download the model again.": (
        "文件 {file} 不是完整的 safetensors 文件（{reason}）。请重新下载模型。"
    ),
    "The file {file} does not say which file holds which tensor. Download it again.": (
        "文件 {file} 没有说明张量各在哪个文件中。请重新下载它。"
    ),
    "The configuration cannot be used: {reason}. Take the config.json that came with the weights; only architectures "
    "that transformers has itself are supported, and code from a hub is never run.": (
        "配置无法使用：{reason}。请用随权重一起的 config.json；只支持 transformers 自带的架构，"
        "不会运行来自 hub 的代码。"
    ),
    "{model} cannot be loaded: {reason}. Let the app read the model's files.": (
        "无法加载 {model}：{reason}。请允许本应用读取模型的文件。"
    ),
    "{model} cannot be loaded: {reason}. Only architectures that transformers has itself, with weights as safetensors "
    "or GGUF, are supported; code from a hub is never run.": (
        "无法加载 {model}：{reason}。只支持 transformers 自带的架构，权重应是 safetensors 或 GGUF；"
        "不会运行来自 hub 的代码。"
    ),
    # its tokenizer
    "The tokenizer cannot be read: {reason}. Download its files again, tokenizer.json among them.": (
        "分词器无法读取：{reason}。请重新下载它的文件，包括 tokenizer.json。"
    ),
    "{model} has no fast tokenizer, so its tokens cannot be found in the text.": (
        "{model} 没有快速分词器，所以无法在文本中找到它的词元。"
    ),
    "The tokenizer has ids up to {greatest}, the model only embeddings up to {last}, so they do not belong together. "
    "Take the tokenizer that came with the weights.": (
        "分词器的编号到 {greatest}，而模型的嵌入只到 {last}，两者不配套。请用随权重一起的分词器。"
    ),
    # its weights
    "{n} tensor ({names})": "{n} 个张量（{names}）",
    "{n} tensors ({names})": "{n} 个张量（{names}）",
    "an unknown class": "未知的类",
    "The weights lack {tensors} of {kind}; they were saved as {saved}. Download the model again, or choose one that "
    "was saved whole and to write text.": (
        "权重缺少 {kind} 的 {tensors}；它们是作为 {saved} 保存的。请重新下载模型，或选择完整的、用来写文本的模型。"
    ),
    "The tensor {name} has the shape {found} where config.json says {expected}. Take the config.json that came with "
    "the weights.": "张量 {name} 的形状是 {found}，而 config.json 说是 {expected}。请用随权重一起的 config.json。",
    "The weights have {tensors} with NaN or infinite numbers, so they are damaged. Download them again.": (
        "权重中有 {tensors} 含有非数或无穷大，所以权重已损坏。请重新下载。"
    ),
    "The weights have {tensors}, which {kind} does not use; they were saved as {saved}. Download the model again, or "
    "choose one that was saved to write text.": (
        "权重中有 {tensors} 是 {kind} 不用的；它们是作为 {saved} 保存的。请重新下载模型，或选择用来写文本的模型。"
    ),
    "The model's numbers overflow in float16. Load it in bfloat16 or float32.": (
        "模型的数值在 float16 中溢出。请用 bfloat16 或 float32 加载。"
    ),
    "The model's output is not a number, so its weights are damaged. Download them again.": (
        "模型的输出不是数，所以权重已损坏。请重新下载。"
    ),
    # its architecture
    "transformers has no decoder-only language model of the type {type}. " + _OTHER: (
        "transformers 没有 {type} 类型的仅解码器语言模型。" + _OTHER_ZH
    ),
    "The configuration of this {type} model names no attention heads, so it holds no multi-state as the policies "
    "need. " + _OTHER: "这个 {type} 模型的配置没有注意力头，所以没有策略所需的多状态。" + _OTHER_ZH,
    "The configuration of this {type} model says that {name} is {said}; from 1 to {most} is possible. Take the "
    "config.json that came with the weights.": (
        "这个 {type} 模型的配置说 {name} 是 {said}；只能是 1 到 {most}。请用随权重一起的 config.json。"
    ),
    "This {type} model has layers of the kind {kinds}, which hold no multi-state of keys and values as the policies "
    "need. " + _OTHER: "这个 {type} 模型有 {kinds} 类型的层，它们没有策略所需的键和值的多状态。" + _OTHER_ZH,
    "{model} cannot read a text under our attention ({reason}). Choose another architecture.": (
        "{model} 不能用我们的注意力读文本（{reason}）。" + _OTHER_ZH
    ),
    "{model} does not give the same output under our attention as under its own (they differ by {off})"
    + _FICTION
    + "Choose another architecture.": (
        "{model} 用我们的注意力和用它自己的注意力输出不同（相差 {off}）" + _FICTION_ZH + _OTHER_ZH
    ),
    "{model} does not give the same output when its rows are numbered in the multi-state and none is evicted (it "
    "differs by {off})" + _FICTION + 'Use positions="original", or choose another architecture.': (
        "{model} 的行在多状态中重新编号后，虽然没有淘汰，输出却不同（相差 {off}）"
        + _FICTION_ZH
        + '请用 positions="original"，或选择其他架构的模型。'
    ),
    "{model} has a sliding window of {window} tokens that it does not tell its attention, so a picture of a longer "
    "text would be fiction. Choose another architecture.": (
        "{model} 有 {window} 个词元的滑动窗口，却没有告诉它的注意力，更长文本的图画会是虚构的。" + _OTHER_ZH
    ),
    "{model} has keys of {keys} numbers and values of {values}; the rows of a multi-state here hold as many of each. "
    "Choose another architecture.": (
        "{model} 的键有 {keys} 个数，值有 {values} 个；这里多状态的行中两者一样多。" + _OTHER_ZH
    ),
    "{model} has {found} KV heads where its configuration says {said}. Correct its configuration, or choose another "
    "model.": "{model} 有 {found} 个 KV 头，而它的配置说有 {said} 个。请更正配置，或选择其他模型。",
    "{model} called our attention in {seen} of {layers} layers" + _FICTION + _OTHER: (
        "{model} 在 {layers} 层中调用了我们的注意力 {seen} 次" + _FICTION_ZH + _OTHER_ZH
    ),
    "{module} changes its attention by {keyword}, which the policies here do not reproduce. " + _OTHER: (
        "{module} 用 {keyword} 改变了注意力，这里的策略不能再现。" + _OTHER_ZH
    ),
}
