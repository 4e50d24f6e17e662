#pragma once

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include <exfusion/core/file.hpp>
#include <exfusion/train/checkpoint_folder.hpp>

#include "options.hpp"

// Options as a run remembers them: in config.toml beside its results and in every checkpoint.

namespace exfusion::examples {

/// Long names of options without their dashes, and values as the command line would give them.
using Settings = std::map<std::string, std::string>;

namespace detail {

/// Options that belong to one session and not to the run.
inline bool is_of_session(const std::string& name) {
  static const std::set<std::string> names{"config",  "resume",     "override", "overwrite",
                                           "dry-run", "stop-after", "out",      "help"};
  return names.contains(name);
}

/// Options that change no result, so that a run may go on with others.
inline bool is_free(const std::string& name) {
  static const std::set<std::string> names{"threads",   "log-interval", "quiet",       "checkpoint-interval",
                                           "keep-last", "compare",      "max-minutes", "checkpoint-minutes"};
  return names.contains(name);
}

/// Options with a long name: all but none.
inline std::vector<CLI::Option*> named_options(CLI::App& app) {
  std::vector<CLI::Option*> options;
  for (CLI::Option* option : app.get_options()) {
    if (!option->get_lnames().empty()) options.push_back(option);
  }
  return options;
}

inline std::string name_of(const CLI::Option& option) { return option.get_lnames().front(); }

inline std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text;
}

/// What an option amounts to now, given or not.
inline std::string value_of(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return option.count() > 0 ? option.results().back() : "false";
  if (option.count() == 0) return option.get_default_str();
  const auto& results = option.results();
  return option.get_delimiter() == ',' ? joined(results) : results.back();
}

inline std::optional<double> number_of(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "1e-3" is "0.001", and "true" is "1".
inline bool equal_values(const std::string& a, const std::string& b) {
  const auto plain = [](const std::string& text) {
    return text == "true" ? "1" : text == "false" ? "0" : text;
  };
  const auto x = number_of(plain(a)), y = number_of(plain(b));
  return x && y ? *x == *y : plain(a) == plain(b);
}

/// Gives `value` to an option that nobody has given one. Throws ConfigError in the name of `where`.
inline void adopt(CLI::Option& option, const std::vector<std::string>& values, const std::string& where) {
  try {
    for (const std::string& value : values) option.add_result(value);
    option.run_callback();
  } catch (const CLI::Error& error) {
    throw ConfigError(where, error.what());
  }
}

/// Throws ConfigError unless a file gives the option one value, or the list that it takes, and none is empty:
/// CLI11 would take the last value, and zero for an empty one.
inline void check_inputs(const CLI::Option& option, const CLI::ConfigItem& item, const std::string& path) {
  const bool is_list = option.get_delimiter() == ',';
  if (item.inputs.empty() || std::ranges::find(item.inputs, "") != item.inputs.end())
    throw ConfigError(path, "gives '", item.name, "' an empty value");
  if (!is_list && item.inputs.size() > 1)
    throw ConfigError(path, "gives '", item.name, "' ", item.inputs.size(), " values: it takes one");
}

inline std::string toml_value(const std::string& value, bool is_list) {
  if (is_list) return "[" + value + "]";
  if (value == "true" || value == "false" || number_of(value)) return value;
  const char quote = value.find('"') == std::string::npos ? '"' : '\'';
  return quote + value + quote;
}

/// A line of a TOML file. Throws ConfigError when it would not be read back as it was: CLI11's reader takes
/// a # for a comment even in a text, and knows no way to write both kinds of quotes in one.
inline std::string toml_line(const std::string& name, const std::string& value, bool is_list) {
  const std::string line = name + " = " + toml_value(value, is_list) + "\n";
  std::istringstream stream(line);
  const auto items = CLI::ConfigTOML().from_config(stream);
  if (items.size() != 1 || items[0].name != name || joined(items[0].inputs) != value)
    throw ConfigError("--" + name, "is ", value,
                      ": a text with #, line feeds or both kinds of quotes cannot be ",
                      "kept in a configuration file");
  return line;
}

}  // namespace detail

/// The names of the options that have been given so far.
inline std::set<std::string> given_options(CLI::App& app) {
  std::set<std::string> names;
  for (const CLI::Option* option : detail::named_options(app)) {
    if (option->count() > 0) names.insert(detail::name_of(*option));
  }
  return names;
}

/// Throws ConfigError naming an option among `given` that would have no effect beside the others.
inline void refuse_idle_flags(const Options& o, const std::set<std::string>& given) {
  for (const auto& [flag, needed] : idle_flags(o)) {
    if (given.contains(flag.substr(2))) throw ConfigError(flag, "has no effect without ", needed);
  }
}

/// Throws ConfigError naming a name given to `--override` that is neither an option's nor "data".
inline void check_override(const CLI::App& app, const std::vector<std::string>& override_keys) {
  for (const std::string& key : override_keys) {
    if (key != "data" && app.get_option_no_throw("--" + key) == nullptr)
      throw ConfigError("--override", "names '", key, "', which is no option");
  }
}

/// Takes options from a TOML text; those that have been given already keep their value. Throws ConfigError,
/// in the name of `path`, naming a key that is no option or a value that does not fit.
inline void read_config_text(CLI::App& app, const std::string& content, const std::string& path) {
  std::istringstream stream(content);
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    throw ConfigError(path, error.what());
  }
  const std::set<std::string> given = given_options(app);
  std::set<std::string> seen;
  for (const CLI::ConfigItem& item : items) {
    if (item.name == "++" || item.name == "--") continue;  // where CLI11 says that a section begins or ends
    CLI::Option* option = app.get_option_no_throw("--" + item.name);
    if (option == nullptr || detail::is_of_session(item.name))
      throw ConfigError(path, "has the key '", item.name, "', which is no option of a configuration");
    if (!seen.insert(item.name).second) throw ConfigError(path, "has the key '", item.name, "' twice");
    detail::check_inputs(*option, item, path);
    if (!given.contains(item.name)) detail::adopt(*option, item.inputs, path);
  }
}

/// The same from a file. Throws IoError, too.
inline void read_config_file(CLI::App& app, const std::string& path) {
  read_config_text(app, read_file(path), path);
}

/// All settled options of a run, without those that have no effect.
inline Settings settings_of(CLI::App& app, const Options& o) {
  const auto idle = idle_flags(o);
  Settings settings;
  for (const CLI::Option* option : detail::named_options(app)) {
    const std::string name = detail::name_of(*option), value = detail::value_of(*option);
    if (!detail::is_of_session(name) && !idle.contains("--" + name) && !value.empty()) settings[name] = value;
  }
  return settings;
}

/// The same as a TOML file that `read_config_file` reads, under the groups of the help. Throws ConfigError
/// naming an option whose text cannot stand in such a file.
inline std::string settings_toml(CLI::App& app, const Settings& settings) {
  std::string text, group;
  for (const CLI::Option* option : detail::named_options(app)) {
    const auto setting = settings.find(detail::name_of(*option));
    if (setting == settings.end()) continue;
    if (group != option->get_group()) text += (text.empty() ? "# " : "\n# ") + option->get_group() + "\n";
    group = option->get_group();
    text += detail::toml_line(setting->first, setting->second, option->get_delimiter() == ',');
  }
  return text;
}

/// Takes over the options of a run that goes on, except those given now. Throws ConfigError listing every
/// option whose given value differs and that `--override` does not name.
inline void adopt_settings(CLI::App& app, const Settings& settings,
                           const std::vector<std::string>& override_keys, const std::string& where) {
  std::string differing;
  for (CLI::Option* option : detail::named_options(app)) {
    const std::string name = detail::name_of(*option);
    if (detail::is_of_session(name)) continue;
    const auto setting = settings.find(name);
    if (option->count() == 0) {
      const bool is_list = option->get_delimiter() == ',';
      if (setting == settings.end()) continue;
      detail::adopt(*option,
                    is_list ? CLI::detail::split(setting->second, ',') : std::vector{setting->second}, where);
      continue;
    }
    const std::string value = detail::value_of(*option);
    const std::string old = setting == settings.end() ? option->get_default_str() : setting->second;
    if (detail::equal_values(value, old) || detail::is_free(name)) continue;
    if (std::ranges::find(override_keys, name) != override_keys.end()) continue;
    differing.append("\n  --").append(name).append(": ").append(old.empty() ? "none" : old);
    differing.append(" there, ").append(value).append(" here");
  }
  if (differing.empty()) return;
  throw ConfigError("--resume", "the run of ", where, " has other options:", differing,
                    "\ntake them away, or name those that are meant to change by --override");
}

}  // namespace exfusion::examples
