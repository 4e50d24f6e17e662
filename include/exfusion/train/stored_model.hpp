#pragma once

#include <algorithm>
#include <concepts>
#include <filesystem>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <exfusion/io/checkpoint.hpp>
#include <exfusion/io/ffn_config.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/io/vit.hpp>
#include <exfusion/train/training_state.hpp>

namespace exfusion::train {

/// An object that a checkpoint's configuration holds. Throws FormatError when there is none of that name.
inline io::JsonConfig saved_object(const io::CheckpointReader& checkpoint, const std::string& key) {
  const auto& config = checkpoint.info().config;
  if (config.contains(key)) return io::JsonConfig::from_object(checkpoint.path(), config.at(key));
  throw FormatError(checkpoint.path(), "does not say its \"", key, "\"");
}

namespace detail {

/// Throws FormatError when the file is too small for a model of such sizes, before memory is taken for it.
template <class Config>
void check_size(const io::CheckpointReader& checkpoint, const Config& config, const FfnConfig& ffn) {
  double experts = 1;
  if (const auto* fused = std::get_if<FusedFfnConfig>(&ffn)) experts = static_cast<double>(fused->experts);
  if (const auto* sparse = std::get_if<SparseMoEOptions>(&ffn))
    experts = static_cast<double>(sparse->experts);
  const auto layers = static_cast<double>(config.layers), d_model = static_cast<double>(config.d_model);
  const double needed = layers * d_model * (4 * d_model + 2 * experts * static_cast<double>(config.hidden()));
  double stored = 0;
  for (const io::TensorInfo& tensor : checkpoint.tensors()) {
    double size = 1;
    for (const Index extent : tensor.shape) size *= static_cast<double>(extent);
    stored += size;
  }
  if (stored < needed) throw FormatError(checkpoint.path(), "is too small for the model that it describes");
}

/// Overwrites `dense` by the moving average of its weights, where the checkpoint has one.
template <Scalar T, class Model>
void read_average(const io::CheckpointReader& checkpoint, Model& dense) {
  const std::string prefix = "average.";
  if (std::ranges::none_of(checkpoint.tensors(),
                           [&](const auto& tensor) { return tensor.name.starts_with(prefix); }))
    return;
  Ema<T> average(dense);
  std::vector<io::CheckpointArray> arrays;
  average.visit_state(
      [&](const std::string& name, auto values) { arrays.push_back(array_of(prefix + name, values)); });
  checkpoint.read_into(arrays, prefix);
  average.copy_to(dense);
}

}  // namespace detail

/// Writes a model with its experts as a checkpoint without a run: `about` is what the file says of it, and
/// must hold "model" (io::gpt2_config or io::vit_config); `ffn` are the networks that the model has. Throws
/// IoError.
template <Scalar T, class Model>
void write_model(const std::filesystem::path& path, const Model& model, const FfnConfig& ffn,
                 nlohmann::json about) {
  about["ffn"] = io::ffn_config(ffn);
  const auto arrays = model_arrays(collect_parameters<T>(model));
  std::vector<io::SafetensorsEntry> entries;
  for (const auto& array : arrays) entries.push_back({array.name, array.dtype, array.shape, array.bytes});
  io::write_checkpoint(path, std::move(entries), {std::move(about), nlohmann::json::object()});
}

/// Whether a checkpoint is a model that `write_model` wrote: no run can go on from it.
inline bool is_model_alone(const io::CheckpointReader& checkpoint) { return checkpoint.info().state.empty(); }

/// The networks of the model in a checkpoint. Throws FormatError and ConfigError as `io::read_ffn_config`
/// does.
inline FfnConfig read_ffn(const io::CheckpointReader& checkpoint) {
  return io::read_ffn_config(saved_object(checkpoint, "ffn"));
}

/// Fills a model of the same shape and networks, experts and all. Throws FormatError, and then changes
/// nothing, when the checkpoint holds another one.
template <Scalar T, class Model>
void read_model(const io::CheckpointReader& checkpoint, const Model& model) {
  const auto list = collect_parameters<T>(model);
  checkpoint.read_into(model_arrays(list), "model.");
  mark_changed(list);
}

namespace detail {

template <Scalar T, class Model, class Config>
Model read_exported(const io::CheckpointReader& checkpoint, const Config& config) {
  const FfnConfig ffn = read_ffn(checkpoint);
  check_size(checkpoint, config, ffn);
  if (std::holds_alternative<SparseMoEOptions>(ffn))
    throw ConfigError(checkpoint.path(), "holds sparse mixtures of experts, which amount to no dense model");
  Rng rng = Rng::silent();
  Model result;
  with_ffn<T>(Model(config, rng), ffn, rng, [&](auto model) {
    read_model<T>(checkpoint, model);
    if constexpr (std::same_as<decltype(exported(model)), Model>) result = exported(model);
  });
  read_average<T>(checkpoint, result);
  return result;
}

}  // namespace detail

/// The dense GPT that a run would export if it ended at this checkpoint: its model collapsed, or the moving
/// average of that where the run keeps one. Throws FormatError when the checkpoint does not hold what it
/// describes or a GPT of scalars T, ConfigError when it describes what is not supported, such as sparse
/// mixtures of experts.
template <Scalar T>
Gpt<T> read_gpt(const io::CheckpointReader& checkpoint) {
  return detail::read_exported<T, Gpt<T>>(checkpoint,
                                          io::read_gpt2_config(saved_object(checkpoint, "model")));
}

/// The same of a ViT.
template <Scalar T>
Vit<T> read_vit(const io::CheckpointReader& checkpoint) {
  const io::JsonConfig config = saved_object(checkpoint, "model");
  return detail::read_exported<T, Vit<T>>(
      checkpoint, io::read_vit_config(config, static_cast<Index>(config["id2label"].size())));
}

}  // namespace exfusion::train
