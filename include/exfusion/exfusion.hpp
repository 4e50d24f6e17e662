#pragma once

// The umbrella: everything from core to models. exfusion/io, data, train, testing and eigen.hpp are included
// on their own.

#include <exfusion/autograd/context.hpp>
#include <exfusion/autograd/expert_slab.hpp>
#include <exfusion/autograd/parameter.hpp>
#include <exfusion/autograd/step_state.hpp>
#include <exfusion/autograd/tape.hpp>
#include <exfusion/config.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/core/int_tensor.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/core/shape.hpp>
#include <exfusion/core/shared_state.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/models/collapse.hpp>
#include <exfusion/models/gpt.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/models/vit.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/memory_bank_fusion.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/nn/transformer_block.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/clip.hpp>
#include <exfusion/optim/ema.hpp>
#include <exfusion/optim/schedule.hpp>
#include <exfusion/optim/sgd.hpp>
#include <exfusion/version.hpp>
