#include "../../examples/settings.hpp"
#include "fuzz_target.hpp"

namespace {

using namespace exfusion::examples;

/// The options of a training program, made once: they are many.
struct Program {
  CLI::App app;
  Options options;

  Program() {
    app.option_defaults()->always_capture_default()->multi_option_policy(last_wins);
    add_feed_forward_options(app, options);
    add_training_options(app, options);
    add_run_options(app, options, "tokens");
  }

  /// As if no option had been given.
  void reset() {
    for (CLI::Option* option : app.get_options()) option->clear();
    options = Options();
    options.batch = 32;
    options.steps = 100;
  }
};

// OpenMP takes memory of its own when it is first asked for something: before any input.
const bool openmp_is_up = omp_get_max_threads() > 0;

}  // namespace

// The first byte gives the length of a sequence, the rest is the file. 64 KiB: lists that double as they
// grow, and the texts of errors.
EXFUSION_FUZZ_TARGET(run_config, 64 << 10) {
  using namespace exfusion;
  fuzz::expect(openmp_is_up, "OpenMP runs");
  static Program program;
  program.reset();
  const Index context = Index{1} << (fuzz::take_byte(input) % 63);
  read_config_text(program.app, std::string(input), "config.toml");
  settle(program.app, program.options, "tokens", context);
  const Settings settings = settings_of(program.app, program.options);
  const std::string toml = settings_toml(program.app, settings);
  program.reset();
  read_config_text(program.app, toml, "again");
  fuzz::expect(settings_of(program.app, program.options) == settings, "the settings survive being written");
}
