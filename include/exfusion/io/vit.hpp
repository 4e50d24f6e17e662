#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/io/hugging_face.hpp>
#include <exfusion/io/timm_vit.hpp>
#include <exfusion/models/vit.hpp>

namespace exfusion::io {

/// The configuration that a config.json of ViT describes, for a classifier of so many classes. Throws
/// ConfigError when it asks for something that is not supported, FormatError when a value is missing or of
/// another type.
inline VitConfig read_vit_config(const JsonConfig& json, Index classes) {
  json.require("model_type", "vit");
  json.require("qkv_bias", true);
  VitConfig config{.image_size = json.get<Index>("image_size", 224),
                   .channels = json.get<Index>("num_channels", 3),
                   .patch_size = json.get<Index>("patch_size", 16),
                   .classes = classes,
                   .layers = json.get<Index>("num_hidden_layers"),
                   .heads = json.get<Index>("num_attention_heads"),
                   .d_model = json.get<Index>("hidden_size"),
                   .d_ff = json.get<Index>("intermediate_size"),
                   .dropout = json.get<double>("hidden_dropout_prob", 0.0),
                   .layer_norm_eps = json.get<double>("layer_norm_eps", 1e-12)};
  const auto activation = json.get<std::string>("hidden_act", "gelu");
  if (activation == "gelu_pytorch_tanh" || activation == "gelu_new") {
    config.activation = Activation::gelu_tanh;
  } else if (activation != "gelu") {
    json.unsupported("hidden_act", "gelu, gelu_new and gelu_pytorch_tanh are supported");
  }
  if (json.has("id2label") && static_cast<Index>(json["id2label"].size()) != classes) {
    throw FormatError(json.file(), "id2label has ", json["id2label"].size(), " labels, the classifier ",
                      classes);
  }
  return checked(config);
}

/// The names of the classes that a config.json has; empty when it has none. Throws FormatError when they are
/// not numbered from 0 on, or are no texts.
inline std::vector<std::string> read_vit_labels(const JsonConfig& json) {
  const nlohmann::json& map = json["id2label"];
  std::vector<std::string> labels;
  for (std::size_t i = 0; i < map.size(); ++i) {
    const auto label = map.find(std::to_string(i));
    if (label == map.end() || !label->is_string())
      throw FormatError(json.file(), "id2label has ", map.size(), " entries, and no text for ", i);
    labels.push_back(label->get<std::string>());
  }
  return labels;
}

/// What config.json says of a ViT; `labels` of the classes may be empty, `dtype` of the weights as in
/// "float32".
inline nlohmann::ordered_json vit_config(const VitConfig& config, const std::vector<std::string>& labels,
                                         std::string_view dtype) {
  nlohmann::ordered_json id2label, label2id;
  for (std::size_t i = 0; i < static_cast<std::size_t>(config.classes); ++i) {
    const std::string label = labels.empty() ? "LABEL_" + std::to_string(i) : labels[i];
    id2label[std::to_string(i)] = label;
    label2id[label] = i;
  }
  return {{"architectures", {"ViTForImageClassification"}},
          {"model_type", "vit"},
          {"image_size", config.image_size},
          {"num_channels", config.channels},
          {"patch_size", config.patch_size},
          {"hidden_size", config.d_model},
          {"num_hidden_layers", config.layers},
          {"num_attention_heads", config.heads},
          {"intermediate_size", config.hidden()},
          {"hidden_act", config.activation == Activation::gelu_erf ? "gelu" : "gelu_pytorch_tanh"},
          {"layer_norm_eps", config.layer_norm_eps},
          {"qkv_bias", true},
          {"hidden_dropout_prob", config.dropout},
          {"attention_probs_dropout_prob", 0.0},
          {"id2label", id2label},
          {"label2id", label2id},
          {"torch_dtype", dtype}};
}

namespace detail {

/// Appends query, key and value, which are the three parts of our one matrix.
template <Scalar T>
void append_qkv(std::vector<LayoutTensor<T>>& list, const std::string& name, const Linear<T>& qkv) {
  const Index d_model = qkv.weight.shape()[1];
  Index part = 0;
  for (const char* which : {".query", ".key", ".value"}) {
    const auto slice = [&](const Tensor<T>& whole, Shape shape) {
      return Tensor<T>(whole.data() + part * shape.size(), shape);
    };
    list.push_back({name + which + ".weight", slice(qkv.weight, {d_model, d_model})});
    list.push_back({name + which + ".bias", slice(qkv.bias, {d_model})});
    ++part;
  }
}

/// The model's tensors under the names of Hugging Face's ViTForImageClassification. Valid while the model
/// lives.
template <Scalar T>
std::vector<LayoutTensor<T>> vit_layout(const Vit<T>& model) {
  const std::string embeddings = "vit.embeddings.";
  const Index d_model = model.config.d_model;
  std::vector<LayoutTensor<T>> list{
      {embeddings + "cls_token", model.class_token.reshape({1, 1, d_model})},
      {embeddings + "position_embeddings", model.position.reshape({1, model.config.tokens(), d_model})}};
  append_layer(list, embeddings + "patch_embeddings.projection", model.patch);
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    const auto& block = model.blocks[i];
    const std::string name = "vit.encoder.layer." + std::to_string(i);
    append_layer(list, name + ".layernorm_before", block.norm1);
    append_qkv(list, name + ".attention.attention", block.attention.qkv);
    append_layer(list, name + ".attention.output.dense", block.attention.projection);
    append_layer(list, name + ".layernorm_after", block.norm2);
    append_layer(list, name + ".intermediate.dense", block.ffn.up);
    append_layer(list, name + ".output.dense", block.ffn.down);
  }
  append_layer(list, "vit.layernorm", model.norm);
  append_layer(list, "classifier", model.head);
  return list;
}

/// Throws FormatError when the sizes of `config` are not those of the file, so that a model is made only from
/// sizes that a file of real tensors bears out.
inline void check_vit_shapes(const SafetensorsFolder& files, const VitConfig& config) {
  const Index d_model = config.d_model, patch = config.patch_size;
  require_shape(files, "vit.embeddings.patch_embeddings.projection.weight",
                {d_model, config.channels, patch, patch});
  require_shape(files, "vit.embeddings.position_embeddings", {1, config.tokens(), d_model});
  for (Index i = 0; i < config.layers; ++i) {
    const std::string name = "vit.encoder.layer." + std::to_string(i);
    require_shape(files, name + ".attention.output.dense.weight", {d_model, d_model});
    require_shape(files, name + ".intermediate.dense.weight", {config.hidden(), d_model});
  }
}

/// A ViT of that shape, filled from all tensors of the files by the names of `layout`.
template <Scalar T, class Layout>
Vit<T> load_layout(const SafetensorsFolder& files, const VitConfig& config, const Layout& layout) {
  Rng rng = Rng::silent();
  Vit<T> model(config, rng);
  const auto list = layout(model);
  refuse_unknown_tensors(files, list, [](std::string_view) { return false; });
  load_tensors(files, list);
  return model;
}

}  // namespace detail

/// Writes a dense ViT into `folder` (made if missing) as Hugging Face's ViTForImageClassification:
/// model.safetensors, then config.json, each whole or not at all. `labels` names the classes, distinctly;
/// empty: LABEL_0 and so on. Weights are stored as `dtype`: F32, F16, BF16, or as they are. Throws
/// ConfigError when the layout cannot hold the model (mean pooling, a gated feed-forward network) or F16 a
/// weight, or the labels do not fit, IoError.
template <Scalar T>
void save_vit(const Vit<T>& model, const std::filesystem::path& folder,
              const std::vector<std::string>& labels = {}, Dtype dtype = dtype_of<T>) {
  const VitConfig& config = model.config;
  if (config.pooling != Pooling::cls) {
    throw ConfigError("save_vit", "the model pools by the mean: this layout has only the class token");
  }
  const std::set<std::string> distinct(labels.begin(), labels.end());
  const auto classes = static_cast<std::size_t>(config.classes);
  if (!labels.empty() && (labels.size() != classes || distinct.size() != classes)) {
    throw ConfigError("save_vit", labels.size(), " labels, ", distinct.size(), " of them different, for ",
                      classes, " classes");
  }
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    detail::check_exportable("save_vit", model.blocks[i].ffn, config.activation, config.hidden(),
                             static_cast<Index>(i));
  }
  save_hugging_face(folder, detail::vit_layout(model), vit_config(config, labels, torch_name(dtype)), dtype);
}

/// Reads a Hugging Face ViTForImageClassification or one of timm's Vision Transformers from `folder`.
/// `dropout` becomes hidden_dropout_prob; drop_path is not stored. Throws IoError, FormatError when a file is
/// damaged or the two disagree, ConfigError when config.json asks for something that is not supported.
template <Scalar T>
Vit<T> load_vit(const std::filesystem::path& folder) {
  const JsonConfig json(folder / "config.json");
  const SafetensorsFolder files(folder);
  if (is_timm(json)) {
    const VitConfig config = detail::read_timm_config(json, files);
    detail::check_timm_shapes(files, config);
    return detail::load_layout<T>(files, config,
                                  [](const Vit<T>& model) { return detail::timm_layout(model); });
  }
  const Shape head = detail::shape_of_rank(files, "classifier.weight", 2);
  const VitConfig config = read_vit_config(json, head[0]);
  detail::check_vit_shapes(files, config);
  return detail::load_layout<T>(files, config, [](const Vit<T>& model) { return detail::vit_layout(model); });
}

}  // namespace exfusion::io
