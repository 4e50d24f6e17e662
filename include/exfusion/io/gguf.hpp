#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/io/gguf_reader.hpp>
#include <exfusion/io/gguf_writer.hpp>
#include <exfusion/io/hugging_face.hpp>
#include <exfusion/models/gpt.hpp>

// GPT-2 as GGUF, which llama.cpp and what is built on it read.

namespace exfusion::io {

/// A byte-level BPE as GGUF holds it: tokens and merges in the visible characters of tokenizer.json.
struct GgufTokenizer {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;  ///< Of each token: 1 of text, 3 special, 5 unused.
  std::vector<std::string> merges;  ///< "left right"
  std::optional<std::int32_t> end_of_text;

  bool operator==(const GgufTokenizer&) const = default;
};

namespace detail {

/// The model's tensors under GGUF's names, but for the output layer.
template <Scalar T>
std::vector<LayoutTensor<T>> gguf_layout(const Gpt<T>& model) {
  std::vector<LayoutTensor<T>> list{{"token_embd.weight", model.wte}, {"position_embd.weight", model.wpe}};
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    const auto& block = model.blocks[i];
    const std::string name = "blk." + std::to_string(i);
    append_layer(list, name + ".attn_norm", block.norm1);
    append_layer(list, name + ".attn_qkv", block.attention.qkv);
    append_layer(list, name + ".attn_output", block.attention.projection);
    append_layer(list, name + ".ffn_norm", block.norm2);
    append_layer(list, name + ".ffn_up", block.ffn.up);
    append_layer(list, name + ".ffn_down", block.ffn.down);
  }
  append_layer(list, "output_norm", model.norm);
  return list;
}

/// Matrices are stored as asked for; vectors and position embeddings in full, as llama.cpp computes with
/// them.
template <Scalar T>
Dtype gguf_dtype(const LayoutTensor<T>& entry, Dtype asked) {
  const bool is_matrix = entry.tensor.shape().rank() > 1 && entry.name != "position_embd.weight";
  return is_matrix ? asked : Dtype::F32;
}

/// Throws FormatError naming a tensor that is not the model's: what is left out would change its results.
template <Scalar T>
void refuse_unknown_tensors(const GgufReader& file, const std::vector<LayoutTensor<T>>& layout) {
  std::set<std::string_view> known{"output.weight"};
  for (const auto& entry : layout) known.insert(entry.name);
  for (const std::string& name : file.names()) {
    if (!known.contains(name))
      throw FormatError(file.path(), "has the tensor ", printable(name),
                        ", which has no place in a GPT-2 of its gpt2.block_count");
  }
}

inline std::vector<std::string> gguf_texts(const GgufReader& file, const std::string& key) {
  return file
      .value(key, "a list of texts",
             [](const auto& list) {
               return list.is_array() &&
                      std::ranges::all_of(list, [](const auto& v) { return v.is_string(); });
             })
      .template get<std::vector<std::string>>();
}

}  // namespace detail

/// Writes a dense GPT as GGUF with its tokenizer, whole or not at all; matrices as F32, F16 or BF16. Throws
/// ConfigError when the format cannot hold the model (a gated feed-forward network, another activation than
/// gelu_tanh), the tokenizer does not fit it or F16 cannot hold a weight, IoError. GGUF cannot say that a
/// vocabulary has no end of text: llama.cpp then takes token 11 for it, and generation ends there.
template <Scalar T>
void save_gguf(const Gpt<T>& model, const std::filesystem::path& path, const GgufTokenizer& tokenizer,
               Dtype dtype = Dtype::F32) {
  const GptConfig& config = model.config;
  if (config.activation != Activation::gelu_tanh)
    throw ConfigError("save_gguf",
                      "llama.cpp computes GPT-2 with gelu_tanh: this model has another activation");
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    detail::check_exportable("save_gguf", model.blocks[i].ffn, config.activation, config.hidden(),
                             static_cast<Index>(i));
  }
  if (std::ssize(tokenizer.tokens) != config.vocab_size ||
      tokenizer.types.size() != tokenizer.tokens.size()) {
    throw ConfigError("save_gguf", "the tokenizer has ", tokenizer.tokens.size(), " tokens, the model ",
                      config.vocab_size);
  }
  const auto number = [](Index value) { return static_cast<std::uint32_t>(value); };
  GgufWriter<T> writer;
  writer.add("general.architecture", "gpt2");
  writer.add("general.name", "gpt2");
  writer.add("gpt2.context_length", number(config.context));
  writer.add("gpt2.embedding_length", number(config.d_model));
  writer.add("gpt2.block_count", number(config.layers));
  writer.add("gpt2.feed_forward_length", number(config.hidden()));
  writer.add("gpt2.attention.head_count", number(config.heads));
  writer.add("gpt2.attention.layer_norm_epsilon", static_cast<float>(config.layer_norm_eps));
  writer.add("tokenizer.ggml.model", "gpt2");
  writer.add("tokenizer.ggml.pre", "gpt-2");
  writer.add("tokenizer.ggml.tokens", tokenizer.tokens);
  writer.add("tokenizer.ggml.token_type", tokenizer.types);
  writer.add("tokenizer.ggml.merges", tokenizer.merges);
  if (tokenizer.end_of_text) {
    writer.add("tokenizer.ggml.bos_token_id", number(*tokenizer.end_of_text));
    writer.add("tokenizer.ggml.eos_token_id", number(*tokenizer.end_of_text));
  }
  for (const auto& entry : detail::gguf_layout(model))
    writer.add(entry.name, entry.tensor, detail::gguf_dtype(entry, dtype));
  writer.add("output.weight", model.wte, dtype);  // llama.cpp has not always been content without it
  writer.write(path);
}

/// Reads a dense GPT that `save_gguf` or llama.cpp's converter wrote. Throws IoError, FormatError when the
/// file is damaged, does not hold what it describes or holds more, or has an output layer of its own,
/// ConfigError for another architecture.
template <Scalar T>
Gpt<T> load_gguf(const GgufReader& file) {
  if (const auto architecture = file.text("general.architecture"); architecture != "gpt2")
    throw ConfigError(file.path(), "general.architecture is ", detail::printable(architecture),
                      ": only gpt2 is supported");
  const Shape embedding = file.shape("token_embd.weight");
  if (embedding.rank() != 2)
    throw FormatError(file.path(), "token_embd.weight is ", embedding, ", not a matrix");
  const GptConfig config =
      checked(GptConfig{.vocab_size = embedding[0],
                        .context = file.integer("gpt2.context_length"),
                        .layers = file.integer("gpt2.block_count"),
                        .heads = file.integer("gpt2.attention.head_count"),
                        .d_model = file.integer("gpt2.embedding_length"),
                        .d_ff = file.integer("gpt2.feed_forward_length"),
                        .layer_norm_eps = file.real("gpt2.attention.layer_norm_epsilon")});
  const auto require = [&](const std::string& name, const Shape& shape) {
    if (file.shape(name) != shape)
      throw FormatError(file.path(), name, " is ", file.shape(name), ": ", shape, " is needed");
  };
  require("token_embd.weight", {config.vocab_size, config.d_model});
  require("position_embd.weight", {config.context, config.d_model});
  for (Index i = 0; i < config.layers; ++i) {
    require("blk." + std::to_string(i) + ".attn_qkv.weight", {3 * config.d_model, config.d_model});
    require("blk." + std::to_string(i) + ".ffn_up.weight", {config.hidden(), config.d_model});
  }
  Rng rng = Rng::silent();
  Gpt<T> model(config, rng);
  const auto layout = detail::gguf_layout(model);
  detail::refuse_unknown_tensors(file, layout);
  for (const auto& entry : layout) file.read_into(entry.name, entry.tensor);
  if (file.contains("output.weight")) {
    const auto output = Tensor<T>::empty(model.wte.shape());
    file.read_into("output.weight", output);
    if (!std::ranges::equal(output.values(), model.wte.values()))
      throw FormatError(file.path(),
                        "output.weight differs from token_embd.weight: only tied weights are supported");
  }
  return model;
}

/// The tokenizer of such a file. Throws FormatError when it is incomplete, ConfigError for another kind.
inline GgufTokenizer load_gguf_tokenizer(const GgufReader& file) {
  if (const auto kind = file.text("tokenizer.ggml.model"); kind != "gpt2")
    throw ConfigError(file.path(), "tokenizer.ggml.model is ", detail::printable(kind),
                      ": only gpt2 is supported");
  GgufTokenizer tokenizer{.tokens = detail::gguf_texts(file, "tokenizer.ggml.tokens"),
                          .types = {},
                          .merges = detail::gguf_texts(file, "tokenizer.ggml.merges"),
                          .end_of_text = std::nullopt};
  const auto& types =
      file.value("tokenizer.ggml.token_type", "a list of numbers, one for each token", [&](const auto& list) {
        return list.is_array() && list.size() == tokenizer.tokens.size() &&
               std::ranges::all_of(list,
                                   [](const auto& v) { return v.is_number_integer() && v >= 0 && v < 128; });
      });
  tokenizer.types = types.get<std::vector<std::int32_t>>();
  if (file.values().contains("tokenizer.ggml.eos_token_id")) {
    const Index end = file.integer("tokenizer.ggml.eos_token_id");
    if (end >= std::ssize(tokenizer.tokens))
      throw FormatError(file.path(), "tokenizer.ggml.eos_token_id is ", end, ": there are ",
                        tokenizer.tokens.size(), " tokens");
    tokenizer.end_of_text = static_cast<std::int32_t>(end);
  }
  return tokenizer;
}

}  // namespace exfusion::io
