#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/file.hpp>
#include <exfusion/data/image.hpp>
#include <exfusion/io/json_config.hpp>

// preprocessor_config.json beside a Vision Transformer says how its images become numbers: Hugging Face's
// ViTImageProcessor reads it.

namespace exfusion::data {

/// Writes preprocessor_config.json for images of this size. Throws IoError.
inline void save_image_processor(const Normalisation& normalisation, Index height, Index width,
                                 const std::filesystem::path& path) {
  const nlohmann::ordered_json json{{"image_processor_type", "ViTImageProcessor"},
                                    {"do_resize", true},
                                    {"resample", 2},  // bilinear
                                    {"size", {{"height", height}, {"width", width}}},
                                    {"do_rescale", true},
                                    {"rescale_factor", 1.0 / 255},
                                    {"do_normalize", true},
                                    {"image_mean", normalisation.mean},
                                    {"image_std", normalisation.std}};
  write_file_atomically(path, json.dump(2) + '\n');
}

/// The normalisation that a preprocessor_config.json has, for images of so many channels. Throws IoError,
/// FormatError when it has none for them, ConfigError when it asks for another scale than that from 0 to 1.
inline Normalisation load_normalisation(const std::filesystem::path& path, Index channels) {
  const io::JsonConfig json(path);
  json.require("do_rescale", true);
  json.require("do_normalize", true);
  if (json.has("rescale_factor") && std::abs(json.get<double>("rescale_factor") * 255 - 1) > 1e-6)
    json.unsupported("rescale_factor", "only 1 / 255 is supported");
  const auto numbers = [&](const std::string& key) {
    const auto list = json[key];
    const bool fits = list.is_array() && std::ssize(list) == channels &&
                      std::ranges::all_of(list, [](const auto& value) { return value.is_number(); });
    if (!fits) throw FormatError(json.file(), key, " must have ", channels, " numbers");
    return list.get<std::vector<double>>();
  };
  Normalisation normalisation{.mean = numbers("image_mean"), .std = numbers("image_std")};
  for (const double std : normalisation.std) {
    if (!(std > 0)) throw FormatError(json.file(), "image_std has ", std, ": it must be positive");
  }
  return normalisation;
}

}  // namespace exfusion::data
