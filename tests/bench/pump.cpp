// The upper bound: what a migration could reach that keeps nothing, checks nothing and cannot be resumed. Moves all
// mailboxes of all accounts from one IMAP server to another, both on 127.0.0.1 without TLS, and prints what it moved.
//
//   pump SOURCE_PORT TARGET_PORT ACCOUNTS [CONNECTIONS [WINDOW]]
//
// ACCOUNTS: a file of "source login TAB password TAB target login TAB password" lines. CONNECTIONS: pairs of them,
// default 1. WINDOW: messages in one MULTIAPPEND, default 50; 1 sends single APPENDs, pipelined. For measuring only.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <iostream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/text.hpp"
#include "imap/protocol/responses.hpp"

namespace {

constexpr std::uint32_t kUids = 1000;               // in one FETCH: what connections share a large mailbox by
constexpr std::size_t kPiece = 256 * 1024;          // octets handed from reading to writing at once
constexpr std::size_t kInFlight = 4 * 1024 * 1024;  // of one pair

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

// One blocking connection.
class Wire {
 public:
  Wire(int port, const std::string& login, const std::string& password) : framer_(limits()) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd_ < 0 || ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
      fail(fmt::format("no connection to port {}: {}", port, std::strerror(errno)));
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    next();  // the greeting
    if (!command(fmt::format("LOGIN {} {}", quoted(login), quoted(password)))) fail("log-in refused: " + login);
  }
  ~Wire() { ::close(fd_); }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  void write(std::string_view octets) const {
    while (!octets.empty()) {
      const auto n = ::send(fd_, octets.data(), octets.size(), MSG_NOSIGNAL);
      if (n <= 0) fail("the connection ended while writing");
      octets.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  imap::AnyResponse next() {
    for (;;) {
      auto frame = base::or_throw(framer_.next());
      if (frame) return base::or_throw(imap::parse_response(std::get<imap::Response>(std::move(*frame)), limits()));
      const auto n = ::recv(fd_, buffer_.data(), buffer_.size(), 0);
      if (n <= 0) fail("the connection ended while reading");
      framer_.feed({buffer_.data(), static_cast<std::size_t>(n)});
    }
  }
  // Whether it was answered OK; `each` gets its untagged responses.
  template <class Each>
  bool command(const std::string& text, Each each) {
    write("c " + text + "\r\n");
    for (;;) {
      auto response = next();
      if (auto* tagged = std::get_if<imap::Tagged>(&response)) return tagged->ok();
      if (auto* untagged = std::get_if<imap::Untagged>(&response)) each(std::move(*untagged));
    }
  }
  bool command(const std::string& text) {
    return command(text, [](imap::Untagged) {});
  }

 private:
  static imap::Limits limits() {
    imap::Limits l;
    l.inline_literal = 256 * 1024 * 1024;
    return l;
  }
  int fd_ = -1;
  imap::Framer framer_;
  std::vector<char> buffer_ = std::vector<char>(kPiece);
};

struct Account {
  std::string source_login, source_password, target_login, target_password;
};
struct Piece {
  std::string mailbox;
  std::uint32_t from = 1, to = 1;  // UIDs
};
struct Work {
  Account account;
  bool listed = false, listing = false;
  int pairs = 0;  // at work on it
  std::deque<Piece> pieces;
};

std::mutex mutex;  // of `queue`
std::condition_variable listed_now;
std::vector<Work> queue;
std::atomic<std::uint64_t> messages{0}, octets{0}, refused{0};

// Octets on their way from the reading thread to the writing one; bounded.
class Pipe {
 public:
  void put(std::string piece) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_ < kInFlight; });
    held_ += piece.size();
    pieces_.push_back(std::move(piece));
    changed_.notify_all();
  }
  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  // Empty: the end.
  std::string get() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !pieces_.empty() || ended_; });
    if (pieces_.empty()) return {};
    std::string piece = std::move(pieces_.front());
    pieces_.pop_front();
    held_ -= piece.size();
    changed_.notify_all();
    return piece;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> pieces_;
  std::size_t held_ = 0;
  bool ended_ = false;
};

// All mailboxes of the account, made on the target, cut into pieces.
std::deque<Piece> prepare(Wire& source, Wire& target) {
  std::vector<std::string> names;
  source.command("LIST \"\" *", [&](imap::Untagged u) {
    const auto* item = std::get_if<imap::ListItem>(&u);
    if (item == nullptr) return;
    for (const auto& a : item->attributes)
      if (a == "\\noselect" || a == "\\nonexistent") return;
    names.push_back(item->name);
  });
  std::deque<Piece> out;
  for (const auto& name : names) {
    if (!base::iequals(name, "INBOX")) target.command("CREATE " + quoted(name));
    source.command("STATUS " + quoted(name) + " (UIDNEXT MESSAGES)", [&](imap::Untagged u) {
      const auto* status = std::get_if<imap::StatusItem>(&u);
      if (status == nullptr || status->messages.value_or(0) == 0) return;
      const auto end = static_cast<std::uint32_t>(status->uid_next.value_or(1));
      for (std::uint32_t from = 1; from < end; from += kUids)
        out.push_back({name, from, std::min(end, from + kUids) - 1});
    });
  }
  return out;
}

// Reads one piece and hands it on as APPEND commands; how many.
std::uint64_t read_piece(Wire& source, const Piece& piece, std::uint32_t window, std::string* opened, Pipe& out) {
  if (*opened != piece.mailbox) {
    if (!source.command("EXAMINE " + quoted(piece.mailbox))) fail("EXAMINE was refused");
    *opened = piece.mailbox;
  }
  std::string text;
  std::uint64_t commands = 0;
  std::uint32_t in_window = 0;
  source.command(
      fmt::format("UID FETCH {}:{} (UID FLAGS INTERNALDATE BODY.PEEK[])", piece.from, piece.to), [&](imap::Untagged u) {
        auto* m = std::get_if<imap::Fetched>(&u);
        if (m == nullptr || m->body != imap::BodyKind::octets) return;
        std::string flags;
        for (const auto& f : m->flags.value_or(std::vector<std::string>{}))
          if (!base::iequals(f, "\\Recent")) flags += (flags.empty() ? "" : " ") + f;
        if (in_window == 0) {
          text += fmt::format("a APPEND {}", quoted(piece.mailbox));
          ++commands;
        }
        text += fmt::format(" ({}) {} {{{}+}}\r\n", flags, quoted(m->internal_date.value_or("")), m->octets.size());
        text += m->octets;
        if (++in_window == window) {
          text += "\r\n";
          in_window = 0;
        }
        ++messages;
        octets += m->octets.size();
        if (text.size() < kPiece) return;
        out.put(std::move(text));
        text.clear();
      });
  if (in_window > 0) text += "\r\n";
  if (!text.empty()) out.put(std::move(text));
  return commands;
}

// The account this pair is at, if it has pieces left, else one that nobody is at, else the one with the fewest pairs.
// `lock` is held; waits while another pair may be about to find pieces. Nothing: all is done.
Work* choose(Work* present, std::unique_lock<std::mutex>& lock) {
  if (present != nullptr && !present->pieces.empty()) return present;
  if (present != nullptr) --present->pairs;
  for (;;) {
    Work* best = nullptr;
    bool listing = false;
    for (auto& w : queue) {
      listing |= w.listing;
      if ((!w.listed || !w.pieces.empty()) && (best == nullptr || w.pairs < best->pairs)) best = &w;
    }
    if (best != nullptr) ++best->pairs;
    if (best != nullptr || !listing) return best;
    listed_now.wait(lock);
  }
}

// One pair of connections: one thread reads, one writes, one takes the answers.
void pump(int source_port, int target_port, std::uint32_t window) {
  Work* work = nullptr;
  for (;;) {
    bool list = false;
    {
      std::unique_lock lock(mutex);
      work = choose(work, lock);
      if (work == nullptr) return;
      list = !work->listed;
      work->listed = true;
      work->listing |= list;
    }
    const Account& a = work->account;
    Wire source(source_port, a.source_login, a.source_password), target(target_port, a.target_login, a.target_password);
    if (list) {
      auto pieces = prepare(source, target);
      const std::lock_guard lock(mutex);
      work->pieces = std::move(pieces);
      work->listing = false;
      listed_now.notify_all();
    }
    Pipe pipe;
    std::exception_ptr failure;
    std::atomic<bool> broken{false};
    std::thread writer([&] {
      try {
        for (std::string piece = pipe.get(); !piece.empty(); piece = pipe.get())
          if (!broken) target.write(piece);
        if (!broken) target.write("z NOOP\r\n");
      } catch (const std::exception&) {
        broken = true;  // the reader of the answers tells why
      }
    });
    std::thread answers([&] {
      try {
        for (;;) {
          auto response = target.next();
          const auto* tagged = std::get_if<imap::Tagged>(&response);
          if (tagged == nullptr) continue;
          if (tagged->tag == "z") return;
          if (!tagged->ok()) ++refused;
        }
      } catch (...) {
        failure = std::current_exception();
        broken = true;
      }
    });
    std::exception_ptr reading;
    try {
      std::string opened;
      for (;;) {
        Piece piece;
        {
          const std::lock_guard lock(mutex);
          if (work->pieces.empty() || broken) break;
          piece = std::move(work->pieces.front());
          work->pieces.pop_front();
        }
        read_piece(source, piece, window, &opened, pipe);
      }
    } catch (...) {
      reading = std::current_exception();
    }
    pipe.end();
    writer.join();
    answers.join();
    if (reading) std::rethrow_exception(reading);
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "pump SOURCE_PORT TARGET_PORT ACCOUNTS [CONNECTIONS [WINDOW]]\n";
    return 2;
  }
  const int source = std::atoi(argv[1]), target = std::atoi(argv[2]);
  const int connections = argc > 4 ? std::atoi(argv[4]) : 1;
  const auto window = static_cast<std::uint32_t>(argc > 5 ? std::atoi(argv[5]) : 50);
  std::ifstream file(argv[3]);
  for (std::string line; std::getline(file, line);) {
    const auto words = base::split(line, '\t');
    if (words.size() == 4) queue.push_back({{words[0], words[1], words[2], words[3]}, false, false, 0, {}});
  }
  std::vector<std::thread> pairs;
  for (int i = 0; i < connections; ++i)
    pairs.emplace_back([&] {
      try {
        pump(source, target, window);
      } catch (const std::exception& e) {  // the others may be waiting for it
        std::cerr << e.what() << "\n";
        std::_Exit(1);
      }
    });
  for (auto& p : pairs) p.join();
  std::cout << fmt::format("{{\"messages\": {}, \"octets\": {}, \"refused\": {}}}\n", messages.load(), octets.load(),
                           refused.load());
  return refused > 0 ? 1 : 0;
}
