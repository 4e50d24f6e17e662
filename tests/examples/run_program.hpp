#pragma once

#include <chrono>
#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exfusion/core/file.hpp>

namespace exfusion::testing {

/// How a program ended and what it wrote.
struct ProgramResult {
  int exit_code = -1;  ///< -1: it was killed.
  std::string out;
  std::string error;
};

/// One of the example programs, running in `folder`, which also takes what it writes to its standard outputs.
class Program {
 public:
  Program(const std::filesystem::path& folder, const std::string& name,
          const std::vector<std::string>& arguments)
      : out_(folder / "stdout.txt"), error_(folder / "stderr.txt") {
    const std::string path = std::string(EXFUSION_PROGRAM_DIR) + "/" + name;
    std::vector<char*> words{const_cast<char*>(path.c_str())};
    for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
    words.push_back(nullptr);
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error("no process for " + name);
    if (process_ > 0) return;
    redirect(out_, STDOUT_FILENO);
    redirect(error_, STDERR_FILENO);
    if (::chdir(folder.c_str()) == 0) ::execv(path.c_str(), words.data());
    ::_exit(127);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (process_ > 0) ::kill(process_, SIGKILL), wait();
  }

  /// Waits until the program has written `text` to its standard output; false when it ended before.
  bool wait_for(const std::string& text) {
    while (read_if_there(out_).find(text) == std::string::npos) {
      if (::waitpid(process_, &status_, WNOHANG) == process_) {
        process_ = 0;
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  void send(int signal) const { ::kill(process_, signal); }

  ProgramResult wait() {
    if (process_ > 0) ::waitpid(process_, &status_, 0);
    process_ = 0;
    return {WIFEXITED(status_) ? WEXITSTATUS(status_) : -1, read_if_there(out_), read_if_there(error_)};
  }

 private:
  static void redirect(const std::filesystem::path& path, int descriptor) {
    ::dup2(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), descriptor);
  }
  static std::string read_if_there(const std::filesystem::path& path) {
    return std::filesystem::exists(path) ? read_file(path) : std::string();
  }

  std::filesystem::path out_;
  std::filesystem::path error_;
  pid_t process_ = 0;
  int status_ = 0;
};

/// Runs a program to its end.
inline ProgramResult run_program(const std::filesystem::path& folder, const std::string& name,
                                 const std::vector<std::string>& arguments) {
  return Program(folder, name, arguments).wait();
}

}  // namespace exfusion::testing
