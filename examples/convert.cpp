// Looks into models and turns them into one another.
//
//   convert inspect MODEL                     what it, or a safetensors file, is made of
//   convert upcycle MODEL FILE --experts 4    dense to fused experts, for train_gpt and train_vit --init-from
//   convert collapse MODEL FOLDER             fused experts to a dense model in Hugging Face's layout
//   convert to-hf MODEL FOLDER                any model to Hugging Face's layout
//   convert to-gguf MODEL FILE --dtype f16    a GPT to GGUF, for llama.cpp
//
// MODEL is a folder in Hugging Face's layout (timm's, too), a run's folder, a checkpoint, what upcycle wrote,
// or a GGUF file.

#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

#include <exfusion/train/units.hpp>

#include "feed_forward_choice.hpp"
#include "model_source.hpp"
#include "program.hpp"
#include "settings.hpp"

namespace {

using namespace exfusion;
using namespace exfusion::examples;
namespace fs = std::filesystem;

struct ConvertOptions : Options {
  std::string in;
  std::string to;
  std::string dtype = "f32";
};

void say(const ModelSource& source) {
  for (const std::string& note : source.notes) std::cerr << "note: " << note << '\n';
}

/// Throws ConfigError when there is something at the place to write to.
void refuse_existing(const fs::path& path, bool overwrite) {
  std::error_code error;
  const bool is_there = fs::exists(path / "config.json", error) || fs::is_regular_file(path, error);
  if (is_there && !overwrite)
    throw ConfigError(path.string(), "is there already: choose another name, or --overwrite");
}

std::string text_of(const std::vector<Index>& shape) { return nlohmann::json(shape).dump(); }

Index print_tensors(const std::vector<io::TensorInfo>& tensors) {
  Index numbers = 0;
  for (const io::TensorInfo& tensor : tensors) {
    Index size = 1;
    for (const Index extent : tensor.shape) size *= extent;
    numbers += size;
    std::cout << "  " << tensor.name << "  " << io::info(tensor.dtype).name << ' ' << text_of(tensor.shape)
              << '\n';
  }
  return numbers;
}

/// A safetensors file that is no checkpoint: its tensors alone. False when it is one, or no such file.
bool inspect_plain(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || path.extension() == ".gguf") return false;
  const io::SafetensorsReader file(path);
  if (io::is_checkpoint(file)) return false;
  std::cout << path.string() << ": tensors\n";
  const Index numbers = print_tensors(file.tensors());
  std::cout << train::with_commas(numbers) << " numbers\n";
  return true;
}

void inspect(const ConvertOptions& o) {
  if (inspect_plain(o.in)) return;
  const ModelSource source = open_model(o.in);
  say(source);
  Index numbers = 0;
  if (source.checkpoint) {
    const auto& info = source.checkpoint->info();
    std::cout << source.checkpoint->path() << ": "
              << (train::is_model_alone(*source.checkpoint) ? "a model with its experts"
                                                            : "a checkpoint of a run")
              << ", all hashes match\n";
    if (info.state.contains("step")) std::cout << "after step " << info.state["step"] << '\n';
    std::cout << "feed-forward networks: " << io::ffn_config(train::read_ffn(*source.checkpoint)).dump()
              << '\n';
    numbers = print_tensors(source.checkpoint->tensors());
  } else if (source.gguf) {
    std::cout << source.gguf->path() << ": a dense model\n";
    for (const std::string& name : source.gguf->names()) {
      std::cout << "  " << name << "  " << source.gguf->shape(name) << '\n';
      numbers += source.gguf->shape(name).size();
    }
  } else {
    const io::SafetensorsFolder files(source.path);
    std::cout << files.path() << ": a dense model\n";
    for (const std::string& name : files.names()) numbers += print_tensors({files.reader(name).tensor(name)});
  }
  const auto tokenizer = source.is_vit() ? std::nullopt : find_tokenizer(source);
  std::cout << "model: " << (source.is_vit() ? "ViT" : "GPT-2") << ", " << train::with_commas(numbers)
            << " numbers\n";
  if (tokenizer) {
    std::cout << "tokenizer: " << train::with_commas(tokenizer->vocab_size()) << ' ' << tokenizer->unit()
              << '\n';
  }
}

/// What a fused model's file says of a dense model.
nlohmann::json about(const ModelSource& source, const Gpt<float>& model) {
  nlohmann::json json{{"model", io::gpt2_config(model.config, "float32")}};
  if (const auto tokenizer = find_tokenizer(source)) json["vocabulary"] = data::tokenizer_state(*tokenizer);
  return json;
}
nlohmann::json about(const ModelSource& source, const Vit<float>& model) {
  return {{"model", io::vit_config(model.config, io::read_vit_labels(source.config()), "float32")}};
}

template <class Model>
void upcycle_to_file(const ModelSource& source, Model dense, const ConvertOptions& o) {
  Rng rng(o.seed);
  const nlohmann::json json = about(source, dense);
  with_ffn<float>(std::move(dense), ffn_config(o), rng, [&](const auto& model) {
    train::write_model<float>(o.to, model, ffn_config(o), json);
    std::cout << o.to << ": " << o.experts << " experts for each network, "
              << train::with_commas(parameter_count<float>(model)) << " parameters\n";
  });
}

void upcycle_model(const ConvertOptions& o) {
  refuse_existing(o.to, o.overwrite);
  const ModelSource source = open_model(o.in);
  say(source);
  if (source.is_vit()) return upcycle_to_file(source, load_vit(source), o);
  upcycle_to_file(source, load_gpt(source), o);
}

io::Dtype stored_dtype(const ConvertOptions& o) {
  return o.dtype == "f16" ? io::Dtype::F16 : o.dtype == "bf16" ? io::Dtype::BF16 : io::Dtype::F32;
}

/// Copies preprocessor_config.json, which says how images become numbers, where the source has it.
void copy_image_processor(const fs::path& from, const fs::path& to) {
  const fs::path file = from / "preprocessor_config.json";
  std::error_code error;
  if (fs::exists(file, error)) write_file_atomically(to / file.filename(), read_file(file));
}

/// Writes the dense model of a source in Hugging Face's layout, with its tokenizer or labels.
void write_hugging_face(const ModelSource& source, const ConvertOptions& o) {
  const fs::path folder = o.to;
  if (source.is_vit()) {
    io::save_vit(load_vit(source), folder, io::read_vit_labels(source.config()), stored_dtype(o));
    if (!source.checkpoint) copy_image_processor(source.path, folder);
  } else {
    const Gpt<float> model = load_gpt(source);
    const auto tokenizer = find_tokenizer(source);
    io::save_gpt2(model, folder, tokenizer ? tokenizer->end_of_text() : std::nullopt, stored_dtype(o));
    if (tokenizer) data::save_tokenizer(*tokenizer, folder);
  }
  std::cout << folder.string() << ": config.json, model.safetensors\n";
}

void collapse_model(const ConvertOptions& o) {
  refuse_existing(o.to, o.overwrite);
  const ModelSource source = open_model(o.in);
  say(source);
  if (!source.checkpoint || std::holds_alternative<DenseFfnConfig>(train::read_ffn(*source.checkpoint)))
    throw ConfigError(o.in, "has no experts: it is dense already (to-hf changes its layout alone)");
  write_hugging_face(source, o);
}

void to_hugging_face(const ConvertOptions& o) {
  refuse_existing(o.to, o.overwrite);
  const ModelSource source = open_model(o.in);
  say(source);
  write_hugging_face(source, o);
}

void to_gguf(const ConvertOptions& o) {
  refuse_existing(o.to, o.overwrite);
  const ModelSource source = open_model(o.in);
  say(source);
  if (source.is_vit()) throw ConfigError(o.in, "is a ViT: GGUF files of GPTs alone are written");
  const Gpt<float> model = load_gpt(source);
  const auto tokenizer = find_tokenizer(source);
  const auto* bpe = tokenizer ? std::get_if<data::BpeTokenizer>(&tokenizer->kind()) : nullptr;
  if (bpe == nullptr)
    throw ConfigError(o.in,
                      "has no byte-level BPE, the only tokenizer of GPT-2 that llama.cpp knows: train with "
                      "--tokenizer bpe:N");
  io::save_gguf(model, o.to, data::to_gguf(*bpe, model.config.vocab_size), stored_dtype(o));
  std::cout << o.to << ": " << train::with_commas(static_cast<Index>(fs::file_size(o.to))) << " bytes\n";
}

CLI::App* add_command(CLI::App& app, ConvertOptions& o, const char* name, const char* description,
                      const char* target) {
  CLI::App* command = app.add_subcommand(name, description);
  command->option_defaults()->always_capture_default()->multi_option_policy(last_wins);
  command
      ->add_option("model", o.in,
                   "Folder in Hugging Face's or timm's layout, run, checkpoint, fused model or GGUF file")
      ->required();
  if (target == nullptr) return command;
  command->add_option("target", o.to, target)->required();
  command->add_flag("--overwrite", o.overwrite, "Replace what is there");
  return command;
}

}  // namespace

int main(int argc, char** argv) try {
  ConvertOptions o;
  CLI::App app("Looks into models and turns them into one another.");
  app.require_subcommand(1);
  const CLI::App* inspecting = add_command(app, o, "inspect", "Print what a model is made of", nullptr);
  CLI::App* upcycling = add_command(app, o, "upcycle", "Dense model to fused experts", "File to write");
  add_fusion_options(*upcycling, o);
  upcycling->add_option("--seed", o.seed, "Of the experts and routers");
  CLI::App* collapsing = add_command(
      app, o, "collapse", "Fused experts to a dense model in Hugging Face's layout", "Folder to write");
  CLI::App* writing = add_command(app, o, "to-hf", "Any model to Hugging Face's layout", "Folder to write");
  CLI::App* packing = add_command(app, o, "to-gguf", "A GPT to GGUF, for llama.cpp", "File to write");
  const CLI::IsMember dtypes({"f32", "f16", "bf16"});
  for (CLI::App* command : {collapsing, writing})
    command->add_option("--dtype", o.dtype, "How the weights are stored")->check(dtypes);
  packing->add_option("--dtype", o.dtype, "How the matrices are stored; vectors are f32")->check(dtypes);
  if (const auto code = parse(app, argc, argv)) return *code;
  if (inspecting->parsed()) inspect(o);
  if (upcycling->parsed()) {
    refuse_idle_flags(o, given_options(*upcycling));
    upcycle_model(o);
  }
  if (collapsing->parsed()) collapse_model(o);
  if (writing->parsed()) to_hugging_face(o);
  if (packing->parsed()) to_gguf(o);
  return 0;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
