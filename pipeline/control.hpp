// The control socket of a running stage: STATE/control, a Unix-domain stream socket of mode 0600.
//
//   {"4d2kms":1,"request":"status"}                            one JSON line asks,
//   {"4d2kms":1,"ok":true,"stage":"copy",...}                  one answers; as many as you like on one connection
//
// Requests: status, tune, stop; of a wizard also open, for a new link to its pages. Nobody who connects can hold the
// migration up: lines, connections and silence are bounded, everything runs on the migration's own event loop, and an
// answer that is not fetched is dropped.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "pipeline/tuning.hpp"

namespace pipeline {

constexpr int kControlVersion = 1;
constexpr std::size_t kLongestRequest = 4096;

// What "tune" asks to change; the rest stays.
struct TuneRequest {
  std::optional<int> jobs, source_connections, target_connections;
  std::optional<base::Octets> max_rate;
  std::optional<std::string> quiet_hours;  // "" none
  boost::json::object to_json() const;
};
// The tuning with the changes in it, or what is wrong with them, for the admin.
base::Result<Tuning> tuned(Tuning now, const boost::json::object& request);

struct ControlHandler {
  std::function<boost::json::object()> status;
  std::function<base::Result<boost::json::object>(const boost::json::object&)> tune;
  std::function<boost::json::object()> stop;
  std::function<boost::json::object()> open = {};  // of a wizard
};
// One line in, one line out (without the line end). Never throws for what it is given.
std::string control_answer(const ControlHandler& handler, std::string_view line);

class ControlServer {
 public:
  // The caller holds the state's lock: a socket that is there already belongs to a process that is dead.
  ControlServer(boost::asio::io_context& io, const std::string& directory, ControlHandler handler);
  ~ControlServer();  // the socket goes; connections end
  // Why there is no socket, or nothing: a migration goes on without one.
  const std::string& problem() const;
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

// From another process; blocks for at most a few seconds. Nothing if nobody listens there. Throws Failed when what
// listens does not answer, or answers that it will not.
std::optional<boost::json::object> ask_control(const std::string& directory, boost::json::object request);

}  // namespace pipeline
