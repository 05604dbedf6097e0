"""Hidden states of some layers, read as they pass by; what nobody reads is not computed."""

import threading

import torch

#: How far states may differ from those that the network itself gives, of the largest.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


class _Finished(Exception):
    """The last hidden state that is read has been."""


class StateReader:
    """Run a network, and give each hidden state that is asked for to a function.

    Asked for its hidden states, a network keeps all of them, and computes its last layers where
    nobody reads those. Here a hook at each block reads what the block is given. Whether
    that is what the network calls its hidden states, and whether a network that never looks ahead
    does without a mask, is tried once on two short texts; otherwise it is asked.

    Parameters
    ----------
    network : torch.nn.Module
        A text model of transformers, on its device, in evaluation mode.
    n_hidden_states : int
        How many it has, the embedding layer included.
    causal : bool
        Whether no token sees those behind it; padding is on the right.
    """

    def __init__(self, network, n_hidden_states, *, causal):
        self.network = network
        self._lock = threading.Lock()  # a hook reads whatever text passes by
        self.n_hidden_states = n_hidden_states
        self.blocks = _blocks(network, n_hidden_states - 1)
        self.without_mask = causal
        # transformers complains of padding that no mask tells of.
        self.filler = 1 if network.config.pad_token_id == 0 else 0
        if not self._is_right():
            self.without_mask = False
            if not self._is_right():
                self.blocks = None

    def read(self, tokens, mask, layers, reader):
        """Run the network on a batch.

        Parameters
        ----------
        tokens, mask : tensor of int, shape (B, T)
            Token ids, and 1 where they are.
        layers : collection of int
            Which hidden states are read, counted from 0.
        reader : callable
            Takes a layer and its hidden state (B, T, h); what it returns is kept.

        Returns
        -------
        dict of int to object
            What the reader returned, by layer.
        """
        last = self.n_hidden_states - 1
        if self.blocks is None:
            only_last = set(layers) == {last}
            output = self.network(
                input_ids=tokens, attention_mask=mask, output_hidden_states=not only_last
            )
            if only_last:
                return {last: reader(last, output.last_hidden_state)}
            return {layer: reader(layer, output.hidden_states[layer]) for layer in set(layers)}
        found, final = {}, max(layers)

        def hook(layer):
            def read(module, args, kwargs):
                found[layer] = reader(layer, args[0] if args else kwargs["hidden_states"])
                if layer == final:
                    raise _Finished

            return read

        if self.without_mask:
            tokens = tokens.masked_fill(mask == 0, self.filler)
        handles = []
        with self._lock:
            try:  # whatever ends it, Ctrl-C too: a hook that is left would read the next texts
                for layer in set(layers) - {last}:
                    block = self.blocks[layer]
                    handles.append(block.register_forward_pre_hook(hook(layer), with_kwargs=True))
                output = self.network(
                    input_ids=tokens, attention_mask=None if self.without_mask else mask
                )
                found[last] = reader(last, output.last_hidden_state)
            except _Finished:
                pass
            finally:
                for handle in handles:
                    handle.remove()
        return found

    @torch.inference_mode()
    def _is_right(self):
        """Compare with what the network gives when it is asked, on two texts of a few tokens.

        Their number is odd: some networks fill texts up to a multiple of 2, 4, ….
        """
        if self.blocks is None:
            return False
        device = next(self.network.parameters()).device
        try:
            n_rows = len(self.network.get_input_embeddings().weight)
        except (AttributeError, NotImplementedError):  # one that reads letters
            return False
        tokens = torch.tensor([[3, 5, 7, 9, 8], [4, 6, 0, 0, 0]], device=device) % n_rows
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], device=device)
        output = self.network(input_ids=tokens, attention_mask=mask, output_hidden_states=True)
        asked = list(output.hidden_states)
        if len(asked) != self.n_hidden_states:
            return False
        asked[-1] = output.last_hidden_state
        there = mask.bool()
        for final in range(self.n_hidden_states):
            read = self.read(tokens, mask, {0, final}, lambda layer, state: state)
            for layer in {0, final}:
                if asked[layer].shape != read[layer].shape:  # filled up, or another axis first
                    return False
                expected, state = asked[layer][there].float(), read[layer][there].float()
                gap = TOLERANCE[asked[layer].dtype] * expected.abs().max()
                if not (expected - state).abs().max() <= gap:
                    return False
        return True


def _blocks(network, n):
    """Return the one list of n blocks in a network, None if there is none or are several."""
    lists = [
        module
        for module in network.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == n
    ]
    return lists[0] if len(lists) == 1 else None
