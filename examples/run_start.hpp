#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <exfusion/train/checkpoint_folder.hpp>

#include "feed_forward_choice.hpp"
#include "model_source.hpp"
#include "settings.hpp"

// How a run begins: its options gathered from the command line, a file and the run that goes on.

namespace exfusion::examples {

struct RunStart {
  std::string program;
  bool replace = false;  ///< Whether the checkpoints in --out belong to another run, which this one replaces.
  std::unique_ptr<io::CheckpointReader> checkpoint;  ///< To go on from; null: a run from the beginning.
  std::vector<std::string> notes;                    ///< What the search for it found.
  Settings settings;
  std::string toml;

  /// What the checkpoint says of its run; `key` is one of "settings", "data_xxh3" and what a program adds.
  const nlohmann::json& saved(const char* key) const {
    const auto& config = checkpoint->info().config;
    if (!config.contains(key)) throw FormatError(checkpoint->path(), "does not say its run's ", key);
    return config.at(key);
  }
};

namespace detail {

/// Finds what `--resume` means, and settles `--out` where it is not given.
inline void find_checkpoint(Options& o, RunStart& start) {
  namespace fs = std::filesystem;
  if (o.resume == "auto") {
    if (o.out.empty()) throw ConfigError("--resume", "auto looks for a run in --out, which is not given");
    start.checkpoint = train::open_newest_checkpoint(fs::path(o.out) / "checkpoints", start.notes);
    if (!start.checkpoint)
      start.notes.push_back("no checkpoint in " + o.out + " yet: a run from the beginning");
    return;
  }
  const fs::path path = o.resume;
  start.checkpoint = open_checkpoint(path, start.notes);
  if (!start.checkpoint) throw ConfigError("--resume", o.resume, " holds no checkpoint");
  if (!o.out.empty()) return;
  const fs::path folder = fs::path(start.checkpoint->path()).parent_path();
  if (folder.filename() != "checkpoints")
    throw ConfigError("--resume", o.resume, " is outside a run's folder: say by --out where to go on");
  o.out = folder.has_parent_path() ? folder.parent_path().string() : ".";
}

/// Whether a checkpoint is one of the run in `folder`.
inline bool is_checkpoint_of(const std::filesystem::path& checkpoint, const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::equivalent(checkpoint.parent_path(), folder / "checkpoints", error);
}

/// Whether a run in a folder would replace another, or a model. One that was killed before its first
/// checkpoint has only metrics, which `is_resumed` gives up.
inline bool is_taken(const std::filesystem::path& folder, bool is_resumed) {
  std::error_code error;
  if (!is_resumed && std::filesystem::exists(folder / "metrics.jsonl", error)) return true;
  return std::filesystem::exists(folder / "model.safetensors", error) ||
         !train::list_checkpoints(folder / "checkpoints").empty();
}

}  // namespace detail

/// Gathers the options of a run that `program` begins or goes on with, and checks them but for `settle`.
/// Throws ConfigError, and IoError and FormatError when a file cannot be read.
inline RunStart gather_options(CLI::App& app, Options& o, const std::string& program) {
  RunStart start{
      .program = program, .replace = false, .checkpoint = nullptr, .notes = {}, .settings = {}, .toml = {}};
  const std::set<std::string> given = given_options(app);
  if (!o.config.empty()) read_config_file(app, o.config);
  check_override(app, o.override_keys);
  if (!o.resume.empty()) detail::find_checkpoint(o, start);
  if (start.checkpoint) {
    const std::string path = start.checkpoint->path();
    if (const auto& other = start.saved("program"); other != program)
      throw ConfigError("--resume", path, " is a checkpoint of ", other.dump());
    try {
      adopt_settings(app, start.saved("settings").get<Settings>(), o.override_keys, path);
    } catch (const nlohmann::json::exception& error) {
      throw FormatError(path, "its run's settings are damaged: ", error.what());
    }
  }
  start.replace = !start.checkpoint || !detail::is_checkpoint_of(start.checkpoint->path(), o.out);
  const bool is_resumed = o.resume == "auto";
  if (start.replace && !o.out.empty() && !o.overwrite && !o.dry_run && detail::is_taken(o.out, is_resumed)) {
    throw ConfigError("--out", "there is a run or a model in ", o.out,
                      ": go on with it by --resume auto, or replace it by --overwrite");
  }
  refuse_idle_flags(o, given);
  return start;
}

/// Finds the model that --init-from names, if the run begins anew. Where it has experts of its own, the
/// options become those of its networks. Throws as `open_model` and `adopt_ffn` do.
inline std::optional<ModelSource> find_initial(CLI::App& app, const Options& o, RunStart& start) {
  if (start.checkpoint || o.init_from.empty()) return std::nullopt;
  ModelSource source = open_model(o.init_from);
  start.notes.insert(start.notes.end(), source.notes.begin(), source.notes.end());
  if (source.has_experts()) adopt_ffn(app, o, std::get<FusedFfnConfig>(train::read_ffn(*source.checkpoint)));
  return source;
}

/// Takes note of the options once they are settled.
inline void keep_settings(CLI::App& app, const Options& o, RunStart& start) {
  start.settings = settings_of(app, o);
  start.toml = settings_toml(app, start.settings);
}

/// Throws ConfigError when a run would go on with other data than it began with, unless `--override data`.
inline void check_data(const RunStart& start, const Options& o, const std::string& data_hash) {
  if (!start.checkpoint || start.saved("data_xxh3") == data_hash) return;
  if (std::ranges::find(o.override_keys, "data") != o.override_keys.end()) return;
  throw ConfigError("--resume", "the data are not those that the run of ", start.checkpoint->path(),
                    " began with: name data by --override to go on with them");
}

}  // namespace exfusion::examples
