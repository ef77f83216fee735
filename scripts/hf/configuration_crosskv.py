"""Config of decoders whose layers share keys and values, for Transformers.

Written by `ckv convert --to hf` beside the weights.
"""

import re

from transformers import LlamaConfig

_ENTRY = re.compile(r"(?P<k>[0-9]+)(?:/(?P<v>[0-9]+))?(?P<windowed>s?)")


def parse_kv_sharing(text, num_layers):
    """Returns one (k_source, v_source, windowed) a layer from a string such as '0_4_4s_4/0_4'.

    Entry i names the layer whose keys and values layer i reads ('4'), or those layers apart
    ('4/0'); 's' gives layer i a sliding window.
    """
    layers = []
    for entry in text.split("_"):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(f"kv_sharing '{text}': cannot read the entry '{entry}'")
        k = int(match["k"])
        v = k if match["v"] is None else int(match["v"])
        if max(k, v) >= num_layers:
            raise ValueError(f"kv_sharing '{text}': there is no layer {max(k, v)}")
        layers.append((k, v, bool(match["windowed"])))
    if len(layers) != num_layers:
        raise ValueError(f"kv_sharing has {len(layers)} entries for {num_layers} layers")
    return layers


class CrossKVConfig(LlamaConfig):
    """A Llama config with `kv_sharing` (see parse_kv_sharing; default: no sharing),
    `forward_passes` (m) and `backward_passes` (b) over groups that read layers above,
    `use_sequential` (token by token instead), `force_nodiag` (every layer hides each token's own
    position), `sliding_window` (keys that a windowed layer sees) and `kv_start` (what the first pass
    reads of layers above: "zeros", or "guess", made of the group's input)."""

    model_type = "crosskv-llama"

    def __init__(self, kv_sharing=None, forward_passes=7, backward_passes=2, use_sequential=False,
                 force_nodiag=False, sliding_window=None, kv_start="zeros", **kwargs):
        super().__init__(**kwargs)
        if kv_sharing is None:
            kv_sharing = "_".join(str(layer) for layer in range(self.num_hidden_layers))
        parsed = parse_kv_sharing(kv_sharing, self.num_hidden_layers)
        if sliding_window is None and any(windowed for _, _, windowed in parsed):
            raise ValueError(f"kv_sharing '{kv_sharing}' needs sliding_window")
        if kv_start not in ("zeros", "guess"):
            raise ValueError(f"kv_start '{kv_start}' is neither zeros nor guess")
        self.kv_sharing = kv_sharing
        self.kv_start = kv_start
        self.forward_passes = forward_passes
        self.backward_passes = backward_passes
        self.use_sequential = use_sequential
        self.force_nodiag = force_nodiag
        self.sliding_window = sliding_window
