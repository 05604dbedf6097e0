"""Tiny random models in a folder: no hub, no download, a second to build."""

import gc
import re

WORDS = (
    "the a cat dog sat ran on under mat tree red blue big small and not is was why how "
    "because yes no maybe never always i you we they said told saw user assistant system"
).split()
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {{ eos_token }}"
    "{% endfor %}"
)
CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ANSWERS = "Yes No A B 1 2 3 4 5".split()
BOS, EOS, PAD, UNKNOWN = "<s>", "</s>", "<pad>", "<unk>"


def sentence(random_state, n_words):
    """Return `n_words` known words."""
    return " ".join(random_state.choice(WORDS, size=n_words))


def save_decoder(
    folder, *, seed=0, padding_side="right", pad_is_eos=False, chat_template=CHAT_TEMPLATE, layers=2
):
    """Save a random Llama decoder whose tokenizer puts BOS before plain text."""
    from transformers import LlamaConfig, LlamaModel

    vocabulary = _vocabulary([BOS, EOS, PAD, UNKNOWN])
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1 if pad_is_eos else 2,
    )
    tokenizer = _tokenizer(
        vocabulary,
        f"{BOS} $A",
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS if pad_is_eos else PAD,
        unk_token=UNKNOWN,
        padding_side=padding_side,
        model_max_length=10**9,
    )
    tokenizer.chat_template = chat_template
    return _save(folder, LlamaModel, config, tokenizer, seed)


def save_causal(folder, *, seed=0, family="Llama", chat_template=CHAT_TEMPLATE, context=256):
    """Save a random Llama or Qwen2 with a next-token head, and distinct pad and EOS."""
    return _save_headed(folder, "ForCausalLM", seed, family, chat_template, context)


def save_reward(folder, *, seed=0, family="Llama", chat_template=CHAT_TEMPLATE, n_labels=1):
    """Save a random Llama or Qwen2 with a reward head."""
    return _save_headed(
        folder, "ForSequenceClassification", seed, family, chat_template, 256, num_labels=n_labels
    )


def _save_headed(folder, head, seed, family, chat_template, context, **options):
    import transformers

    vocabulary = _vocabulary([BOS, EOS, PAD, UNKNOWN, *ANSWERS])
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=False,
        **options,
    )
    tokenizer = _tokenizer(
        vocabulary,
        f"{BOS} $A",
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=10**9,
    )
    tokenizer.chat_template = chat_template
    return _save(folder, getattr(transformers, family + head), config, tokenizer, seed)


def save_chatml(folder, *, seed=0, family="Llama", context=4096, **options):
    """Save a random causal model that reads bytes in ChatML, where BOS begins every turn."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE({text: i for i, text in enumerate([*special, *letters])}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=CHATML,
    )
    tokenizer.add_tokens(["<tool_call>"])
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        **({"intermediate_size": 32, "num_key_value_heads": 1} if family != "GPT2" else {}),
        **options,
    )
    head = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    return _save(folder, getattr(transformers, family + head), config, tokenizer, seed)


def save_encoder(folder, *, seed=0):
    """Save a random BERT encoder with absolute positions and no chat template."""
    from transformers import BertConfig, BertModel

    vocabulary = _vocabulary(["[CLS]", "[SEP]", "[PAD]", "[UNK]"])
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        pad_token_id=2,
    )
    tokenizer = _tokenizer(
        vocabulary,
        "[CLS] $A [SEP]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=10**9,
    )
    return _save(folder, BertModel, config, tokenizer, seed)


def _vocabulary(special):
    return {word: i for i, word in enumerate([*special, *WORDS])}


def _tokenizer(vocabulary, single, **options):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    unknown = options["unk_token"]
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = re.findall(r"\S*[<\[]\S*", single)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(token, vocabulary[token]) for token in special]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)


def _save(folder, model_class, config, tokenizer, seed):
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        for parameter in model.parameters():  # the usual 0.02 makes all texts look alike
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model, tokenizer
    # Each load of a model ends in a garbage collection, which looks at a million objects of the
    # libraries, for a quarter of a second: put what there is by now out of its sight.
    gc.collect()
    gc.freeze()
    return str(folder)
