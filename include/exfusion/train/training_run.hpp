#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <exfusion/autograd/context.hpp>
#include <exfusion/optim/clip.hpp>
#include <exfusion/train/checkpoint_manager.hpp>
#include <exfusion/train/interrupt.hpp>
#include <exfusion/train/run_log.hpp>
#include <exfusion/train/step_guard.hpp>
#include <exfusion/train/training_options.hpp>
#include <exfusion/train/training_state.hpp>

namespace exfusion::train {

/// The steps of one training run and all that keeps it safe: checkpoints, exact continuation, signals, steps
/// with numbers that are not finite, metrics. The caller feeds it batches:
///
///   while (run.begin_step()) {
///     for (Index i = 0; i < accumulate && run.goes_on(); ++i)
///       run.pass([&](const Context<float>& ctx) { return loss of the next batch; });
///     run.end_step();
///     if (an evaluation is due) run.evaluate([&] { return ValidationRow{.loss = ...}; });
///   }
///
/// `Loader` has `state()`, `set_state(state)` and `epochs()`. The model, loader and generator must outlive
/// it.
template <Scalar T, class Model, class Loader>
class TrainingRun {
 public:
  /// Begins a run, or goes on where the checkpoint `from` was taken: the metrics are then cut to its step,
  /// and later checkpoints in the folder are put aside. Throws ConfigError for options out of range and when
  /// `from` does not fit the data, FormatError when it does not fit the model or the options, IoError when
  /// the folder cannot be written to or another run holds it.
  TrainingRun(const Model& model, Loader& data, Rng& rng, TrainingOptions options, const RunRow& description,
              const io::CheckpointReader* from = nullptr)
      : model_(model),
        data_(data),
        rng_(rng),
        options_(checked(std::move(options))),
        optimizer_(model, options_.adamw) {
    if (options_.ema > 0) average_.emplace(model, EmaOptions{.decay = options_.ema});
    monitor_.measure(model);
    if (!options_.folder.empty()) checkpoints_.emplace(options_.folder / "checkpoints", options_.checkpoints);
    if (from != nullptr) load(*from);
    if (from != nullptr && checkpoints_) abandon_later_checkpoints(checkpoints_->folder(), cursor_.step);
    ProgressOptions shown = options_.progress;
    shown.steps = options_.steps;
    shown.first_step = cursor_.step;
    const bool is_new = from == nullptr || options_.checkpoints.replace;
    log_.emplace(options_.folder, std::move(shown), is_new, cursor_.step, description);
  }

  /// Takes care of all that is due between steps and begins the next one. False when the run is over.
  bool begin_step() {
    save_if_due();
    if (ending_ == Ending::none) decide_ending();
    if (ending_ != Ending::none) {
      close();
      return false;
    }
    begin_ = place();
    optimizer_.set_learning_rate(cursor_.lr_scale * options_.learning_rate(cursor_.step));
    step_ = {};
    return true;
  }

  /// Whether the present step should go on with its next pass: no signal has come, all numbers were finite.
  bool goes_on() const { return !signals_.requested() && step_.problem.empty(); }

  /// One forward and backward pass: `loss(context)` is the mean loss of a batch, a scalar.
  template <class Loss>
  void pass(const Loss& loss) {
    if (!goes_on()) return;
    const Context<T> ctx{.tape = &tape_,
                         .rng = &rng_,
                         .training = true,
                         .recompute = options_.recompute,
                         .precision = options_.precision};
    try {
      const Tensor<T> value = loss(ctx);
      tape_.backward(value, T{1} / static_cast<T>(options_.accumulate));
      step_.loss += static_cast<double>(value.item()) / static_cast<double>(options_.accumulate);
    } catch (const NotFiniteError& error) {
      step_.problem = error.what();
    }
    tape_.clear();
  }

  /// Updates the model, unless a signal has come (the step is undone, as if it had not begun) or a number is
  /// not finite (the step is skipped). Returns whether it counts: false when it was undone, or many bad steps
  /// have sent the run back to a checkpoint.
  bool end_step() {
    if (signals_.requested()) {
      undo();
      return false;
    }
    const double norm = options_.clip > 0 ? clip_gradient_norm(optimizer_.parameters(), options_.clip)
                                          : gradient_norm(optimizer_.parameters());
    const bool is_finite = step_.problem.empty() && std::isfinite(step_.loss) && std::isfinite(norm) &&
                           fusion_weights_are_finite(optimizer_.parameters());
    ++cursor_.step;
    switch (judge_step(is_finite, options_.max_bad_steps, !is_finite && can_reload(), cursor_)) {
      case Verdict::update:
        update();
        break;
      case Verdict::skip:
        skip(norm);
        break;
      case Verdict::reload:
        skip(norm);
        reload();
        return false;
      case Verdict::stop:
        skip(norm);
        ending_ = Ending::not_finite;
        break;
    }
    report(norm);
    return true;
  }

  /// Evaluates: `measure()` returns a ValidationRow, of which step, epoch and best are filled in here. For
  /// the log, early stopping and the best checkpoint; measures the experts, too.
  template <class Measure>
  void evaluate(const Measure& measure) {
    try {
      note_evaluation(measure());
    } catch (const NotFiniteError& error) {
      log().problem(cursor_.step, "no evaluation after step ", cursor_.step, ": ", error.what());
    }
  }

  /// Measures the experts unless that has been done after this step: one entry for each fused layer.
  const std::vector<FusionDiagnostics>& measure() {
    if (cursor_.measured_step == cursor_.step && !measured_.empty()) return measured_;
    const Index steps = std::max<Index>(1, cursor_.step - std::exchange(cursor_.measured_step, cursor_.step));
    measured_ = monitor_.measure(model_, steps);
    if (!measured_.empty()) log().write(FusionRow{.step = cursor_.step, .layers = measured_});
    return measured_;
  }

  Index step() const { return cursor_.step; }
  /// Seconds of training in all sessions.
  double seconds() const { return cursor_.seconds + log_->progress().seconds(); }
  const RunCursor& cursor() const { return cursor_; }
  Ending ending() const { return ending_; }
  /// Null when there is none.
  const Ema<T>* average() const { return average_ ? &*average_ : nullptr; }
  AdamW<T>& optimizer() { return optimizer_; }
  RunLog& log() { return *log_; }
  /// All that a checkpoint would hold now.
  std::vector<io::CheckpointArray> arrays() {
    return run_arrays(optimizer_, average_ ? &*average_ : nullptr, monitor_);
  }

 private:
  /// A place in the streams of random numbers and data.
  struct Place {
    Rng::State rng;
    data::LoaderState data;
  };
  /// What is known of the present step.
  struct Step {
    double loss = 0;
    std::string problem;  ///< Why its numbers are not finite; empty: they are.
  };

  Place place() const { return {rng_.state(), data_.state()}; }

  void go_to(const Place& where) {
    rng_.set_state(where.rng);
    data_.set_state(where.data);
  }

  void undo() {
    optimizer_.skip_step();
    go_to(begin_);
  }

  void decide_ending() {
    const bool is_told = options_.stop_after > 0 && cursor_.step >= options_.stop_after;
    const bool out_of_time = options_.max_minutes > 0 && seconds() >= 60 * options_.max_minutes;
    const bool out_of_patience = options_.patience > 0 && cursor_.evaluations_since_best >= options_.patience;
    if (cursor_.step >= options_.steps) {
      ending_ = Ending::finished;
    } else if (signals_.requested() || is_told) {
      ending_ = Ending::interrupted;
      log().write(
          EventRow{.step = cursor_.step, .text = "interrupted after step " + std::to_string(cursor_.step)});
    } else if (out_of_patience) {
      ending_ = Ending::finished;
      log().event(cursor_.step, "stopped early: none of the last ", options_.patience,
                  " evaluations was better than the one after step ", cursor_.best_step);
    } else if (out_of_time) {
      ending_ = Ending::finished;
      log().event(cursor_.step, "stopped early: ", options_.max_minutes, " minutes of training are over");
    }
  }

  void note_evaluation(ValidationRow row) {
    row.step = cursor_.step;
    row.epoch = data_.epochs();
    row.best = std::isfinite(row.loss) && (cursor_.best_step == 0 || row.loss < cursor_.best_loss);
    cursor_.validation_loss = row.loss;
    cursor_.evaluations_since_best = row.best ? 0 : cursor_.evaluations_since_best + 1;
    if (row.best) {
      cursor_.best_loss = row.loss;
      cursor_.best_step = cursor_.step;
      best_is_due_ = true;
    }
    log().evaluation(row);
    measure();
  }

  void update() {
    optimizer_.step();
    if (average_) average_->update(model_);
    cursor_.loss_sum += step_.loss;
    ++cursor_.loss_steps;
  }

  void skip(double norm) {
    std::string where = first_not_finite(optimizer_.parameters());
    if (where.empty()) where = "none of the model's: the loss itself";
    if (step_.problem.empty()) {
      step_.problem =
          "its loss is " + std::to_string(step_.loss) + ", its gradient's norm " + std::to_string(norm);
    }
    optimizer_.skip_step();
    log().problem(cursor_.step, "step ", cursor_.step, " skipped: ", step_.problem,
                  "; the first numbers that are not finite: ", where);
  }

  bool can_reload() {
    if (!checkpoints_) return false;
    checkpoints_->wait();
    return !list_checkpoints(checkpoints_->folder()).empty();
  }

  /// Back to the last good checkpoint, with a smaller learning rate from there on.
  void reload() {
    const Index failed = cursor_.step, bad_steps = cursor_.bad_steps;
    const double spent = cursor_.seconds;  // of earlier sessions
    std::vector<std::string> notes;
    const auto checkpoint = open_newest_checkpoint(checkpoints_->folder(), notes);
    for (const std::string& note : notes) log().problem(failed, note);
    load(*checkpoint);
    abandon_later_checkpoints(checkpoints_->folder(), cursor_.step);
    cursor_.bad_steps = bad_steps;
    cursor_.bad_steps_in_row = 0;
    cursor_.reloaded = true;
    cursor_.lr_scale *= options_.reload_lr_factor;
    cursor_.seconds = spent;
    log().rewind(cursor_.step);
    log().problem(cursor_.step, options_.max_bad_steps, " steps in a row up to step ", failed,
                  " were not finite: back to the checkpoint of step ", cursor_.step, ", learning rate times ",
                  options_.reload_lr_factor);
  }

  void load(const io::CheckpointReader& checkpoint) {
    const RunCursor cursor = cursor_from_json(checkpoint.info().state, checkpoint.path());
    const auto all = arrays();
    checkpoint.check_fits(all);
    data_.set_state(cursor.data);
    checkpoint.read_into(all);
    mark_changed(optimizer_.parameters());
    rng_.set_state(cursor.rng);
    cursor_ = cursor;
    saved_step_ = cursor.step;
  }

  void report(double norm) {
    const double mean = cursor_.loss_sum / static_cast<double>(cursor_.loss_steps);
    const double validation = cursor_.best_step > 0 ? cursor_.validation_loss : std::nan("");
    const double rate = optimizer_.learning_rate();
    if (!log().progress().step({mean, norm, rate, validation})) return;
    const Pace& pace = log().progress().pace();
    log().write(TrainRow{.step = cursor_.step,
                         .epoch = data_.epochs(),
                         .loss = mean,
                         .gradient_norm = norm,
                         .learning_rate = rate,
                         .items_per_second = pace.items_per_second,
                         .mfu = pace.mfu,
                         .seconds = seconds(),
                         .memory_bytes = static_cast<Index>(memory_use()),
                         .bad_steps = cursor_.bad_steps});
    cursor_.loss_sum = 0;
    cursor_.loss_steps = 0;
  }

  void save_if_due() {
    if (!checkpoints_) return;
    tell();
    const bool is_new = cursor_.step != saved_step_;
    if (is_new && cursor_.bad_steps_in_row == 0 &&
        (best_is_due_ || checkpoints_->due(cursor_.step, saved_step_)))
      save();
  }

  void save() {
    RunCursor now = cursor_;
    const Place here = place();
    now.rng = here.rng;
    now.data = here.data;
    now.seconds = seconds();
    try {
      checkpoints_->save(cursor_.step, arrays(), {options_.config, to_json(now)}, best_is_due_);
      saved_step_ = cursor_.step;
    } catch (const std::exception& error) {
      log().problem(cursor_.step, "checkpoint of step ", cursor_.step, " could not be saved: ", error.what());
    }
    best_is_due_ = false;
  }

  /// The last checkpoint of this session, on the disk when this returns.
  void close() {
    if (!checkpoints_) return;
    if (cursor_.step != saved_step_ && ending_ != Ending::not_finite) save();
    checkpoints_->wait();
    tell();
  }

  /// Says what became of the checkpoints that were due.
  void tell() {
    for (const auto& [text, is_problem] : checkpoints_->take_messages()) {
      if (is_problem) log().problem(cursor_.step, text);
      if (!is_problem) log().progress().note(text);
    }
  }

  const Model& model_;
  Loader& data_;
  Rng& rng_;
  TrainingOptions options_;
  AdamW<T> optimizer_;
  std::optional<Ema<T>> average_;
  FusionMonitor<T> monitor_;
  std::vector<FusionDiagnostics> measured_;
  Tape<T> tape_;
  Interrupt signals_;
  std::optional<CheckpointManager> checkpoints_;
  std::optional<RunLog> log_;
  RunCursor cursor_;
  Place begin_;
  Step step_;
  Index saved_step_ = 0;
  bool best_is_due_ = false;
  Ending ending_ = Ending::none;
};

}  // namespace exfusion::train
