#pragma once

#include <map>
#include <string>
#include <vector>

#include <exfusion/io/hugging_face.hpp>
#include <exfusion/models/vit.hpp>

// Vision Transformers under timm's names. Its config.json names an architecture; the sizes are those of the
// tensors.

namespace exfusion::io {

/// Whether a config.json is timm's.
inline bool is_timm(const JsonConfig& json) { return json.has("architecture") && !json.has("model_type"); }

namespace detail {

/// The heads of timm's standard Vision Transformers, which no tensor tells.
inline Index timm_heads(const JsonConfig& json, Index d_model) {
  if (json["model_args"].is_object()) {
    const auto arguments = JsonConfig::from_object(json.file(), json["model_args"]);
    if (arguments.has("num_heads")) return arguments.get<Index>("num_heads");
  }
  static const std::map<Index, Index> heads{{192, 3}, {384, 6}, {768, 12}, {1024, 16}, {1280, 16}};
  const auto found = heads.find(d_model);
  if (found != heads.end()) return found->second;
  throw ConfigError(json.file(),
                    "model_args.num_heads is missing: it is known for widths of 192, 384, 768, 1024 and "
                    "1280 only, not of ",
                    d_model);
}

/// A tensor's shape. Throws FormatError unless it has so many axes.
inline Shape shape_of_rank(const SafetensorsFolder& files, const std::string& name, int rank) {
  const Shape shape = files.shape(name);
  if (shape.rank() == rank) return shape;
  throw FormatError(files.path(), name, " is ", shape, ": it must have ", rank, " axes");
}

/// Throws ConfigError when config.json asks for something that is not supported, FormatError when a tensor is
/// missing.
inline VitConfig read_timm_config(const JsonConfig& json, const SafetensorsFolder& files) {
  if (!json.get<std::string>("architecture").starts_with("vit_"))
    json.unsupported("architecture", "only Vision Transformers, vit_..., are supported");
  json.require("global_pool", "token");
  const Shape patch = shape_of_rank(files, "patch_embed.proj.weight", 4);
  const Shape position = shape_of_rank(files, "pos_embed", 3);
  VitConfig config{.channels = patch[1],
                   .patch_size = patch[2],
                   .classes = shape_of_rank(files, "head.weight", 2)[0],
                   .layers = 0,
                   .heads = timm_heads(json, patch[0]),
                   .d_model = patch[0],
                   .d_ff = shape_of_rank(files, "blocks.0.mlp.fc1.weight", 2)[0],
                   .layer_norm_eps = 1e-6};
  while (files.contains("blocks." + std::to_string(config.layers) + ".norm1.weight")) ++config.layers;
  Index side = 1;
  while (side * side < position[1] - 1) ++side;
  config.image_size = side * config.patch_size;
  return checked(config);
}

/// The model's tensors under timm's names. Valid while the model lives.
template <Scalar T>
std::vector<LayoutTensor<T>> timm_layout(const Vit<T>& model) {
  const Index d_model = model.config.d_model;
  std::vector<LayoutTensor<T>> list{
      {"cls_token", model.class_token.reshape({1, 1, d_model})},
      {"pos_embed", model.position.reshape({1, model.config.tokens(), d_model})}};
  append_layer(list, "patch_embed.proj", model.patch);
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    const auto& block = model.blocks[i];
    const std::string name = "blocks." + std::to_string(i);
    append_layer(list, name + ".norm1", block.norm1);
    append_layer(list, name + ".attn.qkv", block.attention.qkv);
    append_layer(list, name + ".attn.proj", block.attention.projection);
    append_layer(list, name + ".norm2", block.norm2);
    append_layer(list, name + ".mlp.fc1", block.ffn.up);
    append_layer(list, name + ".mlp.fc2", block.ffn.down);
  }
  append_layer(list, "norm", model.norm);
  append_layer(list, "head", model.head);
  return list;
}

/// Throws FormatError when a tensor that decides on a size is not of the shape that the others ask for.
inline void check_timm_shapes(const SafetensorsFolder& files, const VitConfig& config) {
  const Index d_model = config.d_model, patch = config.patch_size;
  require_shape(files, "patch_embed.proj.weight", {d_model, config.channels, patch, patch});
  require_shape(files, "pos_embed", {1, config.tokens(), d_model});
  for (Index i = 0; i < config.layers; ++i) {
    const std::string name = "blocks." + std::to_string(i);
    require_shape(files, name + ".attn.qkv.weight", {3 * d_model, d_model});
    require_shape(files, name + ".mlp.fc1.weight", {config.hidden(), d_model});
  }
}

}  // namespace detail

}  // namespace exfusion::io
