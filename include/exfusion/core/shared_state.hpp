#pragma once

#include <memory>
#include <utility>

namespace exfusion {

/// Owns one `State` at a fixed address. Copying copies the state, so that modules follow the rule of zero;
/// `share` hands out the address, valid as long as anyone holds it and wherever the owner is moved.
template <class State>
class SharedState {
 public:
  SharedState() : state_(std::make_shared<State>()) {}
  explicit SharedState(State state) : state_(std::make_shared<State>(std::move(state))) {}
  SharedState(const SharedState& other) : state_(std::make_shared<State>(*other.state_)) {}
  SharedState(SharedState&&) noexcept = default;
  SharedState& operator=(SharedState other) noexcept {
    state_ = std::move(other.state_);
    return *this;
  }
  ~SharedState() = default;

  State& operator*() const { return *state_; }
  State* operator->() const { return state_.get(); }
  std::shared_ptr<State> share() const { return state_; }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace exfusion
