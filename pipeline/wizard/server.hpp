// A small HTTP/1.1 server on loopback for one person: bounded in everything, on the migration's own event loop
// (S27-S32).
//
// A head may have 16 KiB and take 10 s, a body 1 MiB, and there are 32 connections; of more, the one that has been
// silent for longest goes. What is not plain (Transfer-Encoding, Expect, a bare line feed, two lengths) is refused: a
// browser sends none of it here. Every answer, refusals included, has the headers that keep other sites out.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "pipeline/wizard/gate.hpp"

namespace pipeline::wizard {

struct Request {
  std::string method, path;                  // without the query; percent-decoded
  std::map<std::string, std::string> query;  // percent-decoded
  std::string language;                      // that the browser prefers, or the person chose: "en", "de", "cs"
  boost::json::object body;                  // of a POST
};

struct Reply {
  int status = 200;
  std::string type = "text/html; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string file;     // instead of the body: this one, as a download. A symbolic link is not followed.
  bool events = false;  // instead of the body: what event() says, as often as it is something new
};

// What is served to whoever passed the gate.
struct Site {
  std::function<boost::asio::awaitable<Reply>(Request)> answer;
  std::function<std::string(const Request&)> event;  // asked twice a second; one line
};

class Server {
 public:
  // `port` 0: one that is free. Throws Failed when there is none.
  Server(boost::asio::io_context& io, std::uint16_t port, base::Clock& clock, Site site);
  ~Server();  // before the io_context goes
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Gate& gate();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace pipeline::wizard
