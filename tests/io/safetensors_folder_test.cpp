#include <string>

#include <gtest/gtest.h>

#include <exfusion/io/gpt2.hpp>

#include "io/model_support.hpp"
#include "temporary_folder.hpp"

namespace exfusion::io {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

/// A GPT in `folder`/whole, and its tensors shared out among two files in `folder`/parts.
struct Shards {
  TemporaryFolder folder;
  Gpt<float> model;
  nlohmann::json map = nlohmann::json::object();

  Shards() {
    Rng rng(3);
    model = Gpt<float>({.vocab_size = 7, .context = 3, .layers = 2, .heads = 1, .d_model = 3}, rng);
    save_gpt2(model, folder / "whole");
    std::filesystem::create_directory(folder / "parts");
    std::filesystem::copy(folder / "whole/config.json", folder / "parts/config.json");
    const SafetensorsReader whole(folder / "whole/model.safetensors");
    std::vector<NamedTensor<float>> parts[2];
    for (std::size_t i = 0; i < whole.tensors().size(); ++i) {
      const std::string& name = whole.tensors()[i].name;
      parts[i % 2].push_back({name, whole.read<float>(name)});
      map[name] = i % 2 == 0 ? "a.safetensors" : "b.safetensors";
    }
    write_safetensors(folder / "parts/a.safetensors", parts[0]);
    write_safetensors(folder / "parts/b.safetensors", parts[1]);
    write_index();
  }

  void write_index() const {
    write_file_atomically(folder / "parts/model.safetensors.index.json",
                          nlohmann::json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump());
  }
  std::string error() const {
    write_index();
    return error_of<FormatError>([&] { load_gpt2<float>(folder / "parts"); });
  }
};

TEST(SafetensorsFolder, ReadsATensorFromItsFile) {
  const Shards shards;
  testing::expect_same_parameters<float>(load_gpt2<float>(shards.folder / "parts"), shards.model);
}

TEST(SafetensorsFolder, RefusesAnIndexThatDoesNotFit) {
  Shards shards;
  const auto whole = shards.map;
  shards.map["transformer.wte.weight"] = "absent.safetensors";
  EXPECT_THROW((shards.write_index(), load_gpt2<float>(shards.folder / "parts")), IoError);
  shards.map = whole;
  shards.map["extra"] = "a.safetensors";
  EXPECT_NE(shards.error().find("there is no tensor \"extra\", which"), std::string::npos) << shards.error();
  shards.map = whole;
  shards.map.erase("transformer.wte.weight");
  EXPECT_NE(shards.error().find("does not know"), std::string::npos) << shards.error();
  for (const nlohmann::json& place :
       {nlohmann::json("../whole/model.safetensors"), nlohmann::json("/etc/passwd"), nlohmann::json(".."),
        nlohmann::json(""), nlohmann::json(3)}) {
    shards.map = whole;
    shards.map["transformer.wte.weight"] = place;
    EXPECT_NE(shards.error().find("no file's name"), std::string::npos) << shards.error();
  }
  shards.map = nlohmann::json::object();
  EXPECT_NE(shards.error().find("weight_map is missing or empty"), std::string::npos) << shards.error();
}

}  // namespace
}  // namespace exfusion::io
