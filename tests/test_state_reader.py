"""Hidden states read as they pass by are those that the network gives when it is asked."""

import pytest
import torch
import transformers

from lens_sklearn._state_reader import StateReader

SMALL = dict(
    vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=4,
    num_attention_heads=2, max_position_embeddings=64,
)  # fmt: skip
GPT = dict(vocab_size=40, n_embd=16, n_inner=32, n_layer=4, n_head=2, n_positions=64)
FAMILIES = {
    "Llama": (transformers.LlamaConfig(**SMALL, num_key_value_heads=2), True),
    "Qwen2": (transformers.Qwen2Config(**SMALL, num_key_value_heads=2), True),
    "Gemma2": (
        transformers.Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=8, sliding_window=4),
        True,
    ),
    "GPT2": (transformers.GPT2Config(**GPT), True),
    "OPT": (transformers.OPTConfig(**SMALL, ffn_dim=32, word_embed_proj_dim=16), True),
    "Bert": (transformers.BertConfig(**SMALL), False),
    "Roberta": (transformers.RobertaConfig(**SMALL, pad_token_id=1), False),
    "DistilBert": (
        transformers.DistilBertConfig(vocab_size=40, dim=16, hidden_dim=32, n_layers=4, n_heads=2),
        False,
    ),
    "Albert": (transformers.AlbertConfig(**SMALL, embedding_size=8), False),
    "IBert": (transformers.IBertConfig(**SMALL, pad_token_id=1), False),
    "XLNet": (
        transformers.XLNetConfig(vocab_size=40, d_model=16, n_layer=4, n_head=2, d_inner=32),
        False,
    ),
    "Longformer, windows of 4": (
        transformers.LongformerConfig(**SMALL, attention_window=4, pad_token_id=1),
        False,
    ),
    "Longformer, windows of 8": (
        transformers.LongformerConfig(**SMALL, attention_window=8, pad_token_id=1),
        False,
    ),
}


def network_of(name):
    config, causal = FAMILIES[name]
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(config).eval(), causal


def batch():
    tokens = torch.randint(3, 40, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) < torch.tensor([[9], [5], [2]])).long()
    return tokens * mask + 2 * (1 - mask), mask


@pytest.mark.parametrize("layers", [{0}, {2}, {1, 3}, {4}, {0, 4}, {0, 1, 2, 3, 4}], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_states_are_those_the_network_gives(name, layers):
    network, causal = network_of(name)
    reader = StateReader(network, 5, causal=causal)
    tokens, mask = batch()
    with torch.inference_mode():
        asked = network(input_ids=tokens, attention_mask=mask, output_hidden_states=True)
        read = reader.read(tokens, mask, layers, lambda layer, state: state.clone())
    expected = [*asked.hidden_states[:-1], asked.last_hidden_state]
    assert set(read) == layers
    for layer, state in read.items():
        there = mask.bool()
        torch.testing.assert_close(state[there], expected[layer][there], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["Llama", "Qwen2", "GPT2", "Bert", "Roberta"])
def test_blocks_behind_the_last_layer_read_do_not_run(name):
    network, causal = network_of(name)
    reader = StateReader(network, 5, causal=causal)
    assert reader.blocks is not None and reader.without_mask == causal
    ran = []
    for number, block in enumerate(reader.blocks):
        block.register_forward_hook(lambda *args, number=number: ran.append(number))
    with torch.inference_mode():
        reader.read(*batch(), {1, 2}, lambda layer, state: None)
    assert ran == [0, 1]
    assert not any(block._forward_pre_hooks for block in reader.blocks), "hooks are taken away"


def test_a_network_whose_blocks_are_not_what_they_seem_is_asked():
    network, _ = network_of("Llama")
    plain = network.layers[1].forward

    def shifted(hidden_states, **kwargs):
        return plain(hidden_states + 1, **kwargs)

    network.layers[1].forward = shifted  # its states are still those that the network gives
    assert StateReader(network, 5, causal=True).blocks is not None
    network.layers = torch.nn.ModuleList(reversed(network.layers))
    assert StateReader(network, 5, causal=True).blocks is not None
    assert StateReader(network_of("Albert")[0], 5, causal=False).blocks is None


def test_a_network_that_looks_ahead_keeps_its_mask():
    network, _ = network_of("Bert")
    reader = StateReader(network, 5, causal=True)  # it is not
    assert reader.without_mask is False and reader.blocks is not None


@pytest.mark.parametrize("n_registered", [0, 1])
def test_what_ends_it_while_hooks_are_put_leaves_none(n_registered, monkeypatch):
    network, _ = network_of("Llama")
    reader = StateReader(network, 5, causal=True)
    plain, seen = torch.nn.Module.register_forward_pre_hook, []

    def interrupted(block, *args, **kwargs):
        if len(seen) == n_registered:
            raise KeyboardInterrupt
        seen.append(block)
        return plain(block, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.nn.Module, "register_forward_pre_hook", interrupted)
        reader.read(*batch(), {0, 1, 2}, lambda layer, state: None)
    assert len(seen) == n_registered
    assert not any(block._forward_pre_hooks for block in reader.blocks)
    with pytest.raises(IndexError):
        reader.read(*batch(), {0, 99}, lambda layer, state: None)
    assert not any(block._forward_pre_hooks for block in reader.blocks)


@pytest.mark.parametrize("pad_id", [0, 2])
def test_padding_without_a_mask_is_not_complained_of(pad_id, caplog, monkeypatch):
    torch.manual_seed(0)
    config = transformers.GPT2Config(**GPT, pad_token_id=pad_id)
    network = transformers.AutoModel.from_config(config).eval()
    reader = StateReader(network, 5, causal=True)
    assert reader.without_mask
    tokens, mask = batch()
    monkeypatch.setattr(transformers.utils.logging.get_logger("transformers"), "propagate", True)
    caplog.clear()
    transformers.modeling_utils.logger.warning_once.cache_clear()
    with torch.inference_mode():
        reader.read(tokens * mask + pad_id * (1 - mask), mask, {2}, lambda layer, state: None)
    assert not caplog.records


def test_an_error_of_the_reader_takes_the_hooks_away():
    network, _ = network_of("Llama")
    reader = StateReader(network, 5, causal=True)

    def fail(layer, state):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        reader.read(*batch(), {1}, fail)
    assert not any(block._forward_pre_hooks for block in reader.blocks)
