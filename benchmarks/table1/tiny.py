"""Random language models on the demo's sentences: Table 1 in a minute, meaning nothing."""

from lens_sklearn.datasets import make_demo_preferences
from lens_sklearn.textual import RewardModelLabeller

from .settings import Setting

MEANINGLESS = (
    "These numbers mean nothing: the language models are tiny and random. The table shows that "
    "every\nsystem runs from rows to a score, and no more."
)


def tiny_setting(folder, factors=None):
    """Build random models and take the demo's sentences, whose gold is exact.

    Parameters
    ----------
    folder : Path
        Where models and results are kept.
    factors : sequence of int, default=None
        Columns; None is 1, 2, 4.

    Returns
    -------
    Setting
        The same for every seed.
    """
    demo = make_demo_preferences(n_pairs=48, n_test_prompts=8, random_state=0)
    for row in demo.candidates:
        row["responses"] = row["responses"][:8]
    texts = [text for row in demo.pairs for text in row.values()]
    texts += [text for row in demo.candidates for text in (row["prompt"], *row["responses"])]
    words = {word for text in texts for word in text.split()} | set("Yes No A B 1 2 3 4 5".split())
    fast = {"learning_rate": 1e-3, "batch_size": 16}
    labeller = save_tiny_model(folder / "labeller", "LlamaForSequenceClassification", words)
    return Setting(
        base=save_tiny_model(folder / "base", "LlamaForCausalLM", words),
        make_labeller=lambda: RewardModelLabeller(labeller),
        labeller="a random reward model",
        evaluator="the exact quality of the demo's sentences",
        pairs=demo.pairs,
        candidates=demo.candidates,
        gold_rewards=demo.gold[:, :8],
        folder=folder,
        factors=tuple(factors or (1, 2, 4)),
        n_samples=6,
        max_new_tokens=12,
        full=fast,
        lora=fast | {"lora": {"r": 4}},
        max_length=256,
        base_label="a random language model",
        notes=(MEANINGLESS,),
    )


def save_tiny_model(folder, architecture, words):
    """Save a random Llama with a word-level tokenizer, pad and end tokens apart.

    Parameters
    ----------
    folder : Path
        Where to.
    architecture : str
        A class of transformers.
    words : set of str
        What the tokenizer knows.

    Returns
    -------
    str
        The folder.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {w: i for i, w in enumerate(["<s>", "</s>", "<pad>", "<unk>", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        chat_template=(
            "{{ bos_token }}{% for m in messages %} {{ m['content'] }} {{ eos_token }}{% endfor %}"
        ),
    )  # fmt: skip
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=1024, bos_token_id=0, eos_token_id=1,
        pad_token_id=2, num_labels=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, architecture)(config)
        for parameter in model.parameters():  # the usual 0.02 makes all texts look alike
            torch.nn.init.normal_(parameter, std=0.3)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
