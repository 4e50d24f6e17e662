#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/io/hugging_face.hpp>
#include <exfusion/models/gpt.hpp>

namespace exfusion::io {

/// The configuration that a config.json of GPT-2 describes. Throws ConfigError when it asks for something
/// that is not supported, FormatError when a value is missing or of another type.
inline GptConfig read_gpt2_config(const JsonConfig& json) {
  json.require("model_type", "gpt2");
  json.require("scale_attn_weights", true);
  json.require("scale_attn_by_inverse_layer_idx", false);
  json.require("reorder_and_upcast_attn", false);
  json.require("tie_word_embeddings", true);
  json.require("add_cross_attention", false);
  GptConfig config{
      .vocab_size = json.get<Index>("vocab_size"),
      .context = json.get<Index>(json.has("n_ctx") && !json.has("n_positions") ? "n_ctx" : "n_positions"),
      .layers = json.get<Index>("n_layer"),
      .heads = json.get<Index>("n_head"),
      .d_model = json.get<Index>("n_embd"),
      .d_ff = json.get<Index>("n_inner", 0),
      .dropout = json.get<double>("resid_pdrop", 0.1),
      .layer_norm_eps = json.get<double>("layer_norm_epsilon", 1e-5)};
  const auto activation = json.get<std::string>("activation_function", "gelu_new");
  if (activation == "gelu") {
    config.activation = Activation::gelu_erf;
  } else if (activation != "gelu_new" && activation != "gelu_pytorch_tanh") {
    json.unsupported("activation_function", "gelu_new, gelu_pytorch_tanh and gelu are supported");
  }
  return checked(config);
}

/// What config.json says of a GPT; `dtype` of the weights as in "float32", `end_of_text` the token
/// that begins and ends texts.
inline nlohmann::ordered_json gpt2_config(const GptConfig& config, std::string_view dtype,
                                          std::optional<std::int32_t> end_of_text = std::nullopt) {
  const auto end = end_of_text ? nlohmann::ordered_json(*end_of_text) : nlohmann::ordered_json();
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"model_type", "gpt2"},
          {"vocab_size", config.vocab_size},
          {"n_positions", config.context},
          {"n_ctx", config.context},  // the older name, which llama.cpp's converter asks for
          {"n_embd", config.d_model},
          {"n_layer", config.layers},
          {"n_head", config.heads},
          {"n_inner", config.hidden()},
          {"activation_function", config.activation == Activation::gelu_erf ? "gelu" : "gelu_new"},
          {"layer_norm_epsilon", config.layer_norm_eps},
          {"embd_pdrop", config.dropout},
          {"attn_pdrop", 0.0},
          {"resid_pdrop", config.dropout},
          {"scale_attn_weights", true},
          {"scale_attn_by_inverse_layer_idx", false},
          {"reorder_and_upcast_attn", false},
          {"tie_word_embeddings", true},
          {"bos_token_id", end},
          {"eos_token_id", end},
          {"torch_dtype", dtype}};
}

namespace detail {

/// The model's tensors under the names of Hugging Face's GPT2LMHeadModel; `prefix` is "transformer." or
/// nothing.
template <Scalar T>
std::vector<LayoutTensor<T>> gpt2_layout(const Gpt<T>& model, const std::string& prefix) {
  std::vector<LayoutTensor<T>> list{{prefix + "wte.weight", model.wte}, {prefix + "wpe.weight", model.wpe}};
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    const auto& block = model.blocks[i];
    const std::string name = prefix + "h." + std::to_string(i);
    append_layer(list, name + ".ln_1", block.norm1);
    append_layer(list, name + ".attn.c_attn", block.attention.qkv, true);
    append_layer(list, name + ".attn.c_proj", block.attention.projection, true);
    append_layer(list, name + ".ln_2", block.norm2);
    append_layer(list, name + ".mlp.c_fc", block.ffn.up, true);
    append_layer(list, name + ".mlp.c_proj", block.ffn.down, true);
  }
  append_layer(list, prefix + "ln_f", model.norm);
  return list;
}

/// Whether a tensor is one that old checkpoints carry and nobody needs: a layer's causal mask.
inline bool is_causal_mask(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

/// Throws FormatError when the sizes of `config` are not those of the file, so that a model is made only from
/// sizes that a file of real tensors bears out.
inline void check_gpt2_shapes(const SafetensorsFolder& files, const GptConfig& config,
                              const std::string& prefix) {
  require_shape(files, prefix + "wte.weight", {config.vocab_size, config.d_model});
  require_shape(files, prefix + "wpe.weight", {config.context, config.d_model});
  for (Index i = 0; i < config.layers; ++i) {
    const std::string name = prefix + "h." + std::to_string(i);
    require_shape(files, name + ".attn.c_attn.weight", {config.d_model, 3 * config.d_model});
    require_shape(files, name + ".mlp.c_fc.weight", {config.d_model, config.hidden()});
  }
}

/// Throws FormatError when the file has an output layer of its own, different from the token embedding.
template <Scalar T>
void check_tied_head(const SafetensorsFolder& files, const Gpt<T>& model) {
  if (!files.contains("lm_head.weight")) return;
  require_shape(files, "lm_head.weight", model.wte.shape());
  if (std::ranges::equal(files.reader("lm_head.weight").read<T>("lm_head.weight").values(),
                         model.wte.values()))
    return;
  throw FormatError(files.path(), "lm_head.weight differs from wte.weight: only tied weights are supported");
}

}  // namespace detail

/// Writes a dense GPT into `folder` (made if missing) as Hugging Face's GPT-2: model.safetensors, then
/// config.json, each whole or not at all. Weights are stored as `dtype`: F32, F16, BF16, or
/// as they are. Throws ConfigError when the layout cannot hold the model (a gated feed-forward network) or
/// F16 a weight, IoError.
template <Scalar T>
void save_gpt2(const Gpt<T>& model, const std::filesystem::path& folder,
               std::optional<std::int32_t> end_of_text = std::nullopt, Dtype dtype = dtype_of<T>) {
  const GptConfig& config = model.config;
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    detail::check_exportable("save_gpt2", model.blocks[i].ffn, config.activation, config.hidden(),
                             static_cast<Index>(i));
  }
  save_hugging_face(folder, detail::gpt2_layout(model, "transformer."),
                    gpt2_config(config, torch_name(dtype), end_of_text), dtype);
}

/// Reads a Hugging Face GPT-2 from `folder`; its names may be bare or begin with "transformer.". `dropout`
/// becomes resid_pdrop; attn_pdrop has no counterpart. Throws IoError, FormatError when a file is damaged or
/// the two disagree, ConfigError when config.json asks for something that is not supported.
template <Scalar T>
Gpt<T> load_gpt2(const std::filesystem::path& folder) {
  const GptConfig config = read_gpt2_config(JsonConfig(folder / "config.json"));
  const SafetensorsFolder files(folder);
  const std::string prefix = files.contains("transformer.wte.weight") ? "transformer." : "";
  detail::check_gpt2_shapes(files, config, prefix);
  Rng rng = Rng::silent();
  Gpt<T> model(config, rng);
  const auto layout = detail::gpt2_layout(model, prefix);
  refuse_unknown_tensors(files, layout, [](std::string_view name) {
    return name == "lm_head.weight" || detail::is_causal_mask(name);
  });
  load_tensors(files, layout);
  detail::check_tied_head(files, model);
  return model;
}

}  // namespace exfusion::io
