#pragma once

#include <memory>
#include <string>

#include <exfusion/core/scalar.hpp>

namespace exfusion::bench {

/// One training step to be timed.
struct StepCase {
  std::string model = "gpt";  ///< gpt, gpt2, vit
  std::string ffn =
      "dense";  ///< dense; fused by bank, bank_bf16_moments, learned or static; sparse moe1 (top-1) or moe2
  Index experts = 1;
  Index layers = 0;   ///< 0, here and below: the model's own.
  Index d_model = 0;  ///< Heads of 64 share it.
  Index batch = 0;    ///< Sequences or images.
  Index length = 0;   ///< Tokens of a sequence; a ViT's follow from the image.
  std::string precision = "fp32";

  /// The same with the model's own sizes in place of zeros.
  StepCase completed() const;
  /// Such as gpt/bank/experts:8/layers:6/d_model:384/batch:16/length:256/fp32.
  std::string name() const;
  /// Of a training step, by models/flops.hpp: one feed-forward network for each token (two with moe2).
  double flops() const;
  /// Tokens of a training step.
  Index tokens() const { return batch * length; }
};

/// A model of random weights with one batch of random data, AdamW, and no dropout.
class Trainer {
 public:
  Trainer() = default;
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  virtual ~Trainer() = default;

  /// Forward, backward and update.
  virtual void step() = 0;
};

/// Throws ConfigError when the case's sizes cannot work.
std::unique_ptr<Trainer> make_trainer(const StepCase& chosen);

}  // namespace exfusion::bench
