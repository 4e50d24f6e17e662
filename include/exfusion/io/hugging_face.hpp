#pragma once

#include <algorithm>
#include <exception>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <exfusion/core/parallel.hpp>
#include <exfusion/io/folder.hpp>
#include <exfusion/io/json_config.hpp>
#include <exfusion/io/safetensors_folder.hpp>
#include <exfusion/io/safetensors_writer.hpp>
#include <exfusion/nn/feed_forward.hpp>

namespace exfusion::io {

// What the layouts of Hugging Face models have in common: a folder with model.safetensors (or several files
// and their index) and config.json, and a list of names that says which tensor of the files is which of the
// model. Saving and loading walk the same list.

/// A tensor of a model (or a part of one) and its name in the file.
template <Scalar T>
struct LayoutTensor {
  std::string name;
  Tensor<T> tensor;
  bool transposed = false;  ///< Stored [d_in, d_out], as GPT-2's Conv1D does.
};

namespace detail {

template <Scalar T>
void transpose(const Tensor<T>& from, const Tensor<T>& to) {
  const Index rows = from.shape()[0], columns = from.shape()[1];
  constexpr Index line = storage_alignment / sizeof(T);  // so that each cache line of `to` is written at once
  parallel_for(columns, 64, [&](Index begin, Index end) {
    for (Index first = 0; first < rows; first += line) {
      const Index last = std::min(first + line, rows);
      for (Index column = begin; column < end; ++column) {
        for (Index row = first; row < last; ++row)
          to.data()[column * rows + row] = from.data()[row * columns + column];
      }
    }
  });
}

template <Scalar T>
Shape stored_shape(const LayoutTensor<T>& entry) {
  const Shape& shape = entry.tensor.shape();
  return entry.transposed ? Shape{shape[1], shape[0]} : shape;
}

/// Appends a weight and its bias.
template <Scalar T, class Layer>
void append_layer(std::vector<LayoutTensor<T>>& list, const std::string& name, const Layer& layer,
                  bool transposed = false) {
  list.push_back({name + ".weight", layer.weight, transposed});
  list.push_back({name + ".bias", layer.bias, false});
}

/// Throws ConfigError unless this is what both layouts have: a GELU network with biases of width `d_ff`.
template <Scalar T>
void check_exportable(std::string_view where, const FeedForward<T>& ffn, Activation expected, Index d_ff,
                      Index layer) {
  if (ffn.activation == Activation::swiglu) {
    throw ConfigError(where, "layer ", layer,
                      " has a gated feed-forward network (swiglu): this layout has only "
                      "ungated ones with GELU");
  }
  if (ffn.activation != expected) {
    throw ConfigError(where, "layer ", layer, " has another activation than the model's configuration says");
  }
  if (!ffn.up.bias || !ffn.down.bias) {
    throw ConfigError(where, "layer ", layer,
                      " has a feed-forward network without biases: this layout has them");
  }
  if (ffn.up.weight.shape()[0] != d_ff) {
    throw ConfigError(where, "layer ", layer, " has d_ff = ", ffn.up.weight.shape()[0],
                      ", the model's configuration ", d_ff, ": this layout has one width for all layers");
  }
}

/// Throws FormatError unless the file has this tensor in this shape. Called for every size of a configuration
/// before a model of that size is made.
inline void require_shape(const SafetensorsFolder& files, const std::string& name, Shape shape) {
  if (files.shape(name) == shape) return;
  throw FormatError(files.path(), printable(name), " is ", files.shape(name), ": ", shape,
                    " would agree with config.json");
}

}  // namespace detail

/// What Hugging Face calls a dtype in config.json.
inline const char* torch_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::F64:
      return "float64";
    case Dtype::F16:
      return "float16";
    case Dtype::BF16:
      return "bfloat16";
    default:
      return "float32";
  }
}

/// Writes `folder`/model.safetensors, then config.json, each whole or not at all. Throws as
/// `write_safetensors` does.
template <Scalar T>
void save_hugging_face(const std::filesystem::path& folder, const std::vector<LayoutTensor<T>>& layout,
                       const nlohmann::ordered_json& config, Dtype dtype) {
  make_folder(folder);
  std::vector<NamedTensor<T>> tensors;
  for (const auto& entry : layout) {
    tensors.push_back({entry.name, entry.tensor});
    if (!entry.transposed) continue;
    tensors.back().tensor = Tensor<T>::empty(detail::stored_shape(entry));
    detail::transpose(entry.tensor, tensors.back().tensor);
  }
  write_safetensors(folder / "model.safetensors", std::move(tensors), {{"format", "pt"}}, dtype);
  write_file_atomically(folder / "config.json",
                        config.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

namespace detail {

template <Scalar T>
void load_tensor(const SafetensorsFolder& files, const LayoutTensor<T>& entry) {
  const SafetensorsReader& reader = files.reader(entry.name);
  if (!entry.transposed) return reader.read_into(entry.name, entry.tensor);
  const auto stored = Tensor<T>::empty(stored_shape(entry));
  reader.read_into(entry.name, stored);
  transpose(stored, entry.tensor);
}

}  // namespace detail

/// Fills every tensor of `layout` from the files, several at once. Throws FormatError naming the first that
/// is missing or has another shape.
template <Scalar T>
void load_tensors(const SafetensorsFolder& files, const std::vector<LayoutTensor<T>>& layout) {
  std::vector<std::exception_ptr> problems(layout.size());
  parallel_for(std::ssize(layout), 1, [&](Index i, Index) {
    const auto place = static_cast<std::size_t>(i);
    try {
      detail::load_tensor(files, layout[place]);
    } catch (...) {
      problems[place] = std::current_exception();
    }
  });
  for (const std::exception_ptr& problem : problems) {
    if (problem) std::rethrow_exception(problem);
  }
}

/// Throws FormatError naming a tensor of the files that is neither in `layout` nor `allowed`.
template <Scalar T, class Allowed>
void refuse_unknown_tensors(const SafetensorsFolder& files, const std::vector<LayoutTensor<T>>& layout,
                            const Allowed& allowed) {
  std::set<std::string_view> known;
  for (const auto& entry : layout) known.insert(entry.name);
  for (const std::string& name : files.names()) {
    if (known.contains(name) || allowed(name)) continue;
    throw FormatError(files.path(), "has the tensor ", detail::printable(name),
                      ", which has no place in this kind of model");
  }
}

}  // namespace exfusion::io
