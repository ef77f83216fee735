"""Decoders whose layers share keys and values, for Transformers.

Written by `ckv convert --to hf` beside the weights. Layer i attends to the keys and values of the
layers that `config.kv_sharing` names, below, at or above it. A layer that reads a layer above hides
each token's own position, and the layers up to the highest one read from within form a group that
runs several times: `forward_passes` times without gradient, then `backward_passes` times with, each
pass from the group's input and with the keys and values of the pass before (in the first, zeros, or
with `kv_start` "guess" what the layers that are read make of the group's input).
n passes are exact for the first n tokens, so no more run than there are tokens, unless gradients
are wanted. A call with one new token, as in generation, is one pass.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import transformers
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

from .configuration_crosskv import CrossKVConfig, parse_kv_sharing

_VERSION = int(transformers.__version__.split(".")[0])


@dataclass
class LayerGroup:
    start: int
    stop: int
    iterative: bool


def plan_groups(sources):
    """Cuts layers, given (k_source, v_source, windowed) each, into groups that run together."""
    top_of = [max(k, v) for k, v, _ in sources]
    groups, layer = [], 0
    while layer < len(sources):
        top = top_of[layer]
        iterative = top > layer
        if iterative:
            raised = max(top, *top_of[layer:top + 1])
            while raised > top:
                top, raised = raised, max(top_of[layer:raised + 1])
            stop = top + 1
        else:
            stop = layer + 1
            while stop < len(sources) and top_of[stop] <= stop:
                stop += 1
        groups.append(LayerGroup(layer, stop, iterative))
        layer = stop
    return groups


class CrossKVCache:
    """Keys (rotated) and values [B, G, S, D] of the layers that own them."""

    is_compileable = False

    def __init__(self):
        self.keys, self.values = {}, {}

    def get_seq_length(self, layer_idx=0):
        del layer_idx  # all owners hold the same tokens
        for tensor in (*self.keys.values(), *self.values.values()):
            return tensor.shape[-2]
        return 0

    def get_max_cache_shape(self, layer_idx=0):
        del layer_idx
        return -1

    def append(self, keys, values):
        for mine, new in ((self.keys, keys), (self.values, values)):
            for layer, tensor in new.items():
                mine[layer] = torch.cat([mine[layer], tensor], -2) if layer in mine else tensor

    def reorder_cache(self, beam_idx):
        for mine in (self.keys, self.values):
            for layer in mine:
                mine[layer] = mine[layer].index_select(0, beam_idx.to(mine[layer].device))


def rotate(x, rope):
    cos, sin = (table.unsqueeze(1) for table in rope)
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class Visibility:
    """Which keys each query sees, by kind of layer: [B or 1, 1, T, S] masks, made once a call."""

    def __init__(self, num_queries, past, key_mask, window, device):
        self.query_at = torch.arange(past, past + num_queries, device=device).unsqueeze(1)
        self.key_at = torch.arange(past + num_queries, device=device)
        self.key_mask = key_mask
        self.window = window
        self.made = {}

    def get(self, strict, windowed):
        """The mask, with rows that see nothing set to all, and the rows that see something."""
        if (strict, windowed) not in self.made:
            reach = self.query_at - 1 if strict else self.query_at
            mask = self.key_at <= reach
            if windowed:
                mask = mask & (self.key_at > self.query_at - self.window)
            mask = mask[None, None]
            if self.key_mask is not None:
                mask = mask & self.key_mask[:, None, None, :]
            sighted = mask.any(-1, keepdim=True)
            self.made[strict, windowed] = (mask | ~sighted, sighted)
        return self.made[strict, windowed]


class CrossKVAttention(nn.Module):
    """Keys and values are made for those who read this layer; queries read given ones."""

    def __init__(self, config, makes_keys, makes_values):
        super().__init__()
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        self.dropout = config.attention_dropout
        width, bias = config.hidden_size, config.attention_bias
        self.q_proj = nn.Linear(width, self.heads * self.head_dim, bias=bias)
        if makes_keys:
            self.k_proj = nn.Linear(width, self.kv_heads * self.head_dim, bias=bias)
        if makes_values:
            self.v_proj = nn.Linear(width, self.kv_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(self.heads * self.head_dim, width, bias=bias)

    def split(self, x):
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def forward(self, x, rope, keys, values, visibility):
        mask, sighted = visibility
        query = rotate(self.split(self.q_proj(x)), rope)
        repeats = self.heads // self.kv_heads
        mixed = F.scaled_dot_product_attention(
            query, keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1),
            attn_mask=mask, dropout_p=self.dropout if self.training else 0.0)
        mixed = mixed.masked_fill(~sighted, 0.0)  # a query that sees nothing gets exactly 0
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class CrossKVMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class CrossKVDecoderLayer(nn.Module):
    def __init__(self, config, makes_keys, makes_values):
        super().__init__()
        self.self_attn = CrossKVAttention(config, makes_keys, makes_values)
        self.mlp = CrossKVMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class CrossKVPreTrainedModel(PreTrainedModel):
    config_class = CrossKVConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = False
    _no_split_modules = ["CrossKVModel"]  # layers hand tensors to layers far away


class CrossKVModel(CrossKVPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.sources = parse_kv_sharing(config.kv_sharing, config.num_hidden_layers)
        self.groups = plan_groups(self.sources)
        keys_of = {k for k, _, _ in self.sources}
        values_of = {v for _, v, _ in self.sources}
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            CrossKVDecoderLayer(config, layer in keys_of, layer in values_of)
            for layer in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, value):
        self.embed_tokens = value

    def passes(self, num_tokens):
        """Passes over an iterative group: (without gradient, with gradient)."""
        if self.config.use_sequential:
            return 0, num_tokens
        forward, backward = self.config.forward_passes, max(self.config.backward_passes, 1)
        if torch.is_grad_enabled() and num_tokens > 1:
            return forward, backward
        return 0, min(forward + backward, num_tokens)

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, use_cache=None, **unused):
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        num_tokens = hidden.shape[1]
        if use_cache and past_key_values is None:
            past_key_values = CrossKVCache()
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        if position_ids is None:
            position_ids = torch.arange(past, past + num_tokens, device=hidden.device)[None]
        if attention_mask is not None:
            if attention_mask.dim() != 2 or attention_mask.shape[1] != past + num_tokens:
                raise ValueError(f"attention_mask must be [batch, {past + num_tokens}]")
            attention_mask = attention_mask.bool()
        rope = self.rotary_emb(hidden, position_ids)
        visibility = Visibility(num_tokens, past, attention_mask, self.config.sliding_window,
                                hidden.device)
        board = self.empty_board(hidden)
        for group in self.groups:
            hidden = self.run_group(group, hidden, rope, visibility, board, past_key_values)
        if use_cache:
            past_key_values.append(*board)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden),
                                       past_key_values=past_key_values if use_cache else None)

    def empty_board(self, hidden):
        """Zeros as the keys and values of all owners for the new tokens."""
        shape = (hidden.shape[0], self.config.num_key_value_heads, hidden.shape[1],
                 self.config.head_dim)
        zeros = hidden.new_zeros(shape)
        return ({k: zeros for k, _, _ in self.sources}, {v: zeros for _, v, _ in self.sources})

    def run_group(self, group, hidden, rope, visibility, board, cache):
        without, with_gradient = self.passes(hidden.shape[1]) if group.iterative else (0, 1)
        if group.iterative and self.config.kv_start == "guess":
            with torch.set_grad_enabled(torch.is_grad_enabled() and without == 0):
                self.guess(group, hidden, rope, board)
        for index in range(without + with_gradient):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= without):
                result = hidden  # every pass starts from the group's input
                for layer in range(group.start, group.stop):
                    result = self.run_layer(layer, result, rope, visibility, board, cache)
        return result

    def guess(self, group, hidden, rope, board):
        """Keys and values of the layers that layers below them read, from the group's input."""
        keys, values = board
        readers = range(group.start, group.stop)
        for index in {self.sources[r][0] for r in readers if self.sources[r][0] > r}:
            layer = self.layers[index]
            normed = layer.input_layernorm(hidden)
            keys[index] = rotate(layer.self_attn.split(layer.self_attn.k_proj(normed)), rope)
        for index in {self.sources[r][1] for r in readers if self.sources[r][1] > r}:
            layer = self.layers[index]
            normed = layer.input_layernorm(hidden)
            values[index] = layer.self_attn.split(layer.self_attn.v_proj(normed))

    def run_layer(self, index, x, rope, visibility, board, cache):
        layer = self.layers[index]
        attention = layer.self_attn
        keys, values = board
        normed = layer.input_layernorm(x)
        if hasattr(attention, "k_proj"):
            keys[index] = rotate(attention.split(attention.k_proj(normed)), rope)
        if hasattr(attention, "v_proj"):
            values[index] = attention.split(attention.v_proj(normed))
        k_source, v_source, windowed = self.sources[index]
        seen_keys, seen_values = keys[k_source], values[v_source]
        if cache is not None and k_source in cache.keys:
            seen_keys = torch.cat([cache.keys[k_source], seen_keys], -2)
        if cache is not None and v_source in cache.values:
            seen_values = torch.cat([cache.values[v_source], seen_values], -2)
        strict = self.config.force_nodiag or max(k_source, v_source) > index
        x = x + attention(normed, rope, seen_keys, seen_values, visibility.get(strict, windowed))
        return x + layer.mlp(layer.post_attention_layernorm(x))


class CrossKVForCausalLM(CrossKVPreTrainedModel, GenerationMixin):
    _tied_weights_keys = (["lm_head.weight"] if _VERSION < 5 else
                          {"lm_head.weight": "model.embed_tokens.weight"})

    def __init__(self, config):
        super().__init__(config)
        self.model = CrossKVModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, labels=None, use_cache=None, logits_to_keep=0, **unused):
        if use_cache is None:
            use_cache = past_key_values is not None
        output = self.model(input_ids, attention_mask, position_ids, past_key_values,
                            inputs_embeds, use_cache)
        kept = slice(-logits_to_keep, None) if logits_to_keep else slice(None)
        logits = self.lm_head(output.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1),
                                   labels[:, 1:].flatten().to(logits.device), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=logits,
                                      past_key_values=output.past_key_values)

    # Generation has a cache of ours: those of Transformers count layers, not owners.
    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *unused, **ignored):
        if generation_config.use_cache and model_kwargs.get("past_key_values") is None:
            model_kwargs["past_key_values"] = CrossKVCache()

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, attention_mask=None,
                                      use_cache=None, logits_to_keep=None, **unused):
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        inputs = {"input_ids": input_ids[:, past:], "past_key_values": past_key_values,
                  "attention_mask": attention_mask, "use_cache": use_cache,
                  "logits_to_keep": logits_to_keep or 0}
        if attention_mask is not None:
            # A left-padded row gets the positions that it would have alone.
            positions = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
            inputs["position_ids"] = positions[:, past:]
        return inputs
