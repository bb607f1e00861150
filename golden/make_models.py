"""Writes the small random models with odd shapes that golden/ holds: python3 golden/make_models.py FOLDER

tiny-llama, tiny-gemma2, tiny-gemma3 and tiny-gpt-oss have the shapes of real models, only smaller. The models made here have what
those lack, and what some known bugs need in order to show:

- head dims that are no power of two, widths that are no multiple of 4, biases, an LM head of its own, a single kv head;
- rope with linear scaling, and with yarn's range truncated; a query scale other than that of the head dim;
- experts that are not quantised, several shards, weights in bf16 and f16.

-105 (one a family): hidden size 105, 331 words, one kv head, a window shorter than the prompt, three shards; models in both 16-bit
types; tiny-llama-105 has llama3's rope scaling. tiny-llama-long: more than 256 positions. tiny-gemma3-loud: hidden states above
f16's largest number, scores too large for exp, padding as the likeliest token. tiny-gpt-oss-wide: a hidden size that is a multiple
of 256.

The weights are large enough that every op matters: norms spread around 1, and outputs are about as large as inputs.
"""

import os
import sys

import torch
import transformers

WIDTHS = {"vocab_size": 331, "hidden_size": 105, "num_hidden_layers": 2, "num_attention_heads": 5, "num_key_value_heads": 1,
          "head_dim": 14}
MODELS = {
    "tiny-llama-odd": (
        torch.bfloat16,
        transformers.LlamaConfig(
            vocab_size=331,
            hidden_size=54,
            intermediate_size=90,
            num_hidden_layers=3,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=20,
            rms_norm_eps=1e-6,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
            max_position_embeddings=512,
            rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0},
        ),
    ),
    "tiny-gemma3-odd": (
        torch.float16,
        transformers.Gemma3TextConfig(
            vocab_size=263,
            hidden_size=60,
            intermediate_size=102,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=24,
            query_pre_attn_scalar=40,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            max_position_embeddings=512,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        ),
    ),
    "tiny-gemma2-odd": (
        torch.bfloat16,
        transformers.Gemma2Config(
            vocab_size=331,
            hidden_size=105,
            intermediate_size=70,
            num_hidden_layers=3,
            num_attention_heads=5,
            num_key_value_heads=1,
            head_dim=14,
            query_pre_attn_scalar=21,
            sliding_window=3,
            attn_logit_softcapping=4.0,
            final_logit_softcapping=6.0,
            max_position_embeddings=512,
        ),
    ),
    "tiny-gpt-oss-odd": (
        torch.bfloat16,
        transformers.GptOssConfig(
            vocab_size=331,
            hidden_size=51,
            intermediate_size=29,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=20,
            num_local_experts=5,
            num_experts_per_tok=2,
            swiglu_limit=1.5,
            sliding_window=4,
            max_position_embeddings=512,
            rope_parameters={
                "rope_type": "yarn",
                "factor": 8.0,
                "original_max_position_embeddings": 32,
                "rope_theta": 10000.0,
                "beta_fast": 16.0,
                "beta_slow": 1.0,
                "truncate": True,
            },
        ),
    ),
    "tiny-llama-105": (
        torch.float16,
        transformers.LlamaConfig(
            **WIDTHS,
            intermediate_size=70,
            rms_norm_eps=1e-6,
            max_position_embeddings=512,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        ),
    ),
    "tiny-gemma2-105": (
        torch.float16,
        transformers.Gemma2Config(
            **WIDTHS,
            intermediate_size=70,
            query_pre_attn_scalar=14,
            sliding_window=4,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=8.0,
            max_position_embeddings=512,
        ),
    ),
    "tiny-gemma3-105": (
        torch.bfloat16,
        transformers.Gemma3TextConfig(
            **WIDTHS,
            intermediate_size=70,
            query_pre_attn_scalar=14,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention"],
            max_position_embeddings=512,
        ),
    ),
    "tiny-gpt-oss-105": (
        torch.float16,
        transformers.GptOssConfig(
            **WIDTHS,
            intermediate_size=33,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=4,
            max_position_embeddings=512,
        ),
    ),
    "tiny-llama-long": (
        torch.bfloat16,
        transformers.LlamaConfig(
            vocab_size=80,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            tie_word_embeddings=True,
            max_position_embeddings=512,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
    ),
    "tiny-gemma3-loud": (
        torch.bfloat16,
        transformers.Gemma3TextConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention"],
            max_position_embeddings=512,
            pad_token_id=54,
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        ),
    ),
    "tiny-gpt-oss-wide": (
        torch.bfloat16,
        transformers.GptOssConfig(
            vocab_size=48,
            hidden_size=256,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=4,
            max_position_embeddings=512,
            rope_parameters={
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
                "rope_theta": 10000.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
            },
        ),
    ),
}

# Largest size of a shard, in models with three shards.
SHARDED = {"tiny-gpt-oss-odd": "80KB", "tiny-llama-105": "130KB", "tiny-gemma2-105": "100KB", "tiny-gemma3-105": "100KB",
           "tiny-gpt-oss-105": "180KB"}
# Added to the random weights of norms, by model and a part of the norm's name.
LOUD = {"tiny-gemma3-loud": {"q_norm": 9.0, "k_norm": 9.0, "post_feedforward": 60000.0}}


def fill(model, seed, loud):
    """Random weights, the same on every machine."""
    generator = torch.Generator().manual_seed(seed)
    offset = 0.0 if model.config.model_type.startswith("gemma") else 1.0  # gemma's norms multiply by 1 + weight
    for name, weight in sorted(model.named_parameters()):
        random = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            weight.data = offset + 0.5 * (1 - offset) + 0.4 * random + sum(more for part, more in loud.items() if part in name)
        elif name.endswith("bias") or name.endswith("sinks"):
            weight.data = 0.3 * random
        elif "embed_tokens" in name:
            weight.data = 0.5 * random
        else:
            weight.data = random / weight.shape[1] ** 0.5


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_models.py FOLDER")
    for seed, (name, (dtype, config)) in enumerate(MODELS.items()):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        fill(model, seed, LOUD.get(name, {}))
        shards = {"max_shard_size": SHARDED[name]} if name in SHARDED else {}
        model.to(dtype).save_pretrained(os.path.join(sys.argv[1], name), **shards)
        os.unlink(os.path.join(sys.argv[1], name, "generation_config.json"))


if __name__ == "__main__":
    main()
