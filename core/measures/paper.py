"""Numbers from the paper, each with its table or section.

Oren, Hassid, Yarden, Adi and Schwartz 2024: "Transformers are Multi-State RNNs", arXiv 2401.06104 v2. Policies have
their keys here; "full" is the full model, "baseline" a full model whose context is cut to the budget.
"""

FULL_PERPLEXITY = 7.16
PERPLEXITIES = {
    policy: dict(zip((64, 128, 256, 512, 1024, 2048, 4096), row, strict=True))
    for policy, row in {
        "baseline": (17.65, 12.97, 10.39, 8.92, 8.04, 7.50, 7.16),
        "tova": (9.53, 8.32, 7.71, 7.41, 7.25, 7.17, 7.16),
        "tova-head": (11.13, 9.55, 8.69, 7.90, 7.52, 7.27, 7.16),
        "h2o": (10.22, 8.97, 8.21, 7.75, 7.49, 7.32, 7.16),
        "window+i": (10.28, 8.98, 8.19, 7.73, 7.46, 7.30, 7.16),
        "window": (4812, 4025, 3276, 2185, 1001, 240, 7.16),
    }.items()
}
"""By policy and budget: LLaMA-2-7B on PG-19, in texts of 4,096 tokens (table 3); Window+i has 4 sink tokens."""

RECENT_PERCENT = (73, 76)
"""How many percent of the tokens that TOVA keeps are recent, from … to (section 7.3, which does not define recent)."""

LIVES = {
    kind: dict(zip((256, 512, 1024, 2048), row, strict=True))
    for kind, row in {
        "possessive ’s": (1134, 1393, 1736, 2061),
        "closing quote": (845, 1101, 1413, 1774),
        "$": (329, 724, 1276, 2123),
        "closing bracket": (379, 670, 1161, 1558),
        "full stop": (350, 645, 1117, 1677),
        "plural proper noun": (321, 578, 1042, 1671),
        "newline": (303, 550, 969, 1538),
        "number": (301, 537, 940, 1557),
        "noun": (270, 527, 983, 1628),
        "proper noun": (270, 517, 951, 1613),
        "average": (249, 481, 897, 1537),
        "comma": (236, 453, 840, 1454),
        "to": (182, 368, 734, 1363),
        "modal": (177, 378, 754, 1392),
        "determiner": (190, 379, 734, 1363),
        "possessive pronoun": (189, 383, 745, 1386),
        "preposition": (190, 385, 760, 1408),
    }.items()
}
"""By part of speech and budget: the mean number of steps that TOVA keeps a token; LLaMA-2-7B, PG-19 (tables 2, 5)."""

STORY_LENGTHS: dict[tuple[str, int | None], int] = {
    ("full", None): 1566,
    ("tova", 256): 1361,
    ("tova", 512): 1503,
    ("tova", 1024): 1566,
}
"""By policy and budget: the mean length of a story in tokens; MythoLogic-L2-13B, 100 prompts (section 6)."""

VERDICT_PERCENT = {256: (6, 47, 47), 512: (10, 71, 19), 1024: (5, 88, 6)}
"""By budget: how many percent of TOVA's stories are better than, equal to and worse than the full model's. Judged by
GPT-4 on the stories of `STORY_LENGTHS` (section 6). The paper rounds them, so they need not add up to 100."""
