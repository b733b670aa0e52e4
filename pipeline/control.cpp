#include "pipeline/control.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <list>

#include "base/text.hpp"

namespace pipeline {

namespace asio = boost::asio;
namespace json = boost::json;
using asio::local::stream_protocol;
using base::Remedy;
using base::Scope;
using boost::system::error_code;

namespace {

constexpr const char* kProtocol = "4d2kms";
constexpr std::size_t kMostConnections = 16;
constexpr auto kSilence = std::chrono::seconds(5);  // without a whole request, or with an answer not fetched
constexpr std::size_t kLongestAnswer = 1024 * 1024;
constexpr int kClientSeconds = 5;

base::Error wrong(std::string text) { return {Scope::run, Remedy::ask_admin, std::move(text), base::Exit::usage}; }

// The folder, and a name for the socket in it that fits into sun_path however long the folder's is.
class Place {
 public:
  explicit Place(const std::string& directory) : fd_(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    path_ = directory + "/control";
    if (path_.size() >= sizeof(sockaddr_un{}.sun_path)) path_ = fmt::format("/proc/self/fd/{}/control", fd_);
  }
  ~Place() {
    if (fd_ >= 0) ::close(fd_);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  bool there() const { return fd_ >= 0; }
  const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

json::object refusal(std::string text) {
  return {{kProtocol, kControlVersion}, {"ok", false}, {"error", std::move(text)}};
}

json::object granted(json::object content) {
  json::object out{{kProtocol, kControlVersion}, {"ok", true}};
  for (auto& [name, value] : content) out[name] = std::move(value);
  return out;
}

}  // namespace

json::object TuneRequest::to_json() const {
  json::object o;
  if (jobs) o["jobs"] = *jobs;
  if (source_connections) o["source_connections"] = *source_connections;
  if (target_connections) o["target_connections"] = *target_connections;
  if (max_rate) o["max_rate"] = *max_rate;
  if (quiet_hours) o["quiet_hours"] = *quiet_hours;
  return o;
}

base::Result<Tuning> tuned(Tuning now, const json::object& request) {
  const auto count = [](const json::value& v, std::int64_t least, std::int64_t most) -> std::optional<std::int64_t> {
    if (!v.is_int64() || v.as_int64() < least || v.as_int64() > most) return std::nullopt;
    return v.as_int64();
  };
  bool any = false;
  for (const auto& [key, value] : request) {
    const std::string name(key);
    if (name == kProtocol || name == "request") continue;
    any = true;
    if (name == "jobs" || name == "source_connections" || name == "target_connections") {
      const auto n = count(value, 1, kMostJobs);
      if (!n) return tl::unexpected(wrong(fmt::format("{} must be a number from 1 to {}", name, kMostJobs)));
      if (name == "jobs") now.jobs = static_cast<int>(*n);
      else (name == "source_connections" ? now.source_connections : now.target_connections) = static_cast<int>(*n);
    } else if (name == "max_rate") {
      const auto n = count(value, 0, std::int64_t{1} << 60);
      if (!n || (*n != 0 && static_cast<base::Octets>(*n) < kSlowest))
        return tl::unexpected(wrong(fmt::format("max_rate must be 0 or at least {} octets a second", kSlowest)));
      now.max_rate = static_cast<base::Octets>(*n);
    } else if (name == "quiet_hours") {
      if (!value.is_string()) return tl::unexpected(wrong("quiet_hours must be a text such as 08:00-18:00"));
      const std::string text(value.as_string());
      now.quiet = parse_quiet_hours(text);
      if (!now.quiet && !text.empty())
        return tl::unexpected(wrong("quiet_hours must be a text such as 08:00-18:00, or empty for none"));
    } else {
      return tl::unexpected(wrong(fmt::format("nothing is known of \"{}\"", base::printable(name.substr(0, 40)))));
    }
  }
  if (!any) return tl::unexpected(wrong("it does not say what to change"));
  return now;
}

std::string control_answer(const ControlHandler& handler, std::string_view line) {
  error_code bad;
  const json::value value = json::parse(json::string_view(line.data(), line.size()), bad);
  json::object out;
  if (bad || !value.is_object()) {
    out = refusal("a request is one line of JSON, such as {\"4d2kms\":1,\"request\":\"status\"}");
  } else {
    const auto& o = value.as_object();
    const auto* version = o.if_contains(kProtocol);
    const auto* name = o.if_contains("request");
    if (version == nullptr || !version->is_int64() || version->as_int64() != kControlVersion) {
      out = refusal(fmt::format("this process speaks version {} only", kControlVersion));
    } else if (name == nullptr || !name->is_string()) {
      out = refusal("there is no request in it");
    } else if (name->as_string() == "status") {
      out = granted(handler.status());
    } else if (name->as_string() == "stop") {
      out = granted(handler.stop());
    } else if (name->as_string() == "open" && handler.open) {
      out = granted(handler.open());
    } else if (name->as_string() == "tune") {
      auto answer = handler.tune(o);
      out = answer ? granted(std::move(*answer)) : refusal(answer.error().text);
    } else {
      out = refusal("it knows status, tune and stop");
    }
  }
  return json::serialize(out);
}

namespace {

// One client. It lives as long as one of its operations, or its timer, is under way.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(stream_protocol::socket socket, std::shared_ptr<ControlHandler> handler,
             std::shared_ptr<std::list<Connection*>> all)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), handler_(std::move(handler)), all_(std::move(all)) {
    all_->push_back(this);
  }
  ~Connection() { all_->remove(this); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void read() {
    patience();
    asio::async_read_until(socket_, asio::dynamic_buffer(in_, kLongestRequest), '\n',
                           [self = shared_from_this()](error_code ec, std::size_t n) { self->on_read(ec, n); });
  }
  void close() {
    error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
  }

 private:
  void patience() {
    timer_.expires_after(kSilence);
    timer_.async_wait([self = shared_from_this()](error_code ec) {
      if (!ec) self->close();
    });
  }
  void on_read(error_code ec, std::size_t n) {
    if (ec == asio::error::not_found) {
      out_ = json::serialize(refusal(fmt::format("a request is a line of at most {} octets", kLongestRequest))) + "\n";
      last_ = true;
    } else if (ec) {
      return close();
    } else {
      out_ = control_answer(*handler_, std::string_view(in_).substr(0, n - 1)) + "\n";
      in_.erase(0, n);
    }
    patience();
    asio::async_write(socket_, asio::buffer(out_), [self = shared_from_this()](error_code failed, std::size_t) {
      if (failed || self->last_) return self->close();
      self->read();
    });
  }

  stream_protocol::socket socket_;
  asio::steady_timer timer_;
  std::shared_ptr<ControlHandler> handler_;
  std::shared_ptr<std::list<Connection*>> all_;
  std::string in_, out_;
  bool last_ = false;
};

}  // namespace

struct ControlServer::Shared : std::enable_shared_from_this<Shared> {
  Shared(asio::io_context& io, const std::string& directory, ControlHandler h)
      : place(directory), acceptor(io), pause(io), handler(std::make_shared<ControlHandler>(std::move(h))) {}

  void listen() {
    error_code ec;
    // Ours alone, because the caller holds the state's lock.
    if (::unlink(place.path().c_str()) != 0 && errno != ENOENT) ec.assign(errno, boost::system::system_category());
    if (!ec) acceptor.open(stream_protocol(), ec);
    if (!ec) acceptor.bind(stream_protocol::endpoint(place.path()), ec);
    if (!ec && ::chmod(place.path().c_str(), 0600) != 0) ec.assign(errno, boost::system::system_category());
    if (!ec) acceptor.listen(static_cast<int>(kMostConnections), ec);
    if (ec) {
      problem = ec.message();
      acceptor.close(ec);
    } else {
      accept();
    }
  }

  void accept() {
    acceptor.async_accept([self = shared_from_this()](error_code ec, stream_protocol::socket socket) {
      if (!self->acceptor.is_open()) return;
      if (ec) return self->accept_later();
      // When all places are taken the one that came first goes: it had its time, and nobody can keep others out.
      if (self->connections->size() >= kMostConnections) {
        auto* oldest = self->connections->front();
        self->connections->pop_front();
        oldest->close();
      }
      std::make_shared<Connection>(std::move(socket), self->handler, self->connections)->read();
      self->accept();
    });
  }

  // Out of file descriptors, most likely: a moment, not a busy loop.
  void accept_later() {
    pause.expires_after(std::chrono::seconds(1));
    pause.async_wait([self = shared_from_this()](error_code ec) {
      if (!ec && self->acceptor.is_open()) self->accept();
    });
  }

  Place place;
  std::string problem;
  stream_protocol::acceptor acceptor;
  asio::steady_timer pause;
  std::shared_ptr<ControlHandler> handler;
  std::shared_ptr<std::list<Connection*>> connections = std::make_shared<std::list<Connection*>>();
};

ControlServer::ControlServer(asio::io_context& io, const std::string& directory, ControlHandler handler)
    : shared_(std::make_shared<Shared>(io, directory, std::move(handler))) {
  shared_->listen();
}

const std::string& ControlServer::problem() const { return shared_->problem; }

ControlServer::~ControlServer() {
  error_code ignored;
  shared_->acceptor.close(ignored);
  shared_->pause.cancel();
  for (auto* c : *shared_->connections) c->close();
  ::unlink(shared_->place.path().c_str());
}

// ---- the other side ----

namespace {

struct Socket {
  int fd = -1;
  ~Socket() {
    if (fd >= 0) ::close(fd);
  }
};

base::Failed no_answer(const std::string& directory, const std::string& why) {
  return base::Failed({Scope::run, Remedy::retry_later,
                       fmt::format("The process that works with {} did not answer ({}). It may be starting or ending; "
                                   "try again in a moment.",
                                   directory, why),
                       base::Exit::locked});
}

}  // namespace

std::optional<json::object> ask_control(const std::string& directory, json::object request) {
  const Place place(directory);
  if (!place.there()) return std::nullopt;
  Socket s;
  s.fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s.fd < 0) throw no_answer(directory, std::strerror(errno));
  const timeval limit{kClientSeconds, 0};
  setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(s.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, place.path().c_str(), sizeof address.sun_path - 1);
  if (::connect(s.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return std::nullopt;  // never there, or left by a dead process
    throw no_answer(directory, std::strerror(errno));
  }
  request[kProtocol] = kControlVersion;
  const std::string line = json::serialize(request) + "\n";
  std::string answer;
  if (::send(s.fd, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    throw no_answer(directory, std::strerror(errno));
  char chunk[4096];
  while (answer.find('\n') == std::string::npos) {
    const auto n = ::recv(s.fd, chunk, sizeof chunk, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw no_answer(directory, std::strerror(errno));
    if (n == 0 || answer.size() > kLongestAnswer) throw no_answer(directory, "the connection ended");
    answer.append(chunk, static_cast<std::size_t>(n));
  }
  error_code bad;
  const json::value value = json::parse(std::string_view(answer).substr(0, answer.find('\n')), bad);
  const auto* ok = !bad && value.is_object() ? value.as_object().if_contains("ok") : nullptr;
  if (ok == nullptr || !ok->is_bool()) throw no_answer(directory, "that was no answer");
  if (!ok->as_bool()) {
    const auto* why = value.as_object().if_contains("error");
    throw base::Failed(
        wrong(fmt::format("The running process refused: {}.", why != nullptr && why->is_string()
                                                                  ? base::printable(std::string_view(why->as_string()))
                                                                  : std::string("it does not say why"))));
  }
  return value.as_object();
}

}  // namespace pipeline
