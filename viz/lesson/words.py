"""What the guided lesson says. Numbers and tokens are filled in by `viz.lesson.lesson.numbers`."""

from typing import NamedTuple

from core.messages import Message


class Words(NamedTuple):
    """The words of one step."""

    title: str
    told: str
    question: str
    answer: str
    about: str = Message("All runs: SmolLM2 135M, the same English text of {n} tokens.")


LESSON = (
    Words(
        Message("The infinite state"),
        Message(
            "From left to right: the tokens of a text. From top to bottom: the model's {layers} layers. Blue: this "
            "layer holds the token's key and value, one row of its state. An ordinary Transformer forgets nothing: "
            "after step {full_step} every layer holds {full_rows} rows, and each token adds one. So it is a recurrent "
            "network whose state, a multi-state, grows without end. Press ▶ to watch. Perplexity says how much each "
            "next token surprises the model; here it is {full_perplexity}."
        ),
        Message("How many rows does each layer hold after this text, and after a book of 100,000 tokens?"),
        Message(
            "{n} and 100,000: one per token, in each of the {layers} layers. Every new token also costs more work, "
            "since its query attends to all of them. A finite multi-state has a fixed number of rows, its budget, and "
            "a policy that says which row to evict."
        ),
    ),
    Words(
        Message("Window forgets the beginning and breaks"),
        Message(
            "Now every layer may hold {budget} rows, and Window evicts the oldest. Look at the left edge: at step "
            "{window_step} the first tokens have just been evicted (orange, then grey), in all layers at once. For the "
            "first {budget} predictions nothing was missing. For the next {budget}, perplexity is "
            "{window_perplexity_next}; the full model has {full_perplexity_next}. Over the whole text it is "
            "{window_perplexity} instead of {full_perplexity}."
        ),
        Message("The sentence at this step has little to do with the first words. Why does losing them hurt so much?"),
        Message(
            "Attention always adds up to one, so a head that finds nothing of interest looks at the first token: in "
            "the full model, that token alone receives {first_share} of all attention. Window takes this resting place "
            "away, and the attention falls on tokens that it was not meant for."
        ),
    ),
    Words(
        Message("Four sink tokens repair it"),
        Message(
            "Window+{sinks} has one more rule: the first {sinks} tokens are never evicted. They are the thin blue line "
            "at the left edge. The other {rest} rows are the most recent tokens, as before. That is enough: "
            "perplexity falls from {window_perplexity} to {sinks_perplexity}; the full model has {full_perplexity}. "
            "The {sinks} tokens are {sink_text}."
        ),
        Message("What do these four tokens tell the model about the sentence that it is reading now?"),
        Message(
            "Next to nothing. They are needed as a place where attention can rest, a sink: in the full model they "
            "receive {sink_share} of it. But perplexity is a mean. Everything else from more than {rest} tokens ago is "
            "gone, and a question about it can hardly be answered."
        ),
    ),
    Words(
        Message("H2O keeps what has drawn attention"),
        Message(
            "H2O adds up the attention that every row has received since it was read. The {h2o_recent} most recent "
            "rows "
            "are safe; of the others, the one with the smallest sum is evicted. Each KV head decides for itself, so a "
            "layer has {h2o_heads} lines in the map. Old tokens stay as vertical lines: {h2o_old} of the rows kept "
            "are not among the last {budget} tokens. Apart from the first four, {h2o_token} at position {h2o_position} "
            "is kept longest: {h2o_steps} steps on average. Perplexity: {h2o_perplexity}."
        ),
        Message("A sum can only grow. Which tokens does that favour?"),
        Message(
            "The old ones: they have collected for longer. Even the second token, {second_token}, is held to the end "
            "by {h2o_second} of the KV heads, whatever the text is about by then. A new token has {h2o_recent} safe "
            "steps to collect enough."
        ),
    ),
    Words(
        Message("TOVA asks only the current query"),
        Message(
            "TOVA adds nothing up and protects nothing. At every step it evicts the row that the current query attends "
            "to least, in the mean over the layer's heads. The first token may go, and the newest, too. Look at "
            "the orange front: tokens leave at very different ages. And at the left edge: at step {tova_step}, "
            "{tova_first} of {layers} layers hold the first token, and {tova_next} any of the three after it. "
            "Perplexity: {tova_perplexity}, with the same {budget} rows."
        ),
        Message("Nobody protects the first token. Why does it stay?"),
        Message(
            "Nearly every query gives it attention, so it is hardly ever the least attended. Window+{sinks} has to be "
            "told about the sinks; TOVA finds them, and for it one is enough. On this text TOVA ({tova_perplexity}) "
            "and H2O "
            "({h2o_perplexity}) are nearly even. For LLaMA-2-7B and a budget of {budget}, the paper reports TOVA "
            "{paper_tova}, H2O {paper_h2o}, Window+{sinks} {paper_sinks} and Window {paper_window} (table 3)."
        ),
    ),
    Words(
        Message("Mostly recent, but not only"),
        Message(
            "The same run at its end: {tova_recent} of the rows kept are among the last {budget} tokens. Under Window "
            "all would be. So TOVA leans towards the recent, but only slightly; the paper finds {paper_recent}% "
            "(section 7.3, where recent is not defined). The others are the pillars. The marked one is {held_token}, "
            "{held_steps} steps old and held by {held_layers} of {layers} layers. Full stops are kept for {stop_steps} "
            "steps on average, all tokens for {mean_steps}."
        ),
        Message("Why would a model hold on to a full stop rather than to a noun?"),
        Message(
            "A policy does not know what a token means: it keeps what queries attend to, and queries look back to "
            "where sentences end. In the paper, too, punctuation lives long: full stops {paper_stop_steps} "
            "steps, all tokens {paper_mean_steps}, at a budget of {paper_budget} (table 5). And in your own text? Open "
            "Watch and press Run."
        ),
    ),
    Words(
        Message("After the paper: what each one loves"),
        Message(
            "Others have since given other answers. Here are four of them, with {after_budget} rows each, on a text of "
            "{after_n} tokens in which one sentence comes {after_times} times. TOVA decides per layer; under the "
            "others each of the {after_heads} KV heads does, so their maps have more lines. Under each of the four a "
            "token stays {after_mean_steps} steps on average: they differ only in which. Look where the blue is at the "
            "end: in single columns or in stretches, at the left edge or at the right."
        ),
        Message(
            "Which of them loves full stops, which whole phrases, which only what is unlike the rest, and which wants "
            "both: to be asked for and to be unlike?"
        ),
        Message(
            "TOVA keeps full stops, such as the marked one, for {after_stop_steps} steps. SnapKV counts a row's "
            "neighbours, too, so it keeps stretches of {after_snapkv_stretch} tokens (TOVA: {after_tova_stretch}), "
            "and always the last {after_window}. KeyDiff wants unlike keys: names stay {after_keydiff_names} steps, "
            "copies of the sentence {after_keydiff_copies}; but of the last {after_window} tokens it holds only "
            "{after_keydiff_last}, and its perplexity is the worst. R-KV wants both: names {after_rkv_names} steps, "
            "copies {after_rkv_copies}, and always the last {after_window}."
        ),
        Message("These four runs: SmolLM2 135M, another English text of {after_n} tokens, {after_budget} rows."),
    ),
)
