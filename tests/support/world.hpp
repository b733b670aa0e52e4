// A whole migration in one process: two model servers, a virtual clock, a real store in a temporary folder, the real
// stages.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "pipeline/migration.hpp"
#include "pipeline/report/report.hpp"
#include "tests/support/model_server.hpp"

namespace test {

// The process dies here. Not a base::Failed: nothing in the product may catch it and go on.
struct Died : std::exception {
  const char* what() const noexcept override { return "died"; }
};

class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string path() const { return path_; }

 private:
  std::string path_;
};

std::string mail(const std::string& subject, const std::string& body = "Hello.\r\n");

class World {
 public:
  World();

  VirtualClock clock;
  ModelServer source{clock, "source"}, target{clock, "target"};
  pipeline::Settings settings;
  TempFolder folder;

  // Runs `command` ("run", "load", "verify") as a fresh process would: new store, new sessions. Dies before step
  // `die_at` (0: never); steps are reads, writes, connections and pieces of work for the store.
  struct Ran {
    bool died = false;
    int exit = 0;
    std::uint64_t steps = 0, appended = 0, settled = 0;
    boost::json::object report;
    pipeline::VerifyResult verified;
    std::string error;
  };
  Ran run(const std::string& command = "run", std::uint64_t die_at = 0);
  std::function<void(std::uint64_t)> on_step;  // before each step of a run, with its number
  // Asked before each step: if true, the process dies there.
  std::function<bool()> dies;
  // The moment of death: what is done afterwards, in unwinding and closing, a real process would not have done.
  std::function<void()> on_death;
  void lose_state();
  std::function<void()> stop;  // asks the run that is under way to stop, as its person does

  // The books are closed, no invariant is broken, no server was talked to wrongly.
  void expect_in_order();
  // Every mailbox of the source is on the target with the same canonical messages, none twice.
  void expect_equal(const std::string& when = {});
  std::int64_t query(const std::string& sql);

  static constexpr const char* kUser = "jane";
};

}  // namespace test
